"""Which lessons are like a text, and which are about the same matter as one another.

The thresholds are cosines of `StaticEmbedding`; `python -m gems.evals.recall` measures what they let through.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gems.core.ports import Lesson
from gems.memory.embedding import TextEmbedding
from gems.memory.situations import situations_in

FLOOR: Final = 0.25
"""A lesson less like a query than this does not fit it."""
SAME_WHEN: Final = 0.4
"""Situations at least so alike are the same, unless their words give different ones away."""
SAME_ADVICE: Final = 0.75
"""Advice at least so alike is the same advice, or its opposite."""
_SITUATION_WEIGHT: Final = 0.25

_SENTENCE: Final = re.compile(r"(?<=[.?!;])\s+|\n+")
_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_NEGATIONS: Final = frozenset({"no", "not", "never", "without", "avoid", "nothing", "don't", "don’t", "omit"})
_OPPOSITES: Final = tuple(
    frozenset(pair.split())
    for pair in (
        "more less", "more fewer", "short long", "shorter longer", "first last", "before after", "high low",
        "higher lower", "large small", "larger smaller", "big small", "bigger smaller", "near far", "close far",
        "above below", "top bottom", "left right", "bright dark", "add remove", "always never", "beginning end",
        "single several", "digits words", "digit word", "simple detailed", "wide close",
    )
)  # fmt: skip


def whole(lesson: Lesson) -> str:
    """What a lesson is found by."""
    return f"{lesson.when}: {lesson.advice}"


def opposed(one: str, other: str) -> bool:
    """Whether one advice forbids what the other says: just one of them negates, or they differ in a pair of opposites.

    Vectors do not tell: "use a low camera" and "use a high camera" are as alike as two wordings of one thing.
    """
    first, second = (frozenset(_WORD.findall(text.lower())) for text in (one, other))
    only_first, only_second = first - second, second - first
    if bool(only_first & _NEGATIONS) != bool(only_second & _NEGATIONS):
        return True
    return any(len(pair & only_first) == len(pair & only_second) == 1 for pair in _OPPOSITES)


class Likeness:
    """Compares lessons by an embedding."""

    def __init__(self, embedding: TextEmbedding) -> None:
        self._embedding = embedding

    def to_text(self, lessons: Sequence[Lesson], text: str) -> list[float]:
        """For each lesson its likeness to the text, or to the one sentence of it that is most like it.

        Questions that failed in one round have nothing to do with each other: together they would be like nothing. A
        quarter of the likeness of the lesson's situation to those that the words give away comes on top: see
        `situations_in`.
        """
        if not lessons:
            return []
        parts = self._embedding.vectors([text, *(part for part in _SENTENCE.split(text) if part.strip())])
        likeness = (parts @ self._embedding.vectors([whole(lesson) for lesson in lessons]).T).max(axis=0)
        if situations := situations_in(text):
            hints = self._embedding.vectors(situations) @ self._embedding.vectors([it.when for it in lessons]).T
            likeness = likeness + _SITUATION_WEIGHT * hints.max(axis=0).clip(min=0)
        return [float(it) for it in likeness]

    def about_the_same(self, one: Lesson, other: Lesson) -> bool:
        """Whether two lessons are about the same matter: they say the same, or they are `opposed`."""
        return (
            (one.kind, one.backend) == (other.kind, other.backend)
            and situations_in(one.when) == situations_in(other.when)
            and self._cosine(one.when, other.when) >= SAME_WHEN
            and self._cosine(one.advice, other.advice) >= SAME_ADVICE
        )

    def same_advice(self, one: Lesson, other: Lesson) -> bool:
        """Whether two lessons advise the same or its opposite, whatever their situations: none gains by both."""
        return self._cosine(one.advice, other.advice) >= SAME_ADVICE

    def _cosine(self, one: str, other: str) -> float:
        # Equal texts are the same even where the embedding makes nothing of them.
        if one == other:
            return 1.0
        first, second = self._embedding.vectors([one, other])
        return float(first @ second)
