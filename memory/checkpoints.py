"""LangGraph's savers, opened: one for each opened graph."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
)
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiosqlite
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from gems.core.errors import GemsConfigError
from gems.memory.database import BUSY_SECONDS, SqliteFile, explained, use_wal
from gems.memory.postgres import Postgres, choose_schema, lock_number
from gems.memory.threads import POSTGRES, SQLITE, ThreadRows

if TYPE_CHECKING:
    import psycopg

_TRY: Final = "SELECT 1 WHERE pg_try_advisory_lock(%s)"


class Checkpoints(Protocol):
    """Where checkpoints lie. Opening one raises a GemsConfigError where they cannot be read or written."""

    def open_async(self) -> AbstractAsyncContextManager[BaseCheckpointSaver[Any]]:
        """A saver for `ainvoke` and `astream`."""
        ...

    def open(self) -> AbstractContextManager[BaseCheckpointSaver[Any]]:
        """A saver for `invoke` and `stream`."""
        ...

    def rows(self) -> ThreadRows:
        """The rows of all threads, for what is done to many at once. Blocks: call it in a thread."""
        ...

    def explained(self) -> AbstractContextManager[None]:
        """Turn what a saver raises later on into an error with its remedy.

        Raises:
            GemsConfigError: the checkpoints cannot be read or written.
        """
        ...


class SqliteCheckpoints:
    """Checkpoints in a SQLite file."""

    def __init__(self, path: Path) -> None:
        """Keep them in `path`."""
        self._path = path

    @asynccontextmanager
    async def open_async(self) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        """A saver for `ainvoke` and `astream`."""
        async with AsyncExitStack() as stack:
            with self.explained():
                await asyncio.to_thread(self._prepare)
                connection = await stack.enter_async_context(aiosqlite.connect(self._path, timeout=BUSY_SECONDS))
                saver = AsyncSqliteSaver(connection)
                await saver.setup()
            yield saver

    @contextmanager
    def open(self) -> Iterator[BaseCheckpointSaver[Any]]:
        """A saver for `invoke` and `stream`, on the same file."""
        with self.explained():
            self._prepare()
            connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, check_same_thread=False)
        with closing(connection):
            with self.explained():
                saver = SqliteSaver(connection)
                saver.setup()
            yield saver

    def rows(self) -> ThreadRows:
        """As `Checkpoints.rows`."""
        with self.open():
            pass  # the saver makes its tables
        return ThreadRows(SqliteFile(self._path), SQLITE)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what is wrong with the file into an error with its remedy."""
        try:
            yield
        except sqlite3.Error as error:
            raise explained(self._path, error) from error

    def _prepare(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GemsConfigError(
                f"cannot write to {self._path.parent}: {error.strerror}; set GEMS_HOME elsewhere"
            ) from error
        # The saver asks for it too, but does not wait for others who open the file at the same time.
        with closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS)) as connection:
            use_wal(connection)


class PostgresCheckpoints:
    """Checkpoints in a Postgres database."""

    def __init__(self, database: Postgres) -> None:
        """Keep them in `database`."""
        self._database = database

    @asynccontextmanager
    async def open_async(self) -> AsyncIterator[BaseCheckpointSaver[Any]]:
        """A saver for `ainvoke` and `astream`."""
        await asyncio.to_thread(self._prepare)
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
        from psycopg import AsyncConnection
        from psycopg.rows import DictRow
        from psycopg_pool import AsyncConnectionPool

        pool: AsyncConnectionPool[AsyncConnection[DictRow]] = AsyncConnectionPool(
            **self._pooled(), check=AsyncConnectionPool.check_connection, configure=_configure_async
        )
        async with pool:
            yield AsyncPostgresSaver(pool)

    @contextmanager
    def open(self) -> Iterator[BaseCheckpointSaver[Any]]:
        """A saver for `invoke` and `stream`, on the same tables."""
        self._prepare()
        from langgraph.checkpoint.postgres import PostgresSaver
        from psycopg import Connection
        from psycopg.rows import DictRow
        from psycopg_pool import ConnectionPool

        pool: ConnectionPool[Connection[DictRow]] = ConnectionPool(
            **self._pooled(), check=ConnectionPool.check_connection, configure=_configure
        )
        with pool:
            yield PostgresSaver(pool)

    def rows(self) -> ThreadRows:
        """As `Checkpoints.rows`."""
        self._prepare()
        return ThreadRows(self._database, POSTGRES)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what is wrong with the server into an error with its remedy."""
        with self._database.explained():
            yield

    def _pooled(self) -> dict[str, Any]:
        """What makes a pool that the saver can use."""
        from psycopg.rows import dict_row

        kwargs = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        return {
            "conninfo": self._database.conninfo,
            "kwargs": kwargs,
            "min_size": 1,
            "max_size": 2,  # the saver uses one at a time
            "timeout": BUSY_SECONDS,
            "num_workers": 1,
            "open": False,
        }

    def _prepare(self) -> None:
        """Make the tables, or bring them up to date."""
        with self._database.explained():
            self._database.make_schema()
            from langgraph.checkpoint.postgres import PostgresSaver
            from psycopg.rows import dict_row

            with closing(self._database.open(autocommit=True, row_factory=dict_row)) as connection:
                # Asked for again and again: one that waits in the server holds up the building of an index there.
                until = time.monotonic() + BUSY_SECONDS
                while not connection.execute(_TRY, (lock_number("gems checkpoints"),)).fetchall():
                    if time.monotonic() > until:
                        raise GemsConfigError(f"{self._database.place}: another process keeps its tables locked")
                    time.sleep(0.05)
                PostgresSaver(connection).setup()


def _configure(connection: psycopg.Connection[Any]) -> None:
    connection.execute(choose_schema())


async def _configure_async(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.execute(choose_schema())
