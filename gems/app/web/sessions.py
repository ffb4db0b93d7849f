"""Sessions of people at browsers: a signed cookie in place of a token, which an `<img>` or an event source cannot send."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gems.core.signing import is_signature, signature

if TYPE_CHECKING:
    from gems.app.web.site import Site

COOKIE: Final = "gems_session"
PATH: Final = "/gems/session"
DAYS: Final = 30
"""How long a session lasts, unless its token changes."""


class Sessions:
    """Makes the cookies' values, and reads them back."""

    def __init__(self, tokens: Mapping[str, SecretStr], clock: Callable[[], float] = time.time) -> None:
        """For those who have `tokens`; `clock` tells seconds since 1970."""
        self._tokens = tokens
        self._clock = clock

    def begin(self, owner: str) -> str:
        """The value of an owner's cookie, good for `DAYS`."""
        expires = int(self._clock()) + DAYS * 86400
        signed = signature(self._tokens[owner], "session", f"{owner} {expires}")
        return f"{quote(owner, safe='')}.{expires}.{signed}"

    def owner_of(self, cookie: str) -> str | None:
        """Whose session a cookie's value is; None where nobody signed it, or it is over."""
        told, _, given = cookie.rpartition(".")
        name, _, expires = told.rpartition(".")
        owner = unquote(name)
        if owner not in self._tokens or not re.fullmatch("[0-9]{1,12}", expires):
            return None
        is_good = is_signature(self._tokens[owner], "session", f"{owner} {expires}", given)
        return owner if is_good and self._clock() < int(expires) else None


def routes(site: Site) -> list[Route]:
    """The routes of `/gems/session`."""
    from gems.app.web.access import owner_of_token

    tokens = site.settings.tokens
    sessions = Sessions(tokens)

    async def begin(request: Request) -> Response:
        owner = site.settings.owner if not tokens else owner_of_token(tokens, await _token(request))
        if owner is None:
            return _refused("this token is none of the server's: ask whoever runs it for one")
        answer = JSONResponse(_session(owner))
        if tokens:
            answer.set_cookie(
                COOKIE,
                sessions.begin(owner),
                max_age=DAYS * 86400,
                path="/",
                secure=_is_secure(request, site.settings.public_url),
                httponly=True,
                samesite="strict",
            )
        return answer

    async def tell(request: Request) -> Response:
        owner = str(request.user.identity)
        return JSONResponse(_session(owner)) if owner else _refused("sign in with one of the server's tokens")

    async def end(_: Request) -> Response:
        answer = Response(status_code=HTTPStatus.NO_CONTENT)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return answer

    def _session(owner: str) -> dict[str, str | bool]:
        return {"owner": owner, "tokens": bool(tokens)}

    return [
        Route(PATH, begin, methods=["POST"]),
        Route(PATH, tell, methods=["GET"]),
        Route(PATH, end, methods=["DELETE"]),
    ]


async def _token(request: Request) -> str:
    try:
        told = json.loads(await request.body())
    except (ValueError, RecursionError):
        return ""
    token = told.get("token") if isinstance(told, dict) else None
    return token.strip() if isinstance(token, str) else ""


def _refused(words: str) -> Response:
    return JSONResponse({"error": words}, HTTPStatus.UNAUTHORIZED)


def _is_secure(request: Request, public_url: str | None) -> bool:
    """Whether the browser is on HTTPS: a proxy before us may have taken it off."""
    forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    public = urlsplit(public_url or "")
    is_public = public.netloc.lower() == request.headers.get("host", "").lower()
    return "https" in (request.url.scheme, forwarded) or (is_public and public.scheme.lower() == "https")
