"""The twelve backgrounds: quiet landscapes of stacked layers, never near white, so that every plate stands out.

A layer is everything below a skyline: a height for each column. Heights and depths are fractions of the canvas height,
counted from the top; along the horizon lengths are in canvas heights too, so that nothing is stretched on wide canvases.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image

from gems.backends.sketch.icons import Field

Rgb = tuple[int, int, int]
_LARGEST: Final = 1536
"""Longer side in pixels above which a background is enlarged from this size: its forms are soft."""


class _Landscape:
    """A canvas painted from the far to the near."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.x = ((np.arange(width) + 0.5 - width / 2) / height).astype(np.float32)
        self.y = ((np.arange(height) + 0.5) / height).astype(np.float32)
        self.pixels: Field = np.zeros((height, width, 3), np.float32)

    def sky(self, *stops: tuple[float, Rgb]) -> None:
        """A vertical gradient through the colours at these depths."""
        self.pixels[:] = self._ramp(self.y, stops)[:, None]

    @staticmethod
    def _ramp(y: Field, stops: tuple[tuple[float, Rgb], ...]) -> Field:
        at = [stop for stop, _ in stops]
        return np.stack([np.interp(y, at, [rgb[k] for _, rgb in stops]) for k in range(3)], -1).astype(np.float32)

    def layer(self, skyline: Field, top: Rgb, bottom: Rgb, floor: float = 1.0) -> None:
        """Everything below `skyline` (one depth a column), shaded from `top` at its peak to `bottom` at depth `floor`."""
        first = max(0, int(float(skyline.min()) * self.height) - 1)
        last = min(self.height, int(float(skyline.max()) * self.height) + 2)
        rows = self._ramp(self.y[first:], ((float(skyline.min()), top), (floor, bottom)))[:, None]
        if last > first:
            cover = np.clip((self.y[first:last, None] - skyline[None]) * self.height + 0.5, 0, 1)[..., None]
            band = self.pixels[first:last]
            band += (rows[: last - first] - band) * cover
        self.pixels[last:] = rows[max(0, last - first) :]

    def disc(self, x: float, y: float, radius: float, rgb: Rgb, strength: float = 1.0, soft: float = 0.0) -> None:
        """A disc at `x` from the middle, or a glow fading outwards over `soft` more."""
        reach = radius + soft + 2 / self.height
        columns = slice(*np.searchsorted(self.x, (x - reach, x + reach)))
        rows = slice(*np.searchsorted(self.y, (y - reach, y + reach)))
        distance = np.hypot(self.x[None, columns] - x, self.y[rows, None] - y)
        cover = np.clip((radius + soft - distance) / max(soft, 1 / self.height) + (0.5 if not soft else 0), 0, 1)
        patch = self.pixels[rows, columns]
        patch += (np.array(rgb, np.float32) - patch) * (cover * cover * (3 - 2 * cover) * strength)[..., None]

    def scatter(
        self, count: int, depths: tuple[float, float], radius: float, rgb: Rgb, seed: int, strength: float
    ) -> None:
        """Small soft dots between two depths, `count` for each canvas height of width."""
        draw = np.random.default_rng(seed)
        half = 2.0
        for _ in range(int(count * 2 * half)):
            x, y, size = draw.uniform(-half, half), draw.uniform(*depths), draw.uniform(0.5, 1) * radius
            if abs(x) < float(self.x[-1]) + radius:
                self.disc(x, y, size * 0.5, rgb, strength, size * 0.5)

    def hills(self, depth: float, swing: float, pace: float, phase: float) -> Field:
        """A rolling skyline."""
        x = self.x * pace
        return np.asarray(depth + swing * (0.6 * np.sin(x + phase) + 0.4 * np.sin(2.3 * x + 1.7 * phase)), np.float32)

    def peaks(self, depth: float, height: float, pitch: float, seed: int) -> Field:
        """A jagged skyline: overlapping triangles."""
        draw = np.random.default_rng(seed)
        skyline = np.full_like(self.x, depth + 0.02)
        for k in range(-int(3 / pitch), int(3 / pitch) + 1):
            at, tall = (k + draw.uniform(-0.3, 0.3)) * pitch, height * draw.uniform(0.55, 1)
            skyline = np.minimum(skyline, depth - tall + np.abs(self.x - at) * draw.uniform(0.75, 1.05))
        return skyline.astype(np.float32)

    def firs(self, depth: float, height: float, pitch: float, seed: int) -> Field:
        """A skyline of fir trees: triangles with three tiers."""
        draw = np.random.default_rng(seed)
        skyline = np.full_like(self.x, depth)
        for k in range(-int(3 / pitch), int(3 / pitch) + 1):
            at, tall = (k + draw.uniform(-0.35, 0.35)) * pitch, height * draw.uniform(0.6, 1)
            reach = np.abs(self.x - at) / (0.24 * tall)
            for tier, wide in ((0.0, 0.5), (0.27, 0.75), (0.54, 1.0)):
                part = np.where(reach < wide, depth - tall * (1 - tier) + tall * 0.46 * reach / wide, depth)
                skyline = np.minimum(skyline, part)
        return skyline.astype(np.float32)

    def houses(self, depth: float, height: float, pitch: float, seed: int) -> Field:
        """A skyline of flat roofs."""
        draw = np.random.default_rng(seed)
        count = int(6 / pitch) + 2
        tops = depth - height * draw.uniform(0.45, 1, count)
        return np.asarray(tops[np.floor((self.x + 3) / pitch).astype(int) % count], np.float32)

    def rows_of_windows(self, skyline: Field, depth: float, pitch: float, rgb: Rgb, strength: float) -> None:
        """Windows on a lattice wherever there is wall around them."""
        across = np.abs(((self.x + 3) / pitch * 4) % 1.0 - 0.5)
        down = np.abs((self.y / pitch * 3) % 1.0 - 0.5)
        wall = (self.y[:, None] > skyline + pitch * 0.16) & (self.y[:, None] < depth)
        pane = (
            np.clip((0.24 - across) * pitch / 4 * self.height + 0.5, 0, 1)[None]
            * np.clip((0.27 - down) * pitch / 3 * self.height + 0.5, 0, 1)[:, None]
        )
        self.pixels += (np.array(rgb, np.float32) - self.pixels) * (pane * wall * strength)[..., None]

    def rect(self, x0: float, y0: float, x1: float, y1: float, rgb: Rgb, strength: float = 1.0) -> None:
        """A rectangle, `x` from the middle."""
        columns = slice(*np.searchsorted(self.x, (x0, x1)))
        rows = slice(*np.searchsorted(self.y, (y0, y1)))
        patch = self.pixels[rows, columns]
        patch += (np.array(rgb, np.float32) - patch) * strength


