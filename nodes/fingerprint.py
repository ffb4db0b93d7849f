"""What a trajectory is made with, in digests: so that one that goes on later can tell what has changed since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from gems.core.errors import GemsConfigError
from gems.core.ports import Models, Services

_WORDS: Final[Mapping[str, str]] = {
    "mllm": "the chat model",
    "images": "the image model",
    "drawing": "the settings of the image model",
    "prompts": "the role instructions in GEMS_PROMPTS",
}


def made_with(services: Services, models: Models) -> dict[str, str]:
    """Names of the models, and digests of what else decides their answers. This may block."""
    return {
        **models.names,
        "drawing": _digest(dict(models.images.identity)),
        "prompts": _digest(dict(services.prompts)),
    }


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is other than before, each in words; empty when nothing is. What was not noted before is passed over."""
    told = []
    for name, words in _WORDS.items():
        if name in before and before[name] != now[name]:
            named = name in ("mllm", "images")
            told.append(f"{words} was {before[name]} and is {now[name]}" if named else f"{words} changed")
    return told


def check_unchanged(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse to go on with other settings than those the trajectory was begun with.

    Raises:
        GemsConfigError: something changed.
    """
    if told := changes(before, now):
        raise GemsConfigError(
            f"since this run began, {'; '.join(told)}: set it back, or go on all the same with accept_changes "
            "(--accept-changes)"
        )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]
