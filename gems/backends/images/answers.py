"""Answers of the Images API: the picture in them, and what it cost."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from gems.backends.cleaning import clean
from gems.backends.images.faults import read_reply, sort_reply
from gems.backends.images.picture import check_picture
from gems.core.errors import GemsError, ModelOutage
from gems.core.profiles import Endpoint, Price

Fetch = Callable[[str], Awaitable[bytes]]


class Answer(NamedTuple):
    """An answer with status 200."""

    content_type: str
    body: bytes


class Picture(NamedTuple):
    """A picture's checked bytes, its price in the currency of the price table, and what was lost on the way."""

    content: bytes
    cost: float
    warnings: tuple[str, ...] = ()


async def read_picture(endpoint: Endpoint, answer: Answer, fetch: Fetch) -> Picture:
    """The picture of an answer, wherever the server has put it.

    Args:
        endpoint: Who answered.
        answer: What came.
        fetch: Gets the picture at an address that the server names.

    Raises:
        ModelOutage: there is no picture in it. It may have been paid for.
        DrawingRefused: it says that the prompt was not allowed.
    """
    if answer.content_type.startswith("image/"):
        return Picture(await asyncio.to_thread(check_picture, answer.body, endpoint.name), _cost(endpoint.price, None))
    try:
        content = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise _without(endpoint, f"with {answer.content_type or 'something'} that is neither image nor JSON") from None
    if not isinstance(content, dict):
        raise _without(endpoint, "with JSON that is no answer")
    entries = content.get("data")
    entry = entries[0] if isinstance(entries, list) and entries and isinstance(entries[0], dict) else {}
    if encoded := entry.get("b64_json"):
        picture = await asyncio.to_thread(_decoded, endpoint, encoded)
    elif url := entry.get("url"):
        picture = _inline(endpoint, str(url)) if str(url).startswith("data:") else await fetch(str(url))
    else:
        raise _told(endpoint, answer.body)
    await asyncio.to_thread(check_picture, picture, endpoint.name)
    lost = entry.get("warnings")
    warnings = tuple(clean(str(it), endpoint.api_key) for it in lost) if isinstance(lost, list) else ()
    return Picture(picture, _cost(endpoint.price, content.get("usage")), warnings)


def _decoded(endpoint: Endpoint, encoded: Any) -> bytes:
    text = str(encoded)
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:  # binascii.Error, or a character that is not ASCII
        raise _without(endpoint, "with base64 that cannot be decoded") from None


def _inline(endpoint: Endpoint, url: str) -> bytes:
    """The content of a data: URL (RFC 2397)."""
    head, _, content = url.partition(",")
    return _decoded(endpoint, content) if head.endswith(";base64") else unquote_to_bytes(content)


def _told(endpoint: Endpoint, body: bytes) -> GemsError:
    """An answer of success that carries an error, or nothing."""
    reply = read_reply(200, body.decode("utf-8", "replace"), {})
    if reply.refuses_prompt:
        return sort_reply(endpoint, reply)
    said = clean(reply.words, endpoint.api_key)
    return _without(endpoint, f"with an error in place of an image: {said}" if said else "without an image")


def _without(endpoint: Endpoint, what: str) -> ModelOutage:
    return ModelOutage(f"{endpoint.name} answered {what}", again="paid")


def _cost(price: Price | None, usage: Any) -> float:
    """By tokens where both the server and the price table tell of them (OpenAI's names, or SGLang's), else by the image."""
    if price is None:
        return 0.0
    told = usage if isinstance(usage, dict) else {}
    read = _first_number(told, "input_tokens", "prompt_tokens")
    written = _first_number(told, "output_tokens", "completion_tokens")
    if written is None or not (price.input or price.output):
        return price.image
    return (price.input * (read or 0) + price.output * written) / 1_000_000


def _first_number(told: dict[str, Any], *names: str) -> float | None:
    values = (told.get(name) for name in names)
    return next((value for value in values if isinstance(value, int | float) and value >= 0), None)
