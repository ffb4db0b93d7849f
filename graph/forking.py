"""Branches of a thread: the checkpoints that one can begin at, and the writing of its first state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from langchain_core.runnables import RunnableConfig
from langgraph.channels import BinaryOperatorAggregate, EphemeralValue
from langgraph.types import StateSnapshot, StateUpdate

from gems.core.errors import GemsConfigError
from gems.core.state import GemsState
from gems.graph.build import GemsGraph
from gems.memory.migrations import up_to_date

NODES: Final = "gems_nodes"
"""The metadata field of a branch's first checkpoint: the nodes that had just run, as JSON."""
COMPRESSED: Final = ("experiences", "digest")
"""What the compressor writes while the next round is drawn beside it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A moment of a thread. `next` are the nodes about to run; `after` are those that had just run."""

    id: str
    step: int
    state: GemsState
    next: tuple[str, ...]
    after: tuple[str, ...]
    parent: str | None
    created: str
    """ISO 8601."""
    obstacle: str
    """Why no branch can begin here; empty: one can."""

    @property
    def round(self) -> int:
        """The round that is under way, or about to be drawn; 0 while the run is planned."""
        return self.state.get("round", 0)

    @property
    def is_before_a_round(self) -> bool:
        """Whether the round's proposals are made, and nothing of it was tried."""
        proposals, attempts = self.state.get("proposals", []), self.state.get("attempts", [])
        is_drawn = any(attempt["round"] == self.round for attempt in attempts)
        return "generator" in self.next and bool(proposals) and not is_drawn


async def read_checkpoints(graph: GemsGraph, thread_id: str) -> list[Checkpoint]:
    """All moments of a thread that hold a trajectory, the newest first.

    Raises:
        GemsConfigError: a newer version of GEMS wrote it.
    """
    snapshots = [it async for it in graph.aget_state_history(_config(thread_id))]
    by_id = {_id(it.config): it for it in snapshots}
    return [_checkpoint(it, by_id) for it in snapshots if "trajectory_id" in it.values]


def find_round(checkpoints: Sequence[Checkpoint], thread_id: str, number: int) -> Checkpoint:
    """The moment before a round of the thread's latest trajectory was drawn.

    Raises:
        GemsConfigError: there was no such round, or its checkpoints are gone.
    """
    latest = checkpoints[0]
    if not 1 <= number <= latest.round:
        raise GemsConfigError(f"thread {thread_id!r} has no round {number}: {_rounds(range(1, latest.round + 1))}")
    same = [it for it in checkpoints if it.state["trajectory_id"] == latest.state["trajectory_id"]]
    begun = [it for it in same if it.is_before_a_round and not it.obstacle]
    found = next((it for it in begun if it.round == number), None)
    if found is None:
        left = sorted({it.round for it in begun})
        remedy = f"{_rounds(left)} left to fork" if left else "only the end of the run is left: start a new one"
        raise GemsConfigError(f"the checkpoints before round {number} of thread {thread_id!r} were pruned; {remedy}")
    return _with_experience(found, same)


def find_checkpoint(checkpoints: Sequence[Checkpoint], thread_id: str, checkpoint_id: str) -> Checkpoint:
    """The checkpoint of that id.

    Raises:
        GemsConfigError: the thread has none of that id, or no branch can begin there.
    """
    found = next((it for it in checkpoints if it.id == checkpoint_id), None)
    if found is None:
        raise GemsConfigError(
            f"thread {thread_id!r} has no checkpoint {checkpoint_id!r} of a run that had begun; "
            f"`gems fork {thread_id} --list` lists them"
        )
    if found.obstacle:
        raise GemsConfigError(f"no branch can begin at checkpoint {checkpoint_id}: {found.obstacle}")
    return _with_experience(found, checkpoints)


