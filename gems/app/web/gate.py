"""The gate: what every request of the server passes before anything else, the LangGraph server's own routes included."""

from __future__ import annotations

import math
import re
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gems.app.own_names import is_loopback, is_own_name
from gems.app.web.access import ASK, CALLER, SAFE, Caller, Callers, is_open
from gems.app.web.bodies import TOO_BIG, BodyLimit, message_length, told_length
from gems.app.web.buckets import Buckets
from gems.app.web.limits import ATTEMPTS_PER_MINUTE, BODY_BYTES, UPLOAD_BYTES, WebLimits, load_limits
from gems.app.web.quota import starting
from gems.app.web.sessions import PATH as SESSION
from gems.core.links import PATH as IMAGES
from gems.core.settings import TOKENS, Settings

STUDIO: Final = tuple(f"https://{name}smith.langchain.com" for name in ("", "eu.", "apac.", "aws."))
"""Where LangSmith Studio is served from."""
PAGE: Final = "/gems/"

_HEALTH: Final = ("/ok", "/gems/health")
_UPLOADS: Final = "/gems/images"
_IN_PROCESS: Final = re.compile("/noauth(/.*)?")
_FOR_NOBODY: Final = re.compile("/internal(/.*)?")
_DEPLOYING: Final = re.compile("/deploy(/.*)?")
_COSTLY: Final = re.compile(
    r"(/threads/[^/]+)?/runs(/stream|/wait|/batch|/crons)?|/threads/[^/]+/(runs/crons|commands|copy|state|state/bulk)"
    r"|/mcp/?|/a2a/.+|/gems/images"
)
_POLICY_VIOLATED: Final = 1008
_TRY_AGAIN: Final = 1013

HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "SAMEORIGIN",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
"""Of all answers under `/gems/`, unless a route has set one of its own."""


