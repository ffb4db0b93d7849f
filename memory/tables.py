"""A small SQLite file: opened for each use, safe between processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gems.core.errors import GemsConfigError

BUSY_SECONDS: Final = 30.0
"""How long a writer waits for another process."""


class Table:
    """One table in a file of its own."""

    def __init__(self, path: Path, schema: str) -> None:
        """Keep `path`; the table is made by `schema` when first used."""
        self.path = path
        self._schema = schema
        self._made = False

    @contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """A connection whose work is committed at the end, or undone by an error.

        Raises:
            GemsConfigError: the file is damaged or cannot be written.
        """
        try:
            connection = self._open()
            try:
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise explained(self.path, error) from error

    def _open(self) -> sqlite3.Connection:
        if not self._made:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise GemsConfigError(f"cannot make {self.path.parent}: {error.strerror or error}") from error
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS)
        try:
            if not self._made:
                connection.execute(self._schema)
                self._made = True
        except sqlite3.Error:
            connection.close()
            raise
        return connection


def explained(path: Path, error: sqlite3.Error) -> GemsConfigError:
    """What SQLite says of a file, with the remedy."""
    # OperationalError is the file's surroundings (locked, full, read-only); any other says that the file itself is damaged.
    surroundings = isinstance(error, sqlite3.OperationalError)
    remedy = "check the disk, or set GEMS_HOME elsewhere" if surroundings else "move the file away to start a new one"
    return GemsConfigError(f"{path}: {error}; {remedy}")
