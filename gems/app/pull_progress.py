"""A download as it happens: bars on a terminal, and elsewhere a line for each tenth of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from gems.app.pull_wording import size
from gems.backends.local.hub_files import RemoteFile

_STEPS: Final = 10
_LABEL: Final = 28
"""Columns of a file's name: its folder, and the number of its shard, are at the ends."""
_BAR: Final = 14


class PullProgress:
    """Hears how much of each file is here. May be called from any thread."""

    def __init__(self, console: Console, files: Sequence[RemoteFile], begun: Mapping[str, int] | None = None) -> None:
        """Write to `console` of these files, which are all that are to come.

        Args:
            console: Where to.
            files: Each content once.
            begun: Bytes that are here already, by digest: they count, but not as speed.
        """
        self._console = console
        self._total = sum(file.size for file in files)
        self._have = dict(begun or {})
        self._said = self._step(sum(self._have.values()))
        self._lock = threading.Lock()
        self._live = _bars(console) if console.is_terminal else None
        self._all: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}
        self._count = len(files)

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._live is not None:
            self._live.start()
            self._all = self._live.add_task("all", total=self._total, completed=sum(self._have.values()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bars away."""
        if self._live is not None:
            self._live.stop()

    def told(self, file: RemoteFile, have: int) -> None:
        """Of a file, `have` bytes are here."""
        with self._lock:
            self._have[file.digest] = have
            done = sum(self._have.values())
            if self._live is None:
                self._say(done)
            else:
                self._move(self._live, file, have, done)

    def _move(self, live: Progress, file: RemoteFile, have: int, done: int) -> None:
        if self._count > 1:
            if file.digest not in self._tasks:
                self._tasks[file.digest] = live.add_task(short(file.name), total=file.size, completed=have)
            live.update(self._tasks[file.digest], completed=have, visible=have < file.size)
        if self._all is not None:
            live.update(self._all, completed=done)

    def _say(self, done: int) -> None:
        step = self._step(done)
        if step > self._said:
            self._said = step
            self._console.print(f"  {100 * step // _STEPS:>3}%  {size(done)} of {size(self._total)}", soft_wrap=True)

    def _step(self, done: int) -> int:
        return _STEPS * done // self._total if self._total else _STEPS


def short(name: str) -> str:
    """A file's name without its ending, and where it is long without its middle."""
    stem = name.rpartition(".")[0] or name
    half = _LABEL // 2
    return stem if len(stem) <= _LABEL else f"{stem[: half - 1]}…{stem[-half:]}"


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(_BAR),
        DownloadColumn(table_column=Column(no_wrap=True)),
        TransferSpeedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
