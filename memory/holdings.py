"""Which images belong to whom, where a server tells its users apart."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from gems.memory.database import Database, Part

_SCHEMA: Final = """CREATE TABLE IF NOT EXISTS holdings (
    artifact TEXT NOT NULL, owner TEXT NOT NULL, PRIMARY KEY (artifact, owner))"""
PART: Final = Part("holdings", 1, (_SCHEMA,))


class SqlHoldings:
    """Images and their owners in a database. The same bytes may belong to several."""

    def __init__(self, database: Database) -> None:
        """Keep them in `database`."""
        self._database = database

    async def hold(self, owner: str, artifact: str) -> None:
        """Note that an image is an owner's."""
        await asyncio.to_thread(self._hold, owner, artifact)

    async def owners(self, artifact: str) -> set[str]:
        """Whose an image is; nobody's, if it was drawn without a server."""
        return await asyncio.to_thread(self._owners, artifact)

    async def forget(self, artifacts: Collection[str]) -> None:
        """Forget images that are gone."""
        await asyncio.to_thread(self._forget, artifacts)

    def _hold(self, owner: str, artifact: str) -> None:
        with self._database.connect(PART) as connection:
            connection.execute("INSERT INTO holdings VALUES (?, ?) ON CONFLICT DO NOTHING", (artifact, owner))

    def _owners(self, artifact: str) -> set[str]:
        with self._database.connect(PART) as connection:
            rows = connection.execute("SELECT owner FROM holdings WHERE artifact = ?", (artifact,)).fetchall()
        return {row[0] for row in rows}

    def _forget(self, artifacts: Collection[str]) -> None:
        with self._database.connect(PART) as connection:
            for artifact in artifacts:
                connection.execute("DELETE FROM holdings WHERE artifact = ?", (artifact,))
