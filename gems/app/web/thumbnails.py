"""Pictures scaled down, made when they are first asked for, and the latest kept in memory."""

from __future__ import annotations

import asyncio
import io
from collections import OrderedDict
from typing import Final, NamedTuple

from PIL import Image

from gems.app.decoding import decoded
from gems.backends.images.picture import MOST_PIXELS
from gems.core.errors import ArtifactCorrupt
from gems.memory.references import in_eight_bits

SIDES: Final = (128, 256, 512, 1024)
"""Pixels of the longest side that can be asked for."""
MOST_BYTES: Final = 32 * 2**20
"""What is kept: about a thousand of the larger ones."""
_QUALITY: Final = 82


class _Key(NamedTuple):
    artifact: str
    side: int


class Thumbnails:
    """WebP pictures by artifact and side. Those that were used last stay, as many as fit into a number of bytes."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Keep at most so many bytes."""
        self._most = most_bytes
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._making: dict[_Key, asyncio.Future[bytes]] = {}
        self.size = 0
        """Bytes that are kept."""

    async def of(self, artifact: str, side: int, content: bytes) -> bytes:
        """The picture with at most `side` pixels on its longest side; never larger than it is.

        Raises:
            ArtifactCorrupt: `content` is no picture, or one too large to be decoded.
        """
        key = _Key(artifact, side)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._making:
            self._making[key] = asyncio.ensure_future(self._make(key, content))
        # Others may wait for it too: who leaves does not take it along.
        return await asyncio.shield(self._making[key])

    async def _make(self, key: _Key, content: bytes) -> bytes:
        try:
            made = await decoded(scaled, content, key.side)
        finally:
            del self._making[key]
        self._kept[key] = made
        self.size += len(made)
        while self.size > self._most:
            _, gone = self._kept.popitem(last=False)
            self.size -= len(gone)
        return made


def scaled(content: bytes, side: int) -> bytes:
    """The picture as WebP, its longest side `side` pixels or what it had.

    Raises:
        ArtifactCorrupt: it is none, or one too large to be decoded.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise ArtifactCorrupt(f"{opened.width}x{opened.height} pixels are too many to be scaled down")
            picture = opened.convert("RGBA") if opened.has_transparency_data else in_eight_bits(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ArtifactCorrupt(f"the bytes are no picture: {error}") from error
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    webp = io.BytesIO()
    picture.save(webp, "WEBP", quality=_QUALITY)
    return webp.getvalue()
