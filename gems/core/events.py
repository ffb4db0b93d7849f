"""What a run tells while it goes on: the typed events of `stream_mode="custom"`. Every event is JSON.

A front end reads their schema at `GET /gems/events.json`. New events and new fields may come: pass over those you do not
know. A step that is done again after a kill or a resume tells its events again; what they say of an attempt, by its id, is
then said anew.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from langgraph.config import get_stream_writer
from pydantic import Field
from typing_extensions import TypedDict

from gems.core.state import ActionName, Requirement, Status, StopReason, Verdict

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"

Round = Annotated[int, Field(ge=1, description="Number of the round, from 1.")]
AttemptId = Annotated[str, Field(description="Id of the attempt in the state: `2.1` is the first of round 2.")]
Candidate = Annotated[str, Field(description="Letter of the attempt among those of its round, from `a`.")]
Artifact = Annotated[str, Field(description="Id of the picture: `GET /gems/images/<id>` answers it.")]
Score = Annotated[float, Field(ge=0, le=1, description="Share of the requirements that are met, in [0, 1].")]


class Estimate(TypedDict):
    """What a trajectory may come to, if it takes all its rounds. `cost` is in US dollars; None: a price is not known."""

    images: int
    calls: int
    """Of language models."""
    cost: float | None
    max_cost: float | None
    """What it cannot pass."""


class SkillRead(TypedDict):
    """A skill that was read whole."""

    name: str
    files: list[str]
    """Paths from the skill's folder."""


class Started(TypedDict):
    """The request was checked, and the trajectory begins or goes on."""

    event: Literal["started"]
    prompt: str
    """The request as it stands."""
    profile: str
    """Name of the set of models."""
    seed: int
    """Of the first picture; later ones count on from it."""
    width: int
    """In pixels."""
    height: int
    """In pixels."""
    max_rounds: int
    """Most rounds of drawing; after a follow-up, from there on."""
    candidates: int
    """Pictures a round."""
    estimate: Estimate
    """What it may come to."""
    warnings: list[str]
    """What may go wrong, in words."""


class Heard(TypedDict):
    """A follow-up is worked in: on a thread with a picture, a message changes it."""

    event: Literal["heard"]
    message: str
    """The user's own words."""
    rounds: int
    """Rounds that were done before it."""


class Amended(TypedDict):
    """The follow-up is worked in."""

    event: Literal["amended"]
    prompt: str
    """The whole request, with the change in it."""


class Planned(TypedDict):
    """The first prompts are written."""

    event: Literal["plan"]
    skills: list[SkillRead]
    """In the order they were read; often none."""
    reason: str
    """Why these skills; empty where nobody said."""
    prompts: list[str]
    """The candidates of the first round draw them in turn."""


class RequirementsSet(TypedDict):
    """What will be checked on every picture, whole: it takes the place of what was told before."""

    event: Literal["requirements"]
    requirements: list[Requirement]


class Waiting(TypedDict):
    """The run waits for a person. The question itself is the thread's interrupt, with the schema of its answer."""

    event: Literal["waiting"]
    kind: Literal["plan", "round"]
    """What is to be looked at."""
    round: Annotated[int, Field(ge=0, description="Number of the round that was drawn last; 0 at the plan.")]


class RoundBegan(TypedDict):
    """A round begins: these attempts are going to be drawn."""

    event: Literal["round"]
    round: Round
    attempts: list[str]
    """Their ids."""


class DrawingStep(TypedDict):
    """A step of a drawing is done. Models that tell no steps send none of these."""

    event: Literal["drawing"]
    attempt: AttemptId
    round: Round
    candidate: Candidate
    step: int
    """Steps that are done."""
    steps: int
    """Steps in all."""


