"""Whether what a server sent is a picture."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image

from gems.core.errors import ModelOutage

MOST_BYTES: Final = 100_000_000
MOST_PIXELS: Final = 64_000_000
FORMATS: Final = ("PNG", "JPEG", "WEBP")


def check_picture(content: bytes, name: str) -> bytes:
    """The bytes, when they are one whole picture of a size that fits into memory.

    Args:
        content: What came.
        name: Who sent it, for messages.

    Raises:
        ModelOutage: they are none. It may have been paid for.
    """
    if len(content) > MOST_BYTES:
        raise _outage(name, f"{len(content)} bytes, more than {MOST_BYTES}")
    if problem := _problem(content):
        raise _outage(name, problem)
    return content


def _problem(content: bytes) -> str:
    """What is wrong with the bytes; empty when they are a whole picture."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                return f"{image.width}x{image.height} pixels, more than {MOST_PIXELS}"
            # Only PNGs carry checksums; of the others nothing but decoding tells that the end is missing.
            if image.format == "PNG":
                image.verify()
            else:
                image.load()
    except Exception:  # Pillow's readers raise whatever broken bytes lead them to
        return f"{content[:12]!r}..., which is no whole picture"
    return ""


def _outage(name: str, what: str) -> ModelOutage:
    return ModelOutage(f"{name} answered with {what}", again="paid")
