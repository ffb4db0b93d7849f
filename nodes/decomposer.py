"""The decomposer: breaks the request into yes/no questions. It reads the request alone, never the planner's prompt."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from gems.core.events import RequirementsSet, emit
from gems.core.ports import Services
from gems.core.replies import RequirementItem, Requirements
from gems.core.state import GemsState, Requirement
from gems.nodes.asking import Node, Update, ask

DECOMPOSE: Final = """\
You break a request for a picture into requirements that a critic, who sees only the picture, can check one by one.
Each requirement is one question that is answered yes when the picture is right. Ask about one fact a question: an \
object's presence, its exact count, one colour or material, one place relative to something, one written text, the \
style. Cover every fact of the request, and nothing it does not say.
A question about a property, count or place of an object depends on the question whether that object is there: name \
those ids in `depends_on`. Kinds: object, attribute, count, spatial, text, style, other."""

MOST: Final = 40
"""Requirements kept; a longer list is a model that repeats itself."""
LONGEST: Final = 400
"""Characters of one question."""


def make_decomposer(services: Services) -> Node:
    """The decomposer node: one call."""

    async def decomposer(state: GemsState) -> Update:
        fields = {"request": state["request"]}
        answer = await ask(services, state, "decomposer", "decompose", DECOMPOSE, fields, Requirements)
        if answer.reply is None:
            requirements = [_whole(state["request"]["prompt"])]
            warnings = [f"decomposer: the reply was {answer.problem}; the request is checked as one requirement"]
        else:
            requirements, warnings = change_requirements([], [], answer.reply.requirements), []
        emit(RequirementsSet(event="requirements", requirements=requirements))
        return {"requirements": requirements, "usage": answer.usage, "warnings": warnings}

    return decomposer


def _whole(prompt: str) -> Requirement:
    question = f"Does the picture show all of this: {prompt[:LONGEST]}?"
    return Requirement(id="r1", question=question, kind="other", depends_on=[])


def free_number(requirements: Sequence[Requirement]) -> int:
    """The first number that no requirement has: an id means one question for the whole trajectory."""
    numbers = (re.search(r"\d+", item["id"]) for item in requirements)
    return 1 + max((int(number[0]) for number in numbers if number), default=0)


def change_requirements(
    requirements: Sequence[Requirement], drop: Collection[str], items: Sequence[RequirementItem]
) -> list[Requirement]:
    """The requirements without those dropped, and with the items behind them, their ids made r1, r2, ...

    Repeated questions, and dependencies that lead nowhere or in circles, are left out.
    """
    first = free_number(requirements)
    stay = {item["id"] for item in requirements}.difference(drop)
    kept: list[Requirement] = [
        {**item, "depends_on": [name for name in item["depends_on"] if name in stay]}
        for item in requirements
        if item["id"] in stay
    ]
    return _tidy(kept, items, first)


def _tidy(kept: Sequence[Requirement], items: Sequence[RequirementItem], first: int) -> list[Requirement]:
    requirements = {item["question"].casefold(): item for item in kept}
    names = {item["id"]: item["id"] for item in kept}
    for item in items:
        question = item.question[:LONGEST]
        if question.casefold() not in requirements:
            if len(requirements) == MOST:
                break
            # Only what came before can be depended on: no circles, and the critic can go through the list in order.
            parents = [names[parent] for parent in dict.fromkeys(item.depends_on) if parent in names]
            name = f"r{first + len(requirements) - len(kept)}"
            requirements[question.casefold()] = Requirement(
                id=name, question=question, kind=item.kind, depends_on=parents
            )
        names[item.id] = requirements[question.casefold()]["id"]
    return list(requirements.values())
