"""The distiller: when a trajectory ends, makes lessons for others of what failed in it and what mended that."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from gems.core.ports import Lesson, Services
from gems.core.replies import LessonItem, Lessons
from gems.core.state import Attempt, GemsState, Usage
from gems.memory.view import shorten, verdict_of
from gems.nodes.asking import Node, Update, ask
from gems.nodes.compressor import PATIENCE
from gems.nodes.lessons import keep, outcomes, skills_of, told_until

DISTIL: Final = """\
You keep what an agent that makes pictures learned, for other requests. The block holds one request and, for each \
requirement that failed, the prompt it failed with and the prompt that mended it, if any did. Write at most three lessons \
that will help with other requests: `when` names the situation in general words, without this request's own things; \
`advice` says what to write in a prompt, or to avoid. Only what the evidence shows; none is a good answer."""

MOST_EVIDENCE: Final = 8
MOST_LESSONS: Final = 3


def make_distiller(services: Services) -> Node:
    """The distiller node: at most one call. Whatever goes wrong in it costs lessons, never the run."""

    async def distiller(state: GemsState) -> Update:
        if not state["options"]["lessons"]:
            return {}
        found, usage = list[Lesson](), Usage()
        told = evidence(state)
        if any(item["fixed"] for item in told):
            fields = {
                "request": state["request"],
                "image_model": {"name": state["options"]["models"]["images"]},
                "skills": skills_of(state),
                "evidence": told,
            }
            try:
                async with asyncio.timeout(PATIENCE):
                    answer = await ask(services, state, "compressor", "distil", DISTIL, fields, Lessons)
            except Exception:  # noqa: S110
                pass  # the trajectory has ended well or badly; a lesson less does not change that
            else:
                usage = answer.usage
                items = answer.reply.lessons if answer.reply else []
                found = [_lesson(state, item) for item in items[:MOST_LESSONS]]
        warnings = await keep(services, state, found, outcomes(state))
        return {"usage": usage, "warnings": warnings, "distilled": state["round"]}

    return distiller


def has_lessons(state: GemsState) -> bool:
    """Whether a trajectory taught something, or tried what others taught."""
    return state["options"]["lessons"] and bool(outcomes(state) or any(item["fixed"] for item in evidence(state)))


def evidence(state: GemsState) -> list[dict[str, Any]]:
    """For each requirement that was not met at some time: the first prompt it failed with, and the first that mended it.

    Pictures from before a follow-up were drawn for another request; what was mended in a round that was distilled is told.
    """
    judged = [it for it in state["attempts"] if "verdicts" in it and it["round"] > state["since"]]
    told = []
    for item in state["requirements"]:
        failed = next((it for it in judged if verdict_of(it, item["id"]) == "unmet"), None)
        if failed is not None:
            begin = max(failed["round"], told_until(state))
            later = [it for it in judged if it["round"] > begin]
            mended = (it for it in later if verdict_of(it, item["id"]) == "met" and it["prompt"] != failed["prompt"])
            fixed = next(mended, None)
            told.append({"kind": item["kind"], "question": item["question"], **_pair(failed, fixed, item["id"])})
    return told[:MOST_EVIDENCE]


def _pair(failed: Attempt, fixed: Attempt | None, name: str) -> dict[str, Any]:
    seen = shorten(failed["verdicts"][name]["evidence"], "evidence")
    return {"failed": {**_drawn(failed), "evidence": seen}, "fixed": _drawn(fixed) if fixed else None}


def _drawn(attempt: Attempt) -> dict[str, str]:
    return {"prompt": shorten(attempt["prompt"], "experience"), "action": attempt["action"]}


def _lesson(state: GemsState, item: LessonItem) -> Lesson:
    now = time.time()
    return Lesson(
        id="",  # the store gives one
        kind=item.kind,
        backend=state["options"]["models"]["images"],
        skills=tuple(skills_of(state)),
        when=item.when,
        advice=item.advice,
        created=now,
        updated=now,
    )
