"""Reads a picture of the embedded engine back into a scene, from its pixels alone.

`plates` finds where stickers lie, `matching` tells what is on them, `reading` what a sign says. A sticker that another one
covers in part is fitted to the piece that shows. The vision knows the glyphs and the palette of the renderer, so it is no
independent witness of what a picture looks like to others; in a picture of any other origin it sees nothing, or says that it
is not sure.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from PIL import Image

from gems.backends.sketch.backgrounds import background
from gems.backends.sketch.icons import Field, shape
from gems.backends.sketch.matching import (
    GRID,
    NAMES,
    FillGuess,
    match_fill,
    match_glyph,
    match_glyphs,
    patch_of,
    plate_overlap,
    screen_glyphs,
)
from gems.backends.sketch.plates import Box, Mask, Region, View, closed_by, groups, grown, regions, view_of
from gems.backends.sketch.reading import Reading, read_panel
from gems.backends.sketch.render import EDGE, LEAST_EDGE, SIGN_PANEL, extra_rim
from gems.backends.sketch.scene import Scene, Thing
from gems.backends.sketch.vocabulary import BACKGROUNDS

CONFIDENT: Final = 0.5
"""A word seen with less confidence than this should not decide a verdict."""
_WHOLE: Final = 0.6
"""Score from which a closed ring counts as a plate seen whole."""
_FILLED: Final = 0.9
"""Least overlap of a closed ring with the glyph's plate; the filling of a cut ring stops short."""
_SEEN_AT_ALL: Final = 0.5
"""Score below which a region is not reported."""
_ERROR_SCALE: Final = 250.0
"""Fill error (0-255) that outweighs a correlation of one."""
_CONTENDERS: Final = 6
_CLEAR_MARGIN: Final = 0.1
_CLEAR_ERROR: Final = 15.0
_NUDGES: Final = (0.025, 0.01, 0.005)
"""Steps by which a box is moved and scaled in search of a better fit, as fractions of its side."""
_WIDE_BRIDGE: Final = 6
"""Pixels over which the ring of a plate may be interrupted and still be mended."""
_MOST_HIDDEN: Final = 0.5
"""Share of a box beyond which what shows is not enough to report."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One thing as seen. Confidences run from 0 to 1; below `CONFIDENT`, take the word as unknown."""

    thing: Thing
    name_confidence: float
    color_confidence: float
    texture_confidence: float
    text_confidence: float = 1.0

    @property
    def confidence(self) -> float:
        """Of the least certain word."""
        return min(self.name_confidence, self.color_confidence, self.texture_confidence, self.text_confidence)


@dataclass(frozen=True, slots=True)
class Sight:
    """What a picture shows, things from the top down."""

    sightings: tuple[Sighting, ...]
    background: str
    background_confidence: float
    doubts: int = 0
    """Near-white places that look like plates, on which nothing was made out: what stands there is unknown."""

    @property
    def scene(self) -> Scene:
        """Everything seen, what is doubtful too."""
        return Scene(tuple(sighting.thing for sighting in self.sightings), self.background)

    @property
    def confidence(self) -> float:
        """Of the least certain word of all; 0 where there are doubts."""
        if self.doubts:
            return 0.0
        return min([self.background_confidence, *(sighting.confidence for sighting in self.sightings)])


class _Candidate(NamedTuple):
    """What a plate may show, and how well that fits."""

    name: str
    fill: FillGuess
    box: Box
    """On the working copy."""
    correlation: float
    score: float
    """Correlation less what the fill leaves unexplained."""
    margin: float
    """Score less that of the best other glyph."""
    hidden: float
    """Share of the box that lies behind others."""
    filling: float
    """Intersection over union of the silhouette with the glyph's plate, where seen."""

    @property
    def whole(self) -> bool:
        """Whether a closed ring that fits so well is a plate, and nothing covers it."""
        return self.score >= _WHOLE and self.filling >= _FILLED


class _Patch(NamedTuple):
    """What `matching` compares: the box of a glyph on its grid."""

    pixels: Field
    silhouette: Field
    seen: Field | None


def _patch(view: View, region: Region, box: Box, hidden: Region | None) -> _Patch:
    # A small sticker's glyph is drawn in from its box.
    left, _, right, _ = view.in_image(box)
    inset = extra_rim(right - left) / (right - left) * (box[2] - box[0])
    inner = (box[0] + inset, box[1] + inset, box[2] - inset, box[3] - inset)
    seen = None if hidden is None else 1 - hidden.sampled(inner, GRID)
    return _Patch(patch_of(view.image, view.in_image(inner)), region.sampled(inner, GRID), seen)