class Drawn(TypedDict):
    """A picture is there, and stored."""

    event: Literal["drawn"]
    attempt: AttemptId
    round: Round
    candidate: Candidate
    artifact: Artifact
    seconds: float
    """What drawing it took, without waiting for its turn; 0 where it was there already."""
    reused: bool
    """Whether the same drawing was there from before."""
    prompt: str
    seed: int
    action: ActionName
    parent: str | None
    """The attempt that it came from: what an edit changed, or a resample drew again."""


class NotDrawn(TypedDict):
    """An attempt has no picture."""

    event: Literal["not_drawn"]
    attempt: AttemptId
    round: Round
    candidate: Candidate
    error: str
    """Why, in words."""


class VerdictGiven(TypedDict):
    """The critic answered one requirement. A later verdict on the same one, and `judged`, take its place."""

    event: Literal["verdict"]
    attempt: AttemptId
    round: Round
    candidate: Candidate
    requirement: str
    """Its id."""
    verdict: Verdict


class Judged(TypedDict):
    """A picture has been looked at: all its verdicts, by the ids of the requirements."""

    event: Literal["judged"]
    attempt: AttemptId
    round: Round
    candidate: Candidate
    verdicts: dict[str, Verdict]
    score: Score


class Reviewed(TypedDict):
    """The best picture so far is chosen. Without a `stop_reason`, another round follows."""

    event: Literal["reviewed"]
    round: Round
    best: str | None
    """Id of the best attempt."""
    artifact: str | None
    """Id of its picture."""
    score: Score
    stop_reason: StopReason | None
    """Why the run ends here."""


class Refined(TypedDict):
    """It is decided what to draw next, and why."""

    event: Literal["refined"]
    round: Round
    diagnosis: str
    """What went wrong in this round; empty where nobody could say."""
    actions: list[ActionName]
    """Of the next round's attempts, in order."""
    prompts: list[str]
    """Theirs too."""


class Learned(TypedDict):
    """What a round taught, in at most 100 words."""

    event: Literal["experience"]
    round: Round
    text: str
    source: Literal["model", "code"]
    """`code`: no model could write it."""


class Finished(TypedDict):
    """The run has ended; its result is in the state."""

    event: Literal["finished"]
    status: Status
    stop_reason: StopReason | None
    """Why it ended."""
    best: str | None
    """Id of the best attempt."""
    artifact: str | None
    """Id of its picture."""
    score: Score


Event = (
    Started
    | Heard
    | Amended
    | Planned
    | RequirementsSet
    | Waiting
    | RoundBegan
    | DrawingStep
    | Drawn
    | NotDrawn
    | VerdictGiven
    | Judged
    | Reviewed
    | Refined
    | Learned
    | Finished
)
"""One event. `event` says which."""


def emit(event: Event) -> None:
    """Send an event to whoever streams the run. Call it in a node's own context."""
    get_stream_writer()(event)


def emitter() -> Callable[[Event], None]:
    """An `emit` for callbacks that run on other threads: it carries the context of the node that asked for it."""
    write, context = get_stream_writer(), copy_context()

    def send(event: Event) -> None:
        # A context cannot be entered twice at once; its copies can.
        context.copy().run(write, event)

    return send


def candidate_letter(attempt: str) -> str:
    """The letter of an attempt among those of its round, by its id: `b` for `2.2`."""
    _, _, place = attempt.rpartition(".")
    return _LETTERS[int(place) - 1]


@cache
def event_adapter(extra: Literal["ignore", "forbid"] = "ignore") -> TypeAdapter[Event]:
    """What reads events; with `forbid`, fields that no event has are refused."""
    from pydantic import ConfigDict, Discriminator, TypeAdapter

    config = ConfigDict(use_attribute_docstrings=True, extra=extra)
    return TypeAdapter(Annotated[Event, Discriminator("event")], config=config)


def events_schema() -> dict[str, Any]:
    """The JSON schema of `Event`: one definition for each event, with its docstrings as descriptions."""
    schema = event_adapter().json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "GEMS events", **schema}
