"""Text in PNG files, added and read without decoding the picture."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from PIL import Image

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER_END: Final = len(SIGNATURE) + 25
"""IHDR, always first, is 25 bytes long with its frame."""


class _Chunk(NamedTuple):
    kind: bytes
    body: bytes


def export_png(content: bytes, fields: Mapping[str, str]) -> bytes:
    """PNG bytes with one text chunk (iTXt, UTF-8) a field; the picture itself is untouched.

    Raises:
        ValueError: `content` is not a PNG.
    """
    if not content.startswith(SIGNATURE) or content[12:16] != b"IHDR":
        raise ValueError("not a PNG")
    return content[:_HEADER_END] + b"".join(map(_text_chunk, fields, fields.values())) + content[_HEADER_END:]


def without_first_text(content: bytes) -> bytes:
    """PNG bytes as they were before `export_png` put one field into them.

    Raises:
        ValueError: `content` is not a PNG, or has no text there.
    """
    kind, body = content[_HEADER_END + 4 : _HEADER_END + 8], content[_HEADER_END:]
    if not content.startswith(SIGNATURE) or kind != b"iTXt":
        raise ValueError("not a PNG with a text behind its header")
    (length,) = struct.unpack(">I", body[:4])
    return content[:_HEADER_END] + body[12 + length :]


def to_png(content: bytes) -> bytes:
    """The picture as PNG. One that is a PNG stays as it is; its checksums are read, its pixels are not.

    Raises:
        ValueError: the bytes are no picture, or only a part of one.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format == "PNG":
                image.verify()
                return content
            buffer = io.BytesIO()
            image.save(buffer, "PNG", compress_level=3)
            return buffer.getvalue()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{content[:12]!r} begins no picture") from error


def read_png_text(content: bytes) -> dict[str, str]:
    """The uncompressed iTXt fields of a PNG.

    Raises:
        ValueError: `content` is not a PNG, or is cut off.
    """
    fields = {}
    for kind, body in _chunks(content):
        if kind == b"iTXt":
            keyword, _, rest = body.partition(b"\0")
            compressed, text = rest[0], rest[2:].split(b"\0", 2)[2]
            if not compressed:
                fields[keyword.decode("latin-1")] = text.decode("utf-8", "replace")
    return fields


def _text_chunk(keyword: str, text: str) -> bytes:
    # The PNG specification bounds a keyword to 79 Latin-1 bytes.
    kind, body = b"iTXt", keyword.encode("latin-1")[:79] + b"\0\0\0\0\0" + text.encode()
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _chunks(content: bytes) -> Iterator[_Chunk]:
    if not content.startswith(SIGNATURE):
        raise ValueError("not a PNG")
    place = len(SIGNATURE)
    while place < len(content):
        if place + 8 > len(content):
            raise ValueError("the PNG is cut off")
        length, kind = struct.unpack_from(">I4s", content, place)
        yield _Chunk(kind, content[place + 8 : place + 8 + length])
        place += 12 + length
