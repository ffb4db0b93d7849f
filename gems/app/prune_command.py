"""`gems prune`: removes what nobody needs, after it has said what that is."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import PurePosixPath

import click
from rich.console import Console

from gems.app.pull_wording import size as size_of
from gems.app.terminal import make_console, printable
from gems.app.wording import plural
from gems.core.errors import GemsConfigError
from gems.core.settings import load_settings
from gems.memory.packing import home_of
from gems.memory.pruning import Plan, Wishes, plan
from gems.memory.pruning import prune as remove
from gems.memory.shared_artifacts import is_image

MOST_TOLD = 20
"""Threads that are named."""


def prune(wishes: Wishes, *, dry_run: bool, yes: bool, as_json: bool) -> int:
    """`gems prune`. Without an age in `wishes`, that of the settings holds.

    Raises:
        GemsConfigError: nobody can be asked, or something cannot be read or removed.
    """
    settings = load_settings()
    age = settings.keep_days if wishes.older_than is None else wishes.older_than
    home = home_of(settings)
    found = asyncio.run(plan(home, Wishes(age, wishes.include_waiting, wishes.keep)))
    console = make_console(stderr=as_json)
    show_plan(found, console)
    done = Plan(damaged=found.damaged, spared=found.spared)
    if not dry_run and not found.is_empty:
        _ask(yes=yes)
        done = asyncio.run(remove(home, found))
        console.print(f"Removed; about {size_of(done.size)} are free again.", soft_wrap=True)
        for told in sorted(set(done.spared) - set(found.spared)):
            console.print(f"Left: {printable(told)}", soft_wrap=True)
    if as_json:
        answer = {"dry_run": dry_run, "found": _as_json(found), "removed": _as_json(done)}
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    return 0


def _ask(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise GemsConfigError("nobody can be asked here: look at it with --dry-run, then give --yes")
    click.confirm("Remove this?", abort=True, err=True)


def show_plan(found: Plan, console: Console) -> None:
    """What would be removed."""
    if found.is_empty:
        console.print("Nothing to remove.", soft_wrap=True)
    for line in _lines(found):
        console.print(f"  {printable(line)}", soft_wrap=True)
    for told in found.spared[:MOST_TOLD]:
        console.print(f"Left: {printable(told)}", soft_wrap=True)
    for path in found.damaged:
        console.print(f"Damaged, and left as it is: {path}", style="yellow", soft_wrap=True)
    if not found.is_empty:
        console.print(f"In all about {size_of(found.size)}.", soft_wrap=True)


def _lines(found: Plan) -> Iterator[str]:
    for old in found.threads[:MOST_TOLD]:
        yield f"thread {old.id}, whole ({size_of(old.size)} of checkpoints)"
    if len(found.threads) > MOST_TOLD:
        yield f"{plural(len(found.threads) - MOST_TOLD, 'more thread')}"
    if found.thinned:
        count = sum(len(it.checkpoints) for it in found.thinned)
        size = size_of(sum(it.size for it in found.thinned))
        told = f"{plural(count, 'checkpoint')} of {plural(len(found.thinned), 'finished run')} ({size})"
        yield f"{told}: no branch can begin there any more"
    if found.staged:
        yield f"{plural(len(found.staged), 'import')} that came to no end"
    if found.trajectories:
        yield f"what journal and ledger know of {plural(len(found.trajectories), 'run')} that no thread has"
    images = len(found.images) + sum(is_image(it.name) for it in found.shared)
    halves = len(found.parts) + sum(not is_image(it.name) for it in found.shared)
    if images or halves:
        parts = f" and {plural(halves, 'part of one')}" if halves else ""
        yield f"{plural(images, 'image')} that no run needs{parts} ({size_of(found.image_bytes)})"
    if found.locks:
        yield plural(len(found.locks), "lock file")


def _as_json(plan_: Plan) -> dict[str, object]:
    images = [it for it in plan_.shared if is_image(it.name)]
    return {
        "threads": [it.id for it in plan_.threads],
        "checkpoints": {it.id: len(it.checkpoints) for it in plan_.thinned},
        "imports": plan_.staged,
        "trajectories": plan_.trajectories,
        "images": [*(path.stem for path in plan_.images), *(PurePosixPath(it.name).stem for it in images)],
        "parts": len(plan_.parts) + len(plan_.shared) - len(images),
        "locks": len(plan_.locks),
        "damaged": [path.stem for path in plan_.damaged],
        "left": plan_.spared,
        "bytes": plan_.size,
    }
