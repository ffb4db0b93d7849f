"""The page: `/gems/` and the files it is made of."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gems.app.web.site import Site, WebError

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""What the page may load: its own files, and pictures that it holds itself. Nothing inline, nothing from elsewhere."""
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked for again each time, and answered with 304: a new version is there at the next reload.
    "Cache-Control": "no-cache",
}
CONTENT_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Of the files that are given out: no other kind is."""
INDEX: Final = "index.html"


class Body(NamedTuple):
    """What is sent, and a tag that changes with it."""

    content: bytes
    etag: str


class StaticFile(NamedTuple):
    """A file of the page, as it is and packed, each with a tag of its own: a cache must not take one for the other."""

    content_type: str
    plain: Body
    packed: Body


def read_files() -> dict[str, StaticFile]:
    """The page's files by name. They are read once, so that no request's path ever reaches the file system."""
    found = {}
    for entry in files("gems.app.web").joinpath("static").iterdir():
        content_type = CONTENT_TYPES.get(entry.name[entry.name.rfind(".") :])
        if content_type and entry.is_file():
            content = entry.read_bytes()
            found[entry.name] = StaticFile(content_type, _body(content), _body(gzip.compress(content, mtime=0)))
    return found


def _body(content: bytes) -> Body:
    return Body(content, f'"{sha256(content).hexdigest()[:32]}"')


def routes(_site: Site) -> Sequence[BaseRoute]:
    """The routes of the page. They tell nothing about anybody: who may see what is decided where that is answered."""
    known = read_files()

    async def index(request: Request) -> Response:
        return _answer(request, known[INDEX])

    async def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name == INDEX or name not in known:
            raise WebError(404, f"there is no file {name[:80]!r}")
        return _answer(request, known[name])

    async def to_page(_: Request) -> Response:
        # Relative, so that it holds under a prefix too.
        return RedirectResponse("gems/", status_code=308)

    return [Route("/gems", to_page), Route("/gems/", index), Route("/gems/static/{name}", static)]


def _answer(request: Request, file: StaticFile) -> Response:
    packed = _takes_gzip(request.headers.get("Accept-Encoding", ""))
    body = file.packed if packed else file.plain
    headers = {**HEADERS, "ETag": body.etag, "Vary": "Accept-Encoding"}
    known = request.headers.get("If-None-Match", "")
    if body.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    if packed:
        headers["Content-Encoding"] = "gzip"
    return Response(body.content, headers=headers, media_type=file.content_type)


def _takes_gzip(accepted: str) -> bool:
    """Whether gzip is among the accepted encodings, and not refused by `q=0`."""
    for part in accepted.lower().split(","):
        name, _, weight = part.replace(" ", "").partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or not weight
    return False