class Gate:
    """Turns requests away, or lets them through with what is known of them."""

    def __init__(self, app: ASGIApp, settings: Settings, limits: WebLimits | None = None) -> None:
        """Stand before the whole server.

        Args:
            app: The server.
            settings: Of the machine.
            limits: What is let through; default: what the environment says.

        Raises:
            GemsConfigError: the environment says what cannot be.
        """
        limits = limits or load_limits(settings)
        self._app = app
        self._has_tokens = bool(settings.tokens)
        self._own_machine_only = not settings.tokens and not limits.is_open
        self._public_host = _netloc(settings.public_url or "")
        self._origins = {*STUDIO, *limits.origins}
        self._callers = Callers(settings)
        self._asking = Buckets(limits.requests_per_minute)
        self._trying = Buckets(ATTEMPTS_PER_MINUTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif _IN_PROCESS.fullmatch(scope.get("root_path", "")):
            # The server's own clients: MCP and A2A ask for whoever asked them.
            await self._pass_on(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        path: str = scope["path"]
        if path.startswith(PAGE):
            send = _with_headers(send, is_picture=path.startswith(IMAGES))
        if path in _HEALTH and scope["method"] in SAFE:
            await self._app({**scope, CALLER: None}, receive, send)
            return
        refusal = self._misplaced(scope, headers)
        if refusal is None:
            caller = self._callers.who(scope)
            refusal = self._unwelcome(scope, headers, caller)
        if refusal is not None:
            await _let_read(refusal, headers.get("origin"))(scope, receive, send)
            return
        most = UPLOAD_BYTES if path == _UPLOADS else BODY_BYTES
        too_long = _refusal(path, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is longer than {most} bytes")
        if told_length(headers.get("content-length", "")) > most:
            await too_long(scope, receive, send)
            return
        body = BodyLimit(scope, receive, send, most, too_long)
        try:
            await self._pass_on(_known(scope, caller), body.receive, body.send)
        except Exception:
            # What the application makes of half a body is no fault of its own.
            if not await body.settle():
                raise
        await body.settle()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        caller = self._callers.who(scope)
        if self._misplaced(scope, headers) or caller.owner is None:
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATED})
            return
        bucket = caller.owner

        async def limited() -> Message:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            is_long = message_length(message) > BODY_BYTES
            if not is_long and not self._asking.take(bucket):
                return message
            code = TOO_BIG if is_long else _TRY_AGAIN
            await send({"type": "websocket.close", "code": code})
            return {"type": "websocket.disconnect", "code": code}

        await self._pass_on(_known(scope, caller), limited, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        with starting() as starts:

            async def answer(message: Message) -> None:
                starts.are_shown()
                await send(message)

            await self._app(scope, receive, answer)

    def _misplaced(self, scope: Scope, headers: Headers) -> Response | None:
        """The refusal of what comes from the wrong place, or asks for what is not there."""
        path: str = scope["path"]
        if _FOR_NOBODY.fullmatch(path) or (_DEPLOYING.fullmatch(path) and not self._own_machine_only):
            return _refusal(path, HTTPStatus.NOT_FOUND, "not found")
        if self._own_machine_only:
            host = headers.get("host", "")
            # A Host header can be made up, but not by a page in a browser; an address cannot, but a page has ours.
            if not is_own_name(host) or not _is_here(scope):
                return _refusal(
                    path,
                    HTTPStatus.BAD_REQUEST,
                    f"this server answers to programs of its own machine, at localhost, not at {host[:80]!r}: set {TOKENS} "
                    "on it, or GEMS_OPEN=1 to let anyone in",
                )
        origin = headers.get("origin")
        if origin is not None and not self._is_welcome(origin.lower(), headers.get("host", "").lower()):
            return _refusal(
                path,
                HTTPStatus.FORBIDDEN,
                f"pages of {origin[:80]!r} may not use this server: name it in GEMS_ORIGINS to let them",
            )
        return None

    def _is_welcome(self, origin: str, host: str) -> bool:
        if origin in self._origins:
            return True
        netloc = _netloc(origin)
        return bool(netloc) and (netloc in (host, self._public_host) or is_own_name(netloc))

    def _unwelcome(self, scope: Scope, headers: Headers, caller: Caller) -> Response | None:
        """The refusal of those whom the server does not know, and of those who ask too often."""
        path, method = scope["path"], scope["method"]
        address = _address(scope)
        if path == SESSION and method == "POST" and self._has_tokens:
            waiting = self._trying.take(address)
            return _too_often(path, waiting) if waiting else None
        if caller.owner is None and not is_open(path) and not _is_preflight(method, headers):
            waiting = self._trying.take(address) if caller.has_failed else 0.0
            if waiting:
                return _too_often(path, waiting)
            words = "what was shown is none of the server's, or not any more: " if caller.has_failed else ""
            return _refusal(path, HTTPStatus.UNAUTHORIZED, words + ASK, {"www-authenticate": "Bearer"})
        if method == "POST" and _COSTLY.fullmatch(path):
            waiting = self._asking.take(caller.owner or "" if self._has_tokens else address)
            if waiting:
                return _too_often(path, waiting)
        return None


def _known(scope: Scope, caller: Caller) -> Scope:
    """The scope with whom it comes from, and without the key of a picture, which no log should show."""
    known = {**scope, CALLER: caller.owner}
    query = bytes(scope.get("query_string") or b"")
    if scope["path"].startswith(IMAGES) and b"key=" in query:
        known["query_string"] = b"&".join(part for part in query.split(b"&") if not part.startswith(b"key="))
    return known


def _with_headers(send: Send, *, is_picture: bool) -> Send:
    # Chat front ends show pictures of ours in pages of theirs.
    fixed = HEADERS | {"cross-origin-resource-policy": "cross-origin"} if is_picture else HEADERS

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in fixed.items():
                headers.setdefault(name, value)
        await send(message)

    return answer


def _refusal(path: str, status: HTTPStatus, words: str, headers: dict[str, str] | None = None) -> Response:
    """An answer in the form that the path's clients read."""
    return JSONResponse({"error" if path.startswith(PAGE) else "detail": words}, status, headers)


def _too_often(path: str, waiting: float) -> Response:
    seconds = math.ceil(waiting)
    return _refusal(
        path,
        HTTPStatus.TOO_MANY_REQUESTS,
        f"too many requests: try again in {seconds} s",
        {"retry-after": str(seconds)},
    )


def _let_read(refusal: Response, origin: str | None) -> Response:
    """Let a page that may ask read why it was refused."""
    if origin is not None and refusal.status_code != HTTPStatus.FORBIDDEN:
        refusal.headers["access-control-allow-origin"] = origin
        refusal.headers["vary"] = "origin"
    return refusal


def _is_preflight(method: str, headers: Headers) -> bool:
    """Whether a browser only asks what it may ask: it sends no token with that."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def _is_here(scope: Scope) -> bool:
    client = scope.get("client")
    return not client or is_loopback(client[0])


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _netloc(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
