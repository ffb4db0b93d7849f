"""From a model's text to a reply: JSON wherever it stands, validated, never guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

from gems.core.ports import R

_THINKING: Final = re.compile(r"<think>.*?</think>", re.DOTALL)
_TRAILING_COMMA: Final = re.compile(r",(\s*[}\]])")


class UnreadableReply(ValueError):
    """The text holds no JSON that fits the reply model; the message says what is wrong with it."""


def parse_reply(text: str, reply_model: type[R]) -> R:
    """The first JSON object in the text that fits the model.

    Fences, thinking in `<think>` tags, words around the object and trailing commas are tolerated.

    Raises:
        UnreadableReply: there is none.
    """
    problem = "there is no JSON object in it"
    for value in _objects(_THINKING.sub("", text)):
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
    while place >= 0:
        end = place + 1
        for candidate in (text[place:], _TRAILING_COMMA.sub(r"\1", text[place:])):
            try:
                value, length = decoder.raw_decode(candidate)
            except json.JSONDecodeError:
                continue
            if isinstance(value, dict):
                yield value
            if candidate == text[place:]:
                end = place + length
            break
        place = text.find("{", end)
