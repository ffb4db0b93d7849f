"""Where a trajectory goes next: pure functions of its state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Literal, TypeVar

from langgraph.types import Send

from gems.core.context import MAX_CANDIDATES
from gems.core.errors import GemsConfigError
from gems.core.state import GemsState, Proposal
from gems.memory.migrations import up_to_date
from gems.memory.view import find_attempt
from gems.nodes.critic import unjudged
from gems.nodes.distiller import has_lessons
from gems.nodes.generator import Task, Wanted
from gems.nodes.proposing import nothing_drawn, undrawn

T = TypeVar("T")


def _on_current_state(decide: Callable[[GemsState], T]) -> Callable[[GemsState], T]:
    """Decide on a state of an older version, too."""

    @wraps(decide)
    def decide_on_current(state: GemsState) -> T:
        return decide(up_to_date(state))

    return decide_on_current


@_on_current_state
def after_intake(
    state: GemsState,
) -> (
    tuple[Literal["planner"], Literal["decomposer"]]
    | Literal["brief", "amender", "critic", "review", "finish"]
    | list[Send]
):
    """A new trajectory is planned; a continued one goes on where it stood, wherever it was interrupted.

    A follow-up is worked in first.
    """
    if state["status"] == "done":
        return "finish"
    if state["follow_up"]:
        return "amender"
    if state["round"] == 0:
        # A plan that was made, and that a person stopped, is shown once more.
        is_planned = state["requirements"] and "plan" in state and state["plan"]["prompts"]
        return "brief" if is_planned else ("planner", "decomposer")
    return draw_all(state) or ("critic" if unjudged(state) else "review")


def draw_all(state: GemsState) -> list[Send]:
    """One generator for each proposal of the round that is not drawn yet; what a limit forbids, it says itself.

    Raises:
        GemsConfigError: there are more than a round can have: a client has written them into the state.
    """
    if len(state["proposals"]) > MAX_CANDIDATES:
        raise GemsConfigError(
            f"the state has {len(state['proposals'])} proposals: a round draws {MAX_CANDIDATES} at most"
        )
    alone = len(state["proposals"]) == 1
    return [_send(state, [proposal], alone=alone) for proposal in undrawn(state)]


@_on_current_state
def after_critic(state: GemsState) -> Literal["review"] | Send:
    """Review, unless every drawing of the round failed: then one generator draws all once more, and may stop the run."""
    if nothing_drawn(state):
        return _send(state, state["proposals"], alone=True)
    return "review"


@_on_current_state
def after_brief(state: GemsState) -> list[Send] | Literal["finish"]:
    """Draw, unless a person has stopped the plan."""
    return "finish" if state["stop_reason"] else draw_all(state)


@_on_current_state
def after_review(state: GemsState) -> Literal["refiner", "distiller", "finish"]:
    """Finish when there is a reason to stop; a trajectory that taught something is distilled first."""
    if not state["stop_reason"]:
        return "refiner"
    return "distiller" if state["stop_reason"] != "stopped" and has_lessons(state) else "finish"


@_on_current_state
def after_refiner(state: GemsState) -> list[Send | Literal["compressor"]] | Literal["review"]:
    """Draw, and compress meanwhile; where chat and drawing must not overlap, compress first. With nothing to draw, end."""
    drawings = draw_all(state)
    if not drawings:
        return "review"
    return ["compressor", *drawings] if state["options"]["overlap"] else ["compressor"]


@_on_current_state
def after_compressor(state: GemsState) -> list[Send] | Literal["__end__"]:
    """Draw, if that had to wait for the compressor; else its branch ends here."""
    return "__end__" if state["options"]["overlap"] else draw_all(state)


def _send(state: GemsState, proposals: Sequence[Proposal], *, alone: bool) -> Send:
    task = Task(
        schema=state.get("schema", 1),
        trajectory_id=state["trajectory_id"],
        options=state["options"],
        usage=state["usage"],
        spans=state["spans"],
        references=state["request"].get("references", []),
        wanted=[Wanted(proposal=proposal, source=_source(state, proposal)) for proposal in proposals],
        alone=alone,
    )
    if "made_with" in state:
        task["made_with"] = state["made_with"]
    return Send("generator", task)


def _source(state: GemsState, proposal: Proposal) -> str | None:
    parent = find_attempt(state["attempts"], proposal["parent"]) if proposal["action"] == "edit" else None
    return parent.get("artifact") if parent else None
