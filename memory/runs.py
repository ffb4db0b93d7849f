"""The index of all runs of this machine, one line a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from gems.core.ports import RunRecord
from gems.memory.database import Database, Part

_SCHEMA: Final = """CREATE TABLE IF NOT EXISTS runs (
    thread_id TEXT PRIMARY KEY, trajectory_id TEXT NOT NULL, prompt TEXT NOT NULL, profile TEXT NOT NULL,
    status TEXT NOT NULL, stop_reason TEXT, score REAL, rounds INTEGER NOT NULL, best TEXT,
    started REAL NOT NULL, updated REAL NOT NULL)"""
# A resumed trajectory keeps the time it was started at, and a thread its owner.
_UPSERT: Final = """INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (thread_id) DO UPDATE SET
    started = CASE WHEN runs.trajectory_id = excluded.trajectory_id THEN runs.started ELSE excluded.started END,
    trajectory_id = excluded.trajectory_id, prompt = excluded.prompt, profile = excluded.profile,
    status = excluded.status, stop_reason = excluded.stop_reason, score = excluded.score, rounds = excluded.rounds,
    best = excluded.best, updated = excluded.updated"""
_OWNER: Final = "ALTER TABLE runs ADD COLUMN owner TEXT NOT NULL DEFAULT ''"
PART: Final = Part("runs", 2, (_SCHEMA,), {1: (_OWNER,)})


class SqlRuns:
    """The index in a database."""

    def __init__(self, database: Database) -> None:
        """Keep the index in `database`."""
        self._database = database

    async def record(self, run: RunRecord) -> None:
        """Insert or update the line of the run's thread."""
        await asyncio.to_thread(self._record, run)

    async def recent(
        self, limit: int, *, offset: int = 0, owners: Collection[str] | None = None, search: str = ""
    ) -> list[RunRecord]:
        """The last `limit` runs after `offset` others, the newest first: those of `owners` whose prompts hold `search`."""
        return await asyncio.to_thread(self._recent, limit, offset, owners, search)

    async def find(self, thread_id: str) -> RunRecord | None:
        """The line of a thread."""
        return await asyncio.to_thread(self._find, thread_id)

    def owner_of(self, thread_id: str) -> str:
        """Whose a thread is; empty: nobody's, or there is none. Blocks: call it in a thread."""
        line = self._find(thread_id)
        return line.owner if line else ""

    async def all(self) -> list[RunRecord]:
        """Every run, the newest first."""
        return await asyncio.to_thread(self._all)

    async def restore(self, run: RunRecord) -> None:
        """Set the line of the run's thread as it is given, times too."""
        await asyncio.to_thread(self._restore, run)

    async def remove(self, thread_id: str) -> None:
        """Forget the run of a thread."""
        await asyncio.to_thread(self._remove, thread_id)

    async def owners_of(self, trajectory_id: str) -> set[str]:
        """Whose the threads are that have a trajectory."""
        return await asyncio.to_thread(self._owners_of, trajectory_id)

    def _record(self, run: RunRecord) -> None:
        with self._database.connect(PART) as connection:
            connection.execute(_UPSERT, run)

    def _recent(self, limit: int, offset: int, owners: Collection[str] | None, search: str) -> list[RunRecord]:
        wanted, values = ["1 = 1"], list[object]()
        if owners is not None:
            if not owners:
                return []
            wanted.append(f"owner IN ({', '.join('?' * len(owners))})")
            values += owners
        if search:
            # SQLite knows capitals of ASCII alone: of other letters, what is written as it was typed is found.
            wanted.append("(LOWER(prompt) LIKE ? ESCAPE '!' OR prompt LIKE ? ESCAPE '!')")
            values += (f"%{_literal(search.lower())}%", f"%{_literal(search)}%")
        query = f"SELECT * FROM runs WHERE {' AND '.join(wanted)} ORDER BY updated DESC, thread_id LIMIT ? OFFSET ?"  # noqa: S608
        with self._database.connect(PART) as connection:
            rows = connection.execute(query, (*values, limit, offset)).fetchall()
        return [RunRecord(*row) for row in rows]

    def _find(self, thread_id: str) -> RunRecord | None:
        with self._database.connect(PART) as connection:
            row = connection.execute("SELECT * FROM runs WHERE thread_id = ?", (thread_id,)).fetchone()
        return RunRecord(*row) if row else None

    def _owners_of(self, trajectory_id: str) -> set[str]:
        with self._database.connect(PART) as connection:
            query = "SELECT owner FROM runs WHERE trajectory_id = ?"
            return {row[0] for row in connection.execute(query, (trajectory_id,)).fetchall()}

    def _all(self) -> list[RunRecord]:
        with self._database.connect(PART) as connection:
            rows = connection.execute("SELECT * FROM runs ORDER BY updated DESC").fetchall()
        return [RunRecord(*row) for row in rows]

    def _restore(self, run: RunRecord) -> None:
        with self._database.connect(PART) as connection:
            connection.execute("DELETE FROM runs WHERE thread_id = ?", (run.thread_id,))
            connection.execute(_UPSERT, run)

    def _remove(self, thread_id: str) -> None:
        with self._database.connect(PART) as connection:
            connection.execute("DELETE FROM runs WHERE thread_id = ?", (thread_id,))


def _literal(text: str) -> str:
    """A text whose letters stand for themselves in a LIKE pattern."""
    for sign in "!%_":
        text = text.replace(sign, f"!{sign}")
    return text
