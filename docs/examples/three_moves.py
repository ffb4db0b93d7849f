"""Another loop in GEMS' house: every round tries three moves at once, and the best picture wins.

A rewrite follows the critic's complaints, a resample gives the best prompt another seed, and an edit mends the best picture.
Only the refiner is replaced; planning, drawing, judging, selection, memory and resuming stay as they are.

Run it: `python docs/examples/three_moves.py`. Models are scripted, since the embedded engine cannot edit.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.ports import Services
from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings
from gems.core.state import ActionName, Attempt, GemsState, Proposal
from gems.graph import GemsGraph, OwnServices, build_graph
from gems.memory.view import find_attempt
from gems.nodes.proposing import seed_of


async def three_moves(state: GemsState) -> dict[str, Any]:
    """The refiner's place: three proposals from the verdicts alone, without a call."""
    best = find_attempt(state["attempts"], state["best"])
    if best is None:
        raise RuntimeError("no picture was drawn yet")
    complaints = "; ".join(unmet(state, best))
    moves: list[tuple[ActionName, str]] = [
        ("rewrite", f"{state['request']['prompt']}. Make sure of this: {complaints}"),
        ("resample", best["prompt"]),
        ("edit", f"Mend this: {complaints}"),
    ]
    number, drawn = state["round"] + 1, len(state["attempts"])
    proposals = [
        Proposal(
            id=f"{number}.{place}",
            round=number,
            action=action,
            prompt=prompt,
            seed=seed_of(state["options"], drawn + place - 1),
            parent=None if action == "rewrite" else best["id"],
        )
        for place, (action, prompt) in enumerate(moves, start=1)
    ]
    return {"round": number, "proposals": proposals, "thought": complaints}


def unmet(state: GemsState, attempt: Attempt) -> list[str]:
    """The questions that were not answered yes."""
    return [it["question"] for it in state["requirements"] if attempt["verdicts"][it["id"]]["verdict"] != "met"]


def three_moves_graph(services: Services) -> GemsGraph:
    """The loop with its refiner replaced."""
    return build_graph(services, nodes={"refiner": three_moves}, checkpointer=InMemorySaver())


def main() -> None:
    """Run it on scripted models: the second round's edit is right."""
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), profiles=dict(BUILT_IN))
        chat = rehearse(["+--", "++-", "+--", "+++"])
        graph = three_moves_graph(OwnServices(settings, chat=chat, images=ScriptedImages()))
        thread: Any = {"configurable": {"thread_id": "t"}}
        graph.invoke({"prompt": "two red dogs"}, thread, context={"size": "64x64", "seed": 1})  # type: ignore[call-overload]
        for attempt in graph.get_state(thread).values["attempts"]:
            sys.stdout.write(f"{attempt['id']} {attempt['action']:8} {attempt['score']:.2f} {attempt['prompt']}\n")


if __name__ == "__main__":
    main()
