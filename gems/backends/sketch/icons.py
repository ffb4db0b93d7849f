"""One glyph per object name, as a black and white shape.

Shapes come from two icon fonts that are installed as packages (`fonticon-materialdesignicons7`, `fonticon-fontawesome6`) and
from `glyphs`. Each is fitted into a square box: the longer side of the shape spans `GLYPH_SPAN` of the box, so that its
backing plate, wider by `PLATE_MARGIN` on every side, touches the box.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from io import BytesIO
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from gems.backends.sketch.glyphs import GLYPHS

PLATE_MARGIN: Final = 0.046
"""Width of the plate around the shape, as a fraction of the box."""
GLYPH_SPAN: Final = 1 - 2 * PLATE_MARGIN
Field = NDArray[np.float32]
_SUPERSAMPLE: Final = 2
_CLOSING: Final = (0.06, 0.09, 0.13, 0.18)
"""Radii tried, smallest first, until the parts of a shape share one plate; fractions of the box."""
_CLOSING_GRID: Final = 96

# Object name -> glyph in a font; what is absent here is drawn in `glyphs`.
_FONT_GLYPHS: Final = """
    person fa:person; bicycle fa:bicycle; car fa:car_side; motorcycle fa:motorcycle; airplane fa:plane; bus mdi:bus_side;
    train fa:train; truck fa:truck; boat fa:sailboat; traffic light mdi:traffic_light; fire hydrant mdi:fire_hydrant;
    bench mdi:bench_back; bird fa:dove; cat fa:cat; dog fa:dog; horse fa:horse; sheep mdi:sheep; cow fa:cow;
    backpack mdi:bag_personal; umbrella fa:umbrella; handbag mdi:purse; suitcase mdi:bag_suitcase;
    sports ball fa:futbol; bottle mdi:bottle_soda_classic; wine glass fa:wine_glass; cup fa:mug_saucer; apple fa:apple_whole;
    carrot fa:carrot; hot dog fa:hotdog; pizza fa:pizza_slice; cake fa:cake_candles; chair fa:chair; couch fa:couch;
    bed fa:bed; toilet fa:toilet; tv mdi:television_classic; laptop fa:laptop; computer mouse fa:computer_mouse;
    tv remote mdi:remote_tv; computer keyboard fa:keyboard; cell phone fa:mobile_screen; microwave mdi:microwave;
    oven mdi:stove; toaster mdi:toaster; sink fa:sink; refrigerator mdi:fridge; book mdi:book_open_variant; clock fa:clock;
    scissors fa:scissors; teddy bear mdi:teddy_bear; hair drier mdi:hair_dryer; kangaroo mdi:kangaroo; koala mdi:koala;
    penguin mdi:penguin; pig mdi:pig; rabbit mdi:rabbit_variant; turtle mdi:turtle; owl mdi:owl; fish fa:fish_fins;
    duck mdi:duck; snake mdi:snake; butterfly mdi:butterfly; guitar fa:guitar; trumpet mdi:trumpet; violin mdi:violin;
    piano mdi:piano; drum fa:drum; candle mdi:candle; croissant mdi:food_croissant; flower mdi:flower_tulip;
    mushroom mdi:mushroom; cookie fa:cookie_bite; tree fa:tree; house fa:house; star fa:star; robot fa:robot;
    crown fa:crown; balloon mdi:balloon; key fa:key
"""


class IconFont(NamedTuple):
    """Where an icon font lies and which class of its package names the code points."""

    package: str
    names: str
    file: str


_FONTS: Final = {
    "mdi": IconFont("fonticon_mdi7", "MDI7", "materialdesignicons-webfont.ttf"),
    "fa": IconFont("fonticon_fa6", "FA6S", "Font Awesome 6 Free-Solid-900.otf"),
}


def _read_font_glyphs() -> dict[str, str]:
    pairs = (entry.strip().rsplit(" ", 1) for entry in " ".join(_FONT_GLYPHS.split()).split(";"))
    return {name: f"+ g {glyph} 50 50 100" for name, glyph in pairs}


STROKES: Final = _read_font_glyphs() | GLYPHS
"""Strokes by object name, for every name of the vocabulary (see `glyphs` for the notation)."""


class Shape(NamedTuple):
    """One glyph in its box, on a square grid of `ink.shape` points.

    Distances are signed, positive inside, in fractions of the box side.
    """

    ink: Field
    """Coverage of the glyph, 0 to 1."""
    depth: Field
    """Distance to the glyph's contour."""
    plate: Field
    """Distance to the plate's contour."""
    reach: tuple[float, float]
    """Width and height of the plate; the larger is about 1."""


