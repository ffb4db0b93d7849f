"""`gems fork`: a branch of a run from one of its rounds, and the list of moments it can begin at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.text import Text

from gems.app.commands import load_run, perform
from gems.app.outcome import Outcome
from gems.app.session import Target, open_session
from gems.app.terminal import make_console, one_line, printable
from gems.app.threads import check_thread_id
from gems.core.context import GemsContext
from gems.core.errors import GemsConfigError
from gems.core.ports import Services
from gems.core.settings import load_settings
from gems.core.state import GemsState
from gems.graph import GemsGraph, MachineServices, open_graph
from gems.graph.branching import Branch, Changes, begin_branch
from gems.graph.forking import Checkpoint, find_checkpoint, find_round, read_checkpoints, write_branch
from gems.graph.sessions import ExclusiveGraph
from gems.nodes.intake import run_record


class Place(NamedTuple):
    """Where a branch begins: before a round of a thread, or at one of its checkpoints."""

    thread_id: str
    round: int | None = None
    checkpoint: str | None = None


def fork(
    place: Place,
    prompt: str | None,
    options: Mapping[str, Any],
    target: Target,
    services: Services | None = None,
) -> int:
    """`gems fork`, with these services or the machine's.

    Args:
        place: Where the branch begins.
        prompt: What is drawn there instead; None: what the parent drew.
        options: Fields of `GemsContext` that differ; those that are None were not given.
        target: The new thread.
        services: What the nodes use.
    """

    async def work(console: Console) -> Outcome:
        check_thread_id(place.thread_id)
        check_thread_id(target.thread_id)
        given = {name: value for name, value in options.items() if value is not None}
        changes = Changes(prompt, GemsContext(**given))
        await load_run(place.thread_id)
        used = services or MachineServices(load_settings())
        branch = await _begin(place, target.thread_id, changes, used)
        _tell(place, branch, target.thread_id, console)
        # What differs is in the state; nothing more is given now, as when it is resumed one day.
        async with open_session(target, {}, console, used) as session:
            return await session.resume()

    return perform(target, work)


def list_checkpoints(thread_id: str, *, as_json: bool) -> int:
    """`gems fork --list`: the checkpoints that a branch can begin at."""
    checkpoints = [it for it in asyncio.run(_read(thread_id)) if not it.obstacle]
    if as_json:
        told = [
            {"id": it.id, "step": it.step, "next": list(it.next), "round": it.round, "created": it.created}
            for it in checkpoints
        ]
        click.echo(json.dumps({"thread_id": thread_id, "checkpoints": told}, ensure_ascii=False, indent=2))
        return 0
    console = make_console(stderr=False)
    latest = checkpoints[0].state["trajectory_id"] if checkpoints else ""
    for it in checkpoints:
        when = datetime.fromisoformat(it.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        line = f"{it.id}  {when}  step {it.step:<4} round {it.round:<3} next: {', '.join(it.next)}"
        # A thread can hold earlier trajectories, of other prompts.
        earlier = f"  ({one_line(it.state['request']['prompt'], 40)})" if it.state["trajectory_id"] != latest else ""
        console.print(Text.assemble((line, "bold" if it.is_before_a_round else ""), (earlier, "dim")), soft_wrap=True)
    return 0


async def _read(thread_id: str) -> list[Checkpoint]:
    await load_run(thread_id)
    async with open_graph(load_settings()) as graph:
        return await read_checkpoints(graph, thread_id)


async def _begin(place: Place, thread_id: str, changes: Changes, services: Services) -> Branch:
    """Write the first state of the branch. All that can be refused is refused before."""
    async with open_graph(load_settings(), services=services) as graph:
        with _both_held(graph, place.thread_id, thread_id):
            checkpoint = await _find(graph, place)
            branch = await asyncio.to_thread(begin_branch, services, place.thread_id, checkpoint, changes)
            await services.artifacts.check()
            # What the parent has received is known to the branch before it can draw anything.
            parent_id, child_id = checkpoint.state["trajectory_id"], branch.state["trajectory_id"]
            ledger = await asyncio.to_thread(lambda: services.ledger)
            await ledger.adopt(parent_id, child_id)
            await write_branch(graph, thread_id, checkpoint, branch.state)
            runs = await asyncio.to_thread(lambda: services.runs)
            # Until it has ended: the rounds before the one that it begins with.
            begun: GemsState = {**branch.state, "status": "running", "stop_reason": None}
            begun["round"] = max(0, branch.state["round"] - 1)
            await runs.record(run_record(begun, thread_id))
    return branch


async def _find(graph: GemsGraph, place: Place) -> Checkpoint:
    checkpoints = await read_checkpoints(graph, place.thread_id)
    if not checkpoints:
        raise GemsConfigError(f"thread {place.thread_id!r} has no checkpoints left: they were pruned; start a new run")
    if place.checkpoint is not None:
        return find_checkpoint(checkpoints, place.thread_id, place.checkpoint)
    if place.round is None:
        raise GemsConfigError("say where the branch begins: --round N, or --checkpoint ID of those that --list shows")
    return find_round(checkpoints, place.thread_id, place.round)


@contextmanager
def _both_held(graph: GemsGraph, *thread_ids: str) -> Iterator[None]:
    """Parent and branch, against every other process."""
    if len(set(thread_ids)) < len(thread_ids):
        raise GemsConfigError(f"thread {thread_ids[0]!r} cannot be a branch of itself: give another --thread")
    with ExitStack() as stack:
        if isinstance(graph, ExclusiveGraph) and graph.stores is not None:
            for thread_id in thread_ids:
                stack.enter_context(graph.stores.locks.hold(thread_id))
            stack.enter_context(graph.stores.checkpoints.explained())
        yield


def _tell(place: Place, branch: Branch, thread_id: str, console: Console) -> None:
    before = branch.state["round"]
    told = (
        f"Branch {thread_id} of {place.thread_id}, before round {before}" if before else f"Branch of {place.thread_id}"
    )
    console.print(Text(printable(f"{told}: {'; '.join(branch.changed)}"), "bold"), soft_wrap=True)
