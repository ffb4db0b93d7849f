"""Compares a square patch of a picture with every sticker the renderer can draw.

A patch is the box of one sticker, resized to `GRID` by `GRID`. Which glyph it shows is asked by correlation of its structure
(where the plate lies, and where the plate is bare); which colour and texture, by least squares against the tone fields of
`fills`, in closed form over all colours and textures at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from PIL import Image

from gems.backends.sketch.fills import FILLS, tint, tones
from gems.backends.sketch.icons import Field, shape
from gems.backends.sketch.render import OUTLINE, SIGN_PANEL
from gems.backends.sketch.vocabulary import COLORS, OBJECTS

GRID: Final = 64
"""Points along a side of a patch."""
_COARSE: Final = 32
_MASTER: Final = 128
NAMES: Final = tuple(OBJECTS)
_COLORS: Final = tuple(COLORS)
_TEXTED_PANEL: Final = 0.75
"""How bare a sign's panel is expected to be, its text being unknown."""
_WHITE_FROM: Final = 205.0
_WHITE_TO: Final = 248.0


class GlyphGuess(NamedTuple):
    """Correlation of a patch with one glyph, -1 to 1."""

    name: str
    colored: float
    """As a glyph of any colour but white."""
    pale: float
    """As a textured white glyph, or another with much white in its texture."""
    white: float
    """As a plain white glyph, of which only the outline stands out."""

    @property
    def best(self) -> float:
        """The largest."""
        return max(self.colored, self.pale, self.white)

    def as_color(self, color: str) -> float:
        """The largest that the colour allows."""
        return max(self.pale, self.white if color == "white" else self.colored)


class ScreenedGlyph(NamedTuple):
    """Correlation of a patch with one glyph on a coarse grid, -1 to 1."""

    name: str
    correlation: float


class FillGuess(NamedTuple):
    """The colour and texture that fit a patch best, given its glyph."""

    color: str
    texture: str | None
    error: float
    """Root mean square difference over the glyph, 0-255."""
    color_margin: float
    """Error of the best fit in another colour less `error`."""
    texture_margin: float
    """Error of the best fit in the same colour and another texture less `error`."""


def bareness(pixels: Field) -> Field:
    """How near white each pixel is: 1 on a bare plate, 0 on a background or a colour. Shape (..., 3) gives (...)."""
    low = np.minimum(np.minimum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])
    return np.asarray(np.clip((low - _WHITE_FROM) / (_WHITE_TO - _WHITE_FROM), 0, 1), np.float32)


def _pooled(field: Field, grid: int) -> Field:
    """Means over square cells: shape (..., n, n) gives (..., grid, grid)."""
    factor = field.shape[-1] // grid
    if factor == 1:
        return field
    return np.asarray(field.reshape(*field.shape[:-2], grid, factor, grid, factor).mean((-3, -1)), np.float32)


class GlyphTemplates(NamedTuple):
    """Structure of every glyph on the grid, shape (names, GRID, GRID) each."""

    plate: Field
    bare_colored: Field
    """Bareness of the patch when the glyph has a colour."""
    bare_pale: Field
    """Bareness of the patch when the glyph's texture is halfway to white."""
    bare_white: Field
    """Bareness of the patch when the glyph is white."""


@lru_cache(maxsize=1)
def glyph_templates() -> GlyphTemplates:
    """Built once from the glyphs, in under a second."""
    plates, colored, pale, white = [], [], [], []
    axis = (np.arange(_MASTER) + 0.5) / _MASTER
    for name in NAMES:
        form = shape(name, _MASTER)
        plate = np.clip(form.plate * _MASTER + 0.5, 0, 1)
        lined = np.clip((form.depth + max(OUTLINE, 0.008)) * _MASTER + 0.5, 0, 1)
        edge = np.clip((form.plate - 0.006) * _MASTER + 0.5, 0, 1)
        inside = form.ink * np.clip((form.depth - 0.004) * _MASTER + 1, 0, 1)
        bare = edge * (1 - lined)
        if name == "sign":
            left, top, right, bottom = SIGN_PANEL
            panel = ((axis > left) & (axis < right))[None] & ((axis > top) & (axis < bottom))[:, None]
            bare = np.where(panel, bare * _TEXTED_PANEL, bare)
        plates.append(plate)
        colored.append(bare)
        pale.append(bare + 0.45 * inside)
        white.append(bare + 0.9 * inside)
    return GlyphTemplates(*(_pooled(np.stack(fields), GRID) for fields in (plates, colored, pale, white)))


class _Rows(NamedTuple):
    """Templates as zero-mean unit rows, coloured glyphs first, then pale, then white: shape (3 * names, 2 * grid * grid)."""

    rows: Field
    squares: Field