@lru_cache(maxsize=32)
def _font_bytes(key: str) -> bytes:
    font = _FONTS[key]
    return (files(font.package) / "fonts" / font.file).read_bytes()


@lru_cache(maxsize=32)
def _icon_font(key: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(BytesIO(_font_bytes(key)), size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=32)
def text_font(size: int) -> ImageFont.FreeTypeFont:
    """The font of all lettering, the one Pillow carries. Raises RuntimeError where Pillow was built without FreeType."""
    font = ImageFont.load_default(size)
    if isinstance(font, ImageFont.FreeTypeFont):
        return font
    raise RuntimeError("Pillow was built without FreeType: install a Pillow wheel from PyPI")


def _code_point(glyph: str) -> tuple[str, str]:
    key, _, name = glyph.partition(":")
    font = _FONTS[key]
    names = getattr(importlib.import_module(font.package), font.names)
    return key, str(getattr(names, name)).split(".", 1)[1]


def _smooth(points: NDArray[np.float64], closed: bool) -> NDArray[np.float64]:
    """Catmull-Rom curve through `points`, twelve steps a span (Catmull and Rom, 1974)."""
    ends = (points[-1:], points[:2]) if closed else (points[:1], points[-1:])
    knots = np.concatenate([ends[0], points, ends[1]])
    t = np.linspace(0, 1, 12, endpoint=False)[:, None]
    spans = []
    for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False):
        spans.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate([*spans, points[:1] if closed else points[-1:]])


def _ellipse(cx: float, cy: float, rx: float, ry: float, turn: float = 0) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * math.pi, 96, endpoint=False)
    x, y = rx * np.cos(angle), ry * np.sin(angle)
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    return np.stack([cx + x * c - y * s, cy + x * s + y * c], 1)


def _wavy_ring(cx: float, cy: float, r: float, wave: float, n: float) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * math.pi, 181)
    radius = r + wave * np.sin(n * angle)
    return np.stack([cx + radius * np.cos(angle), cy + radius * np.sin(angle)], 1)


