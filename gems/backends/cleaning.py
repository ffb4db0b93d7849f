"""A server's own words, made fit to be shown: without keys, on one line, cut short."""

from __future__ import annotations

import re
from typing import Final

from pydantic import SecretStr

MOST_WORDS: Final = 300
"""Characters of a server's own words that are passed on."""

_KEY_LIKE: Final = re.compile(
    r"\b(?:sk|pk|rk|hf|xai|gsk|ghp|nvapi|key)[-_][\w*.-]{6,}|\bAIza[\w-]{10,}|\bBearer\s+\S+|(?<=://)[^\s/@]+@",
    re.IGNORECASE,
)


def clean(words: str, key: SecretStr | None = None) -> str:
    """The words on one line, cut short, without the key or what looks like one."""
    secret = key.get_secret_value() if key else ""
    if secret:
        words = words.replace(secret, "***")
    words = " ".join(_KEY_LIKE.sub("***", words).split())
    words = "".join(character for character in words if character.isprintable())
    return words if len(words) <= MOST_WORDS else f"{words[: MOST_WORDS - 3]}..."


def clause(words: str) -> str:
    """A server's sentence as the end or the middle of one of ours."""
    return words if words.endswith("...") else words.rstrip(" .;:,")
