"""Which lessons are given: what is useful, what has faded, and what fits a query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from gems.core.intervals import share
from gems.core.ports import Lesson, LessonQuery
from gems.memory.likeness import FLOOR, Likeness

TRIED: Final = 5
"""Uses below which nothing is concluded."""
ALONE: Final = 0.2
"""The rate of success that a lesson must be able to reach where too few others of its kind were tried."""
_SKILL_BONUS: Final = 1.05


def usefulness(lesson: Lesson) -> float:
    """How likely a lesson helps, in (0, 1): its rate of success by Laplace's rule of succession; 0.5 before any use."""
    return (lesson.successes + 1) / (lesson.uses + 2)


def faded(lessons: Sequence[Lesson]) -> frozenset[str]:
    """Ids of the lessons that are no longer given, because they help less than others do.

    A lesson fades when it has been used `TRIED` times and the upper end of the 95% Wilson interval of its rate of success
    lies below the rate of the owner's other lessons of its kind, taken together; where those were used less than `TRIED`
    times, below `ALONE`. Rates compare within a kind only, since kinds differ in how hard they are. The rule looks at counts
    alone: nothing is marked, and a lesson comes back when the others turn out to do no better.

    Args:
        lessons: All of an owner's, or all of some kinds.
    """
    uses, successes = Counter[str](), Counter[str]()
    for lesson in lessons:
        uses[lesson.kind] += lesson.uses
        successes[lesson.kind] += lesson.successes

    def wanted(lesson: Lesson) -> float:
        others = uses[lesson.kind] - lesson.uses
        return (successes[lesson.kind] - lesson.successes) / others if others >= TRIED else ALONE

    return frozenset(
        lesson.id
        for lesson in lessons
        if lesson.uses >= TRIED and share(lesson.successes, lesson.uses).high < wanted(lesson)
    )


def best_first(lessons: Sequence[Lesson]) -> list[Lesson]:
    """Faded ones last; else the most useful first, then the best supported, then the newest."""
    out = faded(lessons)
    return sorted(lessons, key=lambda it: (it.id in out, -usefulness(it), -it.support, -it.updated, it.id))


def choose(lessons: Sequence[Lesson], query: LessonQuery, most: int, likeness: Likeness) -> list[Lesson]:
    """The lessons to give, the best first: none that does not fit or has faded, and of one advice only the best.

    Those learned on the query's backend come before those of others. Within each they go by likeness, which counts up to a
    quarter more or less by usefulness, and a twentieth more where a skill is shared.

    Args:
        lessons: All of the owner's, or all of the kinds that matter.
        query: What a role is about to work on.
        most: Most lessons to give.
        likeness: Compares them.
    """
    out = faded(lessons)
    ranked = []
    for lesson, cosine in zip(lessons, likeness.to_text(lessons, query.text), strict=True):
        if cosine >= FLOOR and lesson.id not in out:
            bonus = _SKILL_BONUS if query.skills.intersection(lesson.skills) else 1.0
            weight = cosine * (0.75 + usefulness(lesson) / 2) * bonus
            ranked.append((lesson.backend != query.backend, -weight, lesson.id, lesson))
    chosen: list[Lesson] = []
    for *_, lesson in sorted(ranked, key=lambda it: it[:3]):
        if len(chosen) >= most:
            break
        if not any(likeness.same_advice(lesson, other) for other in chosen):
            chosen.append(lesson)
    return chosen
