"""Which drawings a trajectory has already received, so that none is paid for twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gems.core.ports import DrawRequest
from gems.memory.tables import Table

_SCHEMA: Final = """CREATE TABLE IF NOT EXISTS drawings (
    trajectory_id TEXT NOT NULL, key TEXT NOT NULL, artifact TEXT NOT NULL, PRIMARY KEY (trajectory_id, key))"""


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
        self._table = Table(path, _SCHEMA)

    async def find(self, trajectory_id: str, key: str) -> str | None:
        """The artifact recorded under that key in that trajectory, if any; it may not be stored yet."""
        return await asyncio.to_thread(self._find, trajectory_id, key)

    async def record(self, trajectory_id: str, key: str, artifact: str) -> None:
        """Remember a drawing that is about to be stored."""
        await asyncio.to_thread(self._record, trajectory_id, key, artifact)

    def _find(self, trajectory_id: str, key: str) -> str | None:
        with self._table.connect() as connection:
            row = connection.execute(
                "SELECT artifact FROM drawings WHERE trajectory_id = ? AND key = ?", (trajectory_id, key)
            ).fetchone()
        return None if row is None else str(row[0])

    def _record(self, trajectory_id: str, key: str, artifact: str) -> None:
        with self._table.connect() as connection:
            connection.execute("INSERT OR REPLACE INTO drawings VALUES (?, ?, ?)", (trajectory_id, key, artifact))
