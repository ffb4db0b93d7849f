"""The score-by-round plot as coordinates: the template draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gems.core.state import Attempt

WIDTH: Final = 760
HEIGHT: Final = 206
LEFT: Final = 62
RIGHT: Final = 18
_TOP, _BOTTOM = 30, 14
_LABELLED: Final = 12
"""Most rounds whose points carry their own figure."""


class Dot(NamedTuple):
    """One attempt at (x, y). `best` says that it is the best up to its round."""

    x: float
    y: float
    score: float
    best: bool
    labelled: bool


class Tick(NamedTuple):
    """A mark of the score's axis: its height, and its text."""

    y: float
    text: str


class ScorePlot(NamedTuple):
    """Everything to draw, in units of the viewBox. Each round has a column of its own; `line` joins the best so far."""

    dots: list[Dot]
    line: str
    area: str
    ticks: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT


def plot_scores(attempts: Sequence[Attempt]) -> ScorePlot | None:
    """The plot of all judged attempts; None when fewer than two rounds were judged."""
    numbers = sorted({attempt["round"] for attempt in attempts})
    scores = {number: {it["score"] for it in attempts if it["round"] == number and "score" in it} for number in numbers}
    if sum(bool(found) for found in scores.values()) < 2:
        return None
    every = -(-len(numbers) // _LABELLED)
    so_far = 0.0
    dots: list[Dot] = []
    corners: list[tuple[float, float]] = []
    for place, number in enumerate(numbers):
        if not scores[number]:
            continue
        x, top = _x_of(place, len(numbers)), max(scores[number])
        leads, so_far = top >= so_far, max(so_far, top)
        labelled = leads and (place % every == 0 or number == numbers[-1])
        dots += [
            Dot(x, _y_of(score), score, leads and score == top, labelled and score == top) for score in scores[number]
        ]
        corners.append((x, _y_of(so_far)))
    line = "M" + " L".join(f"{x} {y}" for x, y in corners)
    area = f"{line} L{corners[-1][0]} {_y_of(0)} L{corners[0][0]} {_y_of(0)} Z"
    return ScorePlot(dots, line, area, [Tick(_y_of(score), f"{score:.0%}") for score in (0, 0.5, 1)])


def _x_of(place: int, columns: int) -> float:
    return round(LEFT + (place + 0.5) / columns * (WIDTH - LEFT - RIGHT), 1)


def _y_of(score: float) -> float:
    return round(HEIGHT - _BOTTOM - score * (HEIGHT - _TOP - _BOTTOM), 1)
