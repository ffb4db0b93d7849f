"""The gallery: all runs that whoever asks may see, the newest first, page by page."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gems.app.web.site import Site, WebError
from gems.app.web.threads import continues, stands
from gems.core.ports import RunRecord

PAGE: Final = 24
MOST: Final = 100
"""Runs of one answer."""
_LONGEST: Final = 200
"""Characters of a search."""
_FARTHEST: Final = 10**9


def routes(site: Site) -> list[Route]:
    """`GET /gems/runs`."""

    async def runs(request: Request) -> Response:
        owners = site.owners_of(request)
        limit = _number(request, "limit", PAGE, 1, MOST)
        offset = _number(request, "offset", 0, 0, _FARTHEST)
        search = request.query_params.get("search", "").strip()
        if len(search) > _LONGEST or not search.isprintable():
            raise WebError(400, f"search is longer than {_LONGEST} characters, or no text")
        index = await asyncio.to_thread(lambda: site.services.runs)
        # One more than is shown tells whether there are more.
        found = await index.recent(limit + 1, offset=offset, owners=owners, search=search)
        told = await asyncio.gather(*(_told(site, run) for run in found[:limit]))
        return JSONResponse({"runs": told, "more": len(found) > limit}, headers={"cache-control": "no-store"})

    return [Route("/gems/runs", runs, methods=["GET"])]


async def _told(site: Site, run: RunRecord) -> dict[str, Any]:
    told: dict[str, Any] = run._asdict()
    del told["trajectory_id"], told["owner"]
    if run.status == "running":
        # The index hears of beginnings and ends alone, not of questions and of processes that died.
        told["status"] = await stands(site, run.thread_id)
    return {**told, "continues": continues(run.thread_id)}


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and least <= int(text) <= most):
        raise WebError(400, f"{name} is {text[:20]!r}: use a whole number from {least} to {most}")
    return int(text)
