"""The letters of a sign: how a text is set on the board.

A text is broken into rows at spaces alone, so that the rows joined by single spaces are the text again. Letters are bold
capitals, each a mask of the same height; the zero is slashed, which tells it from the O.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations, pairwise
from typing import Final, NamedTuple

from PIL import Image, ImageDraw

from gems.backends.sketch.icons import text_font
from gems.backends.sketch.vocabulary import LETTERS

CAP_HEIGHT: Final = 96
"""Height of a letter's mask in pixels."""
GAP: Final = 0.17
"""Space between letters, as a fraction of their unstretched height."""
SPACE: Final = 0.5
"""Width of a word space beyond a letter gap."""
ROW_GAP: Final = 0.28
_MAX_ROWS: Final = 3
_MAX_STRETCH: Final = 1.55
"""Letters of a crowded row may be this much taller than wide letters of the font are."""
_BOLD: Final = 0.045


class LetterBox(NamedTuple):
    """Where one letter stands on the panel, in fractions of the panel's width and height."""

    letter: str
    left: float
    top: float
    width: float
    height: float


@lru_cache(maxsize=64)
def letter_mask(letter: str) -> Image.Image:
    """The letter, white on black, cropped left and right to its ink, `CAP_HEIGHT` pixels high."""
    font = text_font(CAP_HEIGHT)
    pen = Image.new("L", (CAP_HEIGHT * 2, CAP_HEIGHT * 2))
    bold = CAP_HEIGHT * _BOLD
    middle = CAP_HEIGHT
    draw = ImageDraw.Draw(pen)
    draw.text((middle, middle), letter, fill=255, font=font, anchor="ms", stroke_width=bold)
    if letter == "0":
        draw.line((middle - 13, middle - 18, middle + 13, middle - 54), fill=255, width=11)
    reference = Image.new("L", pen.size)
    ImageDraw.Draw(reference).text((middle, middle), "HO0", fill=255, font=font, anchor="ms", stroke_width=bold)
    # The widest rows of capitals set the height of all, so that each keeps its place on the line.
    left, _, right, _ = pen.getbbox() or (0, 0, 1, 1)
    _, top, _, bottom = reference.getbbox() or (0, 0, 1, 1)
    cropped = pen.crop((left, top, right, bottom))
    width = round(cropped.width * CAP_HEIGHT / cropped.height)
    return cropped.resize((width, CAP_HEIGHT), Image.Resampling.LANCZOS)


def letter_width(letter: str) -> float:
    """Width of a letter, as a fraction of its unstretched height."""
    return letter_mask(letter).width / CAP_HEIGHT


def _row_width(row: str) -> float:
    marks = [mark for mark in row if mark != " "]
    return sum(map(letter_width, marks)) + GAP * (len(marks) - 1) + SPACE * row.count(" ")


def spell(text: str) -> str:
    """The text as a sign carries it: capitals and digits, single spaces; other characters are left out."""
    return " ".join("".join(mark for mark in " ".join(text.upper().split()) if mark in LETTERS).split())


def _height(rows: list[str], aspect: float) -> tuple[float, float]:
    """Unstretched and stretched letter height, as fractions of the panel's height."""
    unstretched = aspect / max(map(_row_width, rows))
    room = 1 / (len(rows) + ROW_GAP * (len(rows) - 1))
    return min(unstretched, room), min(unstretched * _MAX_STRETCH, room)


def _rows(text: str, aspect: float) -> list[str]:
    """The breaking into rows whose letters come out largest by area."""
    words = text.split()
    options = []
    for count in range(min(_MAX_ROWS, len(words))):
        for cuts in combinations(range(1, len(words)), count):
            edges = (0, *cuts, len(words))
            options.append([" ".join(words[a:b]) for a, b in pairwise(edges)])

    def area(rows: list[str]) -> float:
        unstretched, stretched = _height(rows, aspect)
        return unstretched * stretched

    return max(options, key=area)


@lru_cache(maxsize=256)
def typeset(text: str, aspect: float) -> tuple[LetterBox, ...]:
    """Places the letters of `text` on a panel of that width over height, as large as they go, centred."""
    text = spell(text)
    if not text:
        return ()
    rows = _rows(text, aspect)
    unit, height = _height(rows, aspect)
    pitch = height * (1 + ROW_GAP)
    top = (1 - pitch * len(rows) + ROW_GAP * height) / 2
    placed = []
    for index, row in enumerate(rows):
        left = (1 - _row_width(row) * unit / aspect) / 2
        for mark in row:
            if mark == " ":
                left += SPACE * unit / aspect
                continue
            width = letter_width(mark) * unit / aspect
            placed.append(LetterBox(mark, left, top + index * pitch, width, height))
            left += width + GAP * unit / aspect
    return tuple(placed)
