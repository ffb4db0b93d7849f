"""What a trace may say: artifact ids in place of images, and no keys, no signed addresses, no paths of this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from gems.core.messages import artifacts_of

HIDDEN: Final = "***"
_LEAST: Final = 8
"""Characters of a secret: a shorter one would be found in innocent words."""

_NAMES: Final = re.compile(r"(?:\b|_)(?:KEYS?|TOKENS?|SECRET|PASSWORD|AUTHORIZATION|COOKIE)$", re.IGNORECASE)
"""How variables, headers and fields end that hold what nobody else may know."""
_IMAGE: Final = re.compile(r"data:image/[\w.+-]+(?:;[\w=.-]+)*,[\w+/=%-]*", re.IGNORECASE)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{512,}={0,2}")
"""No word is that long; an image that lost its `data:` is."""
_KEY_LIKE: Final = re.compile(
    r"\b(?:sk|pk|rk|hf|xai|gsk|ghp|nvapi|lsv2)[-_](?=[\w*.-]*\d)[\w*.-]{6,}|\bAIza[\w-]{10,}"
    r"|\b[Bb]earer\s+(?=\S*\d)\S{8,}|(?<=://)[^\s/@]+@|(?<=[?&]key=)[^\s&)\"']+"
)
_PATH: Final = re.compile(r"(?<![\w/:.])(?:/[\w.@+~-]+){2,}/?|\b[A-Za-z]:\\[^\s'\":*?<>|]+|(?<=\bfile://)\S+")
_IMAGE_TYPES: Final = frozenset({"image", "image_url", "input_image", "media"})


class Cleaner:
    """Makes values fit for a trace. What it is given stays as it is."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Know these secrets besides what looks like one."""
        # The longest first: one may be a part of another.
        self._secrets = sorted({secret for secret in secrets if len(secret) >= _LEAST}, key=len, reverse=True)

    def value(self, value: Any) -> Any:
        """A value as JSON in which no string tells an image or a secret."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {name: self._named(name, part) for name, part in value.items()}
        if isinstance(value, list | tuple | set):
            return [self.value(part) for part in value]
        if isinstance(value, BaseMessage):
            return _told(value, self)
        if isinstance(value, BaseModel):
            return self.value(value.model_dump())
        return "(bytes)" if isinstance(value, bytes | bytearray | memoryview) else self.text(repr(value))

    def text(self, text: str) -> str:
        """A string without images and secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        text = _IMAGE.sub("(image)", text)
        return _KEY_LIKE.sub(HIDDEN, _BASE64.sub("(data)", text))

    def error(self, error: BaseException | str) -> str:
        """What an exception says, on its own: a traceback names files of this machine, and its causes repeat requests."""
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        return _PATH.sub("(path)", self.text(text))

    def _named(self, name: object, value: Any) -> Any:
        if isinstance(name, str) and isinstance(value, str) and value and _NAMES.search(name):
            return HIDDEN
        return self.value(value)


def secrets_in(environ: Mapping[str, str] | None = None) -> list[str]:
    """What variables hold whose names say that it is secret; of a list such as GEMS_TOKENS, each part.

    Args:
        environ: The environment; default `os.environ`.
    """
    held = [value for name, value in (os.environ if environ is None else environ).items() if _NAMES.search(name)]
    parts = [part.strip() for value in held for part in value.split(",")]
    return [*held, *parts, *(token for part in parts for _, colon, token in [part.partition(":")] if colon)]


def told_messages(messages: Sequence[BaseMessage], cleaner: Cleaner) -> list[BaseMessage]:
    """Messages as a trace tells them: each image is named by its artifact."""
    return [_told(message, cleaner) for message in messages]


def _told(message: BaseMessage, cleaner: Cleaner) -> BaseMessage:
    ids = iter(artifacts_of(message))
    content = message.content
    if isinstance(content, list):
        content = [_image(next(ids, "")) if _is_image(part) else cleaner.value(part) for part in content]
    else:
        content = cleaner.text(content)
    metadata = {name: part for name, part in message.response_metadata.items() if name != "logprobs"}
    told = {
        "content": content,
        "additional_kwargs": cleaner.value(message.additional_kwargs),
        "response_metadata": cleaner.value(metadata),
    }
    return message.model_copy(update=told)


def _is_image(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in _IMAGE_TYPES


def _image(artifact: str) -> dict[str, str]:
    return {"type": "text", "text": f"(gems artifact {artifact})" if artifact else "(image)"}
