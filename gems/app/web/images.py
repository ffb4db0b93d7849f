"""Pictures by their ids: whole, or scaled down."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gems.app.web.site import Site, WebError
from gems.app.web.thumbnails import SIDES, Thumbnails
from gems.core.errors import ArtifactCorrupt
from gems.core.ports import ArtifactStore

logger: Final = logging.getLogger(__name__)
_ID: Final = re.compile("[0-9a-f]{64}")
_SEEN_FOREVER: Final = "private, max-age=31536000, immutable"
"""An id names its bytes: they never change. Private: other people's caches are none of ours."""
_KINDS: Final[Mapping[bytes, str]] = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "image/webp",
}


def routes(site: Site) -> list[Route]:
    """`GET /gems/images/<id>`, with `?side=` for a thumbnail."""
    thumbnails = Thumbnails()

    async def image(request: Request) -> Response:
        artifact = _artifact(request.path_params["artifact"])
        side = _side(request.query_params.get("side"))
        store = _store(site, request, artifact)
        if not await store.has(artifact):
            raise _missing()
        headers = {"etag": f'"{artifact}"' if side is None else f'"{artifact}-{side}"', "cache-control": _SEEN_FOREVER}
        if site.settings.tokens:
            headers["vary"] = "Authorization, Cookie"
        if _is_known(request, headers["etag"]):
            return Response(status_code=304, headers=headers)
        try:
            content = await store.get(artifact)
            if side is not None:
                content = await thumbnails.of(artifact, side, content)
        except ArtifactCorrupt as error:
            logger.warning("an image cannot be shown: %s", error)
            raise WebError(404, "this image is lost or damaged on the server") from error
        headers["content-type"] = "image/webp" if side is not None else _kind(content)
        headers["content-length"] = str(len(content))
        return Response(b"" if request.method == "HEAD" else content, headers=headers)

    return [Route("/gems/images/{artifact}", image, methods=["GET"])]


def _artifact(text: str) -> str:
    """The id itself: nothing else ever reaches a store."""
    if not _ID.fullmatch(text):
        raise _missing()
    return text


def _side(text: str | None) -> int | None:
    if text is None:
        return None
    if text not in map(str, SIDES):
        raise WebError(400, f"side is {text[:20]!r}: use {', '.join(map(str, SIDES))}, or leave it out")
    return int(text)


def _store(site: Site, request: Request, artifact: str) -> ArtifactStore:
    """The images of whoever asks; of a signed address, those of the one it was signed for."""
    key = request.query_params.get("key")
    owner = site.links.owner_of_key(artifact, key) if key and site.settings.tokens else None
    return site.artifacts_of(request) if owner is None else site.services.artifacts_of(lambda: owner)


def _missing() -> WebError:
    return WebError(404, "there is no image of that id: an id has 64 digits, 0-9 and a-f")


def _is_known(request: Request, etag: str) -> bool:
    """Whether the client says that it has this already."""
    told = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return etag in told or told == ["*"]


def _kind(content: bytes) -> str:
    return next((kind for start, kind in _KINDS.items() if content.startswith(start)), "application/octet-stream")
