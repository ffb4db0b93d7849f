"""Finds the backing plates in a picture: where stickers lie, whole or partly covered.

Plates are near white and backgrounds never are. Every sticker that nothing covers shows a closed ring of bare plate around
its glyph, parted by a dark line from any plate it overlaps; filled, the ring is its silhouette.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from gems.backends.sketch.icons import Field

WORKING_SIDE: Final = 1024
"""Shorter side in pixels at which plates are sought; pictures near this size are taken as they are."""
_LONGEST_SIDE: Final = 4096
SMALLEST: Final = 16
"""Shortest side in working pixels of what may be a plate or a piece of one."""
_PLATE_LEVEL: Final = 222
BRIDGE: Final = 2
"""Pixels over which bare parts count as one group: wide enough for the dark line between two plates."""
_MOST_PARTS: Final = 80

Box = tuple[float, float, float, float]
Mask = NDArray[np.bool_]


class View(NamedTuple):
    """A picture, and the copy on which plates are sought."""

    image: Image.Image
    working: Image.Image
    bare: Mask
    """Near-white pixels of the working copy."""

    def in_image(self, box: Box) -> Box:
        """A box of the working copy in pixels of the picture."""
        x, y = self.image.width / self.working.width, self.image.height / self.working.height
        return (box[0] * x, box[1] * y, box[2] * x, box[3] * y)


class Region(NamedTuple):
    """A mask over part of the working copy."""

    top: int
    left: int
    mask: Mask

    @property
    def box(self) -> Box:
        """Left, top, right and bottom."""
        bottom, right = self.top + self.mask.shape[0], self.left + self.mask.shape[1]
        return (self.left, self.top, right, bottom)

    def framed(self, frame: Region) -> Mask:
        """This mask on the frame of another region."""
        shown: Mask = np.zeros(frame.mask.shape, bool)
        top, left = self.top - frame.top, self.left - frame.left
        y0, x0 = max(0, top), max(0, left)
        y1, x1 = min(shown.shape[0], top + self.mask.shape[0]), min(shown.shape[1], left + self.mask.shape[1])
        if y1 > y0 and x1 > x0:
            shown[y0:y1, x0:x1] = self.mask[y0 - top : y1 - top, x0 - left : x1 - left]
        return shown

    def sampled(self, box: Box, cells: int) -> Field:
        """Coverage of a square box by the mask, shape (cells, cells)."""
        image = Image.fromarray(self.mask.astype(np.uint8) * 255)
        cell = (box[2] - box[0]) / cells
        # Averaged first, or a thin part could fall between two samples.
        step = max(1, int(cell))
        image = image.reduce(step) if step > 1 else image
        matrix = (cell / step, 0, (box[0] - self.left) / step, 0, cell / step, (box[1] - self.top) / step)
        grid = image.transform((cells, cells), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        return np.asarray(np.asarray(grid, np.float32) / 255, np.float32)


def view_of(image: Image.Image) -> View:
    """Prepares a picture of any size and mode."""
    image = image.convert("RGB")
    scale = min(WORKING_SIDE / min(image.size), _LONGEST_SIDE / max(image.size))
    if 0.72 < scale < 1.4:
        scale = 1.0
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    working = image if scale == 1.0 else image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    red, green, blue = (np.asarray(band) for band in working.split())
    return View(image, working, np.minimum(np.minimum(red, green), blue) >= _PLATE_LEVEL)


def filled(mask: Mask) -> Mask:
    """The mask without holes."""
    parts, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    return np.asarray(parts != parts[0, 0])[1:-1, 1:-1]


def grown(mask: Mask, steps: int) -> Mask:
    """Dilation by a square of `2 * steps + 1` pixels."""
    for _ in range(steps):
        wide = mask.copy()
        wide[1:] |= mask[:-1]
        wide[:-1] |= mask[1:]
        mask = wide.copy()
        mask[:, 1:] |= wide[:, :-1]
        mask[:, :-1] |= wide[:, 1:]
    return mask


def shrunk(mask: Mask, steps: int) -> Mask:
    """Erosion by a square of `2 * steps + 1` pixels; beyond the frame counts as outside."""
    return ~grown(np.pad(~mask, steps, constant_values=True), steps)[steps:-steps, steps:-steps]


def regions(mask: Mask) -> list[Region]:
    """Connected parts without their holes, widest first, less those that lie inside another."""
    parts, _ = ndimage.label(mask)
    slices = ndimage.find_objects(parts)
    taken = np.zeros(mask.shape, bool)
    found = []
    for k in sorted(range(len(slices)), key=lambda k: -_extent(slices[k]))[:_MOST_PARTS]:
        window = slices[k]
        part = parts[window] == k + 1
        if min(part.shape) < SMALLEST or taken[window][part].mean() > 0.5:
            continue
        whole = filled(part)
        taken[window] |= whole
        found.append(Region(window[0].start, window[1].start, whole))
    return found


def _extent(window: tuple[slice, slice]) -> int:
    return int((window[0].stop - window[0].start) * (window[1].stop - window[1].start))


def groups(bare: Mask, bridge: int = BRIDGE) -> list[Region]:
    """Silhouettes of plates, those that touch or overlap as one.

    Args:
        bare: near-white pixels.
        bridge: pixels over which bare parts count as one.
    """
    # A margin lets the erosion undo the dilation at the border of the picture as well.
    margin = bridge + 1
    wide = grown(np.pad(bare, margin), bridge)
    offset = bridge - margin
    return [
        Region(group.top + offset, group.left + offset, shrunk(group.mask, bridge)[bridge:-bridge, bridge:-bridge])
        for group in regions(wide)
        if min(group.mask.shape) > 2 * bridge
    ]


def closed_by(group: Region, bare: Mask, part: Region, hidden: Mask) -> Region:
    """The visible silhouette of a plate whose ring is cut, the gap being closed by what hides the rest.

    Args:
        group: the group that the plate belongs to.
        bare: bare plate of the group, on its frame.
        part: the cut ring, filled as far as it was closed; places count from the group's corner.
        hidden: what lies in front, on the group's frame.
    """
    frame = Region(0, 0, hidden)
    ring = part.framed(frame)
    # The dark line between two plates parts the ring from what hides it.
    body = filled(grown(ring, BRIDGE) | hidden)
    parts, _ = ndimage.label(_eroded_to(body, ring | bare) & ~hidden & group.mask)
    held = np.unique(parts[ring & ~hidden])
    mask = np.isin(parts, held[held > 0])
    # Nothing of a plate lies beyond its ring; background shut in between ring and cover does.
    top, left = max(0, part.top - 1), max(0, part.left - 1)
    inner = mask[top : part.top + part.mask.shape[0] + 1, left : part.left + part.mask.shape[1] + 1]
    if not inner.any():
        return Region(group.top + part.top, group.left + part.left, part.mask)
    rows, columns = np.flatnonzero(inner.any(1)), np.flatnonzero(inner.any(0))
    inner = inner[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Region(group.top + top + int(rows[0]), group.left + left + int(columns[0]), inner)


def _eroded_to(body: Mask, kept: Mask) -> Mask:
    return shrunk(body, BRIDGE) | (body & kept)
