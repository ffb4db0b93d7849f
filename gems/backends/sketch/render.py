"""Draws a scene: die-cut stickers on a quiet background.

Every sticker is one closed near-white plate, whatever its glyph, with a thin dark line around glyph and plate. All shadows
fall on the background alone, as if the stickers lay on one sheet.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageFilter

from gems.backends.sketch.backgrounds import background
from gems.backends.sketch.fills import tint, tones
from gems.backends.sketch.icons import GLYPH_SPAN, PLATE_MARGIN, Field, Shape, shape
from gems.backends.sketch.lettering import letter_mask, typeset
from gems.backends.sketch.scene import Scene, Thing

SMALLEST_SIDE: Final = 64
LARGEST_SIDE: Final = 4096
PLATE: Final = (254, 253, 250)
"""sRGB of the backing plates."""
INK: Final = (30, 30, 46)
"""sRGB of letters and, mixed with each colour, of outlines."""
OUTLINE: Final = 0.007
"""Width of the dark line around a glyph, as a fraction of the box."""
_OUTLINE_INSIDE: Final = 0.004
_THINNEST_RIM: Final = 5.0
"""Least width of a plate's rim in pixels."""
EDGE: Final = 0.006
"""Width of the dark line around a plate, as a fraction of the box."""
LEAST_EDGE: Final = 1.2
"""Least width of that line in pixels."""
_EDGE_STRENGTH: Final = 0.5
_SHADOW: Final = (16, 20, 48)
_SHADOW_STRENGTH: Final = 0.42
_GRIDS: Final = (256, 512)

_UNIT: Final = GLYPH_SPAN / 94
SIGN_PANEL: Final = (0.5 - 39.0 * _UNIT, 0.5 - 39.0 * _UNIT, 0.5 + 39.0 * _UNIT, 0.5 + 14.0 * _UNIT)
"""Left, top, right and bottom of a sign's lettered panel, in fractions of its box."""


def _resized(field: Field, side: int) -> Field:
    grid = Image.fromarray(field)
    return np.asarray(grid.resize((side, side), Image.Resampling.BILINEAR), np.float32)


def extra_rim(side: float) -> int:
    """By how many pixels the glyph of a sticker of `side` pixels is drawn in from its box to widen the rim."""
    return max(0, min(round(_THINNEST_RIM - PLATE_MARGIN * side), int(side / 6)))


def _fitted(name: str, side: int) -> Shape:
    """The shape at `side` pixels; a small one gives up a little room, so that its plate keeps a rim of some pixels."""
    master = shape(name, _GRIDS[0] if side <= 2 * _GRIDS[0] else _GRIDS[1])
    rim = extra_rim(side)
    inner = side - 2 * rim
    scale = inner / side
    ink, depth, plate = (_resized(field, inner) for field in (master.ink, master.depth * scale, master.plate * scale))
    if rim:
        steps = np.maximum(np.abs(np.arange(side) - (side - 1) / 2) - (inner - 1) / 2, 0).astype(np.float32) / side
        beyond = np.hypot(steps[:, None], steps[None])
        ink = np.pad(ink, rim)
        depth = np.pad(depth, rim, mode="edge") - beyond
        plate = np.pad(plate, rim, mode="edge") - beyond + rim / side
    return Shape(ink, depth, plate, master.reach)


def _cover(distance: Field, side: int) -> Field:
    """Antialiased coverage of the inside of a contour."""
    return np.asarray(np.clip(distance * side + 0.5, 0, 1), np.float32)


def _blend(pixels: Field, over: Field | tuple[int, int, int], share: Field) -> None:
    pixels += (np.asarray(over, np.float32) - pixels) * share[..., None]


def paint(form: Shape, color: str, texture: str | None) -> Field:
    """A sticker without its letters, on a plate without bounds: float sRGB, of shape `form.ink.shape + (3,)`."""
    side = form.ink.shape[0]
    pixels = np.empty((side, side, 3), np.float32)
    pixels[:] = PLATE
    line = tint(color, np.full(1, -1, np.float32))[0] * 0.45 + np.array(INK, np.float32) * 0.35
    _blend(pixels, line, _cover(form.depth + max(OUTLINE, 0.6 / side), side))
    inner = form.ink * np.clip((form.depth - _OUTLINE_INSIDE) * side + 1, 0, 1)
    _blend(pixels, tint(color, tones(texture, form.depth)), inner)
    return pixels


