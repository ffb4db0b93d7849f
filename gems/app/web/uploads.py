"""Pictures that people send, for drawings to follow: read no further than they may be long, and stored as plain PNGs."""

from __future__ import annotations

import logging
import struct
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gems.app.decoding import decoded
from gems.app.serve.reading import read_body, read_form
from gems.app.serve.refusals import ClientGone, Refusal
from gems.app.web.site import Site, WebError
from gems.core.errors import GemsConfigError
from gems.core.links import PATH
from gems.memory.references import MOST_BYTES, ReferenceTooLarge, as_reference

logger: Final = logging.getLogger(__name__)
MOST_AT_ONCE: Final = 8
"""Pictures that are being received: each is held in memory whole."""
_FRAME: Final = 64 * 2**10
"""Bytes that a form may have around its picture."""


def routes(site: Site) -> list[Route]:
    """`POST /gems/images`."""
    underway = 0

    async def upload(request: Request) -> Response:
        nonlocal underway
        owner = site.known_owner(request)
        if underway >= MOST_AT_ONCE:
            raise WebError(429, "too many pictures are being sent at the moment: try again in a few seconds")
        underway += 1
        try:
            content = await _received(request)
            png = await decoded(_as_png, content)
            artifact = await _stored(site, request, png)
        finally:
            underway -= 1
        width, height = struct.unpack(">II", png[16:24])
        url = site.links.url(artifact, owner) or f"{PATH}{artifact}"
        told = {"id": artifact, "width": width, "height": height, "url": url}
        return JSONResponse(told, 201, {"location": f"{PATH}{artifact}"})

    return [Route("/gems/images", upload, methods=["POST"])]


async def _received(request: Request) -> bytes:
    """The picture's bytes, from a form or from the body itself.

    Raises:
        WebError: there is none, more than one, or too much of it.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            pictures = (await read_form(request, MOST_BYTES + _FRAME)).pictures
            if len(pictures) != 1:
                raise WebError(400, f"the form has {len(pictures)} files called 'image': send one picture at a time")
            content = pictures[0]
        elif kind in ("", "application/octet-stream") or kind.startswith("image/"):
            content = await read_body(request, MOST_BYTES)
        else:
            raise WebError(
                415, f"content-type {kind[:60]!r}: send a form with a file 'image', or the picture itself as image/png"
            )
    except Refusal as refusal:
        raise WebError(refusal.status, refusal.message) from refusal
    except ClientGone as gone:
        raise ClientDisconnect from gone
    if not content:
        raise WebError(400, "the picture is empty: 0 bytes came")
    return content


def _as_png(content: bytes) -> bytes:
    # What it is decides, not what it is called: neither a name nor a content type is believed.
    try:
        return as_reference(content, "that was sent")
    except ReferenceTooLarge as error:
        raise WebError(413, str(error)) from error
    except GemsConfigError as error:
        raise WebError(415, str(error)) from error


async def _stored(site: Site, request: Request, png: bytes) -> str:
    try:
        return await site.artifacts_of(request).put(png)
    except GemsConfigError as error:
        logger.exception("a picture cannot be stored")
        raise WebError(507, "the picture cannot be stored: the server's log says why") from error
