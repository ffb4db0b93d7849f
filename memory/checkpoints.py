"""Checkpoints in SQLite, and one lock per thread between processes."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import aiosqlite
from filelock import FileLock, Timeout
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from gems.core.errors import GemsConfigError
from gems.memory.tables import BUSY_SECONDS, explained


@asynccontextmanager
async def open_async_saver(path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    """A saver for `ainvoke` and `astream`.

    Raises:
        GemsConfigError: the file is damaged or cannot be written.
    """
    async with AsyncExitStack() as stack:
        with _explained(path):
            connection = await stack.enter_async_context(aiosqlite.connect(path, timeout=BUSY_SECONDS))
            saver = AsyncSqliteSaver(connection)
            await saver.setup()
        yield saver


@contextmanager
def open_saver(path: Path) -> Iterator[SqliteSaver]:
    """A saver for `invoke` and `stream`, on the same file.

    Raises:
        GemsConfigError: the file is damaged or cannot be written.
    """
    with ExitStack() as stack:
        with _explained(path):
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
            stack.callback(connection.close)
            saver = SqliteSaver(connection)
            saver.setup()
        yield saver


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GemsConfigError(f"cannot write to {path.parent}: {error.strerror}; set GEMS_HOME elsewhere") from error
    try:
        yield
    except sqlite3.Error as error:
        raise explained(path, error) from error


@contextmanager
def thread_lock(folder: Path, thread_id: str) -> Iterator[None]:
    """Hold a thread against every other process. The system lets go of the lock when the process dies.

    Raises:
        GemsConfigError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Thread ids are the caller's text; hashed, any of them is a file name.
    lock = FileLock(folder / f"{hashlib.sha256(thread_id.encode()).hexdigest()[:32]}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise GemsConfigError(
            f"thread {thread_id!r} is being run by another process; wait for it or use another"
        ) from error
    try:
        yield
    finally:
        lock.release()
