"""The index of all runs of this machine, one line a thread."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from gems.core.ports import RunRecord
from gems.memory.tables import Table

_SCHEMA: Final = """CREATE TABLE IF NOT EXISTS runs (
    thread_id TEXT PRIMARY KEY, trajectory_id TEXT NOT NULL, prompt TEXT NOT NULL, profile TEXT NOT NULL,
    status TEXT NOT NULL, stop_reason TEXT, score REAL, rounds INTEGER NOT NULL, best TEXT,
    started REAL NOT NULL, updated REAL NOT NULL)"""
# A resumed trajectory keeps the time it was started at.
_UPSERT: Final = """INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (thread_id) DO UPDATE SET
    started = CASE WHEN trajectory_id = excluded.trajectory_id THEN started ELSE excluded.started END,
    trajectory_id = excluded.trajectory_id, prompt = excluded.prompt, profile = excluded.profile,
    status = excluded.status, stop_reason = excluded.stop_reason, score = excluded.score, rounds = excluded.rounds,
    best = excluded.best, updated = excluded.updated"""


class SqliteRuns:
    """The index in one SQLite file."""

    def __init__(self, path: Path) -> None:
        """Keep the index in `path`."""
        self._table = Table(path, _SCHEMA)

    async def record(self, run: RunRecord) -> None:
        """Insert or update the line of the run's thread."""
        await asyncio.to_thread(self._record, run)

    async def recent(self, limit: int) -> list[RunRecord]:
        """The last `limit` runs, the newest first."""
        return await asyncio.to_thread(self._recent, limit)

    def _record(self, run: RunRecord) -> None:
        with self._table.connect() as connection:
            connection.execute(_UPSERT, run)

    def _recent(self, limit: int) -> list[RunRecord]:
        with self._table.connect() as connection:
            rows = connection.execute("SELECT * FROM runs ORDER BY updated DESC LIMIT ?", (limit,)).fetchall()
        return [RunRecord(*row) for row in rows]
