"""How a glyph is filled: one tone of a colour at every point, by texture.

A texture is a field of `tone` values over the unit box: 0 is the colour itself, 1 the lightest, -1 the darkest it gets. The
field depends on the place in the box and on the depth below the glyph's contour, never on the colour, so that all eleven
colours share it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from gems.backends.sketch.icons import Field
from gems.backends.sketch.vocabulary import COLORS

_LIGHTEST: Final = (255, 253, 250)
_DARKEST_SHARE: Final = 0.38
"""What is left of a colour at tone -1."""
_WHITE_FLOOR: Final = (158, 166, 184)
"""White cannot get lighter, so its textures shade it towards this, whatever the sign of the tone."""


def tint(color: str, tone: Field) -> Field:
    """The colour at each tone: `tone` of any shape gives float sRGB (0-255) of shape `tone.shape + (3,)`.

    Raises KeyError for an unknown colour.
    """
    base = np.array(COLORS[color], np.float32)
    if color == "white":
        share = np.abs(tone)[..., None]
        return np.asarray(base + (np.array(_WHITE_FLOOR, np.float32) - base) * share, np.float32)
    up = np.maximum(tone, 0)[..., None]
    down = np.maximum(-tone, 0)[..., None]
    light = (np.array(_LIGHTEST, np.float32) - base) * up
    dark = base * ((1 - _DARKEST_SHARE) * down)
    return np.asarray(base + light - dark, np.float32)


class _Places(NamedTuple):
    """Points of the box, shape (n, n) each."""

    u: Field
    """To the right, 0 to 1."""
    v: Field
    """Downwards, 0 to 1."""
    depth: Field
    """Below the glyph's contour, in fractions of the box."""


def _step(edge: Field, sharpness: float) -> Field:
    return np.asarray(np.clip(edge * sharpness + 0.5, 0, 1), np.float32)


def _flat(at: _Places) -> Field:
    return np.asarray(0.12 - 0.26 * at.v, np.float32)


def _metal(at: _Places) -> Field:
    # Chrome: a sky fading to the horizon, a hard dark line, ground brightening again; twice over the box, a little tilted.
    place = ((at.v + 0.22 * at.u) * 2.3) % 1.0
    return np.interp(place, (0, 0.3, 0.46, 0.5, 0.62, 0.86, 1), (0.72, 0.3, 0.0, -0.75, -0.5, 0.1, 0.72)).astype(
        np.float32
    )


def _plastic(at: _Places) -> Field:
    # Glossy moulding: darker towards the rim, and the hard-edged reflection of a lamp on the upper half.
    rim = np.clip(1 - at.depth / 0.05, 0, 1)
    gloss = _step((0.40 + 0.16 * np.sin(np.pi * at.u) - at.v) * np.sign(at.depth - 0.016), 90)
    return np.asarray(0.02 - 0.42 * rim * rim + 0.52 * gloss * (1 - 0.5 * at.v) - 0.12 * at.v, np.float32)


def _glass(at: _Places) -> Field:
    # Pale inside, deep at the rim, crossed by slanting reflections of unequal width.
    rim = np.clip(1.25 - at.depth / 0.022, 0, 1)
    slant = (at.u + 0.62 * at.v) * 1.9 % 1.0
    broad, narrow = (
        np.asarray(half - np.abs(slant - middle), np.float32) for half, middle in ((0.09, 0.30), (0.028, 0.47))
    )
    streak = _step(broad, 60) + _step(narrow, 60)
    return np.asarray((0.30 + 0.5 * streak) * (1 - rim) - 0.25 * rim, np.float32)


def _striped(at: _Places) -> Field:
    wave = np.abs(((at.u + at.v) / 0.17) % 1.0 - 0.5)
    return np.asarray(-0.04 + 0.66 * _step(wave - 0.27, 9), np.float32)


def _spotted(at: _Places) -> Field:
    pitch = 0.118
    row = np.floor(at.v / pitch)
    x = (at.u / pitch + 0.5 * (row % 2)) % 1.0 - 0.5
    y = at.v / pitch - row - 0.5
    return np.asarray(-0.04 + 0.72 * _step(0.31 - np.hypot(x, y), 9), np.float32)


def _checkered(at: _Places) -> Field:
    pitch = 0.105

    def square(t: Field) -> Field:
        wave = np.abs((t / pitch) % 2.0 - 1.0) - 0.5
        return 2 * _step(wave, 10) - 1

    return np.asarray(0.27 - 0.33 * square(at.u + 0.02) * square(at.v + 0.02), np.float32)


_GRID: Final = 384


def _sampled(field: Field, u: Field, v: Field) -> Field:
    rows = np.clip((v * _GRID).astype(np.int32), 0, _GRID - 1)
    columns = np.clip((u * _GRID).astype(np.int32), 0, _GRID - 1)
    return np.asarray(field[rows, columns], np.float32)


