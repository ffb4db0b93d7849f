"""Pictures that a person brings along: checked, turned upright, and freed of what they carry besides the picture."""

from __future__ import annotations

import asyncio
import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image, ImageOps, UnidentifiedImageError

from gems.core.errors import GemsConfigError
from gems.core.ports import ArtifactStore

MOST_BYTES: Final = 30 * 2**20
MOST_PIXELS: Final = 40_000_000
MOST_SIDE: Final = 2048
"""Pixels of the longest side that is kept; image models see no more."""
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_ONE_AT_A_TIME: Final = threading.Lock()
"""Filters of warnings belong to the whole process; and a large picture takes 120 MB while it is read."""


class ReferenceTooLarge(GemsConfigError):
    """A picture with more bytes or pixels than are read."""


def read_reference(path: Path) -> bytes:
    """The file as a reference image.

    Raises:
        GemsConfigError: it cannot be read, is no picture, or is too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise GemsConfigError(f"cannot read the reference image {path}: {error.strerror or error}") from error
    return as_reference(content, str(path))


def as_reference(content: bytes, name: str) -> bytes:
    """The picture as an upright PNG in RGB of at most 2048 pixels a side, without its metadata: photos carry places.

    What is transparent becomes white. Of a picture that moves, its first frame is taken.

    Raises:
        ReferenceTooLarge: it has too many bytes or pixels.
        GemsConfigError: the bytes are no picture.
    """
    if len(content) > MOST_BYTES:
        raise ReferenceTooLarge(f"the reference image {name} is larger than {MOST_BYTES // 2**20} MiB: scale it down")
    try:
        with _quietly(), Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ReferenceTooLarge(
                    f"the reference image {name} has {image.width}x{image.height} pixels; the limit is "
                    f"{MOST_PIXELS // 10**6} million: scale it down"
                )
            picture = on_white(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise GemsConfigError(
            f"the reference image {name} is no PNG, JPEG, WebP, GIF, BMP or TIFF that can be read"
        ) from error
    except Image.DecompressionBombError as error:  # so many that Pillow does not even open it
        raise ReferenceTooLarge(
            f"the reference image {name} has far too many pixels; the limit is {MOST_PIXELS // 10**6} million: scale it down"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise GemsConfigError(f"the reference image {name} is no picture that can be read: {error}") from error
    picture.thumbnail((MOST_SIDE, MOST_SIDE))
    buffer = io.BytesIO()
    # A new image has no metadata to save.
    Image.frombytes("RGB", picture.size, picture.tobytes()).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


@contextmanager
def _quietly() -> Iterator[None]:
    """Without Pillow's warnings, which name places in this machine: what matters of a picture is refused or mended here."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def on_white(image: Image.Image) -> Image.Image:
    """The picture in RGB. Alone, Pillow shows the colours that lie under what is transparent."""
    if image.mode.startswith("I;16") or not image.has_transparency_data:
        return in_eight_bits(image).convert("RGB")
    picture = image.convert("RGBA")
    flat = Image.new("RGB", picture.size, "white")
    flat.paste(picture, mask=picture.getchannel("A"))
    return flat


def in_eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits scaled to 8, where Pillow alone would turn all but the darkest tones white."""
    if not image.mode.startswith("I;16"):
        return image
    return image.convert("I").point(lambda value: value / 257 + 0.5).convert("L")


async def keep_reference(artifacts: ArtifactStore, path: Path) -> str:
    """Store a file as a reference image, and answer its artifact id.

    Raises:
        GemsConfigError: it is no picture, or cannot be stored.
    """
    return await artifacts.put(await asyncio.to_thread(read_reference, path))
