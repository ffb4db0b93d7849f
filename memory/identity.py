"""By which name a database is known to those who share something with others."""

from __future__ import annotations

import uuid
from typing import Final

from gems.memory.database import Database, Part

PART: Final = Part("identity", 1, ("CREATE TABLE IF NOT EXISTS identity (id TEXT PRIMARY KEY)",))


def identity_of(database: Database) -> str:
    """The random name that the database was given when it was first asked: the same for all who use it. This blocks."""
    with database.connect(PART, alone=True) as connection:
        row = connection.execute("SELECT id FROM identity").fetchone()
        if row is None:
            row = (uuid.uuid4().hex,)
            connection.execute("INSERT INTO identity VALUES (?)", row)
    return str(row[0])
