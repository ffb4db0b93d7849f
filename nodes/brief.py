"""The brief joins the plan and the requirements, and proposes the first round."""

from __future__ import annotations

import asyncio

from gems.core.events import emit
from gems.core.ports import Services
from gems.core.state import GemsState, Proposal
from gems.nodes.asking import Node, Update, version
from gems.nodes.compressor import COMPRESS
from gems.nodes.critic import JUDGE
from gems.nodes.decomposer import DECOMPOSE
from gems.nodes.planner import CHOOSE_SKILLS, WRITE_PROMPTS
from gems.nodes.proposing import room_for, seed_of
from gems.nodes.refiner import REFINE
from gems.nodes.review import COMPARE


def make_brief(services: Services) -> Node:
    """The brief node: no calls."""

    async def brief(state: GemsState) -> Update:
        emit("round", round=1)
        versions = await asyncio.to_thread(prompt_versions, services)
        return {"round": 1, "proposals": _first_round(state), "versions": versions}

    return brief


def prompt_versions(services: Services) -> dict[str, str]:
    """Each task with a digest of its instructions, so that a trajectory says what it was made with."""
    built_in = (
        version(services, "choose_skills", CHOOSE_SKILLS),
        version(services, "write_prompts", WRITE_PROMPTS),
        version(services, "decompose", DECOMPOSE),
        version(services, "judge", JUDGE),
        version(services, "compare", COMPARE),
        version(services, "refine", REFINE),
        version(services, "compress", COMPRESS),
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
