"""What `gems batch` does, from what was typed to the exit code."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from gems.app.batch.fund import Fund
from gems.app.batch.pictures import Pictures
from gems.app.batch.progress import BatchView
from gems.app.batch.results import RESULTS, Results
from gems.app.batch.rows import Row, name_of, read_rows, told
from gems.app.batch.tally import Tally
from gems.app.batch.work import BatchWork, Outputs
from gems.app.export import OutFolder
from gems.app.stopping import CtrlC
from gems.app.terminal import make_console
from gems.app.threads import check_thread_id
from gems.app.wording import cost, plural
from gems.core.context import GemsContext, Size
from gems.core.errors import GemsConfigError
from gems.core.ports import ArtifactStore, Services
from gems.core.settings import Settings, load_settings
from gems.graph import make_services, open_graph
from gems.memory.references import keep_reference
from gems.memory.stores import stores_of


@dataclass(frozen=True, slots=True)
class BatchTarget:
    """What a batch is called (None: as its file), where its files go (None: the default), and how it runs and answers."""

    file: Path
    name: str | None = None
    out: Path | None = None
    jobs: int = 4
    max_cost_total: float | None = None
    """US dollars, for all rows together."""
    full: bool = False
    as_json: bool = False
    debug: bool = False

    @property
    def batch(self) -> str:
        """The name in force.

        Raises:
            GemsConfigError: it could not begin the id of a thread.
        """
        return name_of(self.file) if self.name is None else check_thread_id(self.name)

    @property
    def folder(self) -> Path:
        """The folder of results."""
        return (self.out or Path("gems-out") / self.batch).expanduser().absolute()


def batch(target: BatchTarget, options: Mapping[str, Any], services: Services | None = None) -> int:
    """`gems batch`, with these services or the machine's.

    Args:
        target: The file, and how to run it.
        options: Fields of `GemsContext` for every row; those that are None were not given.
        services: What the nodes use.

    Raises:
        GemsConfigError: the file, an option or the machine's settings cannot work; nothing was spent.
    """
    settings = load_settings()
    given = _checked(options)
    rows = read_rows(target.file, target.batch, given)
    console = make_console(stderr=target.as_json)
    # Packages that print would break the one object on standard output.
    with redirect_stdout(sys.stderr) if target.as_json else nullcontext(), _alone(settings, target.batch):
        tally = asyncio.run(_perform(target, rows, settings, services or make_services(settings), console))
    _show(console, tally, target.folder)
    if target.as_json:
        click.echo(json.dumps(tally.as_json(target.folder), ensure_ascii=False, indent=2))
    return tally.exit_code


async def _perform(
    target: BatchTarget, rows: Sequence[Row], settings: Settings, services: Services, console: Console
) -> Tally:
    await asyncio.to_thread(_check_profiles, rows, services)
    if target.max_cost_total is not None:
        _check_money(rows, target.max_cost_total)
    references = await _keep_references(rows, services.artifacts)
    tally = Tally(target.batch, len(rows))
    folder = OutFolder(target.folder)
    pictures = Pictures(folder, services.artifacts, full=target.full)
    outputs = Outputs(Results(folder), pictures, BatchView(console, tally, target.jobs), tally)
    async with open_graph(settings, services=services) as graph:
        folder.prepare()
        fund = Fund(target.max_cost_total, services.ledger)
        work = BatchWork(graph, services.artifacts, references, outputs, fund, jobs=target.jobs, debug=target.debug)
        try:
            todo = await work.unfinished(rows)
            with CtrlC(work.stop, work.stop_now):
                await work.run(todo)
        finally:
            folder.withdraw()
    tally.lacks_money = fund.has_run_out
    return tally


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    GemsContext(**given)
    if "size" in given:
        given["size"] = "x".join(map(str, Size.parse(given["size"])))
    # A profile may ask a person, which a batch cannot.
    return {**given, "review": "none"}


def _check_profiles(rows: Sequence[Row], services: Services) -> None:
    """Make the models of each profile once: a key that is missing is told before the first prompt."""
    seen: set[str | None] = set()
    for row in rows:
        profile = row.options.get("profile")
        if profile in seen:
            continue
        seen.add(profile)
        try:
            services.models(services.defaults(profile).name)
        except GemsConfigError as error:
            raise GemsConfigError(f"line {row.line}: {error}") from error


def _check_money(rows: Sequence[Row], most: float) -> None:
    """Each row holds its own limit while it runs: it must have one, and it must fit."""
    for row in rows:
        limit = row.options.get("max_cost")
        if limit is None:
            raise GemsConfigError(f"line {row.line}: --max-cost-total needs a limit of each run too: give --max-cost")
        if limit > most:
            raise GemsConfigError(
                f"line {row.line}: max_cost {limit:g} is more than --max-cost-total {most:g}: it could never begin"
            )


async def _keep_references(rows: Sequence[Row], artifacts: ArtifactStore) -> dict[Path, str]:
    """Store each reference image once, and answer its artifact."""
    kept: dict[Path, str] = {}
    problems = []
    for row in rows:
        for path in row.references:
            if path in kept:
                continue
            try:
                kept[path] = await keep_reference(artifacts, path)
            except GemsConfigError as error:
                problems.append(f"line {row.line}: {error}")
                kept[path] = ""
    if problems:
        raise GemsConfigError(told("reference images cannot be used", problems))
    return kept


@contextmanager
def _alone(settings: Settings, name: str) -> Iterator[None]:
    """Hold the batch against other processes: two would write one file of results."""
    locks = stores_of(settings).locks
    held = f"batch {name}"
    if locks.is_held(held):
        raise GemsConfigError(
            f"batch {name!r} is being run by another process: wait for it, or give another --name and --out"
        )
    with locks.hold(held):
        yield


def _show(console: Console, tally: Tally, folder: Path) -> None:
    satisfied = f", {tally.satisfied:,} of them with every requirement met" if tally.done else ""
    parts = [f"{tally.done:,} of {plural(tally.rows, 'prompt')} done{satisfied}"]
    for count, what in ((tally.failed, "failed"), (tally.stopped, "stopped"), (tally.left, "left")):
        if count:
            parts.append(f"{count:,} {what}")
    console.print()
    style = "bold green" if tally.done == tally.rows else "bold yellow"
    console.print(Text(f"{'; '.join(parts)}.", style), soft_wrap=True)
    for label, text in (("results", str(folder / RESULTS)), ("cost", cost(tally.usage))):
        console.print(Text.assemble((f"  {label:<9} ", "dim"), text), soft_wrap=True)
    if tally.lacks_money:
        what = "--max-cost-total leaves no room for another run; with more, the same command goes on"
        console.print(Text.assemble(("  money     ", "dim"), (what, "yellow")), soft_wrap=True)
    elif tally.stopped or tally.left:
        console.print(Text.assemble(("  go on     ", "dim"), "the same command goes on where it stopped"))
