"""Measured figures with their targets, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table


class Target(NamedTuple):
    """What a figure is to reach."""

    sense: Literal["at least", "under", "at most"]
    value: float

    def is_met(self, figure: float) -> bool:
        """Whether a figure reaches it; a missing one (nan) does not."""
        if self.sense == "at least":
            return figure >= self.value
        return figure < self.value if self.sense == "under" else figure <= self.value


class Figure(NamedTuple):
    """One measured value."""

    name: str
    value: float
    unit: str = ""
    target: Target | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Met or missed; empty without a target."""
        if self.target is None:
            return ""
        return "met" if self.target.is_met(self.value) else "MISSED"


def print_figures(console: Console, title: str, figures: Iterable[Figure]) -> None:
    """One line a figure: name, value, target, whether it is met."""
    rows = [
        [
            figure.name,
            f"{_number(figure.value)} {figure.unit}".strip(),
            f"{figure.target.sense} {_number(figure.target.value)}" if figure.target else "",
            figure.verdict,
            figure.note,
        ]
        for figure in figures
    ]
    print_table(console, title, ["", "measured", "target", "", ""], rows)


def print_table(console: Console, title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A plain table; the first column is to the left, the others to the right."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _number(value: float) -> str:
    if value == int(value) and abs(value) >= 10:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3f}"
