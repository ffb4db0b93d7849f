"""Progress events of a run, as streamed with `stream_mode="custom"`. Every event is JSON."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Literal

from langgraph.config import get_stream_writer
from typing_extensions import TypedDict, Unpack

from gems.core.state import ActionName, Requirement, StopReason, Verdict

EventName = Literal[
    "started",  # prompt, seed, profile, estimate, warnings
    "plan",  # skills, prompts
    "requirements",  # requirements
    "round",  # round
    "drawing",  # attempt, step, steps
    "drawn",  # attempt, artifact, seconds, reused, prompt, seed, action
    "not_drawn",  # attempt, error
    "judged",  # attempt, verdicts, score
    "reviewed",  # round, best, score, stop_reason
    "refined",  # round, diagnosis, actions
    "experience",  # round, text
    "finished",  # stop_reason, score, best
]


class Estimate(TypedDict):
    """What a trajectory may come to, if it takes all its rounds. `cost` is in US dollars; None: a price is not known."""

    images: int
    calls: int
    cost: float | None
    max_cost: float | None
    """What it cannot pass."""


class EventFields(TypedDict, total=False):
    """The fields of all events; the comment beside each name says which it carries."""

    prompt: str
    profile: str
    seed: int
    estimate: Estimate
    warnings: list[str]
    skills: list[str]
    prompts: list[str]
    requirements: list[Requirement]
    round: int
    attempt: str
    step: int
    steps: int
    artifact: str
    seconds: float
    reused: bool
    action: ActionName
    actions: list[ActionName]
    error: str
    verdicts: dict[str, Verdict]
    score: float
    best: str | None
    stop_reason: StopReason | None
    diagnosis: str
    text: str


class Event(EventFields):
    """One event."""

    event: EventName


def emit(event: EventName, **fields: Unpack[EventFields]) -> None:
    """Send an event to whoever streams the run. Call it in a node's own context."""
    get_stream_writer()({"event": event, **fields})


def emitter() -> Callable[[dict[str, Any]], None]:
    """An `emit` for callbacks that run on other threads: it carries the context of the node that asked for it."""
    write, context = get_stream_writer(), copy_context()

    def send(event: dict[str, Any]) -> None:
        # A context cannot be entered twice at once; its copies can.
        context.copy().run(write, event)

    return send
