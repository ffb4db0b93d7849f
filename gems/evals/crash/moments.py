"""Which moment of a run a kill has hit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gems.evals.crash.lives import Life
from gems.evals.crash.place import Glimpse
from gems.evals.crash.servers import Asked

STARTING: Final = "starting"
ENTERING: Final = "intake"
STORING: Final = "storing"
EXPORTING: Final = "exporting"
BETWEEN: Final = "between steps"
NODE_OF: Final = {
    "choose_skills": "planner",
    "write_prompts": "planner",
    "decompose": "decomposer",
    "judge": "critic",
    "compare": "review",
    "refine": "refiner",
    "compress": "compressor",
    "distil": "distiller",
    "amend": "amender",
}
"""The node that asks a task."""


class Kill(NamedTuple):
    """What a kill has hit."""

    moment: str
    """Where the run was: one of the words above, or the nodes at work."""
    chats: int
    """Chat calls that were not answered yet."""
    drawings: int
    """Drawings that were not answered yet."""
    unstored: int
    """Drawings that were answered, but did not lie among the artifacts yet."""


def describe(life: Life, asked: Sequence[Asked], after: Glimpse, stored: frozenset[str], *, spoke: bool) -> Kill:
    """What the kill of a life has hit.

    Args:
        life: The life.
        asked: What it has asked.
        after: The thread after the kill.
        stored: Digests of the wishes whose pictures are stored after the kill.
        spoke: Whether the life has written a word: the command line does when the run begins or goes on.
    """
    drawings = [it for it in asked if it.is_drawing]
    open_ones = [it for it in asked if it.answered_before(life.died) is None]
    drawing = sum(it.is_drawing for it in open_ones)
    unstored = sum(it.answered_before(life.died) is not None and it.digest not in stored for it in drawings)
    return Kill(_moment(after, spoke, drawing, unstored), len(open_ones) - drawing, drawing, unstored)


def _moment(after: Glimpse, spoke: bool, drawing: int, unstored: int) -> str:
    if not spoke:
        return STARTING
    if after.state.get("status") in ("done", "failed") and not after.pending:
        return EXPORTING
    nodes = set(after.pending)
    if not nodes:
        return BETWEEN
    if nodes <= {"__start__", "intake"}:
        return ENTERING
    if "generator" in nodes:
        nodes.remove("generator")
        nodes.add(STORING if unstored and not drawing else "generator")
    return " + ".join(sorted(nodes))
