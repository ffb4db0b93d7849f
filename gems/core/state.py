"""The typed state of a trajectory: JSON values only, images as artifact ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NotRequired, cast

from langchain_core.messages import AnyMessage, BaseMessage
from langgraph.channels import EphemeralValue
from typing_extensions import TypedDict

Role = Literal["planner", "decomposer", "critic", "refiner", "compressor"]
ROLES: Final[tuple[Role, ...]] = ("planner", "decomposer", "critic", "refiner", "compressor")
RequirementKind = Literal["object", "attribute", "count", "spatial", "text", "style", "other"]
VerdictName = Literal["met", "unmet", "unknown", "skipped"]
ActionName = Literal["rewrite", "resample", "edit"]
Failure = Literal["outage", "refused", "budget"]
Mode = Literal["gems", "paper"]
CriticMode = Literal["batch", "single"]
ReviewMode = Literal["none", "plan", "round"]
MemoryMode = Literal["none", "prompts", "images", "thoughts", "experience"]
Status = Literal["running", "done", "stopped", "failed"]
StopReason = Literal["satisfied", "accepted", "unverified", "max_rounds", "budget", "stalled", "stopped", "failed"]

SPAN_GAP: Final = 1.0
"""Seconds between two spans of work that still count as one: the graph's own time between nodes."""


UNREADABLE: Final = "unreadable"
"""Type of the part that stands in a message for what cannot be read as one."""
LONGEST_PART: Final = 4096
"""Characters of a message's part that is no text: addresses are shorter, files are longer."""
SCHEMA: Final = 2
"""Version of the state in checkpoints. `gems.memory.migrations` brings older ones up."""


class Request(TypedDict):
    """What the user asked for. `references` are artifacts: images of the user's that the picture is to follow."""

    prompt: str
    """The request as it stands: with all that follow-ups have changed."""
    references: NotRequired[list[str]]
    said: NotRequired[list[str]]
    """Where there were follow-ups: the user's own words, the first request among them, in order."""


class Options(TypedDict):
    """The resolved options of a trajectory. They live in state because a resumed run gets no context."""

    profile: str
    models: dict[str, str]
    """`provider:model` of `mllm` and `images`, so that a trajectory says who made it."""
    mode: Mode
    max_rounds: int
    max_images: int | None
    max_calls: int | None
    max_tokens: int | None
    """Read and written, together."""
    max_seconds: float | None
    max_cost: float | None
    """In US dollars."""
    critic: CriticMode
    """One call a picture, or one a requirement."""
    patience: int | None
    """Rounds without a better picture after which the run is stalled; None never is."""
    candidates: int
    seed: int
    width: int
    height: int
    overlap: bool
    """Whether chat and drawing may run at the same time."""
    skills: list[str] | None
    """Skills forced by the user; None lets the planner choose."""
    review: ReviewMode
    """Where a person is asked: nowhere, at the plan, or at the plan and after each round."""
    memory: MemoryMode
    """What the refiner reads of earlier rounds; each level adds to the one before, but experiences replace thoughts."""
    lessons: bool
    """Whether lessons of earlier trajectories are read, and new ones kept."""


class Plan(TypedDict):
    """What the planner decided. `skills` maps each skill that was read to a digest of its text."""

    skills: dict[str, str]
    reason: str
    prompts: list[str]


class Requirement(TypedDict):
    """One yes/no question. It is asked only when all requirements it depends on are met."""

    id: str
    question: str
    kind: RequirementKind
    depends_on: list[str]


class Verdict(TypedDict):
    """The critic's answer to one requirement. `confidence` is in [0, 1]."""

    verdict: VerdictName
    evidence: str
    confidence: float


class Ruling(TypedDict):
    """A person's verdict in place of the critic's: a fact that no model may doubt."""

    attempt: str
    requirement: str
    verdict: VerdictName
    note: str


class Remark(TypedDict):
    """What a person said after a round."""

    round: int
    text: str


class Proposal(TypedDict):
    """A drawing to be made. `parent` is the attempt whose image an edit starts from."""

    id: str
    round: int
    action: ActionName
    prompt: str
    seed: int
    parent: str | None


class Attempt(TypedDict):
    """One drawing: its proposal, then its image or its error, then its verdicts by requirement id."""

    id: str
    round: int
    action: ActionName
    prompt: str
    seed: int
    parent: str | None
    artifact: NotRequired[str]
    reused: NotRequired[bool]
    failure: NotRequired[Failure]
    error: NotRequired[str]
    """What the failure said."""
    verdicts: NotRequired[dict[str, Verdict]]
    score: NotRequired[float]
    """Share of requirements met, in [0, 1]."""


class Experience(TypedDict):
    """At most 100 words on what a round taught. `source` is `model`, or `code` when the model could not write it."""

    round: int
    text: str
    source: Literal["model", "code"]


class Thought(TypedDict):
    """What the refiner thought about a round, in its own words."""

    round: int
    text: str


class Digest(TypedDict):
    """The experiences that have left the window of recent ones, folded into one text of at most 100 words."""

    until: int
    """The last round that is in it."""
    text: str


class GivenLesson(TypedDict):
    """A lesson of earlier trajectories that a role was given in this one."""

    id: str
    kind: RequirementKind
    text: str
    round: int
    """The round it was given for."""


class Forked(TypedDict):
    """Where a branch began: before `round` of another thread."""

    thread: str
    checkpoint: str
    round: int


