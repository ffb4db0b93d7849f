"""The memory compressor: turns a round and the refiner's thought into an experience of at most 100 words."""

from __future__ import annotations

import asyncio
from typing import Final

from gems.core.events import emit
from gems.core.ports import Services
from gems.core.replies import RoundNote
from gems.core.state import Attempt, Experience, GemsState, Requirement, Usage
from gems.memory.view import asked, latest_attempt, summary
from gems.nodes.asking import Node, Update, ask

COMPRESS: Final = """\
You keep the memory of an agent that makes pictures. The block holds one round: the prompt drawn, the verdicts, and the \
refiner's thought about them. Write what this round taught, at most 100 words: what worked and should stay, what failed \
and the likely cause, what to do next. Facts only, no praise."""

MOST_WORDS: Final = 100
PATIENCE: Final = 60.0
"""Seconds the model gets while the next picture is being drawn, which must not wait for a note."""
MOST_THOUGHT: Final = 4000
"""Characters of the thought that are shown."""


def make_compressor(services: Services, patience: float = PATIENCE) -> Node:
    """The compressor node: one call. It never fails the step; at worst the experience is written by code.

    Args:
        services: What the nodes use.
        patience: Seconds the model gets while drawing goes on beside it. Where chat and drawing take turns, it may have
            to wait for another run's pictures first, and has the time that its calls have.
    """

    async def compressor(state: GemsState) -> Update:
        attempt = latest_attempt(state)
        fields = {
            "request": state["request"],
            "round": attempt["round"],
            "attempt": summary(attempt),
            "requirements": asked(state["requirements"]),
            "thought": state["thought"][:MOST_THOUGHT],
        }
        text, usage = None, Usage()
        try:
            async with asyncio.timeout(patience if state["options"]["overlap"] else None):
                answer = await ask(services, state, "compressor", "compress", COMPRESS, fields, RoundNote)
            text, usage = answer.reply.experience if answer.reply else None, answer.usage
        except Exception:  # noqa: S110
            pass  # an experience written by code is worth less, but a round is worth more than a note
        experience = Experience(
            round=attempt["round"],
            text=_cut(text or by_code(attempt, state["requirements"])),
            source="model" if text else "code",
        )
        emit("experience", round=experience["round"], text=experience["text"])
        return {"experiences": [experience], "usage": usage}

    return compressor


def by_code(attempt: Attempt, requirements: list[Requirement]) -> str:
    """What a round taught, as far as the verdicts alone can tell."""
    if "verdicts" not in attempt:
        return f"{attempt['action']} was not drawn: {attempt.get('error', 'unknown reason')}."
    unmet = [item for item in requirements if attempt["verdicts"][item["id"]]["verdict"] == "unmet"]
    lines = [f"{item['question']} No: {attempt['verdicts'][item['id']]['evidence']}." for item in unmet]
    return f"{attempt['action']} met {attempt['score']:.0%} of the requirements. " + " ".join(lines)


def _cut(text: str) -> str:
    words = text.split()
    return " ".join(words) if len(words) <= MOST_WORDS else " ".join(words[:MOST_WORDS]) + "…"
