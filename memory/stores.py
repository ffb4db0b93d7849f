"""Where this machine keeps things: files under GEMS_HOME, or the Postgres database of GEMS_DATABASE_URL."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from gems.core.settings import Settings
from gems.memory.checkpoints import Checkpoints, PostgresCheckpoints, SqliteCheckpoints
from gems.memory.database import Database, SqliteFile
from gems.memory.locks import FileLocks, PostgresLocks, ThreadLocks
from gems.memory.postgres import Postgres, postgres_at
from gems.memory.stops import SqlStops


class Stores(Protocol):
    """All that is kept, but for the images."""

    def database(self, name: str) -> Database:
        """Where the tables of that name lie: `ledger`, `runs`, `journal`, `lessons` or `stops`."""
        ...

    def may_hold(self, name: str) -> bool:
        """Whether anything can have been kept under a name; for whoever only reads, and would not make a file."""
        ...

    @property
    def checkpoints(self) -> Checkpoints:
        """Checkpoints of threads."""
        ...

    @property
    def locks(self) -> ThreadLocks:
        """Which threads are being run."""
        ...

    @property
    def stops(self) -> SqlStops:
        """Which of them are to stop."""
        ...


class FileStores:
    """Files of one folder."""

    def __init__(self, home: Path) -> None:
        """Use `home`, which is made when something is first kept."""
        self._home = home
        self.checkpoints: Checkpoints = SqliteCheckpoints(self._path("checkpoints"))
        self.locks: ThreadLocks = FileLocks(home / "locks")
        self.stops = SqlStops(self.database("stops"))

    def database(self, name: str) -> Database:
        """A file of its own."""
        return SqliteFile(self._path(name))

    def may_hold(self, name: str) -> bool:
        """Whether the file is there."""
        return self._path(name).exists()

    def _path(self, name: str) -> Path:
        return self._home / f"{name}.sqlite"


class PostgresStores:
    """One Postgres database."""

    def __init__(self, database: Postgres) -> None:
        """Use `database`."""
        self._database = database
        self.checkpoints: Checkpoints = PostgresCheckpoints(database)
        self.locks: ThreadLocks = PostgresLocks(database)
        self.stops = SqlStops(database)

    def database(self, name: str) -> Database:  # noqa: ARG002
        """All tables lie in one."""
        return self._database

    def may_hold(self, name: str) -> bool:  # noqa: ARG002
        """Only the server knows."""
        return True


def stores_of(settings: Settings) -> Stores:
    """What the settings name. Nothing is opened yet."""
    if settings.database_url is None:
        return FileStores(settings.home)
    return PostgresStores(postgres_at(settings.database_url.get_secret_value()))
