"""What a chat server can do, and what follows from its complaints about a call."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

Output = Literal["json_schema", "json_object", "text"]
Limit = Literal["max_completion_tokens", "max_tokens", "none"]


class Abilities(BaseModel):
    """What a server takes with a model. A new server is thought able to do everything, until it complains."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: Output = "json_schema"
    """How JSON is asked for."""
    limit: Limit = "max_tokens"
    """What the most tokens of a reply are called. `none`: the server sets a lower limit itself."""
    logprobs: bool = True
    temperature: bool = True


class _Step(NamedTuple):
    """A field that a complaint is about, and what to do in its place."""

    complaint: re.Pattern[str]
    field: str
    instead: dict[Any, Any]
    unbounded: bool = False
    """Whether a reply may then be longer than was asked for."""


def _step(complaint: str, field: str, instead: dict[Any, Any], *, unbounded: bool = False) -> _Step:
    return _Step(re.compile(complaint, re.IGNORECASE | re.DOTALL), field, instead, unbounded)


_OTHER_NAME: Final = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_LIMIT: Final = r"(max_(completion_)?tokens|completion tokens)"
_TOO_MUCH: Final = r"(too (large|big|high|long|many)|exceed|at most|less than|greater than|maximum|range)"
_NO_LIMIT: Final = dict.fromkeys(_OTHER_NAME, "none")
_STEPS: Final = (
    _step("logprobs", "logprobs", {True: False}),
    _step("temperature", "temperature", {True: False}),
    _step(
        r"(unsupported|unrecognized|unknown|unexpected|not supported|not permitted|forbidden).*max_(completion_)?tokens"
        r"|max_(completion_)?tokens.*(unsupported|unrecognized|unknown|unexpected|not supported|not permitted|forbidden)",
        "limit",
        _OTHER_NAME,
    ),
    # A limit that does not fit the server's own is best left to the server, whose own is lower.
    _step(
        # Near each other: a complaint may repeat the whole call.
        rf"{_LIMIT}.{{0,200}}{_TOO_MUCH}|{_TOO_MUCH}.{{0,200}}{_LIMIT}"
        r"|context (length|size|window)|in the (completion|output)",
        "limit",
        _NO_LIMIT,
    ),
    _step(_LIMIT, "limit", _NO_LIMIT, unbounded=True),
    _step(
        r"response_?format|json_?schema|json_object|json mode|structured.outputs?|schema|grammar|guided",
        "output",
        {"json_schema": "json_object", "json_object": "text"},
    ),
)


def lesser(
    abilities: Abilities,
    words: str,
    sent: Collection[str],
    tried: Collection[Abilities] = (),
    *,
    bounded: bool = False,
) -> Abilities | None:
    """What to try after a complaint; None where it is about something else.

    Args:
        abilities: What the call was made with.
        words: What the server said.
        sent: Fields of the abilities that shaped the call and may be changed.
        tried: What was tried before.
        bounded: Whether a reply must not be longer than was asked for, whatever the server takes.
    """
    for step in _STEPS:
        if step.field not in sent or (bounded and step.unbounded) or not step.complaint.search(words):
            continue
        value = getattr(abilities, step.field)
        if value in step.instead:
            less = abilities.model_copy(update={step.field: step.instead[value]})
            if less not in tried:
                return less
    return None
