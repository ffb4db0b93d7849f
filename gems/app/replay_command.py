"""`gems replay`: a trajectory run again from what was received then, and compared with what it came to."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from gems.app.replaying import Replayed, read_record, replay_record
from gems.app.terminal import make_console, printable
from gems.app.threads import check_thread_id
from gems.app.wording import plural
from gems.core.settings import load_settings
from gems.memory.archive import Archive, open_archive
from gems.memory.packing import home_of, pack

EXIT_SAME: Final = 0
EXIT_PARTED: Final = 1
MOST_TOLD: Final = 5
"""Unanswered questions that are named."""


def replay(what: str, *, as_json: bool) -> int:
    """`gems replay` of a file or a thread. The exit code is 0 where the replay comes to the same, else 1.

    Raises:
        GemsConfigError: there is no such file or thread, or it cannot be replayed.
    """
    with _archive_of(what) as archive:
        replayed = asyncio.run(replay_record(read_record(archive), archive))
    if as_json:
        told = {"identical": replayed.parted is None, **asdict(replayed)}
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        show_replay(replayed, make_console(stderr=False))
    return EXIT_SAME if replayed.parted is None else EXIT_PARTED


@contextmanager
def _archive_of(what: str) -> Iterator[Archive]:
    """The file of that name, or else the thread, packed into a file that is deleted afterwards."""
    if Path(what).is_file():
        with open_archive(Path(what)) as archive:
            yield archive
        return
    check_thread_id(what)
    with tempfile.TemporaryDirectory(prefix="gems-replay-") as folder:
        path = Path(folder) / "thread.gems"
        asyncio.run(pack(home_of(load_settings()), what, path))
        with open_archive(path) as archive:
            yield archive


def show_replay(replayed: Replayed, console: Console) -> None:
    """How it compares, for people."""
    told = f"{plural(replayed.calls, 'call')}, {plural(replayed.images, 'image')}"
    headline = f"They part {replayed.parted}." if replayed.parted else f"Identical: {told}."
    console.print(printable(headline), style="bold yellow" if replayed.parted else "bold green", soft_wrap=True)
    if replayed.parted:
        console.print(f"  until then: {told}", soft_wrap=True)
        if replayed.unanswered:
            named = ", ".join(replayed.unanswered[:MOST_TOLD])
            console.print(f"  not in the record: {printable(named)}", soft_wrap=True)
    if replayed.left:
        console.print(f"  {plural(replayed.left, 'recorded call')} not made again", soft_wrap=True)
    for note in replayed.notes:
        console.print(f"  {note}", soft_wrap=True)
