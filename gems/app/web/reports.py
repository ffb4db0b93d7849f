"""The report of a run, as a page that loads nothing and runs nothing."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gems.app.report import Pictures, render_report
from gems.app.web.site import Site, WebError
from gems.app.web.threads import read_thread, readable
from gems.app.web.untold import shown_state
from gems.core.errors import ArtifactCorrupt, StoreOutage

POLICY: Final = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups"
)
"""Pictures and styles stand in the page itself. Words in it come from people and models: nothing of it may run."""


def routes(site: Site) -> list[Route]:
    """`GET /gems/report/<thread>`."""

    async def report(request: Request) -> Response:
        thread = await read_thread(site, request)
        if "request" not in thread.state:
            raise WebError(404, "this run was refused before it began: there is nothing to report")
        store = _Untold(site.artifacts_of(request))
        with readable(thread.thread_id):
            state = shown_state(thread.state)
            page = await render_report(thread.thread_id, state, store, state["options"]["models"])
        headers = {"content-security-policy": POLICY, "cache-control": "no-store"}
        return HTMLResponse(page, headers=headers)

    return [Route("/gems/report/{thread}", report, methods=["GET"])]


class _Untold:
    """Images for reading. What the page says of one that is lost names no file of this machine."""

    def __init__(self, store: Pictures) -> None:
        self._store = store

    async def get(self, artifact: str) -> bytes:
        """The bytes of an image.

        Raises:
            ArtifactCorrupt: it is lost or damaged.
        """
        try:
            return await self._store.get(artifact)
        except ArtifactCorrupt as error:
            raise ArtifactCorrupt(f"image {artifact[:12]} is lost or damaged on the server") from error
        except StoreOutage as error:
            raise StoreOutage("the server's store of images does not answer: look again later") from error
