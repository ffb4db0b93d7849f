"""Which process runs which thread: one lock per thread, let go of when its holder dies."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from filelock import FileLock, Timeout

from gems.core.errors import GemsConfigError
from gems.memory.postgres import Postgres, lock_number

if TYPE_CHECKING:
    import psycopg

PATIENCE: Final = 0.1
"""Seconds for which a taken lock is asked for again: somebody may only have looked whether it is."""
_TRY: Final = "SELECT 1 WHERE pg_try_advisory_lock(%s)"
_IS_HELD: Final = """SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND classid::bigint = %s AND objid::bigint = %s
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""

_ALL_HELD: Final = """SELECT classid::bigint, objid::bigint FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


class ThreadTaken(GemsConfigError):
    """Another run holds the thread."""


class Hold(Protocol):
    """A thread that is held."""

    def is_ours(self) -> bool:
        """Whether it still is: not when the connection to a server, on which the lock depends, was cut."""
        ...


class ThreadLocks(Protocol):
    """The locks of all threads. Methods block: call them in a thread, which need not be the one that lets go."""

    def hold(self, thread_id: str) -> AbstractContextManager[Hold]:
        """Hold a thread against everybody else, until left.

        Raises:
            GemsConfigError: another run holds it.
        """
        ...

    def is_held(self, thread_id: str) -> bool:
        """Whether somebody holds the thread."""
        ...

    def holds_others(self, known: Iterable[str]) -> bool:
        """Whether somebody holds a thread that is none of these: one that may be about to begin."""
        ...


@asynccontextmanager
async def hold_async(locks: ThreadLocks, thread_id: str) -> AsyncIterator[None]:
    """As `ThreadLocks.hold`, for whoever must not wait in an event loop.

    Raises:
        GemsConfigError: another run holds it.
    """
    hold = locks.hold(thread_id)
    await asyncio.to_thread(hold.__enter__)
    try:
        yield
    finally:
        await asyncio.shield(asyncio.to_thread(hold.__exit__, None, None, None))


class FileLocks:
    """Locks of the operating system, on files of one folder."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is made when first needed."""
        self._folder = folder

    @contextmanager
    def hold(self, thread_id: str) -> Iterator[Hold]:
        """As `ThreadLocks.hold`."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GemsConfigError(f"cannot make {self._folder}: {error.strerror or error}") from error
        lock = FileLock(self._path(thread_id), thread_local=False)
        try:
            lock.acquire(timeout=PATIENCE, poll_interval=PATIENCE / 5)
        except Timeout as error:
            raise _refused(thread_id) from error
        try:
            yield _FileHold()
        finally:
            lock.release()

    def is_held(self, thread_id: str) -> bool:
        """As `ThreadLocks.is_held`."""
        return is_taken(self._path(thread_id))

    def holds_others(self, known: Iterable[str]) -> bool:
        """As `ThreadLocks.holds_others`."""
        return any(map(is_taken, self.leftovers(known)))

    def leftovers(self, known: Iterable[str]) -> list[Path]:
        """Files of locks of other threads than these."""
        names = {self._path(thread_id).name for thread_id in known}
        return sorted(path for path in self._folder.glob("*.lock") if path.name not in names)

    def remove_leftover(self, path: Path) -> bool:
        """Remove the file of a lock, unless somebody holds it; answers whether it is gone."""
        try:
            # Held meanwhile, so that nobody who waits for it takes a file that is no more.
            with FileLock(path, timeout=0, thread_local=False):
                path.unlink(missing_ok=True)
        except (Timeout, OSError):
            return False
        return True

    def _path(self, thread_id: str) -> Path:
        # Thread ids are the caller's text; hashed, any of them is a file name.
        return self._folder / f"{hashlib.sha256(thread_id.encode()).hexdigest()[:32]}.lock"


class PostgresLocks:
    """Advisory locks of a Postgres server, each on a connection of its own: it ends with its process."""

    def __init__(self, database: Postgres) -> None:
        """Use the locks of `database`."""
        self._database = database

    @contextmanager
    def hold(self, thread_id: str) -> Iterator[Hold]:
        """As `ThreadLocks.hold`."""
        with self._database.explained():
            connection = self._database.open(autocommit=True)
        with closing(connection):
            with self._database.explained():
                # The server, too, is to notice soon when this machine is gone.
                for setting in ("idle = 30", "interval = 10", "count = 3"):
                    connection.execute(f"SET tcp_keepalives_{setting}".encode())
                taken = connection.execute(_TRY, (_number(thread_id),)).fetchall()
            if not taken:
                raise _refused(thread_id)
            yield _ServerHold(self._database, connection)

    def is_held(self, thread_id: str) -> bool:
        """As `ThreadLocks.is_held`."""
        high, low = divmod(_number(thread_id) % 2**64, 2**32)
        with self._database.explained(), closing(self._database.open(autocommit=True)) as connection:
            return connection.execute(_IS_HELD, (high, low)).fetchone() is not None

    def holds_others(self, known: Iterable[str]) -> bool:
        """As `ThreadLocks.holds_others`."""
        numbers = {_number(thread_id) % 2**64 for thread_id in known}
        with self._database.explained(), closing(self._database.open(autocommit=True)) as connection:
            held = {high * 2**32 + low for high, low in connection.execute(_ALL_HELD).fetchall()}
        return not held <= numbers


def is_taken(path: Path) -> bool:
    """Whether somebody holds the lock of that file."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0, thread_local=False):
            return False
    except Timeout:
        return True


class _FileHold:
    def is_ours(self) -> bool:
        """The system takes it from nobody who lives."""
        return True


class _ServerHold:
    def __init__(self, database: Postgres, connection: psycopg.Connection[Any]) -> None:
        self._database = database
        self._connection = connection

    def is_ours(self) -> bool:
        """As long as its connection lives."""
        try:
            self._connection.execute("SELECT 1")
        except self._database.driver.OperationalError:
            return False
        return True


def _number(thread_id: str) -> int:
    return lock_number(f"gems thread {thread_id}")


def _refused(thread_id: str) -> ThreadTaken:
    return ThreadTaken(f"thread {thread_id!r} is being run by another process; wait for it or use another")
