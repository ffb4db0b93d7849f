"""`gems import`: a thread out of a file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from gems.app.terminal import make_console
from gems.app.threads import check_thread_id
from gems.app.wording import plural
from gems.core.settings import load_settings
from gems.memory.archive import Archive, open_archive
from gems.memory.packing import Unpacked, home_of, unpack


def take_in(file: Path, thread_id: str | None, *, as_json: bool) -> int:
    """`gems import`.

    Raises:
        GemsConfigError: the file is none of ours, is damaged or too new, or the thread's name is taken.
    """
    with open_archive(file) as archive:
        name = check_thread_id(archive.manifest.thread_id if thread_id is None else thread_id)
        taken = asyncio.run(unpack(home_of(load_settings()), archive, name))
        if as_json:
            click.echo(json.dumps(_as_json(archive, taken), ensure_ascii=False, indent=2))
        else:
            _tell(archive, taken)
    return 0


def _tell(archive: Archive, taken: Unpacked) -> None:
    console = make_console(stderr=False)
    counts = archive.manifest.counts
    told = [plural(counts[name], name.removesuffix("s")) for name in ("checkpoints", "calls", "images")]
    console.print(f"Thread {taken.thread_id} is here: {', '.join(told)}.", soft_wrap=True)
    if archive.manifest.missing:
        console.print("Some of its images were lost where it comes from.", style="yellow", soft_wrap=True)
    if taken.renamed:
        console.print("It is a copy of a thread that is here: what each spends counts for itself.", soft_wrap=True)
    console.print(f"Look at it with: gems show {taken.thread_id}", soft_wrap=True)


def _as_json(archive: Archive, taken: Unpacked) -> dict[str, object]:
    told = archive.manifest.model_dump(include={"whole", "counts", "missing"})
    trajectories = [taken.renamed.get(name, name) for name in archive.manifest.trajectories]
    return {"thread_id": taken.thread_id, "from": archive.manifest.thread_id, "trajectories": trajectories, **told}
