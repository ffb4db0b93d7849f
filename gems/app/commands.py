"""What the commands on runs do, from what was typed to the exit code."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import click
from rich.console import Console
from rich.text import Text

from gems.app.export import OutFolder
from gems.app.outcome import Outcome, outcome_of, refused
from gems.app.report import render_report
from gems.app.runner import thread_config
from gems.app.session import Target, open_session
from gems.app.summary import show_outcome, show_run
from gems.app.terminal import make_console, one_line
from gems.app.threads import check_thread_id
from gems.app.waiting import question_of
from gems.app.wording import percent
from gems.core.context import MAX_PROMPT
from gems.core.errors import GemsConfigError
from gems.core.ports import RunRecord, Services
from gems.core.settings import Settings, load_settings
from gems.core.state import GemsState
from gems.graph import open_graph
from gems.memory import SqlRuns
from gems.memory.migrations import up_to_date
from gems.memory.stores import images_of, stores_of


def start(
    prompt: str,
    options: Mapping[str, Any],
    target: Target,
    services: Services | None = None,
    references: Sequence[Path] = (),
) -> int:
    """`gems run`, with these services or the machine's."""

    async def work(console: Console) -> Outcome:
        check_thread_id(target.thread_id)
        text = read_prompt(prompt)
        async with open_session(target, options, console, services) as session:
            return await session.start(text, references)

    return perform(target, work)


def resume(options: Mapping[str, Any], target: Target, services: Services | None = None) -> int:
    """`gems resume`, with these services or the machine's."""

    async def work(console: Console) -> Outcome:
        check_thread_id(target.thread_id)
        async with open_session(target, options, console, services) as session:
            return await session.resume()

    return perform(target, work)


def read_prompt(prompt: str) -> str:
    """The prompt itself, or for `-` what stands on standard input.

    Raises:
        GemsConfigError: what is read is no text, or far too long.
    """
    if prompt != "-":
        return prompt
    # A character of UTF-8 has at most four bytes: more than this is too long whatever it says, and may never end.
    content = sys.stdin.buffer.read(4 * MAX_PROMPT + 5)
    if len(content) > 4 * MAX_PROMPT + 4:
        raise GemsConfigError(f"the prompt on standard input is too long; the limit is {MAX_PROMPT} characters")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GemsConfigError(
            f"the prompt on standard input is not UTF-8 text: {error.reason} at byte {error.start}"
        ) from error


def list_runs(limit: int, *, as_json: bool) -> None:
    """`gems runs`."""
    settings = load_settings()
    stores = stores_of(settings)
    if settings.home.exists() and not settings.home.is_dir():
        raise GemsConfigError(f"GEMS_HOME {settings.home} is a file: set it to a folder")
    runs = asyncio.run(SqlRuns(stores.database("runs")).recent(limit)) if stores.may_hold("runs") else []
    if as_json:
        click.echo(json.dumps({"runs": [run._asdict() for run in runs]}, ensure_ascii=False, indent=2))
        return
    console = make_console(stderr=False)
    if not runs:
        console.print('No runs yet. Try: gems run "three red apples to the left of a blue vase"', soft_wrap=True)
    for run in runs:
        console.print(_run_line(run, console.width), soft_wrap=True)


def show(target: Target) -> int:
    """`gems show`. The exit code is 0 whatever became of the run."""
    run = asyncio.run(load_run(target.thread_id))
    if target.as_json:
        click.echo(json.dumps(run.outcome.as_json(), ensure_ascii=False, indent=2))
    else:
        show_run(run.outcome, run.state, make_console(stderr=False))
    return 0


def report(target: Target) -> int:
    """`gems report`."""
    run = asyncio.run(load_run(target.thread_id))
    path = target.out or target.folder / "report.html"
    folder = OutFolder(path.parent)
    artifacts = images_of(run.settings)
    page = asyncio.run(render_report(target.thread_id, run.state, artifacts, run.state["options"]["models"]))
    folder.prepare()
    try:
        click.echo(str(folder.write(path.name, page.encode())))
    except OSError as error:
        raise GemsConfigError(f"cannot write {path}: {error.strerror or error}") from error
    return 0


class StoredRun(NamedTuple):
    """A run as its thread holds it."""

    state: GemsState
    outcome: Outcome
    settings: Settings


async def load_run(thread_id: str) -> StoredRun:
    """The run on a thread of this machine.

    Raises:
        GemsConfigError: there is none, or a newer version of GEMS wrote it.
    """
    settings = load_settings()
    check_thread_id(thread_id)
    if not stores_of(settings).may_hold("checkpoints"):
        raise _no_run(thread_id)
    async with open_graph(settings) as graph:
        snapshot = await graph.aget_state(thread_config(thread_id))
    state = up_to_date(cast("GemsState", snapshot.values))
    if "request" not in state:
        raise _no_run(thread_id)
    question = question_of(snapshot)
    place = images_of(settings).place
    outcome = outcome_of(thread_id, state, place, waiting=question.value if question else None)
    return StoredRun(state, outcome, settings)


def _no_run(thread_id: str) -> GemsConfigError:
    return GemsConfigError(f"there is no run on thread {thread_id!r}; `gems runs` lists them")


def perform(target: Target, work: Callable[[Console], Awaitable[Outcome]]) -> int:
    """Do the work, answer on the right stream, and say how it went as an exit code."""
    console = make_console(stderr=target.as_json)
    # Packages that print would break the one object on standard output.
    with redirect_stdout(sys.stderr) if target.as_json else nullcontext():
        try:
            outcome = asyncio.run(_to_coroutine(work, console))
        except (Exception, KeyboardInterrupt) as error:
            if target.debug:
                traceback.print_exception(error)
            outcome = refused(target.thread_id, error)
    show_outcome(outcome, console if outcome.error is None else make_console(stderr=True))
    if target.as_json:
        click.echo(json.dumps(outcome.as_json(), ensure_ascii=False, indent=2))
    return outcome.exit_code


async def _to_coroutine(work: Callable[[Console], Awaitable[Outcome]], console: Console) -> Outcome:
    return await work(console)


def _run_line(run: RunRecord, width: int) -> Text:
    state = run.stop_reason or ("not finished" if run.status == "running" else run.status)
    when = datetime.fromtimestamp(run.updated).strftime("%Y-%m-%d %H:%M")
    start = f"{run.thread_id:<22} {when}  {state:<12} {percent(run.score):>4} {run.rounds:>3}r  "
    style = "green" if run.stop_reason == "satisfied" else "red" if run.status == "failed" else ""
    return Text.assemble((start, style), one_line(run.prompt, max(20, width - len(start))))
