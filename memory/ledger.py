"""Which drawings a trajectory has already received, so that none is paid for twice; and what it has spent."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from gems.core.ports import DrawRequest
from gems.core.spending import Spend
from gems.memory.database import Database, Part

_DRAWINGS: Final = """CREATE TABLE IF NOT EXISTS drawings (
    trajectory_id TEXT NOT NULL, key TEXT NOT NULL, artifact TEXT NOT NULL, PRIMARY KEY (trajectory_id, key))"""
_SPENDING: Final = """CREATE TABLE IF NOT EXISTS spending (
    trajectory_id TEXT NOT NULL PRIMARY KEY, calls INTEGER NOT NULL, images INTEGER NOT NULL, cost REAL NOT NULL,
    seconds REAL NOT NULL)"""
_RECORD: Final = """INSERT INTO drawings VALUES (?, ?, ?)
    ON CONFLICT (trajectory_id, key) DO UPDATE SET artifact = excluded.artifact"""
_WITH_TOKENS: Final = "ALTER TABLE spending ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0"
_BOOK: Final = """INSERT INTO spending (trajectory_id, calls, images, cost, seconds, tokens) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (trajectory_id) DO UPDATE SET
    calls = spending.calls + excluded.calls, images = spending.images + excluded.images,
    cost = spending.cost + excluded.cost, seconds = spending.seconds + excluded.seconds,
    tokens = spending.tokens + excluded.tokens"""
_ADOPT: Final = """INSERT INTO drawings SELECT ?, key, artifact FROM drawings WHERE trajectory_id = ?
    ON CONFLICT (trajectory_id, key) DO NOTHING"""
_TRAJECTORIES: Final = "SELECT trajectory_id FROM drawings UNION SELECT trajectory_id FROM spending ORDER BY 1"
PART: Final = Part("ledger", 2, (_DRAWINGS, _SPENDING), {1: (_WITH_TOKENS,)})


def drawing_key(identity: Mapping[str, Any], request: DrawRequest, attempt: str | None) -> str:
    """SHA-256 (hexadecimal) of everything a picture depends on.

    Args:
        identity: The image model and its settings, JSON values.
        request: Prompt, seed, size, source and references.
        attempt: The attempt's id where the model takes no seed, since a repeat is then another picture; else None.
    """
    source = hashlib.sha256(request.source).hexdigest() if request.source else None
    references = [hashlib.sha256(reference).hexdigest() for reference in request.references]
    facts = [dict(identity), request.prompt, request.seed, request.width, request.height, source, references, attempt]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class SqlLedger:
    """The ledger in a database. A drawing is reused within its trajectory only, never for a new request."""

    def __init__(self, database: Database) -> None:
        """Keep the ledger in `database`."""
        self._database = database

    async def find(self, trajectory_id: str, key: str) -> str | None:
        """The artifact recorded under that key in that trajectory, if any; it may not be stored yet."""
        return await asyncio.to_thread(self._find, trajectory_id, key)

    async def record(self, trajectory_id: str, key: str, artifact: str) -> None:
        """Remember a drawing that is about to be stored."""
        await asyncio.to_thread(self._record, trajectory_id, key, artifact)

    async def adopt(self, parent_id: str, child_id: str) -> None:
        """Let a trajectory find what another has received: the one that it is a branch of."""
        await asyncio.to_thread(self._adopt, parent_id, child_id)

    async def spent(self, trajectory_id: str) -> Spend:
        """All that was booked for a trajectory."""
        return await asyncio.to_thread(self._spent, trajectory_id)

    async def book(self, trajectory_id: str, spend: Spend) -> None:
        """Add to what a trajectory has spent; a negative amount gives back."""
        await asyncio.to_thread(self._add, trajectory_id, spend)

    async def trajectories(self) -> list[str]:
        """All trajectories that have received or spent something."""
        return await asyncio.to_thread(self._trajectories)

    async def drawings(self, trajectory_id: str) -> dict[str, str]:
        """The artifacts of a trajectory by their keys; one may not be stored."""
        return await asyncio.to_thread(self._drawings, trajectory_id)

    async def names(self, artifact: str) -> bool:
        """Whether any trajectory has received that artifact."""
        return await asyncio.to_thread(self._names, artifact)

    async def restore(self, trajectory_id: str, drawings: Mapping[str, str], spend: Spend) -> None:
        """Set what a trajectory has received and spent, at one stroke; what was known of it goes."""
        await asyncio.to_thread(self._restore, trajectory_id, drawings, spend)

    async def forget(self, trajectory_id: str) -> None:
        """Drop all that is known of a trajectory."""
        await asyncio.to_thread(self._restore, trajectory_id, {}, Spend())

    def _trajectories(self) -> list[str]:
        with self._database.connect(PART) as connection:
            return [row[0] for row in connection.execute(_TRAJECTORIES)]

    def _drawings(self, trajectory_id: str) -> dict[str, str]:
        with self._database.connect(PART) as connection:
            rows = connection.execute(
                "SELECT key, artifact FROM drawings WHERE trajectory_id = ? ORDER BY key", (trajectory_id,)
            ).fetchall()
        return dict(rows)

    def _names(self, artifact: str) -> bool:
        with self._database.connect(PART) as connection:
            return connection.execute("SELECT 1 FROM drawings WHERE artifact = ?", (artifact,)).fetchone() is not None

    def _restore(self, trajectory_id: str, drawings: Mapping[str, str], spend: Spend) -> None:
        with self._database.connect(PART, alone=True) as connection:
            for table in ("drawings", "spending"):
                connection.execute(f"DELETE FROM {table} WHERE trajectory_id = ?", (trajectory_id,))  # noqa: S608
            for key, artifact in drawings.items():
                connection.execute(_RECORD, (trajectory_id, key, artifact))
            if spend != Spend():
                connection.execute(_BOOK, (trajectory_id, *spend))

    def _spent(self, trajectory_id: str) -> Spend:
        with self._database.connect(PART) as connection:
            row = connection.execute(
                "SELECT calls, images, cost, seconds, tokens FROM spending WHERE trajectory_id = ?", (trajectory_id,)
            ).fetchone()
        return Spend(*row) if row else Spend()

    def _add(self, trajectory_id: str, spend: Spend) -> None:
        with self._database.connect(PART) as connection:
            connection.execute(_BOOK, (trajectory_id, *spend))

    def _find(self, trajectory_id: str, key: str) -> str | None:
        with self._database.connect(PART) as connection:
            row = connection.execute(
                "SELECT artifact FROM drawings WHERE trajectory_id = ? AND key = ?", (trajectory_id, key)
            ).fetchone()
        return None if row is None else str(row[0])

    def _record(self, trajectory_id: str, key: str, artifact: str) -> None:
        with self._database.connect(PART) as connection:
            connection.execute(_RECORD, (trajectory_id, key, artifact))

    def _adopt(self, parent_id: str, child_id: str) -> None:
        with self._database.connect(PART) as connection:
            connection.execute(_ADOPT, (child_id, parent_id))