def _plain(c: _Landscape) -> None:
    c.sky((0, (158, 190, 222)), (0.6, (186, 200, 226)), (1, (206, 190, 216)))
    edge = float(c.x[-1])
    c.disc(-edge * 0.7, 0.18, 0.30, (178, 208, 232), 0.5, 0.02)
    c.disc(edge * 0.85, 0.80, 0.42, (216, 186, 206), 0.5, 0.02)
    c.disc(edge * 0.5, 0.10, 0.12, (198, 198, 230), 0.5, 0.01)
    c.disc(-edge * 0.6, 0.93, 0.20, (196, 200, 232), 0.5, 0.01)


def _grass(c: _Landscape) -> None:
    c.sky((0, (116, 186, 230)), (0.55, (188, 222, 228)))
    c.disc(0.3, 0.16, 0.07, (248, 224, 130), 1, 0)
    c.disc(0.3, 0.16, 0.07, (248, 224, 150), 0.45, 0.14)
    c.layer(c.hills(0.42, 0.05, 3.1, 0.4), (142, 196, 142), (112, 176, 112), 0.8)
    c.layer(c.hills(0.52, 0.04, 4.2, 2.0), (120, 188, 102), (88, 160, 80))
    c.layer(c.hills(0.68, 0.03, 3.4, 4.2), (104, 176, 84), (62, 132, 62))
    c.scatter(22, (0.72, 1.0), 0.008, (244, 206, 92), 3, 0.9)
    c.scatter(18, (0.72, 1.0), 0.008, (228, 140, 160), 5, 0.9)


def _beach(c: _Landscape) -> None:
    c.sky((0, (104, 184, 226)), (0.4, (186, 222, 224)))
    c.disc(-0.28, 0.15, 0.075, (250, 226, 132), 1, 0)
    c.disc(-0.28, 0.15, 0.075, (250, 226, 150), 0.4, 0.15)
    c.layer(c.hills(0.385, 0, 1, 0), (62, 150, 190), (84, 190, 196), 0.6)
    c.layer(c.hills(0.485, 0.006, 9, 1), (84, 182, 200), (112, 204, 200), 0.62)
    c.layer(c.hills(0.585, 0.018, 4.2, 2), (176, 220, 208), (190, 216, 196), 0.62)
    c.layer(c.hills(0.605, 0.018, 4.2, 2.08), (222, 192, 140), (222, 184, 124), 0.72)
    c.layer(c.hills(0.70, 0.02, 3.1, 4), (232, 202, 148), (216, 172, 108))
    c.scatter(30, (0.74, 1.0), 0.006, (196, 150, 92), 8, 0.7)


