"""The check of a prompt before anything is spent: what the embedded engine cannot draw is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.scene import SceneSpec
from gems.backends.sketch.vocabulary import LETTERS, MAX_LETTERS, MAX_OBJECTS, OBJECTS
from gems.core.errors import OutOfVocabulary

REMEDY: Final = (
    "For anything else use real models: `gems init` finds what this machine has and sets them up, or set GEMS_MLLM and "
    "GEMS_IMAGES, each as `provider:model`; `gems doctor` checks them."
)
_SHOWN: Final = 12
"""Words named in a message."""
_LONGEST_SHOWN: Final = 40
_QUIET: Final = frozenset(
    {"large", "medium", "small", "first", "second", "third", "fourth", "fifth", "next", "upper", "lower", "close",
     "together", "close together", "group"}
)  # fmt: skip
"""Words of the engine's own explicit prompts, of which no warning is given."""


def check_prompt(prompt: str) -> list[str]:
    """Warnings about words that have no effect.

    Raises:
        OutOfVocabulary: the prompt names a thing that cannot be drawn, nothing that can, too many things, or text that
            does not fit the sign, or it leaves a choice or says what not to draw.
    """
    reading = read_prompt(prompt)
    problem = (
        _unknown(reading.unknown)
        or _unfollowed(reading.unfollowed)
        or _nothing(reading.spec)
        or _too_many(reading.spec)
        or _signs(reading.spec)
    )
    if problem:
        raise OutOfVocabulary(f"{problem} {REMEDY}")
    ignored = [word for word in reading.ignored if word not in _QUIET]
    return [f"The embedded engine takes no notice of {_listed(ignored)}."] if ignored else []


def _listed(words: Sequence[str]) -> str:
    shown = [repr(word if len(word) <= _LONGEST_SHOWN else word[:_LONGEST_SHOWN] + "…") for word in words[:_SHOWN]]
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(shown) + more


def _unknown(words: Sequence[str]) -> str:
    return f"The embedded engine cannot draw {_listed(words)}." if words else ""


def _unfollowed(words: Sequence[str]) -> str:
    if not words:
        return ""
    return (
        f"The embedded engine cannot follow {_listed(words)}: ask for one exact scene, by what is in it, how many of each "
        "and where."
    )


def _nothing(spec: SceneSpec) -> str:
    if any(group.count != 0 for group in spec.groups):
        return ""
    examples = 'a cat, a red apple, three dogs, a sign that says "OPEN"'
    return f"The prompt names nothing that the embedded engine can draw ({len(OBJECTS)} things, such as {examples})."


def _too_many(spec: SceneSpec) -> str:
    asked = sum(1 if group.count is None else group.count for group in spec.groups)
    if asked <= MAX_OBJECTS:
        return ""
    return f"The prompt asks for {asked} things, and the embedded engine draws at most {MAX_OBJECTS}."


def _signs(spec: SceneSpec) -> str:
    texts = [group.text for group in spec.groups if group.text]
    if len(texts) > 1:
        return f"The embedded engine letters one sign a picture, not {len(texts)}: {_listed(texts)}."
    for text in texts:
        strange = sorted({letter for letter in text if letter.upper() not in LETTERS})
        if strange:
            return f"The embedded engine letters A-Z, 0-9 and spaces only, not {_listed(strange)} in {_listed([text])}."
        if len(text) > MAX_LETTERS:
            return f"The text {_listed([text])} has {len(text)} characters, and the sign holds {MAX_LETTERS}."
    return ""