def _judge(view: View, region: Region, box: Box, hidden: Region | None = None) -> _Candidate:
    """The glyph and fill that fit a box best."""
    pixels, silhouette, seen = _patch(view, region, box, hidden)
    ranked = []
    for guess in match_glyph(pixels, silhouette, seen)[:_CONTENDERS]:
        fill = match_fill(guess.name, pixels, seen)
        correlation = guess.as_color(fill.color)
        ranked.append((correlation - fill.error / _ERROR_SCALE, correlation, guess.name, fill))
    ranked.sort(key=lambda entry: -entry[0])
    score, correlation, name, fill = ranked[0]
    hidden_share = 0.0 if seen is None else 1 - float(seen.mean())
    filling = plate_overlap(name, silhouette, seen)
    return _Candidate(name, fill, box, correlation, score, score - ranked[1][0], hidden_share, filling)


def _rim(view: View, extent: float) -> float:
    """Width of a plate's dark edge, which its bare part lacks, in working pixels; `extent` is that of the bare part."""
    pixel = view.working.width / view.image.width
    return max(EDGE * extent, LEAST_EDGE * pixel) + 0.4


def _whole_box(view: View, region: Region) -> Box:
    """The box of a plate seen whole: a square about its middle."""
    left, top, right, bottom = region.box
    half = max(right - left, bottom - top) / 2
    half += _rim(view, 2 * half)
    x, y = (left + right) / 2, (top + bottom) / 2
    return (x - half, y - half, x + half, y + half)


def _see_whole(view: View, region: Region) -> _Candidate:
    """The sticker of a plate seen whole."""
    candidate = _judge(view, region, _whole_box(view, region))
    if candidate.margin > _CLEAR_MARGIN and candidate.fill.error < _CLEAR_ERROR:
        return candidate
    box = _refined(view, region, None, _Guess(candidate.name, candidate.box, candidate.correlation), _NUDGES[1:])
    return max(candidate, _judge(view, region, box), key=_score)


def _see_group(view: View, group: Region) -> list[_Candidate]:
    """Everything on plates that touch or overlap, those in front first.

    Closed rings come first; each cut ring is then closed by what has been found in front of it.
    """
    found: list[_Candidate] = []
    cut: list[Region] = []
    covered = np.zeros(group.mask.shape, bool)
    height, width = group.mask.shape
    bare = view.bare[group.top : group.top + height, group.left : group.left + width] & group.mask
    for part in regions(bare):
        if any(_lies_in(part.box, other.box) for other in cut):
            continue
        plate = Region(part.top + group.top, part.left + group.left, part.mask)
        candidate = _see_whole(view, plate)
        if candidate.whole:
            found.append(candidate)
            covered |= plate.framed(group)
        else:
            cut.append(part)
    line = max(3, round(0.004 * max(height, width)))
    for threshold in (_WHOLE, _WHOLE, _SEEN_AT_ALL):
        for part in list(cut):
            hidden = Region(group.top, group.left, grown(covered, line))
            piece = closed_by(group, bare, part, hidden.mask)
            candidate = _see_piece(view, piece, hidden)
            if candidate.score >= threshold and candidate.hidden <= _MOST_HIDDEN:
                found.append(candidate)
                covered |= piece.framed(group)
                cut.remove(part)
    return found


def _lies_in(box: Box, frame: Box) -> bool:
    """Whether most of a box lies in a frame, as bare parts of a glyph do in the plate's cut ring."""
    wide = min(box[2], frame[2]) - max(box[0], frame[0])
    high = min(box[3], frame[3]) - max(box[1], frame[1])
    return max(wide, 0) * max(high, 0) > 0.8 * (box[2] - box[0]) * (box[3] - box[1])


def _see_piece(view: View, piece: Region, hidden: Region) -> _Candidate:
    """The sticker of which `piece` shows, the rest of it lying behind `hidden`."""
    whole = _judge(view, piece, _whole_box(view, piece), hidden)
    sides = _free_sides(piece, hidden)
    if all(sides):
        return whole
    guesses = [_Guess(whole.name, whole.box, whole.correlation)]
    for box, names in _boxes_behind(view, piece, sides).items():
        patch = _patch(view, piece, box, hidden)
        guesses += [
            _Guess(guess.name, box, guess.correlation) for guess in screen_glyphs(*patch) if guess.name in names
        ]
    guesses.sort(key=lambda guess: -guess.correlation)
    likely = max((_judge(view, piece, guess.box, hidden) for guess in guesses[:_CONTENDERS]), key=_score)
    best = _Guess(likely.name, likely.box, likely.correlation)
    refined = _judge(view, piece, _refined(view, piece, hidden, best, _NUDGES), hidden)
    return max(whole, likely, refined, key=_score)


def _score(candidate: _Candidate) -> float:
    return candidate.score


class _Guess(NamedTuple):
    """A glyph in a box."""

    name: str
    box: Box
    correlation: float


