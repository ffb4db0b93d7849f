"""From a model's text to a reply: JSON wherever it stands, validated, never guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from gems.core.ports import R

MOST_STARTS: Final = 50
"""Places where an object is looked for: a text of braces must not hold the loop up."""
_TRAILING_COMMA: Final = re.compile(r",(\s*[}\]])")
_THOUGHTS_END: Final = re.compile(r"(.*)</think(?:ing)?>", re.DOTALL)
_THOUGHTS_START: Final = re.compile(r"\s*<think(?:ing)?>")


class UnreadableReply(ValueError):
    """The text holds no JSON that fits the reply model; the message says what is wrong with it."""


class Spoken(NamedTuple):
    """A model's text, parted."""

    thoughts: str
    reply: str


def part(text: str) -> Spoken:
    """What stands before the last `</think>` is thoughts: the opening tag may be in the model's template, unseen.

    A text that opens with `<think>` and never closes it is thoughts altogether.
    """
    if ended := _THOUGHTS_END.match(text):
        return Spoken(_THOUGHTS_START.sub("", ended[1], count=1).strip(), text[ended.end() :])
    if started := _THOUGHTS_START.match(text):
        return Spoken(text[started.end() :].strip(), "")
    return Spoken("", text)


def storable(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair that stands alone, which no file and no request can hold.

    And without NUL, which Postgres does not take.
    """
    return text.replace("\0", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def parse_reply(places: Sequence[str], reply_model: type[R]) -> R:
    """The last JSON object that fits the model, in the first of the texts that holds any object.

    The last, because a model that thinks aloud corrects itself. Fences, words around the object, trailing commas, and nulls
    where a field may be left out are tolerated.

    Args:
        places: Texts in which the reply may stand, the likeliest first.
        reply_model: What the object must fit.

    Raises:
        UnreadableReply: there is none.
    """
    for text in places:
        problem, reply = "", None
        for value in _objects(text):
            try:
                reply = _validated(value, reply_model)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                problem = f"{'.'.join(map(str, first['loc'])) or 'reply'}: {first['msg']}"
        if reply is not None:
            return reply
        if problem:
            raise UnreadableReply(problem)
    raise UnreadableReply("there is no JSON object in it")


def _validated(value: dict[str, Any], reply_model: type[R]) -> R:
    try:
        return reply_model.model_validate(value)
    except ValidationError:
        return reply_model.model_validate(_without_nulls(value))


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(name): _storable(item) for name, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list) else value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Every outermost JSON object of the text, in order."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    for _ in range(MOST_STARTS):
        if place < 0:
            return
        end = place + 1
        for candidate in (text[place:], _TRAILING_COMMA.sub(r"\1", text[place:])):
            try:
                value, length = decoder.raw_decode(candidate)
                whole = _storable(value)
            except (ValueError, RecursionError):
                # A number of thousands of digits is a plain ValueError.
                continue
            yield whole
            # In the text itself, an object with trailing commas is at least as long as without them.
            end = place + length
            break
        place = text.find("{", end)
