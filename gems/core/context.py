"""What a run is told from outside: its input, its options, and what it answers. The forms of Studio are drawn from these.

Never a path, a URL or a key: those are settings of the machine. Context values are copied into checkpoint metadata.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NotRequired

from langchain_core.messages import AnyMessage
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import TypedDict

from gems.core.errors import GemsConfigError
from gems.core.state import MemoryMode, Mode, ReviewMode, Status, StopReason

MAX_PROMPT: Final = 20_000
"""Longest prompt, in characters."""
MAX_CANDIDATES: Final = 16
"""Most images that a round draws."""
MIN_SIDE: Final = 64
MAX_SIDE: Final = 4096


class GemsInput(BaseModel):
    """The input of one invocation. On a thread with a picture a prompt changes it; an empty one continues the run."""

    model_config = ConfigDict(extra="ignore")

    prompt: str = Field(
        default="",
        title="Prompt",
        description="What to draw; on a thread with a picture, what to change. Empty: go on with a raised limit.",
        max_length=MAX_PROMPT,
        examples=["three red apples to the left of a blue vase"],
    )
    references: list[str] = Field(
        default_factory=list,
        title="Reference images",
        description="Artifact ids of images that the picture is to follow, where the image model can.",
        max_length=16,
    )
    messages: list[AnyMessage] = Field(
        default_factory=list,
        title="Messages",
        description="A chat in place of a prompt: the last message, if it is the user's, is what to draw or to change.",
    )
    restart: bool = Field(
        default=False, title="Restart", description="Forget the picture of this thread, and begin anew."
    )


class GemsContext(BaseModel):
    """Options of a run. What is left out comes from the profile."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    def __init__(self, **given: Any) -> None:
        """Take the options. LangGraph calls this with what a client sent, before any node could explain what is wrong.

        Raises:
            GemsConfigError: there is no such option, or its value is not allowed.
        """
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise explain(error, "option") from error

    profile: str | None = Field(default=None, title="Profile", description="A named set of models, e.g. sketch.")
    mode: Mode | None = Field(default=None, title="Mode", description="gems, or the paper's own loop.")
    max_rounds: int | None = Field(default=None, ge=1, le=100, title="Rounds", description="Most rounds of drawing.")
    patience: int | None = Field(
        default=None, ge=1, title="Patience", description="Stop after this many rounds without a better picture."
    )
    candidates: int | None = Field(
        default=None, ge=1, le=MAX_CANDIDATES, title="Candidates", description="Images drawn a round."
    )
    seed: int | None = Field(default=None, ge=0, lt=2**32, title="Seed", description="Random when left out.")
    size: str | None = Field(
        default=None,
        title="Size",
        description="WIDTHxHEIGHT in pixels, 64 to 4096 a side.",
        examples=["1024x1024", "1536x1024"],
    )
    max_images: int | None = Field(default=None, ge=1, title="Most images", description="Stop before drawing more.")
    max_calls: int | None = Field(default=None, ge=1, title="Most calls", description="Stop before more model calls.")
    max_tokens: int | None = Field(
        default=None, ge=1, title="Most tokens", description="Make no call that could pass this, read and written."
    )
    max_seconds: float | None = Field(
        default=None, gt=0, title="Most seconds", description="Stop, in the middle of a call too, after this."
    )
    max_cost: float | None = Field(
        default=None, gt=0, title="Most money", description="Make no call that could pass this; needs prices."
    )
    skills: list[str] | None = Field(
        default=None, title="Skills", description="Skills to use; left out, the planner chooses; empty, none."
    )
    review: ReviewMode | None = Field(
        default=None, title="Review", description="Ask a person nowhere, at the plan, or at the plan and each round."
    )
    memory: MemoryMode | None = Field(
        default=None, title="Memory", description="What the refiner reads of earlier rounds."
    )
    lessons: bool | None = Field(
        default=None, title="Lessons", description="Whether to use and keep lessons across trajectories."
    )
    accept_changes: bool = Field(
        default=False, title="Accept changes", description="Go on although models or prompts are others than before."
    )


class GemsOutput(TypedDict):
    """What a run answers."""

    status: Status
    stop_reason: StopReason | None
    result: dict[str, Any]
    messages: NotRequired[list[AnyMessage]]
    """Where the input came as messages: the chat, with the answer as its last."""


class Size(tuple[int, int]):
    """Width and height in pixels."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read `WIDTHxHEIGHT`.

        Raises:
            GemsConfigError: not of that form, or a side outside 64 to 4096 pixels.
        """
        width, _, height = text.lower().partition("x")
        if not (width.isdecimal() and height.isdecimal()):
            raise GemsConfigError(f"size {text!r} is not WIDTHxHEIGHT, e.g. 1024x1024")
        size = cls((int(width), int(height)))
        if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
            raise GemsConfigError(f"size {text!r}: each side must be {MIN_SIDE} to {MAX_SIDE} pixels")
        return size


def explain(error: ValidationError, what: Literal["input", "option", "setting", "answer"]) -> GemsConfigError:
    """A validation error as one line a person can act on.

    What may hold a key is not repeated: what was not asked for, and what stands where addresses and names of keys belong.
    """
    parts = []
    for problem in error.errors(include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        untold = problem["type"] in ("extra_forbidden", "missing") or isinstance(problem["input"], dict | list)
        untold = untold or name.endswith(("base_url", "api_key_env"))
        value = "" if untold else f" {_short(problem['input'])}"
        parts.append(f"{what} {name}{value}: {problem['msg']}")
    return GemsConfigError("; ".join(parts))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
