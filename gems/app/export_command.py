"""`gems export`: a thread as one file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from gems.app.pull_wording import size as size_of
from gems.app.terminal import make_console
from gems.app.threads import check_thread_id
from gems.app.wording import plural
from gems.core.errors import GemsConfigError
from gems.core.settings import load_settings
from gems.memory.packing import Packed, home_of, pack

SUFFIX = ".gems"


def export(thread_id: str, file: Path | None, *, only_last: bool, force: bool, as_json: bool) -> int:
    """`gems export`.

    Raises:
        GemsConfigError: there is no such thread, it is being run, or the file is there or cannot be written.
    """
    check_thread_id(thread_id)
    path = file or Path(f"{thread_id}{SUFFIX}")
    if path.exists() and not force:
        raise GemsConfigError(f"{path} is there already: name another FILE, or write over it with --force")
    packed = asyncio.run(pack(home_of(load_settings()), thread_id, path, only_last=only_last))
    if as_json:
        click.echo(json.dumps(_as_json(thread_id, path, packed), ensure_ascii=False, indent=2))
        return 0
    console = make_console(stderr=False)
    counts = packed.manifest.counts
    told = [plural(counts[name], name.removesuffix("s")) for name in ("checkpoints", "calls", "images")]
    console.print(f"Wrote {path}: {', '.join(told)}; {size_of(packed.size)}.", soft_wrap=True)
    if packed.manifest.missing:
        lost = ", ".join(artifact[:12] for artifact in packed.manifest.missing)
        console.print(f"Not in it, because they are lost or damaged here: {lost}", style="yellow", soft_wrap=True)
    if not packed.manifest.whole:
        console.print("Only the latest checkpoint is in it: no branch can begin before it.", soft_wrap=True)
    return 0


def _as_json(thread_id: str, path: Path, packed: Packed) -> dict[str, object]:
    told = packed.manifest.model_dump(include={"trajectories", "whole", "counts", "missing"})
    return {"thread_id": thread_id, "file": str(path), "bytes": packed.size, **told}
