"""Where this machine keeps things: files under GEMS_HOME, or what GEMS_DATABASE_URL and GEMS_ARTIFACTS_URL name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from gems.core.errors import GemsConfigError
from gems.core.settings import Settings
from gems.memory.artifacts import FileArtifacts
from gems.memory.checkpoints import Checkpoints, PostgresCheckpoints, SqliteCheckpoints
from gems.memory.database import Database, SqliteFile
from gems.memory.identity import identity_of
from gems.memory.locks import FileLocks, PostgresLocks, ThreadLocks
from gems.memory.object_shelf import object_shelf_at
from gems.memory.postgres import Postgres, postgres_at
from gems.memory.shared_artifacts import SharedArtifacts
from gems.memory.shelves import FolderShelf, folder_of
from gems.memory.stops import SqlStops

DATABASES: Final = "databases"
"""A folder of the home: an empty file for each Postgres database that was used with it."""


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
        self._files: dict[str, SqliteFile] = {}
        self.checkpoints: Checkpoints = SqliteCheckpoints(self._path("checkpoints"))
        self.locks: ThreadLocks = FileLocks(home / "locks")
        self.stops = SqlStops(self.database("stops"))

    def database(self, name: str) -> Database:
        """A file of its own, whose connections are used again."""
        return self._files.setdefault(name, SqliteFile(self._path(name)))

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
    """What the settings name. Nothing is opened yet; a Postgres database is noted in the home whose pictures it names."""
    if settings.database_url is None:
        return FileStores(settings.home)
    database = postgres_at(settings.database_url.get_secret_value())
    with suppress(GemsConfigError, OSError):  # what is wrong with either is told when it is used
        note = _note(settings.home, database)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
    return PostgresStores(database)


def images_of(settings: Settings, stores: Callable[[], Stores] | None = None) -> FileArtifacts | SharedArtifacts:
    """Where images lie: below the home, or at GEMS_ARTIFACTS_URL. Nothing is opened yet.

    Args:
        settings: The machine's settings.
        stores: Gives, when an image is first stored, what the settings keep besides; default: made anew.

    Raises:
        GemsConfigError: the URL cannot be used.
    """
    if settings.artifacts_url is None:
        return FileArtifacts(settings.home / "artifacts")
    folder = folder_of(settings.artifacts_url)
    shelf = FolderShelf(folder) if folder else object_shelf_at(settings.artifacts_url)

    def database() -> str:
        return identity_of((stores() if stores else stores_of(settings)).database("identity"))

    return SharedArtifacts(shelf, settings.home, database)


def others_keep_pictures(settings: Settings) -> bool:
    """Whether another database than that of the settings names pictures of the same home: its threads are not seen here."""
    notes = set((settings.home / DATABASES).glob("*"))
    if settings.database_url is None:
        return bool(notes)
    own = _note(settings.home, postgres_at(settings.database_url.get_secret_value()))
    return bool(notes - {own}) or FileStores(settings.home).may_hold("checkpoints")


def _note(home: Path, database: Postgres) -> Path:
    return home / DATABASES / hashlib.sha256(database.place.encode()).hexdigest()[:16]
