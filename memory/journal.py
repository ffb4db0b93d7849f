"""Every question to a model with its answer, a row each: what was received is not asked again, and can be read back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gems.memory.database import Database, Part

PART: Final = Part(
    "journal",
    1,
    (
        """CREATE TABLE IF NOT EXISTS journal (
    place INTEGER PRIMARY KEY, trajectory_id TEXT NOT NULL, key TEXT NOT NULL, call TEXT NOT NULL,
    UNIQUE (trajectory_id, key))""",
    ),
)

_RECORD: Final = """INSERT INTO journal (trajectory_id, key, call) VALUES (?, ?, ?)
    ON CONFLICT (trajectory_id, key) DO NOTHING"""


class SqlJournal:
    """The journal in a database."""

    def __init__(self, database: Database) -> None:
        """Keep the journal in `database`."""
        self._database = database

    async def find(self, trajectory_id: str, key: str) -> dict[str, Any] | None:
        """The call recorded under that key in that trajectory, if any."""
        return await asyncio.to_thread(self._find, trajectory_id, key)

    async def record(self, trajectory_id: str, key: str, call: Mapping[str, Any]) -> None:
        """Keep a call, JSON values. One that is there already stays."""
        await asyncio.to_thread(self._record, trajectory_id, key, json.dumps(dict(call)))

    async def calls(self, trajectory_id: str) -> list[dict[str, Any]]:
        """All calls of a trajectory in the order they were recorded, each with its `key`."""
        return await asyncio.to_thread(self._calls, trajectory_id)

    async def trajectories(self) -> list[str]:
        """All trajectories that have a call here."""
        return await asyncio.to_thread(self._trajectories)

    async def restore(self, trajectory_id: str, calls: Sequence[Mapping[str, Any]]) -> None:
        """Take in all calls of a trajectory, as `calls` gave them; those that are there already stay."""
        await asyncio.to_thread(self._restore, trajectory_id, calls)

    async def forget(self, trajectory_id: str) -> None:
        """Drop all calls of a trajectory."""
        await asyncio.to_thread(self._forget, trajectory_id)

    def _find(self, trajectory_id: str, key: str) -> dict[str, Any] | None:
        with self._database.connect(PART) as connection:
            row = connection.execute(
                "SELECT call FROM journal WHERE trajectory_id = ? AND key = ?", (trajectory_id, key)
            ).fetchone()
        return None if row is None else _read(row[0])

    def _record(self, trajectory_id: str, key: str, call: str) -> None:
        with self._database.connect(PART) as connection:
            connection.execute(_RECORD, (trajectory_id, key, call))

    def _calls(self, trajectory_id: str) -> list[dict[str, Any]]:
        with self._database.connect(PART) as connection:
            rows = connection.execute(
                "SELECT key, call FROM journal WHERE trajectory_id = ? ORDER BY place", (trajectory_id,)
            ).fetchall()
        return [{**_read(call), "key": key} for key, call in rows]

    def _trajectories(self) -> list[str]:
        with self._database.connect(PART) as connection:
            return [row[0] for row in connection.execute("SELECT DISTINCT trajectory_id FROM journal ORDER BY 1")]

    def _restore(self, trajectory_id: str, calls: Sequence[Mapping[str, Any]]) -> None:
        with self._database.connect(PART) as connection:
            for call in calls:
                fields = {name: value for name, value in call.items() if name != "key"}
                connection.execute(_RECORD, (trajectory_id, call["key"], json.dumps(fields)))

    def _forget(self, trajectory_id: str) -> None:
        with self._database.connect(PART) as connection:
            connection.execute("DELETE FROM journal WHERE trajectory_id = ?", (trajectory_id,))


def _read(call: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(call)
    return fields
