"""The brief joins the plan and the requirements, and proposes the first round."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from gems.core.answers import PlanAnswer, plan_answer
from gems.core.events import RequirementsSet, RoundBegan, emit
from gems.core.ports import Services
from gems.core.replies import RequirementItem
from gems.core.state import GemsState, Proposal, Remark
from gems.nodes.amender import AMEND
from gems.nodes.asking import Node, Update, version
from gems.nodes.compressor import COMPRESS
from gems.nodes.critic import JUDGE
from gems.nodes.decomposer import DECOMPOSE, change_requirements
from gems.nodes.distiller import DISTIL
from gems.nodes.person import ask_person, asked_no_more
from gems.nodes.planner import CHOOSE_SKILLS, WRITE_PROMPTS
from gems.nodes.proposing import room_for, seed_of
from gems.nodes.quoted import keep_quoted, quoted_texts
from gems.nodes.refiner import REFINE
from gems.nodes.review import COMPARE


def make_brief(services: Services) -> Node:
    """The brief node: no calls. A person may be asked whether the plan is what was meant."""

    async def brief(state: GemsState) -> Update:
        update: Update = {}
        if state["options"]["review"] != "none":
            form = plan_answer([item["id"] for item in state["requirements"]])
            update = _reviewed(state, ask_person(_question(state), form))
            emit(RequirementsSet(event="requirements", requirements=update["requirements"]))
        versions = await asyncio.to_thread(prompt_versions, services)
        if update.get("stop_reason"):
            return update | {"versions": versions}
        merged: GemsState = {**state, **update}  # type: ignore[typeddict-item]
        proposals = _first_round(merged)
        emit(RoundBegan(event="round", round=1, attempts=[proposal["id"] for proposal in proposals]))
        return update | {"round": 1, "proposals": proposals, "versions": versions}

    return brief


def _question(state: GemsState) -> dict[str, Any]:
    return {
        "kind": "plan",
        "request": state["request"]["prompt"],
        "skills": list(state["plan"]["skills"]),
        "reason": state["plan"]["reason"],
        "prompts": state["plan"]["prompts"],
        "requirements": state["requirements"],
    }


def _reviewed(state: GemsState, answer: PlanAnswer) -> Update:
    quoted = quoted_texts(state["request"]["prompt"])
    prompts = [keep_quoted(prompt, quoted) for prompt in answer.prompts] or state["plan"]["prompts"]
    remarks = [*state["remarks"], Remark(round=0, text=answer.feedback)] if answer.feedback else state["remarks"]
    return {
        "plan": {**state["plan"], "prompts": prompts},
        "requirements": change_requirements(state["requirements"], answer.drop, _questions(answer.add)),
        "remarks": remarks,
        "options": asked_no_more(state["options"], answer),
        "stop_reason": "stopped" if answer.action == "stop" else None,
    }


def _questions(texts: Sequence[str]) -> list[RequirementItem]:
    return [RequirementItem(id=f"n{number}", question=text, kind="other") for number, text in enumerate(texts, start=1)]


def prompt_versions(services: Services) -> dict[str, str]:
    """Each task with a digest of its instructions, so that a trajectory says what it was made with."""
    built_in = (
        version(services, "choose_skills", CHOOSE_SKILLS),
        version(services, "write_prompts", WRITE_PROMPTS),
        version(services, "decompose", DECOMPOSE),
        version(services, "amend", AMEND),
        version(services, "judge", JUDGE),
        version(services, "compare", COMPARE),
        version(services, "refine", REFINE),
        version(services, "compress", COMPRESS),
        version(services, "distil", DISTIL),
    )
    return {task: digest for entry in built_in for task, digest in entry.items()}


def _first_round(state: GemsState) -> list[Proposal]:
    options, prompts = state["options"], state["plan"]["prompts"]
    return [
        Proposal(
            id=f"1.{number + 1}",
            round=1,
            action="rewrite",
            prompt=prompts[number % len(prompts)],
            seed=seed_of(options, number),
            parent=None,
        )
        for number in range(room_for(options, state["usage"]))
    ]
