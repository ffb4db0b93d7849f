"""The planner: chooses skills by their descriptions, reads those whole, and writes the first prompts."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from gems.core.errors import GemsConfigError
from gems.core.events import Planned, SkillRead, emit
from gems.core.ports import Services, SkillText
from gems.core.replies import FirstPrompts, SkillChoice
from gems.core.state import GemsState, Plan, Usage, add_usage
from gems.nodes.asking import Node, Update, abilities_of, ask, models_of
from gems.nodes.lessons import LESSONS, Fitting, fitting
from gems.nodes.quoted import keep_quoted, quoted_texts

CHOOSE_SKILLS: Final = """\
You plan how to draw a picture with a text-to-image model. You may first read skills: guides by experts.
The block holds the request and the skills you can read, by name and description. Choose those whose description fits \
the request, at most `most`. Choose none when the request is plain: a skill that does not fit does harm."""

WRITE_PROMPTS: Final = """\
You write prompts for a text-to-image model. The block holds the request, the skills you chose to read, and what is \
known about the image model.
Write `wanted` prompts, each able to stand alone. Keep every fact of the request: objects, counts, colours, materials, \
places, style. Apply the skills where they help. Add nothing that contradicts the request and no objects it does not \
imply. Copy each text in `quoted` letter by letter, in double quotes."""

MOST_SKILLS: Final = 3


class _Choice(NamedTuple):
    names: list[str]
    reason: str
    usage: Usage
    warnings: list[str]


class _Reading(NamedTuple):
    skills: list[SkillText]
    warnings: list[str]


class _Written(NamedTuple):
    prompts: list[str]
    usage: Usage
    warnings: list[str]


def make_planner(services: Services) -> Node:
    """The planner node: two calls at most."""

    async def planner(state: GemsState) -> Update:
        forced = state["options"]["skills"]
        if forced is None:
            choice = await _choose(services, state)
        else:
            choice = _Choice(forced, "chosen by the user", Usage(), [])
        skills, problems = await asyncio.to_thread(_read, services, choice.names)
        lessons = await fitting(services, state, state["request"]["prompt"], for_round=1)
        written = await _write(services, state, skills, lessons)
        plan = Plan(skills={it.name: it.digest for it in skills}, reason=choice.reason, prompts=written.prompts)
        read = [SkillRead(name=it.name, files=list(it.files)) for it in skills]
        emit(Planned(event="plan", skills=read, reason=choice.reason, prompts=written.prompts))
        return {
            "plan": plan,
            "usage": add_usage(choice.usage, written.usage),
            "warnings": [*choice.warnings, *problems, *lessons.warnings, *written.warnings],
            "lessons": lessons.given,
        }

    return planner


def _read(services: Services, names: list[str]) -> _Reading:
    """The skills that can be read. Those the user forced were read in intake; a chosen one that is broken is left out."""
    skills, warnings = [], []
    for name in names:
        try:
            skills.append(services.skills.read(name))
        except GemsConfigError as error:
            warnings.append(f"planner: {error}")
    return _Reading(skills, warnings)


async def _choose(services: Services, state: GemsState) -> _Choice:
    cards = await asyncio.to_thread(services.skills.cards)
    most = 1 if state["options"]["mode"] == "paper" else MOST_SKILLS
    if not cards:
        return _Choice([], "there are no skills", Usage(), [])
    fields = {"request": state["request"], "skills": [card._asdict() for card in cards], "most": most}
    answer = await ask(services, state, "planner", "choose_skills", CHOOSE_SKILLS, fields, SkillChoice)
    if answer.reply is None:
        return _Choice([], "", answer.usage, [f"planner: the reply was {answer.problem}; no skill is used"])
    known = {card.name for card in cards}
    names = list(dict.fromkeys(answer.reply.skills))
    warnings = [f"planner: there is no skill {name!r}" for name in names if name not in known]
    return _Choice([name for name in names if name in known][:most], answer.reply.reason, answer.usage, warnings)


async def _write(services: Services, state: GemsState, skills: list[SkillText], lessons: Fitting) -> _Written:
    prompt = state["request"]["prompt"]
    quoted = quoted_texts(prompt)
    images = (await models_of(services, state)).images
    fields = {
        "request": state["request"],
        "skills": [{"name": skill.name, "instructions": skill.instructions} for skill in skills],
        "wanted": state["options"]["candidates"],
        "quoted": quoted,
        "image_model": {"name": images.name, "notes": (await abilities_of(images)).notes},
    }
    fields |= lessons.fields
    notes = [LESSONS] if lessons.fields else []
    answer = await ask(services, state, "planner", "write_prompts", WRITE_PROMPTS, fields, FirstPrompts, notes=notes)
    if answer.reply is None:
        warning = f"planner: the reply was {answer.problem}; the request itself is the first prompt"
        return _Written([prompt], answer.usage, [warning])
    return _Written([keep_quoted(text, quoted) for text in answer.reply.prompts], answer.usage, [])
