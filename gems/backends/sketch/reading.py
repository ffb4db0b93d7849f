"""Reads a sign's letters off its panel by template matching."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gems.backends.sketch.icons import Field
from gems.backends.sketch.lettering import GAP, SPACE, letter_mask, letter_width
from gems.backends.sketch.vocabulary import LETTERS

_CELL: Final = (20, 28)
"""Width and height of the grid on which letters are compared."""
_PANEL_HEIGHT: Final = 240
"""Height in pixels at which a panel is read."""
_DARK: Final = 128
_LEGIBLE: Final = 4.0
"""Letter height in pixels of the picture below which letters are guesswork; twice that is plain."""
_MARKS: Final = LETTERS.replace(" ", "")


class Reading(NamedTuple):
    """A text as read."""

    text: str
    confidence: float
    """Of the letter that matched worst, 0 to 1; 1 for an empty panel."""


class _Letter(NamedTuple):
    mark: str
    correlation: float
    margin: float


def _unit_row(cell: Image.Image) -> Field:
    row = np.asarray(cell.resize(_CELL, Image.Resampling.BOX), np.float32).ravel()
    row = row - row.mean()
    return np.asarray(row / max(1e-6, float(np.linalg.norm(row))), np.float32)


@lru_cache(maxsize=1)
def _letter_rows() -> Field:
    return np.stack([_unit_row(letter_mask(mark)) for mark in _MARKS])


def _runs(filled: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], filled.astype(np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _read_letter(ink: Image.Image) -> _Letter:
    # A letter I fills its cell wholly and has no structure to correlate.
    solid = float(np.asarray(ink, np.float32).mean()) / 255
    if solid > 0.86 and ink.width < 0.5 * ink.height:
        return _Letter("I", solid, 0.2)
    scores = _letter_rows() @ _unit_row(ink)
    first, second = np.argsort(-scores)[:2]
    return _Letter(_MARKS[first], float(scores[first]), float(scores[first] - scores[second]))


def _row_text(row: list[tuple[int, int]], letters: list[_Letter]) -> str:
    """The letters with a space wherever the gap is nearer to a word space than to a letter gap."""
    # The row's unstretched height follows from its widths, known letter by letter.
    unit = sum(b - a for a, b in row) / sum(letter_width(letter.mark) for letter in letters)
    text = letters[0].mark
    for (_, end), (start, _), letter in zip(row, row[1:], letters[1:], strict=False):
        text += (" " if start - end > (GAP + SPACE / 2) * unit else "") + letter.mark
    return text


def read_panel(panel: Image.Image) -> Reading:
    """Reads dark letters on a pale panel, row by row.

    Args:
        panel: the panel without its frame, RGB or grey, any size.
    """
    scale = _PANEL_HEIGHT / panel.height
    gray = panel.convert("L").resize((max(1, round(panel.width * scale)), _PANEL_HEIGHT), Image.Resampling.BICUBIC)
    ink = 255 - np.asarray(gray, np.float32)
    ink = np.clip((ink - 15) * (255 / 200), 0, 255).astype(np.uint8)
    dark = ink > _DARK
    rows, confidence = [], 1.0
    for top, bottom in _runs(dark.any(1)):
        if bottom - top < 8:
            continue
        spans = [span for span in _runs(dark[top:bottom].any(0)) if span[1] - span[0] >= 2]
        letters = [_read_letter(Image.fromarray(ink[top:bottom, span[0] : span[1]])) for span in spans]
        legible = float(np.clip((bottom - top) / scale / _LEGIBLE - 1, 0, 1))
        confidence = min([confidence, legible, *(_trust(letter) for letter in letters)])
        rows.append(_row_text(spans, letters))
    return Reading(" ".join(rows), confidence)


def _trust(letter: _Letter) -> float:
    return float(np.clip((letter.correlation - 0.6) / 0.25, 0, 1) * np.clip(letter.margin / 0.05, 0, 1))
