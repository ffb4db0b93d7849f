"""How sure a critic was, from the probabilities of the words it might have said instead."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final

from gems.core.ports import Token

LEAST_SEEN: Final = 0.8
"""Probability that must lie on verdicts among the alternatives told; with less, what was not told decides."""
_VERDICTS: Final = ("met", "unmet", "unknown")
_VALUE: Final = re.compile(r'"verdict"\s*:\s*"\s*')
_WORD: Final = re.compile(r'[\s":]*([a-z]+)(["\s]?)')


def verdict_beliefs(tokens: Sequence[Token]) -> list[float | None]:
    """The probability in [0, 1] of `met` against `unmet` and `unknown`, for each verdict of a reply, in order.

    The first token of a value tells: `unmet` and `unknown` may share theirs, `met` shares it with neither. Tokenizers glue
    quotes and spaces to it; they are taken off. What a model writes before `</think>` is not its reply. Reading a judge's
    answer from the probabilities of its first token is how Soft-TIFA scores (GenEval 2).

    Args:
        tokens: The reply token by token.

    Returns:
        One value for each `"verdict"` of the text; None where the alternatives do not tell.
    """
    text = "".join(token.text for token in tokens)
    ends = list(accumulate(len(token.text) for token in tokens))
    begin = text.rfind("</think>") + 1
    places = (match.end() for match in _VALUE.finditer(text, begin))
    # A text may end right behind the quote: then there is no token with a value.
    at = (next((token for token, end in zip(tokens, ends, strict=True) if end > place), None) for place in places)
    return [_belief(token.chances) if token else None for token in at]


def _belief(chances: Mapping[str, float]) -> float | None:
    met = other = 0.0
    for text, chance in chances.items():
        verdicts = _begun(text)
        if verdicts == ["met"]:
            met += chance
        elif verdicts:
            other += chance
    seen = met + other
    return met / seen if seen >= LEAST_SEEN else None


def _begun(text: str) -> list[str]:
    """The verdicts that may begin with a token."""
    word = _WORD.match(text)
    if word is None:
        return []
    # A word that is closed is whole; one that is not may go on.
    return [it for it in _VERDICTS if (it == word[1] if word[2] else it.startswith(word[1]))]
