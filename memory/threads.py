"""Threads as rows of a saver's tables: what must be done to many checkpoints at once, and LangGraph has no method for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from gems.memory.database import Connection, Database, Part

PART: Final = Part("threads", 1, ())
"""No tables of its own: it marks the database of a saver as one that this module has written to."""
_NAMES: Final = re.compile(rb"[0-9a-f]{32,}")
_ARTIFACT: Final = 64
_TRAJECTORY: Final = 32
_AT_ONCE: Final = 200
"""Values of one statement: databases allow only so many."""


class Tables(NamedTuple):
    """How a saver's tables are called, and where they hold bytes."""

    contents: tuple[tuple[str, str], ...]
    """Table, and expression for its text or bytes."""
    by_thread: tuple[str, ...]
    """Every table whose rows belong to a thread."""
    by_checkpoint: tuple[str, ...]
    """Those whose rows belong to one checkpoint."""
    sweep: str = ""
    """The statement that removes the values of a thread that none of its checkpoints has any more."""


SQLITE: Final = Tables(
    contents=(("checkpoints", "checkpoint"), ("checkpoints", "metadata"), ("writes", "value")),
    by_thread=("checkpoints", "writes"),
    by_checkpoint=("checkpoints", "writes"),
)
POSTGRES: Final = Tables(
    contents=(
        ("checkpoints", "checkpoint::text"),
        ("checkpoints", "metadata::text"),
        ("checkpoint_blobs", "blob"),
        ("checkpoint_writes", "blob"),
    ),
    by_thread=("checkpoints", "checkpoint_writes", "checkpoint_blobs"),
    by_checkpoint=("checkpoints", "checkpoint_writes"),
    sweep="""DELETE FROM checkpoint_blobs WHERE thread_id = ? AND NOT EXISTS (
        SELECT 1 FROM checkpoints WHERE checkpoints.thread_id = checkpoint_blobs.thread_id
        AND checkpoints.checkpoint_ns = checkpoint_blobs.checkpoint_ns
        AND checkpoints.checkpoint -> 'channel_versions' ->> checkpoint_blobs.channel = checkpoint_blobs.version)""",
)


@dataclass(slots=True)
class Names:
    """What a thread's checkpoints speak of: ids of images and of trajectories, and perhaps a few that are neither."""

    artifacts: set[str] = field(default_factory=set)
    trajectories: set[str] = field(default_factory=set)
    size: int = 0
    """Bytes that were read."""

    def read(self, content: str | bytes) -> None:
        """Add the names in a text, or in what the saver has serialised: an id stands in it letter by letter."""
        raw = content.encode() if isinstance(content, str) else content
        self.size += len(raw)
        for found in _NAMES.finditer(raw):
            self.trajectories.add(found[0][:_TRAJECTORY].decode())
            if len(found[0]) >= _ARTIFACT:
                self.artifacts.add(found[0][:_ARTIFACT].decode())

    def add(self, other: Names) -> None:
        """Add another's."""
        self.artifacts |= other.artifacts
        self.trajectories |= other.trajectories
        self.size += other.size


class ThreadRows:
    """The rows of all threads. Methods block: call them in a thread."""

    def __init__(self, database: Database, tables: Tables) -> None:
        """Use the saver's tables in `database`; they must be there."""
        self._database = database
        self._tables = tables

    def ids(self) -> list[str]:
        """Every thread that has a checkpoint or a part of one, sorted."""
        with self._database.connect(PART) as connection:
            found = {
                str(row[0])
                for table in self._tables.by_thread
                for row in connection.execute(f"SELECT DISTINCT thread_id FROM {table}")  # noqa: S608  # names of ours
            }
        return sorted(found)

    def names(self, thread_id: str) -> Names:
        """All ids in a thread, without deserialising anything."""
        names = Names()
        with self._database.connect(PART) as connection:
            for content in self._contents(connection, thread_id):
                names.read(content)
        return names

    def rename(self, thread_id: str, new_id: str) -> None:
        """Give a thread another name, at one stroke."""
        with self._database.connect(PART, alone=True) as connection:
            for table in self._tables.by_thread:
                statement = f"UPDATE {table} SET thread_id = ? WHERE thread_id = ?"  # noqa: S608  # names of ours
                connection.execute(statement, (new_id, thread_id))

    def remove(self, thread_id: str) -> None:
        """Forget a thread."""
        with self._database.connect(PART, alone=True) as connection:
            for table in self._tables.by_thread:
                connection.execute(f"DELETE FROM {table} WHERE thread_id = ?", (thread_id,))  # noqa: S608  # as above

    def thin(self, thread_id: str, gone: Collection[str]) -> None:
        """Forget some checkpoints of a thread."""
        ids = sorted(gone)
        with self._database.connect(PART, alone=True) as connection:
            for start in range(0, len(ids), _AT_ONCE):
                some = ids[start : start + _AT_ONCE]
                marks = ", ".join("?" * len(some))
                for table in self._tables.by_checkpoint:
                    statement = f"DELETE FROM {table} WHERE thread_id = ? AND checkpoint_id IN ({marks})"  # noqa: S608
                    connection.execute(statement, (thread_id, *some))
            if self._tables.sweep:
                connection.execute(self._tables.sweep, (thread_id,))

    def size(self, thread_id: str, checkpoints: Collection[str] = ()) -> int:
        """Bytes of a thread's rows, as far as they hold values; of these checkpoints alone, if any are named."""
        if not checkpoints:
            with self._database.connect(PART) as connection:
                return sum(_size(connection, place, "thread_id = ?", (thread_id,)) for place in self._tables.contents)
        total = 0
        ids = sorted(checkpoints)
        places = [it for it in self._tables.contents if it[0] in self._tables.by_checkpoint]
        with self._database.connect(PART) as connection:
            for start in range(0, len(ids), _AT_ONCE):
                some = ids[start : start + _AT_ONCE]
                where = f"thread_id = ? AND checkpoint_id IN ({', '.join('?' * len(some))})"
                total += sum(_size(connection, place, where, (thread_id, *some)) for place in places)
        return total

    def _contents(self, connection: Connection, thread_id: str) -> Iterator[Any]:
        for table, column in self._tables.contents:
            statement = f"SELECT {column} FROM {table} WHERE thread_id = ?"  # noqa: S608  # as above
            for row in connection.execute(statement, (thread_id,)):
                if row[0] is not None:
                    yield row[0]


def _size(connection: Connection, place: tuple[str, str], where: str, values: tuple[str, ...]) -> int:
    table, column = place
    statement = f"SELECT SUM(LENGTH({column})) FROM {table} WHERE {where}"  # noqa: S608  # names of ours
    return int(connection.execute(statement, values).fetchone()[0] or 0)
