"""Writing for people: one console for terminals, pipes and files."""

from __future__ import annotations

import re
from typing import Final

from rich.console import Console

PIPE_WIDTH: Final = 160
"""Columns of tables where no terminal sets a width."""
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def make_console(*, stderr: bool) -> Console:
    """A console that prints text as it is: no markup, no emoji codes, colours only where a terminal shows them."""
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=PIPE_WIDTH)
    return console


def printable(text: str) -> str:
    """The text without control characters, which a model's words could use to take over a terminal."""
    return _CONTROL.sub(" ", text)


def one_line(text: str, longest: int) -> str:
    """The text on one line of at most `longest` characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