def _sea(c: _Landscape) -> None:
    c.sky((0, (112, 180, 224)), (0.36, (190, 218, 226)))
    c.disc(0.2, 0.14, 0.06, (248, 226, 150), 0.9, 0.005)
    blues: tuple[tuple[float, Rgb], ...] = (
        (0.34, (98, 170, 206)), (0.44, (76, 152, 196)), (0.55, (58, 134, 184)),
        (0.67, (44, 114, 168)), (0.80, (34, 96, 150)), (0.92, (26, 78, 130)),
    )  # fmt: skip
    for k, (depth, rgb) in enumerate(blues):
        swell = 0.004 + 0.004 * k
        c.layer(
            c.hills(depth, swell, 15 - 1.6 * k, 1.3 * k), (rgb[0] + 26, rgb[1] + 26, rgb[2] + 20), rgb, depth + 0.09
        )


def _snow(c: _Landscape) -> None:
    c.sky((0, (122, 158, 200)), (0.5, (176, 198, 222)))
    c.layer(c.peaks(0.56, 0.26, 0.42, 4), (150, 176, 210), (176, 198, 222), 0.6)
    c.layer(c.firs(0.60, 0.13, 0.10, 12), (84, 120, 144), (104, 140, 160), 0.62)
    c.layer(c.hills(0.57, 0.025, 3.0, 0.6), (204, 218, 232), (176, 198, 222), 0.85)
    c.layer(c.hills(0.70, 0.03, 2.6, 3.0), (208, 220, 232), (166, 190, 218))
    c.layer(c.hills(0.86, 0.02, 3.4, 5.0), (206, 218, 230), (158, 182, 212))
    c.scatter(60, (0.02, 0.98), 0.009, (216, 226, 236), 6, 0.8)


def _desert(c: _Landscape) -> None:
    c.sky((0, (236, 168, 120)), (0.5, (244, 210, 158)))
    c.disc(0.22, 0.22, 0.085, (250, 228, 160), 1, 0)
    c.disc(0.22, 0.22, 0.085, (250, 224, 160), 0.4, 0.16)
    c.layer(c.houses(0.5, 0.10, 0.31, 9), (206, 132, 96), (214, 146, 104), 0.55)
    c.layer(c.hills(0.49, 0.035, 3.0, 0.3), (226, 168, 108), (214, 148, 88), 0.7)
    c.layer(c.hills(0.60, 0.045, 2.5, 2.2), (222, 160, 96), (200, 132, 74), 0.85)
    c.layer(c.hills(0.75, 0.05, 2.2, 4.1), (214, 148, 82), (182, 112, 60))


def _forest(c: _Landscape) -> None:
    c.sky((0, (146, 196, 190)), (0.6, (196, 218, 186)))
    c.layer(c.firs(0.56, 0.34, 0.13, 21), (142, 186, 162), (156, 194, 164), 0.6)
    c.layer(c.firs(0.66, 0.40, 0.19, 22), (96, 152, 122), (116, 168, 128), 0.7)
    c.layer(c.firs(0.76, 0.42, 0.27, 23), (56, 114, 88), (76, 134, 96), 0.8)
    c.layer(c.hills(0.74, 0.02, 4.1, 0.7), (92, 148, 90), (56, 106, 66))
    c.layer(c.hills(0.88, 0.02, 3.0, 3.0), (74, 128, 76), (46, 92, 58))


def _mountains(c: _Landscape) -> None:
    c.sky((0, (112, 170, 220)), (0.6, (200, 214, 224)))
    far = c.peaks(0.58, 0.34, 0.44, 31)
    c.layer(far, (206, 216, 230), (140, 166, 198), 0.44)
    c.layer(np.maximum(far, c.hills(0.42, 0.025, 17, 0)), (136, 160, 194), (150, 178, 200), 0.62)
    c.layer(c.peaks(0.68, 0.26, 0.36, 32), (98, 126, 164), (122, 156, 176), 0.7)
    c.layer(c.hills(0.68, 0.04, 3.2, 1.2), (108, 158, 130), (86, 140, 104), 0.85)
    c.layer(c.hills(0.82, 0.035, 2.6, 3.4), (90, 146, 96), (60, 112, 74))


def _street(c: _Landscape) -> None:
    c.sky((0, (134, 184, 222)), (0.6, (214, 208, 204)))
    c.layer(c.houses(0.66, 0.44, 0.155, 41), (156, 174, 200), (176, 184, 200), 0.7)
    front = c.houses(0.66, 0.30, 0.235, 42)
    c.layer(front, (122, 132, 164), (146, 146, 166), 0.7)
    c.rows_of_windows(front, 0.62, 0.235, (236, 206, 142), 0.75)
    c.layer(c.hills(0.66, 0, 1, 0), (176, 170, 170), (160, 156, 160), 0.75)
    c.layer(c.hills(0.735, 0, 1, 0), (98, 102, 114), (78, 82, 96))
    for k in range(-6, 7):
        c.rect(k * 0.34 - 0.085, 0.862, k * 0.34 + 0.085, 0.882, (232, 196, 96))