class Usage(TypedDict, total=False):
    """What was spent. Values add up; `images` counts drawings paid for, `reused` those found in the ledger."""

    mllm_calls: int
    input_tokens: int
    output_tokens: int
    lost_tokens: int
    """Of calls that failed when the server may have worked on them: what they can have taken at most."""
    images_sent: int
    images: int
    reused: int
    mllm_seconds: float
    image_seconds: float
    cost: float
    """In US dollars; what has no price is not in it."""


Messages = list[AnyMessage]
Span = list[float]
"""[start, end] in seconds since the epoch."""


def merge_attempts(old: Sequence[Attempt], new: Sequence[Attempt]) -> list[Attempt]:
    """Merge by id, field by field; the order is that of first appearance. An image clears an earlier failure."""
    merged: dict[str, Attempt] = {attempt["id"]: attempt for attempt in old}
    for attempt in new:
        both: Attempt = {**merged.get(attempt["id"], attempt), **attempt}
        if "artifact" in attempt:
            both.pop("failure", None)
            both.pop("error", None)
        merged[attempt["id"]] = both
    return list(merged.values())


def merge_experiences(old: Sequence[Experience], new: Sequence[Experience]) -> list[Experience]:
    """Merge by round: a later text for a round replaces the earlier one."""
    merged = {experience["round"]: experience for experience in [*old, *new]}
    return [merged[number] for number in sorted(merged)]


def add_usage(old: Usage, new: Usage) -> Usage:
    """The sum, field by field."""
    total = cast("dict[str, float]", dict(old))
    for name, value in cast("dict[str, float]", new).items():
        total[name] = total.get(name, 0) + value
    return cast("Usage", total)


def merge_spans(old: Sequence[Span], new: Sequence[Span]) -> list[Span]:
    """The union of the spans, as few as possible.

    Parallel work counts once, and the time in which no process ran (between a kill and a resume) counts not at all.
    """
    merged: list[Span] = []
    for start, end in sorted([*old, *new]):
        if merged and start <= merged[-1][1] + SPAN_GAP:
            merged[-1] = [merged[-1][0], max(merged[-1][1], end)]
        else:
            merged.append([start, end])
    return merged


def merge_messages(old: Messages, new: Any) -> Messages:
    """LangGraph's own merging by id, without the pictures and files that clients put into messages.

    It never raises: a thread whose input cannot be merged could not be read any more either. What is no message becomes
    one with an UNREADABLE part, which intake refuses.
    """
    # Imported when first used: it takes longer to load than all of this package's core.
    from langchain_core.messages import HumanMessage, convert_to_messages
    from langgraph.graph.message import add_messages

    merged: Any
    try:
        given = convert_to_messages(new if isinstance(new, list) else [new])
        merged = add_messages(old, [_without_files(message) for message in given])  # type: ignore[arg-type]
    except Exception:
        merged = add_messages(old, [HumanMessage([{"type": UNREADABLE}])])  # type: ignore[arg-type]
    return cast("Messages", merged)


def _without_files(message: BaseMessage) -> BaseMessage:
    """The message, with nothing but the type of each part that is too long to be an address."""
    if isinstance(message.content, str):
        return message
    parts = [_type_only(part) if isinstance(part, dict) else part for part in message.content]
    return message if parts == message.content else message.model_copy(update={"content": parts})


def _type_only(part: dict[str, Any]) -> dict[str, Any]:
    is_short = part.get("type") == "text" or len(str(part)) <= LONGEST_PART
    return part if is_short else {"type": part.get("type", UNREADABLE)}


def merge_warnings(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Each warning once, in order."""
    return list(dict.fromkeys([*old, *new]))


def seconds_spent(spans: Sequence[Span]) -> float:
    """Seconds in which the trajectory was being worked on."""
    return sum(end - start for start, end in spans)


class GemsState(TypedDict, total=False):
    """One trajectory. `prompt`, `references` and `restart` are the input of one invocation, forgotten after its first step.

    `messages` is the one value that is not JSON: the chat, where a client speaks by messages.
    """

    prompt: Annotated[str, EphemeralValue]
    references: Annotated[list[str], EphemeralValue]
    restart: Annotated[bool, EphemeralValue]
    messages: Annotated[list[AnyMessage], merge_messages]

    heard: str
    """Id of the last chat message that was worked on."""
    schema: int
    trajectory_id: str
    forked: Forked | None
    request: Request
    follow_up: str
    """A message that the amender has yet to work into the request; else empty."""
    options: Options
    warnings: Annotated[list[str], merge_warnings]
    made_with: dict[str, str]
    """Models by name, and digests of their settings: what must not change unnoticed when the run goes on."""
    versions: dict[str, str]
    """Digest of each role's prompt, so that a trajectory says what it was made with."""

    plan: Plan
    requirements: list[Requirement]
    round: int
    since: int
    """Rounds that were done when the latest message came: `max_rounds` counts from here."""
    proposals: list[Proposal]
    attempts: Annotated[list[Attempt], merge_attempts]
    best: str | None
    """Id of the best attempt so far."""
    rulings: list[Ruling]
    remarks: list[Remark]
    wish: str
    """A prompt of the user's own that is to be drawn next; else empty."""
    thought: str
    """The refiner's diagnosis of the latest round: what the compressor distils."""
    thoughts: list[Thought]
    """The last few, where they are remembered."""
    experiences: Annotated[list[Experience], merge_experiences]
    digest: Digest
    lessons: list[GivenLesson]
    distilled: int
    """The last round that lessons were made of."""

    usage: Annotated[Usage, add_usage]
    spans: Annotated[list[Span], merge_spans]
    status: Status
    stop_reason: StopReason | None
    result: dict[str, Any]
