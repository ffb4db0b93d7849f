"""What becomes of a new lesson: added, merged with one that says the same, or settled with those that contradict it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from gems.core.intervals import share
from gems.core.ports import Lesson
from gems.memory.lesson_choice import TRIED, best_first, faded
from gems.memory.likeness import Likeness, opposed

PROVEN: Final = 0.5
"""A lesson whose rate of success surely is at least this gives way to no other."""


class Kept(NamedTuple):
    """A lesson of the store."""

    lesson: Lesson
    by_hand: bool = False
    """A person has written its words: they stay as they are, and the lesson gives way to no other."""


def settle(known: Sequence[Kept], new: Lesson, likeness: Likeness) -> list[Kept]:
    """The known lessons after a new one has come.

    Lessons of one kind and backend, whose situations and advice are much alike, are about the same matter.
    - One that says the same gains the new one's support. Words that were tried or written by hand stay, because the counts
      are theirs; else the shorter advice is kept.
    - One that contradicts loses as much support as the new one has: each trajectory is a vote, and so the side with more of
      them wins in the end (the majority vote of Boyer and Moore 1981). At none it is gone. Counts of uses speak louder than
      votes: one that has faded is gone at once, and one that is `PROVEN` loses nothing.
    - If none says the same, and all that contradicted it are gone, the new one is added, with no uses.

    Args:
        known: All of an owner's.
        new: The new one, with an id that none of them has.
        likeness: Compares them.
    """
    out = faded([it.lesson for it in known])
    after: list[Kept] = []
    rivals = same = False
    for it in known:
        if not likeness.about_the_same(it.lesson, new):
            after.append(it)
        elif not opposed(it.lesson.advice, new.advice):
            after.append(it if same else _merged(it, new))
            same = True
        elif it.by_hand or _is_proven(it.lesson):
            after.append(it)
            rivals = True
        elif it.lesson.id not in out and it.lesson.support > new.support:
            after.append(Kept(replace(it.lesson, support=it.lesson.support - new.support)))
            rivals = True
    return after if same or rivals else [*after, Kept(new)]


def within(known: Sequence[Kept], most: int) -> list[Kept]:
    """At most so many; the least useful are left out, those written by hand last."""
    by_id = {it.lesson.id: it for it in known}
    ranked = [by_id[lesson.id] for lesson in best_first([it.lesson for it in known])]
    return sorted(ranked, key=lambda it: not it.by_hand)[:most]


def _merged(it: Kept, new: Lesson) -> Kept:
    lesson = replace(
        it.lesson,
        support=it.lesson.support + new.support,
        skills=tuple(sorted({*it.lesson.skills, *new.skills})),
        updated=max(it.lesson.updated, new.updated),
    )
    if not (it.by_hand or lesson.uses) and len(new.advice) < len(lesson.advice):
        lesson = replace(lesson, when=new.when, advice=new.advice)
    return Kept(lesson, it.by_hand)


def _is_proven(lesson: Lesson) -> bool:
    return lesson.uses >= TRIED and share(lesson.successes, lesson.uses).low >= PROVEN
