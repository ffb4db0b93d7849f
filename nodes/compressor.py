"""The memory compressor: turns a round and the refiner's thought into an experience of at most 100 words."""

from __future__ import annotations

import asyncio
from typing import Final

from gems.core.events import Learned, emit
from gems.core.ports import Services
from gems.core.replies import FoldingNote, RoundNote
from gems.core.state import Attempt, Digest, Experience, GemsState, Requirement, Usage
from gems.memory.view import RECENT, asked, latest_attempt, summary, verdict_of
from gems.nodes.asking import Node, Update, ask

COMPRESS: Final = """\
You keep the memory of an agent that makes pictures. The block holds one round: the prompt drawn, the verdicts, and the \
refiner's thought about them. Write what this round taught, at most 100 words: what worked and should stay, what failed \
and the likely cause, what to do next. Facts only, no praise."""

MOST_WORDS: Final = 100
PATIENCE: Final = 60.0
"""Seconds the model gets while the next picture is being drawn, which must not wait for a note."""
FOLD: Final = (
    "`leaving` are older notes that go out of sight: fold them into `digest`, at most 100 words in all, and keep what still "
    "helps."
)
MOST_THOUGHT: Final = 4000
"""Characters of the thought that are shown."""


def make_compressor(services: Services, patience: float = PATIENCE) -> Node:
    """The compressor node: one call. It never fails the step; at worst the experience is written by code.

    What leaves the window of recent experiences is folded into the digest in the same call. Where the option `memory` has
    no use for experiences, nobody is asked.

    Args:
        services: What the nodes use.
        patience: Seconds the model gets while drawing goes on beside it. Where chat and drawing take turns, it may have
            to wait for another run's pictures first, and has the time that its calls have.
    """

    async def compressor(state: GemsState) -> Update:
        attempt = latest_attempt(state)
        # After a follow-up the picture is an earlier one, and the note all the same the latest.
        number = state["round"] - 1
        fields = {
            "request": state["request"],
            "round": number,
            "attempt": summary(attempt),
            "requirements": asked(state["requirements"]),
            "thought": state["thought"][:MOST_THOUGHT],
        }
        leaving = _leaving(state, number)
        before = state["digest"]["text"]
        if leaving:
            fields |= {"digest": before, "leaving": [item["text"] for item in leaving]}
        note, usage = None, Usage()
        try:
            if state["options"]["memory"] == "experience":
                async with asyncio.timeout(patience if state["options"]["overlap"] else None):
                    form = FoldingNote if leaving else RoundNote
                    notes = [FOLD] if leaving else []
                    answer = await ask(services, state, "compressor", "compress", COMPRESS, fields, form, notes=notes)
                note, usage = answer.reply, answer.usage
        except Exception:  # noqa: S110
            pass  # an experience written by code is worth less, but a round is worth more than a note
        experience = Experience(
            round=number,
            text=_cut(note.experience if note else by_code(attempt, state["requirements"])),
            source="model" if note else "code",
        )
        emit(Learned(event="experience", **experience))
        update: Update = {"experiences": [experience], "usage": usage}
        if leaving:
            folded = _cut(note.digest) if isinstance(note, FoldingNote) else _fold(before, leaving)
            update["digest"] = Digest(until=leaving[-1]["round"], text=folded)
        return update

    return compressor


def _leaving(state: GemsState, new_round: int) -> list[Experience]:
    """The experiences that leave the window when that of `new_round` comes in, and are not in the digest yet."""
    others = [item for item in state["experiences"] if item["round"] != new_round]
    gone = others[: max(0, len(others) + 1 - RECENT)]
    return [item for item in gone if item["round"] > state["digest"]["until"]]


def _fold(digest: str, leaving: list[Experience]) -> str:
    """The digest as code can make it: the last words of what it was and what is leaving."""
    words = " ".join([digest, *(item["text"] for item in leaving)]).split()
    return " ".join(words[-MOST_WORDS:])


def by_code(attempt: Attempt, requirements: list[Requirement]) -> str:
    """What a round taught, as far as the verdicts alone can tell."""
    if "verdicts" not in attempt:
        return f"{attempt['action']} was not drawn: {attempt.get('error', 'unknown reason')}."
    unmet = [item for item in requirements if verdict_of(attempt, item["id"]) == "unmet"]
    lines = [f"{item['question']} No: {attempt['verdicts'][item['id']]['evidence']}." for item in unmet]
    return f"{attempt['action']} met {attempt['score']:.0%} of the requirements. " + " ".join(lines)


def _cut(text: str) -> str:
    words = text.split()
    return " ".join(words) if len(words) <= MOST_WORDS else " ".join(words[:MOST_WORDS]) + "…"
