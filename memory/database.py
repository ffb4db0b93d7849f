"""Tables behind one face: a SQLite file, or a Postgres database.

SQL is what both know. `?` stands for a value; REAL and INTEGER have eight bytes on both; a column of a schema that is an
INTEGER PRIMARY KEY numbers its rows by itself.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

from gems.core.errors import GemsConfigError

BUSY_SECONDS: Final = 30.0
"""How long a writer waits for another process."""
KEPT: Final = 2
"""Most connections to one file that are kept open for the next use."""
_PARTS: Final = "CREATE TABLE IF NOT EXISTS gems_parts (name TEXT PRIMARY KEY, version INTEGER NOT NULL)"
_NO_UPGRADES: Final[Mapping[int, Sequence[str]]] = MappingProxyType({})


class Part(NamedTuple):
    """Tables that belong together, under one version."""

    name: str
    version: int
    schema: Sequence[str]
    """What makes version 1. It passes over tables that are there: those of GEMS 0.1 had no version yet."""
    upgrades: Mapping[int, Sequence[str]] = _NO_UPGRADES
    """`upgrades[1]` makes version 2 of version 1, and so on; a new database takes every step too."""


class Cursor(Protocol):
    """What a statement found."""

    @property
    def rowcount(self) -> int:
        """Rows that were changed."""
        ...

    def fetchone(self) -> Any:
        """The next row as a tuple; None after the last."""
        ...

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Row by row."""
        ...


class Connection(Protocol):
    """One use of a database."""

    def execute(self, sql: str, values: Sequence[object] = (), /) -> Cursor:
        """Run one statement, with values for its question marks."""
        ...


class Database(Protocol):
    """Where tables lie. Its methods block: call them in a thread."""

    def connect(self, part: Part, *, alone: bool = False) -> AbstractContextManager[Connection]:
        """A connection whose work is committed at the end, or undone by an error.

        Args:
            part: The tables that are meant; they are made, or brought to this version, when first used.
            alone: Nobody else writes the part meanwhile: for whoever reads in order to write.

        Raises:
            GemsConfigError: the database cannot be reached or used, or the part is of a newer version.
        """
        ...


def bring_up(connection: Connection, part: Part) -> None:
    """Make a part's tables, or bring them to the part's version. Must run alone.

    Raises:
        GemsConfigError: a newer GEMS has made them.
    """
    connection.execute(_PARTS)
    row = connection.execute("SELECT version FROM gems_parts WHERE name = ?", (part.name,)).fetchone()
    found = row[0] if row else 0
    if found > part.version:
        raise GemsConfigError(
            f"the {part.name!r} tables are of version {found}, and this GEMS knows versions up to {part.version}: "
            "install a newer one (pip install -U gems-agent), or set GEMS_HOME or GEMS_DATABASE_URL to others"
        )
    for version in range(found, part.version):
        for statement in part.upgrades[version] if version else part.schema:
            connection.execute(statement)
    if found < part.version:
        connection.execute(
            "INSERT INTO gems_parts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET version = excluded.version",
            (part.name, part.version),
        )


class SqliteFile:
    """A SQLite file, safe between threads and processes.

    Its last connection is kept open: closing it would make SQLite move all it wrote from one file to another, each time.
    """

    def __init__(self, path: Path) -> None:
        """Use the file `path`, which is made when first used."""
        self.path = path
        self._idle: list[_Opened] = []
        self._foreign: list[_Opened] = []
        self._ready: set[tuple[_Identity, str]] = set()
        weakref.finalize(self, _close_all, self._idle)

    @contextmanager
    def connect(self, part: Part, *, alone: bool = False) -> Iterator[sqlite3.Connection]:
        """As `Database.connect`."""
        try:
            with self._borrowed() as opened:
                if (opened.identity, part.name) not in self._ready:
                    self._bring_up(opened, part)
                with opened.connection:
                    if alone:
                        opened.connection.execute("BEGIN IMMEDIATE")
                    yield opened.connection
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # the statement's fault, not the file's
        except sqlite3.Error as error:
            raise explained(self.path, error) from error

    @contextmanager
    def _borrowed(self) -> Iterator[_Opened]:
        opened = self._take()
        try:
            yield opened
        except BaseException:
            opened.connection.close()
            raise
        if len(self._idle) < KEPT:
            self._idle.append(opened)
        else:
            opened.connection.close()

    def _take(self) -> _Opened:
        here = _identity(self.path)
        while self._idle:
            try:
                opened = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if opened.identity == here:
                return opened
            if opened.identity.process == here.process:  # the file was moved away
                opened.connection.close()
            else:  # we were forked from its owner, and must not close what is not ours
                self._foreign.append(opened)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GemsConfigError(f"cannot make {self.path.parent}: {error.strerror or error}") from error
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, check_same_thread=False)
        return _Opened(connection, _identity(self.path))

    def _bring_up(self, opened: _Opened, part: Part) -> None:
        use_wal(opened.connection)
        with opened.connection:
            opened.connection.execute("BEGIN IMMEDIATE")
            bring_up(opened.connection, part)
        self._ready.add((opened.identity, part.name))


class _Identity(NamedTuple):
    device: int
    file: int
    process: int


class _Opened(NamedTuple):
    connection: sqlite3.Connection
    identity: _Identity


def _identity(path: Path) -> _Identity:
    try:
        found = path.stat()
    except OSError:
        return _Identity(0, 0, os.getpid())
    return _Identity(found.st_dev, found.st_ino, os.getpid())


def _close_all(opened: list[_Opened]) -> None:
    for it in opened:
        if it.identity.process == os.getpid():
            it.connection.close()


def use_wal(connection: sqlite3.Connection) -> None:
    """Let readers and a writer of the file go on beside each other. The file remembers."""
    until = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            # Where the file system cannot do it, the file stays as it is, and works.
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            # This one statement does not wait for others by itself.
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            break


def explained(path: Path, error: sqlite3.Error) -> GemsConfigError:
    """What SQLite says of a file, with the remedy."""
    # OperationalError is the file's surroundings (locked, full, read-only); any other says that the file itself is damaged.
    surroundings = isinstance(error, sqlite3.OperationalError)
    # A -wal file that stays behind would be taken for the new file's.
    anew = "move the file away, with its -wal and -shm beside it, to start a new one"
    remedy = "check the disk, or set GEMS_HOME elsewhere" if surroundings else anew
    return GemsConfigError(f"{path}: {error}; {remedy}")
