"""Lessons of earlier trajectories, where a role is given them, and what became of those that were given."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gems.core.errors import GemsConfigError
from gems.core.ports import Lesson, LessonQuery, Services
from gems.core.state import GemsState, GivenLesson
from gems.memory.owned import current_user

LESSONS: Final = "`lessons` are what earlier requests taught: follow those that fit, pass over the others."
"""What a role is told beside its instructions where it is given lessons."""
MOST_GIVEN: Final = 3
"""Lessons that one role is given: more would crowd out the request."""

# The words of such an error name places of this machine, and the state must not.
logger: Final = logging.getLogger(__name__)


class Fitting(NamedTuple):
    """Lessons for one role: as its message shows them, and as the state keeps them."""

    fields: dict[str, Any]
    """What the message gains: nothing where no lesson fits."""
    given: list[GivenLesson]
    warnings: list[str]


async def fitting(
    services: Services, state: GemsState, text: str, kinds: Collection[str] = (), *, for_round: int
) -> Fitting:
    """The few lessons that fit. A store that cannot be read costs the lessons, never the run.

    Args:
        services: What the nodes use.
        state: The trajectory.
        text: What the role is about to work on.
        kinds: Kinds of requirement that matter; empty: all.
        for_round: The round that the role prepares.
    """
    if not state["options"]["lessons"]:
        return Fitting({}, [], [])
    query = LessonQuery(text, state["options"]["models"]["images"], frozenset(kinds), frozenset(skills_of(state)))
    try:
        store = await asyncio.to_thread(lambda: services.lessons)
        found = await store.fitting(owner_of(services), query, MOST_GIVEN)
    except GemsConfigError as error:
        logger.warning("lessons could not be read: %s", error)
        return Fitting({}, [], ["lessons could not be read; the log says why"])
    if not found:
        return Fitting({}, [], [])
    shown = [{"kind": it.kind, "when": it.when, "advice": it.advice} for it in found]
    given = [GivenLesson(id=it.id, kind=it.kind, text=it.advice, round=for_round) for it in found]
    return Fitting({"lessons": shown}, given, [])


def owner_of(services: Services) -> str:
    """Whose lessons are meant: the user that the server has recognised, else this machine's owner."""
    return current_user() or services.owner


def skills_of(state: GemsState) -> list[str]:
    """The skills in force, once the planner has chosen."""
    return sorted(state["plan"]["skills"]) if "plan" in state else []


def outcomes(state: GemsState) -> dict[str, bool]:
    """For each lesson given since the last time, whether it helped: a picture of its round meets all of its kind.

    A lesson is not in it where its round has no judged picture, or no requirement of its kind was asked.
    """
    helped: dict[str, bool] = {}
    for lesson in (it for it in state["lessons"] if it["round"] > told_until(state)):
        wanted = [item["id"] for item in state["requirements"] if item["kind"] == lesson["kind"]]
        judged = [it["verdicts"] for it in state["attempts"] if it["round"] == lesson["round"] and "verdicts" in it]
        if wanted and judged:
            met = any(all(_is_met(verdicts, name) for name in wanted) for verdicts in judged)
            helped[lesson["id"]] = helped.get(lesson["id"], False) or met
    return helped


def _is_met(verdicts: Mapping[str, Any], name: str) -> bool:
    return name in verdicts and verdicts[name]["verdict"] == "met"


def told_until(state: GemsState) -> int:
    """The last round of which lessons were made: by this trajectory, or by the one that it is a branch of."""
    branch = state.get("forked")
    shared = branch["round"] - 1 if branch else 0
    return max(state["distilled"], shared)


async def keep(
    services: Services, state: GemsState, learned: Sequence[Lesson], helped: Mapping[str, bool]
) -> list[str]:
    """Keep what was learned and what helped; answers with warnings where that failed."""
    occasion = f"{state['trajectory_id']} {state['round']}"
    try:
        store = await asyncio.to_thread(lambda: services.lessons)
        if helped:
            await store.credit(owner_of(services), helped, occasion)
        if learned:
            await store.learn(owner_of(services), learned, occasion)
    except GemsConfigError as error:
        logger.warning("lessons could not be kept: %s", error)
        return ["lessons could not be kept; the log says why"]
    return []
