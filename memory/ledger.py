"""Which drawings a trajectory has already received, so that none is paid for twice; and what it has spent."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gems.core.ports import DrawRequest
from gems.core.spending import Spend
from gems.memory.tables import Table

_DRAWINGS: Final = """CREATE TABLE IF NOT EXISTS drawings (
    trajectory_id TEXT NOT NULL, key TEXT NOT NULL, artifact TEXT NOT NULL, PRIMARY KEY (trajectory_id, key))"""
_SPENDING: Final = """CREATE TABLE IF NOT EXISTS spending (
    trajectory_id TEXT NOT NULL PRIMARY KEY, calls INTEGER NOT NULL, images INTEGER NOT NULL, cost REAL NOT NULL,
    seconds REAL NOT NULL)"""
_BOOK: Final = """INSERT INTO spending VALUES (?, ?, ?, ?, ?) ON CONFLICT (trajectory_id) DO UPDATE SET
    calls = calls + excluded.calls, images = images + excluded.images, cost = cost + excluded.cost,
    seconds = seconds + excluded.seconds"""


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


class SqliteLedger:
    """The ledger in one SQLite file. A drawing is reused within its trajectory only, never for a new request."""

    def __init__(self, path: Path) -> None:
        """Keep the ledger in `path`."""
        self._table = Table(path, _DRAWINGS)
        self._accounts = Table(path, _SPENDING)

    async def find(self, trajectory_id: str, key: str) -> str | None:
        """The artifact recorded under that key in that trajectory, if any; it may not be stored yet."""
        return await asyncio.to_thread(self._find, trajectory_id, key)

    async def record(self, trajectory_id: str, key: str, artifact: str) -> None:
        """Remember a drawing that is about to be stored."""
        await asyncio.to_thread(self._record, trajectory_id, key, artifact)

    async def spent(self, trajectory_id: str) -> Spend:
        """All that was booked for a trajectory."""
        return await asyncio.to_thread(self._spent, trajectory_id)

    async def book(self, trajectory_id: str, spend: Spend) -> None:
        """Add to what a trajectory has spent; a negative amount gives back."""
        await asyncio.to_thread(self._add, trajectory_id, spend)

    def _spent(self, trajectory_id: str) -> Spend:
        with self._accounts.connect() as connection:
            row = connection.execute(
                "SELECT calls, images, cost, seconds FROM spending WHERE trajectory_id = ?", (trajectory_id,)
            ).fetchone()
        return Spend(*row) if row else Spend()

    def _add(self, trajectory_id: str, spend: Spend) -> None:
        with self._accounts.connect() as connection:
            connection.execute(_BOOK, (trajectory_id, *spend))

    def _find(self, trajectory_id: str, key: str) -> str | None:
        with self._table.connect() as connection:
            row = connection.execute(
                "SELECT artifact FROM drawings WHERE trajectory_id = ? AND key = ?", (trajectory_id, key)
            ).fetchone()
        return None if row is None else str(row[0])

    def _record(self, trajectory_id: str, key: str, artifact: str) -> None:
        with self._table.connect() as connection:
            connection.execute("INSERT OR REPLACE INTO drawings VALUES (?, ?, ?)", (trajectory_id, key, artifact))