def _room(c: _Landscape) -> None:
    c.sky((0, (222, 202, 176)), (1, (210, 184, 154)))
    for k in range(-24, 25):
        c.rect(k * 0.09 - 0.022, 0, k * 0.09 + 0.022, 0.66, (214, 190, 162), 0.7)
    c.rect(-0.21, 0.09, 0.21, 0.45, (176, 138, 104))
    c.rect(-0.19, 0.11, 0.19, 0.43, (158, 206, 228))
    c.disc(-0.06, 0.39, 0.035, (134, 190, 150), 0.9, 0.002)
    c.disc(0.05, 0.40, 0.045, (120, 178, 140), 0.9, 0.002)
    c.rect(-0.19, 0.40, 0.19, 0.43, (126, 182, 138))
    c.rect(-0.008, 0.11, 0.008, 0.43, (176, 138, 104))
    c.rect(-0.19, 0.26, 0.19, 0.275, (176, 138, 104))
    c.layer(c.hills(0.655, 0, 1, 0), (166, 128, 96), (166, 128, 96))
    c.layer(c.hills(0.68, 0, 1, 0), (188, 138, 94), (150, 102, 66))
    for k in range(1, 6):
        depth = 0.68 + 0.32 * (k / 5) ** 1.4
        c.rect(-4, depth - 0.0025, 4, depth, (132, 88, 58), 0.8)


def _night(c: _Landscape) -> None:
    c.sky((0, (18, 24, 62)), (0.6, (46, 54, 110)), (0.85, (84, 78, 140)))
    c.scatter(70, (0.0, 0.72), 0.0055, (226, 222, 186), 51, 0.95)
    c.disc(0.27, 0.18, 0.085, (210, 206, 190), 0.35, 0.14)
    c.disc(0.27, 0.18, 0.085, (238, 226, 170), 1, 0)
    c.disc(0.245, 0.165, 0.018, (220, 206, 150), 0.8, 0.004)
    c.disc(0.30, 0.205, 0.024, (220, 206, 150), 0.8, 0.004)
    c.layer(c.hills(0.74, 0.04, 3.2, 0.9), (44, 48, 98), (34, 38, 80))
    c.layer(c.hills(0.84, 0.035, 2.6, 3.3), (30, 34, 76), (18, 22, 54))


def _sunset(c: _Landscape) -> None:
    c.sky((0, (92, 76, 148)), (0.25, (176, 98, 150)), (0.45, (238, 138, 112)), (0.6, (250, 190, 112)))
    c.disc(0.0, 0.52, 0.13, (252, 216, 128), 0.6, 0.22)
    c.disc(0.0, 0.52, 0.13, (252, 222, 130), 1, 0)
    c.layer(c.peaks(0.62, 0.10, 0.33, 61), (140, 82, 134), (158, 92, 134), 0.65)
    c.layer(c.hills(0.6, 0, 1, 0), (214, 128, 122), (92, 70, 136))
    for k in range(9):
        depth, wide = 0.625 + 0.036 * k, 0.13 - 0.012 * k
        c.rect(-wide, depth, wide, depth + 0.012, (252, 206, 128), 0.75 - 0.05 * k)
    c.layer(c.hills(0.93, 0.02, 3.0, 2.0), (70, 52, 108), (48, 38, 84))


_PAINTERS: Final[dict[str, Callable[[_Landscape], None]]] = {
    "plain": _plain,
    "grass": _grass,
    "beach": _beach,
    "sea": _sea,
    "snow": _snow,
    "desert": _desert,
    "forest": _forest,
    "mountains": _mountains,
    "street": _street,
    "room": _room,
    "night": _night,
    "sunset": _sunset,
}


@lru_cache(maxsize=24)
def _painted(name: str, width: int, height: int) -> Image.Image:
    scale = min(1.0, _LARGEST / max(width, height))
    canvas = _Landscape(max(1, round(width * scale)), max(1, round(height * scale)))
    _PAINTERS[name](canvas)
    picture = Image.fromarray(np.clip(canvas.pixels + 0.5, 0, 255).astype(np.uint8))
    return picture if picture.size == (width, height) else picture.resize((width, height), Image.Resampling.BICUBIC)


def background(name: str, width: int, height: int) -> Image.Image:
    """The background as an RGB picture of its own; sizes in pixels. Raises KeyError for an unknown name."""
    return _painted(name, width, height).copy()