async def write_branch(graph: GemsGraph, thread_id: str, checkpoint: Checkpoint, state: GemsState) -> None:
    """Begin a thread with this state, as if the nodes before the checkpoint had just left it so.

    What is next is decided anew, from this state: the drawings that are sent out carry what was changed in it.

    Raises:
        GemsConfigError: the thread is in use.
    """
    if [it async for it in graph.aget_state_history(_config(thread_id), limit=1)]:
        raise GemsConfigError(f"thread {thread_id!r} is in use already: name another with --thread")
    # Beside a drawing, the compressor leads nowhere; and only one writer may carry the state.
    nodes = [node for node in checkpoint.after if node != "compressor"] or list(checkpoint.after)
    values = _written(graph, state)
    updates = [StateUpdate(None if place else values, node) for place, node in enumerate(nodes)]
    config: RunnableConfig = {**_config(thread_id), "metadata": {NODES: json.dumps(list(checkpoint.after))}}
    await graph.abulk_update_state(config, [updates])


def _config(thread_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id}}


def _id(config: RunnableConfig | None) -> str:
    return str((config or {}).get("configurable", {}).get("checkpoint_id", ""))


def _checkpoint(snapshot: StateSnapshot, by_id: Mapping[str, StateSnapshot]) -> Checkpoint:
    before = by_id.get(_id(snapshot.parent_config))
    after = _after(snapshot, before)
    # Not the snapshot's own `next`: it leaves out what had written when the process died.
    coming = tuple(dict.fromkeys(task.name for task in snapshot.tasks))
    return Checkpoint(
        id=_id(snapshot.config),
        step=(snapshot.metadata or {}).get("step", 0),
        state=up_to_date(cast("GemsState", snapshot.values)),
        next=coming,
        after=after,
        parent=_id(snapshot.parent_config) or None,
        created=snapshot.created_at or "",
        obstacle=_obstacle(snapshot, coming, after),
    )


def _after(snapshot: StateSnapshot, before: StateSnapshot | None) -> tuple[str, ...]:
    """The nodes that made a checkpoint: those that were next in the one before it. Empty where that cannot be told."""
    metadata: Mapping[str, Any] = snapshot.metadata or {}
    if NODES in metadata and metadata.get("source") == "update":
        return tuple(json.loads(metadata[NODES]))
    if before is None or metadata.get("source") != "loop":
        return ()
    if metadata.get("step", 0) != (before.metadata or {}).get("step", 0) + 1:
        return ()  # steps between them were never written: the run kept only its end
    return tuple(dict.fromkeys(task.name for task in before.tasks))


def _obstacle(snapshot: StateSnapshot, coming: Sequence[str], after: Sequence[str]) -> str:
    if not coming or coming[0] in ("distiller", "finish"):
        return "the run ends there; begin before a round of it, or go on with `gems resume`"
    if (snapshot.metadata or {}).get("source") == "input" or "__start__" in after:
        return "nothing is planned there yet; start a new run instead"
    if not after:
        return "the step before it was pruned, or it was changed by hand; choose a later one"
    return ""


def _with_experience(found: Checkpoint, checkpoints: Iterable[Checkpoint]) -> Checkpoint:
    """The same moment with what the compressor wrote right after it: nobody pays for that note again."""
    if "compressor" not in found.next or len(found.next) == 1:
        return found
    told = len(found.state["experiences"])
    following = (it for it in checkpoints if it.parent == found.id and len(it.state["experiences"]) > told)
    if (child := next(following, None)) is None:
        return found
    written = {name: value for name, value in child.state.items() if name in COMPRESSED}
    coming = tuple(node for node in found.next if node != "compressor")
    # After the brief, too, all that is left to do is to draw.
    return replace(found, state=cast("GemsState", {**found.state, **written}), next=coming, after=("brief",))


def _written(graph: GemsGraph, state: GemsState) -> dict[str, Any]:
    """The state as an update of an empty thread: what reducers would add to is replaced, what one step forgets left out."""
    kept = {name: value for name, value in state.items() if not isinstance(graph.channels[name], EphemeralValue)}
    return {
        name: {"__overwrite__": value} if isinstance(graph.channels[name], BinaryOperatorAggregate) else value
        for name, value in kept.items()
    }


def _rounds(numbers: Sequence[int]) -> str:
    """`there is round 1`, `there are rounds 1 to 3`, `there are rounds 1, 3`."""
    if len(numbers) < 2:
        return f"there is round {numbers[0]}" if numbers else "there is none yet"
    is_whole = list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    told = f"{numbers[0]} to {numbers[-1]}" if is_whole else ", ".join(map(str, numbers))
    return f"there are rounds {told}"