def _unit_grid() -> tuple[Field, Field]:
    axis = ((np.arange(_GRID) + 0.5) / _GRID).astype(np.float32)
    return axis[None, :].repeat(_GRID, 0), axis[:, None].repeat(_GRID, 1)


@lru_cache(maxsize=1)
def _cobbles() -> Field:
    """Irregular stones, each of its own tone, parted by dark joints, with grit."""
    draw = np.random.default_rng(7)
    u, v = _unit_grid()
    k = 8
    centres = (
        np.stack(np.meshgrid(np.arange(k), np.arange(k)), -1).reshape(-1, 2) + draw.uniform(0.12, 0.88, (k * k, 2))
    ) / k
    tones = draw.uniform(-0.34, 0.30, k * k).astype(np.float32)
    square = (u[..., None] - centres[:, 0].astype(np.float32)) ** 2 + (
        v[..., None] - centres[:, 1].astype(np.float32)
    ) ** 2
    order = np.argpartition(square, 1, axis=-1)[..., :2]
    near = np.sqrt(np.take_along_axis(square, order, -1))
    joint = np.clip((np.abs(near[..., 1] - near[..., 0]) - 0.006) / 0.016, 0, 1)
    grit = draw.normal(0, 0.09, (_GRID // 3, _GRID // 3)).repeat(3, 0).repeat(3, 1)
    first = np.take_along_axis(order, near.argmin(-1)[..., None], -1)[..., 0]
    return np.asarray((tones[first] + grit) * joint - 0.85 * (1 - joint), np.float32)


@lru_cache(maxsize=1)
def _glitter() -> Field:
    """Four-pointed stars of three sizes over small glittering flakes."""
    draw = np.random.default_rng(11)
    u, v = _unit_grid()
    flakes = draw.uniform(-0.42, 0.16, (32, 32)).repeat(_GRID // 32, 0).repeat(_GRID // 32, 1)
    field = flakes.astype(np.float32)
    for k in range(46):
        # A jittered lattice spreads the stars evenly without looking regular.
        x, y = (k % 7 + draw.uniform(0.1, 0.9)) / 7, (k // 7 + draw.uniform(0.1, 0.9)) / 7
        radius = (0.075, 0.05, 0.036)[k % 3]
        star = np.sqrt(np.abs(u - x)) + np.sqrt(np.abs(v - y))
        field = np.maximum(field, 1.0 * np.clip((radius**0.5 - star) * 22, 0, 1) - 0.5 * (star >= radius**0.5))
    return field


def _stone(at: _Places) -> Field:
    return _sampled(_cobbles(), at.u, at.v)


def _sparkling(at: _Places) -> Field:
    return _sampled(_glitter(), at.u, at.v)


def _wooden(at: _Places) -> Field:
    # Grain runs along planks and parts around a knot in each.
    plank = np.floor(at.v / 0.25)
    shift = plank * 0.37 % 1.0
    knot_x, knot_y = 0.2 + 0.62 * shift, (plank + 0.5) * 0.25
    ring = np.exp(-(((at.u - knot_x) / 0.13) ** 2 + ((at.v - knot_y) / 0.055) ** 2))
    wobble = 0.014 * np.sin(7.5 * at.u + 9 * shift) + 0.006 * np.sin(19 * at.u + 5 * shift)
    grain = np.sin(2 * np.pi * (at.v + wobble + 0.045 * ring * np.sign(at.v - knot_y)) / 0.078)
    seam = _step(0.008 - np.abs((at.v + 0.125) % 0.25 - 0.125), 120)
    return np.asarray(
        0.08 - 0.36 * np.clip(grain * 1.6, -1, 1) - 0.55 * ring**6 - 0.6 * seam + 0.06 * shift, np.float32
    )


_TONES: Final[dict[str | None, Callable[[_Places], Field]]] = {
    None: _flat,
    "metal": _metal,
    "stone": _stone,
    "wooden": _wooden,
    "plastic": _plastic,
    "glass": _glass,
    "striped": _striped,
    "spotted": _spotted,
    "checkered": _checkered,
    "sparkling": _sparkling,
}
FILLS: Final = tuple(_TONES)
"""Every fill: None for the plain one, then the textures of the vocabulary."""


def tones(texture: str | None, depth: Field) -> Field:
    """The tone at each point of a square grid over the box.

    Args:
        texture: a word of `TEXTURES`, or None.
        depth: signed distance below the glyph's contour in fractions of the box, shape (n, n).

    Raises:
        KeyError: for an unknown texture.
    """
    n = depth.shape[0]
    axis = ((np.arange(n) + 0.5) / n).astype(np.float32)
    u, v = np.broadcast_to(axis[None, :], (n, n)), np.broadcast_to(axis[:, None], (n, n))
    return _TONES[texture](_Places(u, v, depth))
