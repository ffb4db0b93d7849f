"""What the routes of the server share: the machine's services, who is asking, and how a refusal is said."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast

from httpx import HTTPStatusError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from gems.app.web.untold import untold
from gems.core.errors import GemsConfigError, GemsError, StoreOutage
from gems.core.links import ImageLinks
from gems.core.ports import ArtifactStore
from gems.core.settings import Settings
from gems.graph.services import MachineServices
from gems.graph.serving import Threads

logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """What the routes are made of."""

    services: MachineServices
    threads: Threads

    @property
    def settings(self) -> Settings:
        """The machine's settings."""
        return self.services.settings

    @property
    def links(self) -> ImageLinks:
        """Addresses of images."""
        return self.services.links

    def artifacts_of(self, request: Request) -> ArtifactStore:
        """The images that whoever asks may see."""
        if not self.settings.tokens:
            return self.services.store
        owner = owner_of(request)
        return self.services.artifacts_of(lambda: owner)

    def owners_of(self, request: Request) -> set[str] | None:
        """Whose lines of the runs index whoever asks may see; None: all. What no user began is the machine's owner's.

        Raises:
            WebError: there are tokens, and nobody was recognised.
        """
        owner = self.known_owner(request)
        if not self.settings.tokens:
            return None
        return {owner, ""} if owner == self.settings.owner else {owner}

    def known_owner(self, request: Request) -> str:
        """Who asks; empty where there are no tokens and nobody was recognised.

        Raises:
            WebError: there are tokens, and nobody was recognised: as when LangGraph asks inside its own process.
        """
        owner = owner_of(request)
        if self.settings.tokens and not owner:
            raise WebError(401, "this server has tokens: send yours as a bearer token, or sign in on its page")
        return owner


class WebError(Exception):
    """What a request is refused with."""

    def __init__(self, status: int, message: str) -> None:
        """Answer with an HTTP status and words."""
        super().__init__(message)
        self.status = status
        self.message = message


def owner_of(request: Request) -> str:
    """Who asks, as the auth handler has recognised them; empty where nobody is known."""
    user = request.scope.get("user")
    return str(user.identity) if user is not None else ""


def answer(status: int, message: str) -> Response:
    """A refusal."""
    return JSONResponse({"error": message}, status)


async def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, WebError):
        return answer(error.status, error.message)
    if isinstance(error, HTTPException):
        # The server's own routes come by here too, and its clients read `detail`.
        name = "error" if request.url.path.startswith("/gems") else "detail"
        return JSONResponse({name: str(error.detail)}, error.status_code, error.headers)
    status = 400 if isinstance(error, GemsConfigError) else 503 if isinstance(error, StoreOutage) else 500
    return answer(status, untold(str(error)))


async def _refused_inside(_: Request, error: Exception) -> Response:
    """What the server refused its own MCP and A2A inside: they would pass it on as a failure of theirs."""
    inner = cast("HTTPStatusError", error).response
    retry = {name: inner.headers[name] for name in ("retry-after",) if name in inner.headers}
    return Response(inner.content, inner.status_code, retry, inner.headers.get("content-type"))


def make_app(
    site: Site,
    routes: Sequence[Callable[[Site], Sequence[BaseRoute]]],
    middleware: Sequence[Middleware] = (),
) -> Starlette:
    """The application whose routes the server answers beside its own.

    Args:
        site: What the routes are made of.
        routes: Each makes some of them.
        middleware: What stands before all requests, the server's own too.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with site.threads:
            if address := site.settings.public_url:
                logger.info("The page to look at: %s/gems/", address.rstrip("/"))
            yield

    return Starlette(
        routes=[route for make in routes for route in make(site)],
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={
            WebError: _refused,
            GemsError: _refused,
            HTTPException: _refused,
            HTTPStatusError: _refused_inside,
        },
    )