class _Pen:
    """Draws strokes of the `glyphs` notation, white on black, at `scale` pixels a unit."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        # A margin of ten units on each side: font glyphs overhang their em square.
        self.image = Image.new("L", (round(120 * scale),) * 2)
        self.draw = ImageDraw.Draw(self.image)

    def _place(self, points: NDArray[np.float64]) -> list[tuple[float, float]]:
        return [(x, y) for x, y in ((points + 10) * self.scale).tolist()]

    def _fill(self, points: NDArray[np.float64], tone: int) -> None:
        self.draw.polygon(self._place(points), fill=tone)

    def _line(self, points: NDArray[np.float64], width: float, tone: int) -> None:
        placed = self._place(points)
        self.draw.line(placed, fill=tone, width=max(1, round(width * self.scale)), joint="curve")
        radius = width * self.scale / 2
        for x, y in (placed[0], placed[-1]):
            self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tone)

    def _letters(
        self, mark: str, font: ImageFont.FreeTypeFont, at: tuple[float, float], tone: int, bold: float
    ) -> None:
        layer = Image.new("L", self.image.size)
        x, y = ((value + 10) * self.scale for value in at)
        ImageDraw.Draw(layer).text((x, y), mark, fill=255, font=font, anchor="mm", stroke_width=bold)
        self.image.paste(tone, mask=layer)

    def stroke(self, kind: str, words: Sequence[str], tone: int, mirrored: bool) -> None:
        """One stroke of the notation."""
        if kind == "g":
            key, mark = _code_point(words[0])
            x, y, size = map(float, words[1:])
            self._letters(mark, _icon_font(key, round(size * self.scale)), (x, y), tone, 0)
            return
        if kind == "t":
            x, y, height = map(float, words[1:])
            self._letters(
                words[0], text_font(round(height * self.scale * 1.2)), (x, y), tone, height * self.scale * 0.045
            )
            return
        numbers = [float(word) for word in words]
        for flip in (False, True)[: 1 + mirrored]:
            self._shape(kind, numbers, tone, flip)

    def _shape(self, kind: str, numbers: list[float], tone: int, flip: bool) -> None:
        def side(points: NDArray[np.float64]) -> NDArray[np.float64]:
            return points * (-1, 1) + (100, 0) if flip else points

        def pairs(values: list[float]) -> NDArray[np.float64]:
            return side(np.array(values).reshape(-1, 2))

        if kind == "o":
            self._fill(side(_ellipse(*numbers)), tone)
        elif kind == "b":
            self._fill(_smooth(pairs(numbers), closed=True), tone)
        elif kind == "p":
            self._fill(pairs(numbers), tone)
        elif kind == "l":
            self._line(_smooth(pairs(numbers[1:]), closed=False), numbers[0], tone)
        elif kind == "s":
            self._line(pairs(numbers[1:]), numbers[0], tone)
        elif kind == "w":
            self._line(_wavy_ring(*numbers[:5]), numbers[5], tone)
        elif kind == "f":
            cx, cy, r, n, lobe = numbers
            self._fill(_ellipse(cx, cy, r, r), tone)
            for x, y in _ellipse(cx, cy, r, r)[:: round(96 / n)]:
                self._fill(_ellipse(x, y, lobe, lobe), tone)
        else:
            raise ValueError(f"unknown stroke kind {kind!r}")


def _strokes(notation: str) -> Iterator[tuple[str, list[str], int, bool]]:
    for line in notation.strip().splitlines():
        sign, kind, *words = line.split()
        yield kind, words, 255 if sign[0] == "+" else 0, sign.endswith("|")


def _draw(notation: str, pixels: int) -> Image.Image:
    """The glyph cropped to its ink, its longer side near `pixels`."""
    pen = _Pen(pixels / 100)
    for kind, words, tone, mirrored in _strokes(notation):
        pen.stroke(kind, words, tone, mirrored)
    return pen.image.crop(pen.image.getbbox())


def _signed(inside: NDArray[np.bool_]) -> Field:
    """Distance to the contour in grid steps, positive inside (Euclidean distance transform)."""
    distance = ndimage.distance_transform_edt
    return np.asarray(np.where(inside, distance(inside) - 0.5, 0.5 - distance(~inside)), np.float32)


def _plate(outside: Field, n: int, radius: float) -> Field:
    """Signed distance of the plate: the glyph closed, without holes, widened by the margin, in steps of a box of `n`."""
    wide = outside < radius * n
    holes, _ = ndimage.label(~wide)
    wide |= holes != holes[0, 0]
    plate = ndimage.distance_transform_edt(wide) - (radius - PLATE_MARGIN) * n - 0.5
    beyond = 0.5 - ndimage.distance_transform_edt(plate <= 0)
    return np.asarray(np.where(plate > 0, plate, beyond), np.float32)


@lru_cache(maxsize=512)
def _closing(name: str) -> float:
    """The smallest radius that joins the glyph's parts, found on one grid so that plates agree on all."""
    outside = np.negative(_depth(_coverage(name, _CLOSING_GRID)))
    for radius in _CLOSING:
        if ndimage.label(_plate(outside, _CLOSING_GRID, radius) > 0.004 * _CLOSING_GRID)[1] == 1:
            return radius
    raise ValueError(f"the parts of the glyph {name!r} lie too far apart for one plate")


def _coverage(name: str, n: int) -> Field:
    fine = n * _SUPERSAMPLE
    glyph = _draw(STROKES[name], fine)
    ratio = round(GLYPH_SPAN * fine) / max(glyph.size)
    glyph = glyph.resize(
        (max(1, round(glyph.width * ratio)), max(1, round(glyph.height * ratio))), Image.Resampling.BOX
    )
    canvas = Image.new("L", (fine, fine))
    canvas.paste(glyph, ((fine - glyph.width) // 2, (fine - glyph.height) // 2))
    return np.asarray(canvas.reduce(_SUPERSAMPLE), np.float32) / np.float32(255)


def _depth(coverage: Field) -> Field:
    """Signed distance to the glyph's contour in steps, with room around the box for the closing."""
    return _signed(np.pad(coverage, _room(coverage.shape[0])) > 0.5)


def _room(n: int) -> int:
    return round(0.2 * n)


@lru_cache(maxsize=512)
def shape(name: str, n: int) -> Shape:
    """The shape of object `name` on an `n` by `n` grid; made once, then kept. Raises KeyError for an unknown name."""
    coverage = _coverage(name, n)
    depth = _depth(coverage)
    inner = slice(_room(n), -_room(n))
    plate = _plate(np.negative(depth), n, _closing(name))[inner, inner]
    depth = depth[inner, inner]
    rows, columns = np.nonzero(plate > 0)
    reach = (float(np.ptp(columns) + 1) / n, float(np.ptp(rows) + 1) / n)
    return Shape(coverage, np.asarray(depth / n, np.float32), np.asarray(plate / n, np.float32), reach)
