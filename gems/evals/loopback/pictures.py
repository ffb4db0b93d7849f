"""What a loopback image server draws: a flat colour that prompt and seed decide, or a picture prepared beforehand."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Literal, NamedTuple

from PIL import Image

Encoding = Literal["png", "jpeg", "webp"]


class Wish(NamedTuple):
    """What is to be drawn; sizes in pixels. `sources` are the images of an edit."""

    prompt: str
    seed: int
    width: int
    height: int
    encoding: Encoding = "png"
    sources: tuple[bytes, ...] = ()


Painter = Callable[[Wish], bytes]


def flat(wish: Wish) -> bytes:
    """A flat colour that all of the wish decides."""
    digest = hashlib.sha256(f"{wish.prompt}\0{wish.seed}".encode() + b"".join(wish.sources)).digest()
    buffer = io.BytesIO()
    Image.new("RGB", (wish.width, wish.height), tuple(digest[:3])).save(buffer, wish.encoding)
    return buffer.getvalue()


def prepared(png: bytes) -> Painter:
    """Always that picture."""
    return lambda _: png
