"""Who may ask the server: bearers of a token, or programs of this machine alone."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gems.app.own_names import is_loopback, is_own_name
from gems.app.serve.refusals import Refusal
from gems.core.errors import GemsConfigError

TOKENS: Final = "GEMS_SERVE_TOKENS"
"""The variable that holds the tokens, with commas between them."""
LEAST_LENGTH: Final = 16
"""Characters of a token."""
_OPEN_PATHS: Final = ("/health",)
_MAKE_ONE: Final = 'python -c "import secrets; print(secrets.token_urlsafe())"'


@dataclass(frozen=True, slots=True)
class Access:
    """The rules. Without tokens, `own_names_only` has the server answer to the names of this machine alone.

    A page of another site can make a browser ask us, under a name of its own that leads to this machine. It cannot make
    the browser say that name is localhost, nor leave out where the page came from.
    """

    tokens: tuple[SecretStr, ...] = ()
    own_names_only: bool = True


def read_tokens(environ: Mapping[str, str]) -> tuple[SecretStr, ...]:
    """The tokens that the environment names.

    Raises:
        GemsConfigError: one of them is too short, or cannot be sent.
    """
    tokens = [part for it in environ.get(TOKENS, "").split(",") if (part := it.strip())]
    for token in tokens:
        if len(token) < LEAST_LENGTH or not (token.isascii() and token.isprintable()) or " " in token:
            raise GemsConfigError(
                f"{TOKENS}: a token has {LEAST_LENGTH} or more ASCII characters and no blanks; make one with {_MAKE_ONE}"
            )
    return tuple(map(SecretStr, tokens))


def access_for(host: str, tokens: tuple[SecretStr, ...], *, anyone: bool) -> Access:
    """The rules for a server that listens at `host`; `anyone` lets the whole network in without a token.

    Raises:
        GemsConfigError: others could reach it, and there is no token.
    """
    at_home = is_loopback(host)
    if not at_home and not tokens and not anyone:
        raise GemsConfigError(
            f"--host {host!r} lets other machines in: set {TOKENS} to a token in the environment or .env (make one with "
            f"{_MAKE_ONE}), or let anyone draw with --open"
        )
    return Access(tokens, own_names_only=at_home and not tokens)


class Doorkeeper:
    """Turns requests away before anything of them is read."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        """Stand before an application."""
        self._app = app
        self._own_names_only = access.own_names_only
        self._tokens = [token.get_secret_value().encode() for token in access.tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        refusal = self._refusal(scope["path"], Headers(scope=scope)) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal.response(scope["path"])(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> Refusal | None:
        if self._own_names_only and not is_own_name(host := headers.get("host", "")):
            return Refusal(
                400, f"this server answers to localhost, not to {host[:80]!r}: ask it there, or set {TOKENS} on it"
            )
        if not self._tokens:
            return self._foreign(headers)
        if path in _OPEN_PATHS or self._knows(headers.get("authorization", "")):
            return None
        given = "this token is none of the server's" if "authorization" in headers else "a token is needed"
        return Refusal(
            401,
            f"{given}: send `Authorization: Bearer TOKEN` with one of its {TOKENS}",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )

    def _foreign(self, headers: Headers) -> Refusal | None:
        origin = headers.get("origin")
        if origin is None:
            return None
        with suppress(ValueError):
            if urlsplit(origin).netloc == headers.get("host"):
                return None
        return Refusal(403, f"pages of {origin[:80]!r} may not use this server")

    def _knows(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        presented = given.strip().encode("latin-1", "replace")
        # All are compared, so that the time taken says nothing about which one was nearly right.
        matches = [hmac.compare_digest(presented, token) for token in self._tokens]
        return scheme.lower() == "bearer" and any(matches)