def _letter(pixels: Field, text: str) -> None:
    side = pixels.shape[0]
    left, top, right, bottom = (edge * side for edge in SIGN_PANEL)
    # Air between the letters and the frame.
    pad = 0.035 * side
    left, top, right, bottom = left + pad, top + pad, right - pad, bottom - pad
    for box in typeset(text, (right - left) / (bottom - top)):
        x, y = round(left + box.left * (right - left)), round(top + box.top * (bottom - top))
        width = max(1, round(box.width * (right - left)))
        height = max(1, round(box.height * (bottom - top)))
        mask = letter_mask(box.letter).resize(
            (width, height), Image.Resampling.BOX if height < 96 else Image.Resampling.BICUBIC
        )
        _blend(pixels[y : y + height, x : x + width], INK, np.asarray(mask, np.float32) / np.float32(255))


@lru_cache(maxsize=128)
def _sticker(name: str, color: str, texture: str | None, text: str, side: int) -> Image.Image:
    """The sticker of a thing in its box of `side` pixels, RGBA."""
    form = _fitted(name, side)
    pixels = paint(form, color, texture)
    if text:
        _letter(pixels, text)
    edge = 1 - _cover(form.plate - max(EDGE, LEAST_EDGE / side), side)
    _blend(pixels, INK, np.asarray(edge * _EDGE_STRENGTH, np.float32))
    plate = _cover(form.plate, side)[..., None] * 255
    return Image.fromarray(np.clip(np.concatenate([pixels, plate], -1) + 0.5, 0, 255).astype(np.uint8))


def _boxes(scene: Scene, width: int, height: int) -> list[tuple[Thing, int, int, int]]:
    """Each thing with the left, top and side of its box in pixels, in paint order; a box never leaves the canvas."""
    shorter = min(width, height)
    boxes = []
    for thing in sorted(scene.things, key=lambda thing: thing.y):
        side = min(max(8, round(thing.size * shorter)), shorter)
        left = min(max(round(thing.x * width - side / 2), 0), width - side)
        top = min(max(round(thing.y * height - side / 2), 0), height - side)
        boxes.append((thing, left, top, side))
    return boxes


def _cast_shadows(picture: Image.Image, stickers: list[tuple[Image.Image, int, int]]) -> None:
    """Darkens the picture softly below and right of the stickers, at a quarter of its resolution."""
    scale = 4 if min(picture.size) >= 256 else 1
    small = (-(-picture.width // scale), -(-picture.height // scale))
    shade = Image.new("L", small)
    for sticker, left, top in stickers:
        side = sticker.width
        mask = sticker.getchannel("A").reduce(scale) if scale > 1 else sticker.getchannel("A")
        place = (round((left + 0.012 * side) / scale), round((top + 0.028 * side) / scale))
        shade.paste(255, place, mask)
    shade = shade.filter(ImageFilter.GaussianBlur(0.0075 * min(small)))
    shade = shade.point([round(value * _SHADOW_STRENGTH) for value in range(256)])
    picture.paste(_SHADOW, (0, 0), shade.resize(picture.size, Image.Resampling.BILINEAR))


def render(scene: Scene, width: int = 1024, height: int = 1024) -> Image.Image:
    """Draws a scene.

    What stands higher is painted first. A box that would leave the canvas is moved inside it.

    Args:
        scene: things and background, words of the vocabulary.
        width: in pixels, 64 to 4096.
        height: in pixels, 64 to 4096.

    Returns:
        An RGB picture, the same for the same arguments.

    Raises:
        ValueError: for a side outside those limits.
        KeyError: for a word outside the vocabulary.
    """
    for side in (width, height):
        if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
            raise ValueError(
                f"a picture is {SMALLEST_SIDE} to {LARGEST_SIDE} pixels wide and high, not {width}x{height}"
            )
    picture = background(scene.background, width, height)
    stickers = [
        (_sticker(thing.name, thing.color, thing.texture, thing.text, side), left, top)
        for thing, left, top, side in _boxes(scene, width, height)
    ]
    if stickers:
        _cast_shadows(picture, stickers)
    for sticker, left, top in stickers:
        picture.paste(sticker, (left, top), sticker)
    return picture
