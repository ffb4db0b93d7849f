"""Requests to stop a run, from another process: whoever runs the thread looks for one now and then."""

from __future__ import annotations

import time
from typing import Final

from gems.memory.database import Database, Part

PART: Final = Part("stops", 1, ("CREATE TABLE IF NOT EXISTS stops (thread_id TEXT PRIMARY KEY, asked REAL NOT NULL)",))


class SqlStops:
    """The requests in a database. Methods block: call them in a thread."""

    def __init__(self, database: Database) -> None:
        """Keep the requests in `database`."""
        self._database = database

    def ask(self, thread_id: str) -> None:
        """Ask whoever runs the thread to stop after the current step."""
        with self._database.connect(PART) as connection:
            connection.execute(
                "INSERT INTO stops VALUES (?, ?) ON CONFLICT (thread_id) DO UPDATE SET asked = excluded.asked",
                (thread_id, time.time()),
            )

    def asked(self, thread_id: str) -> bool:
        """Whether somebody asked since this was last cleared."""
        with self._database.connect(PART) as connection:
            return connection.execute("SELECT 1 FROM stops WHERE thread_id = ?", (thread_id,)).fetchone() is not None

    def clear(self, thread_id: str) -> None:
        """Forget a request."""
        with self._database.connect(PART) as connection:
            connection.execute("DELETE FROM stops WHERE thread_id = ?", (thread_id,))
