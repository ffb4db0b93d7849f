"""From a model's text to a reply: JSON wherever it stands, validated, never guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

from gems.core.ports import R

MOST_STARTS: Final = 50
"""Places where an object is looked for: a text of braces must not hold the loop up."""
_TRAILING_COMMA: Final = re.compile(r",(\s*[}\]])")


class UnreadableReply(ValueError):
    """The text holds no JSON that fits the reply model; the message says what is wrong with it."""


def parse_reply(text: str, reply_model: type[R]) -> R:
    """The first JSON object in the text that fits the model.

    Fences, thinking before a `</think>` (its beginning may be in the model's template), words around the object and
    trailing commas are tolerated.

    Raises:
        UnreadableReply: there is none.
    """
    problem = "there is no JSON object in it"
    for value in _objects(text.rpartition("</think>")[2]):
        try:
            return reply_model.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            problem = f"{'.'.join(map(str, first['loc'])) or 'reply'}: {first['msg']}"
    raise UnreadableReply(problem)


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
            except (json.JSONDecodeError, RecursionError):
                continue
            if isinstance(value, dict):
                yield value
            if candidate == text[place:]:
                end = place + length
            break
        place = text.find("{", end)
