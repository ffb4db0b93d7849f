"""Whether the server can work: for whoever watches it, and for load balancers."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gems import __version__
from gems.app.web.site import Site

logger: Final = logging.getLogger(__name__)


def routes(site: Site) -> list[Route]:
    """`GET /gems/health`."""

    async def health(_: Request) -> Response:
        problem = await _problem(site)
        status = {"status": "unready", "error": problem} if problem else {"status": "ready"}
        headers = {"cache-control": "no-store"}
        return JSONResponse({**status, "version": __version__}, 503 if problem else 200, headers)

    return [Route("/gems/health", health, methods=["GET"])]


async def _problem(site: Site) -> str:
    """What is wrong, in words that name nothing of this machine; empty where nothing is."""
    try:
        store = await asyncio.to_thread(lambda: site.services.store)
        await store.check()
    except Exception:  # whatever it is, the answer is that it is so
        logger.exception("not ready: images")
        return "images cannot be stored: the server's log says why"
    try:
        index = await asyncio.to_thread(lambda: site.services.runs)
        await index.recent(1)
    except Exception:
        logger.exception("not ready: runs")
        return "the index of runs cannot be read: the server's log says why"
    return ""