@lru_cache(maxsize=2)
def _rows(grid: int) -> _Rows:
    templates = glyph_templates()
    plate = _pooled(templates.plate, grid).reshape(len(NAMES), -1)
    shades = (templates.bare_colored, templates.bare_pale, templates.bare_white)
    bare = (_pooled(fields, grid).reshape(len(NAMES), -1) for fields in shades)
    rows = np.concatenate([np.concatenate([plate, fields], 1) for fields in bare])
    rows -= rows.mean(1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return _Rows(rows, rows * rows)


class _Structure(NamedTuple):
    """The structure of a patch on the grid of some rows: silhouette, then bareness inside it; and what of it is seen."""

    values: Field
    weight: Field | None
    """None where all is seen."""


def _structure(pixels: Field, silhouette: Field, seen: Field | None, grid: int) -> _Structure:
    values = np.stack([silhouette, bareness(pixels) * silhouette])
    weight = None if seen is None else _pooled(np.stack([seen, seen]), grid).ravel()
    return _Structure(_pooled(values, grid).ravel(), weight)


def _correlation(templates: _Rows, observed: _Structure) -> Field:
    """Pearson correlation of the rows with what is seen, each point by its weight: shape (rows,)."""
    values, weight = observed
    if weight is None:
        centred = values - values.mean()
        return _each_times(templates.rows, centred / max(1e-6, float(np.linalg.norm(centred))))
    total = max(1e-6, float(weight.sum()))
    mean = float(values @ weight) / total
    weighted = weight * (values - mean)
    # Centring the observed side alone suffices for the numerator.
    spread = _each_times(templates.squares, weight) - _each_times(templates.rows, weight) ** 2 / total
    norm = np.sqrt(np.maximum(spread, 1e-9) * max(1e-9, float(weighted @ (values - mean))))
    return np.asarray(_each_times(templates.rows, weighted) / norm, np.float32)


def _each_times(rows: Field, vector: Field) -> Field:
    # Not `@`: for products this small, BLAS threads cost fifty times what they save.
    return np.asarray(np.einsum("ij,j->i", rows, vector), np.float32)


def match_glyph(pixels: Field, silhouette: Field, seen: Field | None = None, shortlist: int = 10) -> list[GlyphGuess]:
    """How well the likeliest glyphs fit a patch, best first.

    All glyphs are compared on a coarse grid, those of the short list on the fine one.

    Args:
        pixels: sRGB 0-255 of the box, shape (GRID, GRID, 3).
        silhouette: coverage of the plate, shape (GRID, GRID).
        seen: where given, 1 where the patch is not hidden by what lies in front, shape (GRID, GRID).
        shortlist: how many glyphs are compared finely and returned.
    """
    names = [name for name, _ in screen_glyphs(pixels, silhouette, seen)[:shortlist]]
    guesses = match_glyphs(names, pixels, silhouette, seen)
    return sorted(guesses, key=lambda guess: -guess.best)


def screen_glyphs(pixels: Field, silhouette: Field, seen: Field | None = None) -> list[ScreenedGlyph]:
    """Every glyph with its correlation on the coarse grid, best first; arguments as for `match_glyph`."""
    coarse = _correlation(_rows(_COARSE), _structure(pixels, silhouette, seen, _COARSE)).reshape(3, -1).max(0)
    return [ScreenedGlyph(NAMES[k], float(coarse[k])) for k in np.argsort(-coarse)]


def match_glyphs(names: Sequence[str], pixels: Field, silhouette: Field, seen: Field | None = None) -> list[GlyphGuess]:
    """How well the named glyphs fit a patch, in their order; arguments as for `match_glyph`."""
    indices = np.array([NAMES.index(name) for name in names])
    rows = np.concatenate([indices, indices + len(NAMES), indices + 2 * len(NAMES)])
    fine = _rows(GRID)
    templates = _Rows(fine.rows[rows], fine.squares[rows])
    scores = _correlation(templates, _structure(pixels, silhouette, seen, GRID))
    shades = scores.reshape(3, -1)
    return [GlyphGuess(name, *map(float, shades[:, k])) for k, name in enumerate(names)]


def plate_overlap(name: str, silhouette: Field, seen: Field | None = None) -> float:
    """Intersection over union of a silhouette with the plate of a glyph, where seen; arguments as for `match_glyph`."""
    plate = glyph_templates().plate[NAMES.index(name)]
    weight = np.ones_like(plate) if seen is None else seen
    either = float((np.maximum(plate, silhouette) * weight).sum())
    return float((np.minimum(plate, silhouette) * weight).sum()) / max(1e-6, either)


class _FillModel(NamedTuple):
    """Tone fields of one glyph under every fill, split into what lightens and what darkens: shape (fills, GRID**2)."""

    weight: Field
    up: Field
    down: Field


@lru_cache(maxsize=1)
def _flat_tones() -> tuple[Field, Field]:
    """Tones of all fills far below any contour: shape (fills, master, master), split."""
    depth = np.full((4 * GRID,) * 2, 1.0, np.float32)
    fields = np.stack([tones(fill, depth) for fill in FILLS])
    return _pooled(np.maximum(fields, 0), GRID), _pooled(np.maximum(-fields, 0), GRID)


@lru_cache(maxsize=len(NAMES))
def _fill_model(name: str) -> _FillModel:
    form = shape(name, _MASTER)
    up, down = (fields.copy() for fields in _flat_tones())
    for index, fill in enumerate(FILLS):
        if fill in ("plastic", "glass"):
            field = tones(fill, form.depth)
            up[index], down[index] = _pooled(np.maximum(field, 0), GRID), _pooled(np.maximum(-field, 0), GRID)
    depth = _pooled(form.depth, GRID)
    ink = _pooled(form.ink, GRID)
    # The core of the glyph, free of its outline; thin glyphs have little core and use all there is.
    weight = ((depth > 0.014) & (ink > 0.98)).astype(np.float32)
    if weight.sum() < 120:
        weight = (ink > 0.6).astype(np.float32) * ink
    return _FillModel(weight.ravel(), up.reshape(len(FILLS), -1), down.reshape(len(FILLS), -1))


@lru_cache(maxsize=1)
def _palette() -> tuple[Field, Field, Field]:
    """Base colour, what tone 1 adds to it and what tone -1 takes from it: shape (colors, 3) each."""
    base = np.stack([tint(color, np.full(1, 0.0, np.float32))[0] for color in _COLORS])
    light = np.stack([tint(color, np.full(1, 1.0, np.float32))[0] for color in _COLORS]) - base
    dark = base - np.stack([tint(color, np.full(1, -1.0, np.float32))[0] for color in _COLORS])
    return base, light, dark


def match_fill(name: str, pixels: Field, seen: Field | None = None) -> FillGuess:
    """The colour and texture of a patch that shows glyph `name`, by weighted least squares over its core.

    Args:
        name: the glyph.
        pixels: sRGB 0-255 of the box, shape (GRID, GRID, 3).
        seen: where given, 1 where the patch is not hidden, shape (GRID, GRID).
    """
    errors = fill_errors(name, pixels, seen)
    color, fill = np.unravel_index(int(errors.argmin()), errors.shape)
    error = float(errors[color, fill])
    other_color = np.delete(errors, color, 0).min()
    other_fill = np.delete(errors[color], fill).min()
    return FillGuess(_COLORS[color], FILLS[fill], error, float(other_color) - error, float(other_fill) - error)


def fill_errors(name: str, pixels: Field, seen: Field | None = None) -> Field:
    """Root mean square difference for every colour (rows) and fill (columns), 0-255."""
    model = _fill_model(name)
    weight = model.weight if seen is None else model.weight * seen.ravel()
    total = max(1.0, float(weight.sum()))
    values = pixels.reshape(-1, 3)
    base, light, dark = _palette()
    up, down = model.up * weight, model.down * weight
    mean, with_up, with_down = weight @ values, up @ values, down @ values
    up_up, down_down, up_down = (up * model.up).sum(1), (down * model.down).sum(1), (up * model.down).sum(1)
    power = float(weight @ (values * values).sum(1))
    cross = (base @ mean)[:, None] + light @ with_up.T - dark @ with_down.T
    squared = (
        (base * base).sum(1)[:, None] * float(weight.sum())
        + (light * light).sum(1)[:, None] * up_up
        + (dark * dark).sum(1)[:, None] * down_down
        + 2 * (base * light).sum(1)[:, None] * up.sum(1)
        - 2 * (base * dark).sum(1)[:, None] * down.sum(1)
        - 2 * (light * dark).sum(1)[:, None] * up_down
    )
    return np.asarray(np.sqrt(np.maximum(power - 2 * cross + squared, 0) / (3 * total)), np.float32)


def patch_of(image: Image.Image, box: tuple[float, float, float, float]) -> Field:
    """The box of an RGB image, resized to the grid. Parts outside the image read as black."""
    left, top, right, bottom = box
    if left >= 0 and top >= 0 and right <= image.width and bottom <= image.height:
        patch = image.resize((GRID, GRID), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        return np.asarray(patch, np.float32)
    scale = (GRID / (right - left), GRID / (bottom - top))
    patch = image.transform((GRID, GRID), Image.Transform.AFFINE, (1 / scale[0], 0, left, 0, 1 / scale[1], top))
    return np.asarray(patch, np.float32)