class _Sides(NamedTuple):
    """Whether the piece ends on each side by itself, not because something covers it."""

    left: bool
    top: bool
    right: bool
    bottom: bool


def _free_sides(piece: Region, hidden: Region) -> _Sides:
    near = Region(hidden.top, hidden.left, grown(hidden.mask, 4)).framed(piece) & piece.mask
    depth = 3
    return _Sides(
        not near[:, :depth].any(), not near[:depth].any(), not near[:, -depth:].any(), not near[-depth:].any()
    )


@lru_cache(maxsize=1)
def _reaches() -> dict[str, tuple[float, float]]:
    return {name: shape(name, 128).reach for name in NAMES}


def _boxes_behind(view: View, piece: Region, sides: _Sides) -> dict[Box, tuple[str, ...]]:
    """Boxes that glyphs could have, given the sides that show; each with the glyphs that could have it."""
    left, top, right, bottom = piece.box
    wide, high = right - left, bottom - top
    edge = _rim(view, max(wide, high))
    left, top, right, bottom = left - edge, top - edge, right + edge, bottom + edge
    boxes: dict[tuple[int, int, int], tuple[Box, list[str]]] = {}
    for name, (reach_x, reach_y) in _reaches().items():
        for size in _sizes_behind(wide + 2 * edge, high + 2 * edge, reach_x, reach_y, sides):
            span_x, span_y = size * reach_x, size * reach_y
            for x in _middles(left, right, span_x, sides.left, sides.right):
                for y in _middles(top, bottom, span_y, sides.top, sides.bottom):
                    box = (x - size / 2, y - size / 2, x + size / 2, y + size / 2)
                    key = (round(x / (0.04 * size)), round(y / (0.04 * size)), round(math.log(size) / 0.04))
                    boxes.setdefault(key, (box, []))[1].append(name)
    return {box: tuple(names) for box, names in boxes.values()}


def _sizes_behind(wide: float, high: float, reach_x: float, reach_y: float, sides: _Sides) -> list[float]:
    whole_x, whole_y = sides.left and sides.right, sides.top and sides.bottom
    if whole_x and whole_y:
        return [max(wide / reach_x, high / reach_y)]
    if whole_x:
        return [wide / reach_x] if high / reach_y <= 1.04 * wide / reach_x else []
    if whole_y:
        return [high / reach_y] if wide / reach_x <= 1.04 * high / reach_y else []
    least = max(wide / reach_x, high / reach_y)
    return [least * step for step in (1.0, 1.06, 1.13, 1.2, 1.28)]


def _middles(low: float, high: float, span: float, low_free: bool, high_free: bool) -> list[float]:
    if low_free and high_free:
        return [(low + high) / 2]
    if low_free:
        return [low + span / 2]
    if high_free:
        return [high - span / 2]
    return [(low + high) / 2]


def _refined(view: View, piece: Region, hidden: Region | None, guess: _Guess, steps: tuple[float, ...]) -> Box:
    """The candidate's box, moved and scaled a little to where its glyph fits best."""

    def fit(box: Box) -> float:
        return match_glyphs([guess.name], *_patch(view, piece, box, hidden))[0].best

    box, best = guess.box, guess.correlation
    for step in steps:
        for dx, dy, ds in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1), (1, 0, 0), (0, 1, 0)):
            by = step * (box[2] - box[0])
            moved = (
                box[0] + by * (dx - ds / 2), box[1] + by * (dy - ds / 2),
                box[2] + by * (dx + ds / 2), box[3] + by * (dy + ds / 2),
            )  # fmt: skip
            score = fit(moved)
            if score > best:
                box, best = moved, score
    return box


def _sign_reading(view: View, candidate: _Candidate) -> Reading:
    if candidate.name != "sign":
        return Reading("", 1.0)
    left, top, right, _ = view.in_image(candidate.box)
    rim = extra_rim(right - left)
    left, top, side = left + rim, top + rim, right - left - 2 * rim
    inset = 0.012
    x0, y0, x1, y1 = (edge + sign * inset for edge, sign in zip(SIGN_PANEL, (1, 1, -1, -1), strict=True))
    panel = view.image.crop(
        (round(left + x0 * side), round(top + y0 * side), round(left + x1 * side), round(top + y1 * side))
    )
    reading = read_panel(panel)
    return reading if candidate.hidden < 0.01 else Reading(reading.text, min(reading.confidence, 0.3))


def _ramp(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0, 1))


