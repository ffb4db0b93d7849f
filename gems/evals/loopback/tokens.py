"""How many tokens a request is, and a reply token by token. Rules of thumb, the same for all servers."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any, Final

from PIL import Image

PATCH: Final = 28
"""Pixels along the side of what is one token to Qwen-VL and its like."""
CHARACTERS: Final = 4
"""Characters of English text in a token."""
SURE: Final = 0.999
_PIECES: Final = re.compile(r"un(?=met\b)|\s*\w+|\s*[^\w\s]|\s+")
_VERDICT: Final = re.compile(r'"verdict"\s*:\s*"(\w+)"')


def text_tokens(text: str) -> int:
    """Tokens of a text."""
    return math.ceil(len(text) / CHARACTERS)


def image_tokens(content: bytes) -> int:
    """Tokens of an encoded image, by its size in pixels.

    Raises:
        ValueError: it is no image.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            return math.ceil(image.width / PATCH) * math.ceil(image.height / PATCH)
    except OSError as error:
        raise ValueError(str(error)) from error


def log_probabilities(text: str, said: Mapping[str, Any], most: int) -> list[dict[str, Any]]:
    """The text in tokens with their log-probabilities, as `choices[].logprobs.content`.

    Where a verdict begins, the probabilities are the brain's confidence and its complement; all else is nearly certain.
    `unmet` is two tokens, as with real tokenizers.
    """
    confidences = [item.get("confidence", 1.0) for item in said.get("verdicts") or [] if isinstance(item, dict)]
    # A text may give its verdicts twice: as a draft, and in the end.
    starts = dict(zip((match.start(1) for match in _VERDICT.finditer(text)), cycle(confidences), strict=False))
    tokens = []
    for match in _PIECES.finditer(text):
        piece = match.group()
        chances = _rivals(piece, starts[match.start()]) if match.start() in starts else [(piece, SURE)]
        tokens.append({**_token(*chances[0]), "top_logprobs": [_token(*chance) for chance in chances[:most]]})
    return tokens


def _rivals(piece: str, confidence: float) -> list[tuple[str, float]]:
    confidence = min(max(confidence, 0.001), SURE)
    other = {"met": "un", "un": "met"}.get(piece, "met")
    return [(piece, confidence), (other, 1 - confidence)]


def _token(text: str, chance: float) -> dict[str, Any]:
    return {"token": text, "logprob": math.log(chance), "bytes": list(text.encode())}


def message_texts(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The texts of chat messages."""
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            yield content
        for part in content if isinstance(content, list) else []:
            if part.get("type") == "text":
                yield part["text"]
