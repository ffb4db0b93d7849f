"""Who asks, where the server tells its users apart: somebody, or nobody is answered."""

from __future__ import annotations

from starlette.requests import Request

from gems.app.web.site import Site, WebError, owner_of


def known_owner(site: Site, request: Request) -> str:
    """Who asks; empty where there are no tokens.

    Raises:
        WebError: there are, and nobody was recognised, as in requests that LangGraph makes inside its own process.
    """
    owner = owner_of(request)
    if site.settings.tokens and not owner:
        raise WebError(401, "this server has tokens: send yours as a bearer token, or sign in on its page")
    return owner