def _sighting(view: View, candidate: _Candidate, likeness: float) -> Sighting:
    left, top, right, bottom = candidate.box
    width, height = view.working.size
    reading = _sign_reading(view, candidate)
    thing = Thing(
        candidate.name,
        (left + right) / 2 / width,
        (top + bottom) / 2 / height,
        (right - left) / min(width, height),
        candidate.fill.color,
        candidate.fill.texture,
        reading.text,
    )
    # Set by some 1,700 random things, all read rightly: nearly all lie above the upper ends, none below the middles.
    name = likeness * _ramp(candidate.score, 0.5, 0.7) * _ramp(candidate.margin, 0.0, 0.06)
    fit = likeness * _ramp(candidate.fill.error, 60, 40)
    color = fit * _ramp(candidate.fill.color_margin, 0, 12)
    texture = fit * _ramp(candidate.fill.texture_margin, 0, 6)
    return Sighting(thing, name, color, texture, likeness * reading.confidence)


_BACKGROUND_SIDE: Final = 72


@lru_cache(maxsize=8)
def _backgrounds(width: int, height: int) -> Field:
    return np.stack([np.asarray(background(name, width, height), np.float32) for name in BACKGROUNDS])


class _Backdrop(NamedTuple):
    """The background as seen."""

    name: str
    confidence: float
    likeness: float
    """Whether the picture has a background of ours at all, 0 to 1; 1 where none of it shows."""


def _see_background(view: View, silhouettes: list[Region]) -> _Backdrop:
    """The background nearest to what shows between the stickers, at thumbnail size."""
    scale = _BACKGROUND_SIDE / max(view.working.size)
    size = (max(8, round(view.working.width * scale)), max(8, round(view.working.height * scale)))
    covered = np.zeros(view.bare.shape, bool)
    for region in silhouettes:
        height, width = region.mask.shape
        covered[max(0, region.top) : region.top + height, max(0, region.left) : region.left + width] = True
    shown = Image.fromarray(np.where(covered, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BOX)
    # Shadows reach a little beyond the plates.
    weight = (~grown(np.asarray(shown) < 250, 1)).astype(np.float32)
    if weight.sum() < 0.02 * weight.size:
        weight = (np.asarray(shown) > 127).astype(np.float32)
    pixels = np.asarray(view.working.resize(size, Image.Resampling.BOX, reducing_gap=2.0), np.float32)
    errors = np.abs(_backgrounds(*size) - pixels).mean(-1)
    means = (errors * weight).sum((1, 2)) / max(1.0, float(weight.sum()))
    first, second = np.argsort(means)[:2]
    likeness = _ramp(float(means[first]), 16, 8) if weight.any() else 1.0
    confidence = likeness * _ramp(float(means[second] - means[first]), 1, 6) if weight.any() else 0.0
    return _Backdrop(tuple(BACKGROUNDS)[first], confidence, likeness)


def look(image: Image.Image) -> Sight:
    """Reads a picture of any size and mode.

    Returns:
        What was seen. Things of which too little fits any glyph are left out; what is doubtful has little confidence. A
        picture that the embedded engine did not draw gives no things, or doubtful ones, and a doubtful background.
    """
    view = view_of(image)
    silhouettes = groups(view.bare)
    candidates = [candidate for group in silhouettes for candidate in _see_group(view, group)]
    rest = _unexplained(view, candidates)
    mended, doubts = _see_broken(view, rest) if rest.any() else ([], 0)
    backdrop = _see_background(view, silhouettes)
    seen = [_sighting(view, candidate, backdrop.likeness) for candidate in candidates + mended]
    sightings = sorted(seen, key=lambda sighting: sighting.thing.y)
    return Sight(tuple(sightings), backdrop.name, backdrop.confidence, doubts)


def _unexplained(view: View, candidates: list[_Candidate]) -> Mask:
    """Near-white pixels in no box of what was found."""
    rest = view.bare.copy()
    for candidate in candidates:
        left, top, right, bottom = (round(edge) for edge in candidate.box)
        rest[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = False
    return rest


class _Broken(NamedTuple):
    """What plates with interrupted rings gave."""

    candidates: list[_Candidate]
    doubts: int


def _see_broken(view: View, rest: Mask) -> _Broken:
    """Plates whose rings are interrupted, as by blur or compression: bridged widely, or counted as doubts."""
    found = []
    doubts = 0
    for group in groups(rest, _WIDE_BRIDGE):
        candidate = _see_whole(view, group)
        if candidate.whole:
            found.append(candidate)
        else:
            doubts += 1
    return _Broken(found, doubts)


def main() -> None:
    """Command line: `python -m gems.backends.sketch.vision --measure SCENES`."""
    from gems.backends.sketch.measure import measure

    parser = argparse.ArgumentParser(prog="python -m gems.backends.sketch.vision", description=main.__doc__)
    parser.add_argument("--measure", type=int, required=True, metavar="SCENES", help="random scenes of each kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for line in measure(arguments.measure, arguments.seed):
        print(line)  # noqa: T201


if __name__ == "__main__":
    main()
