"""Bodies of requests, read no further than they may be long."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from PIL import Image, ImageOps
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from gems.app.serve.refusals import ClientGone, Refusal
from gems.backends.images.picture import FORMATS

MOST_INPUT_PIXELS: Final = 33_554_432
"""Of a picture that is sent: twice as many as the largest that can be drawn."""
BODY_SECONDS: Final = 60.0
"""For a body to arrive."""
_MOST_FILES: Final = 16
_MOST_FIELDS: Final = 64
_PICTURES: Final = ("image", "image[]")


class Form(NamedTuple):
    """A form: its texts by name, and the pictures in their order."""

    texts: dict[str, Any]
    pictures: list[bytes]


async def read_json(request: Request, most: int) -> dict[str, Any]:
    """The object of a body of `most` bytes or fewer.

    Raises:
        Refusal: it is longer, or no JSON object.
        ClientGone: the client hung up.
    """
    body = await read_body(request, most)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the body is no JSON: send an object with `prompt` in it", code="invalid_json") from None
    if not isinstance(content, dict):
        raise Refusal(
            400, f"the body is a JSON {type(content).__name__}, not an object with `prompt` in it", code="invalid_json"
        )
    return content


async def read_form(request: Request, most: int) -> Form:
    """The multipart form of a body of `most` bytes or fewer.

    Raises:
        Refusal: it is longer, or no such form.
        ClientGone: the client hung up.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Refusal(400, f"content-type {kind[:40]!r}: edits are multipart/form-data with a file `image`")
    body = await read_body(request, most)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        form = await Request(request.scope, receive).form(
            max_files=_MOST_FILES, max_fields=_MOST_FIELDS, max_part_size=most
        )
    except HTTPException as error:
        raise Refusal(400, f"the form cannot be read: {error.detail}") from None
    except UnicodeError:
        raise Refusal(400, "the form cannot be read: send it in UTF-8") from None
    try:
        texts: dict[str, Any] = {}
        pictures = []
        for name, value in form.multi_items():
            if name in _PICTURES and isinstance(value, UploadFile):
                pictures.append(await value.read())
            else:
                # A file by another name is refused where the names are known.
                texts[name] = value if isinstance(value, str) else "a file"
    finally:
        await form.close()
    return Form(texts, pictures)


async def open_pictures(contents: Sequence[bytes]) -> list[Image.Image]:
    """The pictures, decoded, upright and in RGB.

    Raises:
        Refusal: one of them is none, or too large.
    """
    if not contents:
        raise Refusal(
            400, "image is missing: send the picture as a file", param="image", code="missing_required_parameter"
        )
    return await asyncio.to_thread(lambda: [_opened(content) for content in contents])


def _opened(content: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height <= MOST_INPUT_PIXELS:
                return ImageOps.exif_transpose(image).convert("RGB")
            problem = f"{image.width}x{image.height} pixels are more than {MOST_INPUT_PIXELS}"
    except Exception:  # Pillow's readers raise whatever broken bytes lead them to
        problem = f"it is no whole {', '.join(FORMATS)}"
    raise Refusal(400, f"the picture cannot be used: {problem}", param="image", code="invalid_image")


async def read_body(request: Request, most: int) -> bytes:
    """A body of `most` bytes or fewer.

    Raises:
        Refusal: it is longer, or does not arrive.
        ClientGone: the client hung up.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > most:
        raise _too_large(most)
    body = bytearray()
    try:
        # A place is held meanwhile, which others wait for.
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise _too_large(most)
    except ClientDisconnect:
        raise ClientGone from None
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {BODY_SECONDS:g} s", code="timeout") from None
    return bytes(body)


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"the body is longer than {most} bytes", code="request_too_large")
