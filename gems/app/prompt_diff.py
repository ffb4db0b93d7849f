"""What changed between two prompts, word by word."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final, Literal, NamedTuple

_TOKEN: Final = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")
_MOST: Final = 4000
"""Tokens beyond which the comparison, whose time grows with their product, is not made."""


class Piece(NamedTuple):
    """A stretch of text that both prompts have, or only one."""

    kind: Literal["same", "added", "removed"]
    text: str


def compare_prompts(before: str | None, after: str) -> list[Piece]:
    """The pieces in reading order; a first prompt, or one too long to compare, is all `same`."""
    old, new = _TOKEN.findall(before or ""), _TOKEN.findall(after)
    if before is None or len(old) + len(new) > _MOST:
        return [Piece("same", after)]
    pieces: list[Piece] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            pieces += _piece("same", new[j1:j2])
        else:
            pieces += [*_piece("removed", old[i1:i2]), *_piece("added", new[j1:j2])]
    return pieces


def _piece(kind: Literal["same", "added", "removed"], tokens: Sequence[str]) -> list[Piece]:
    return [Piece(kind, "".join(tokens))] if tokens else []
