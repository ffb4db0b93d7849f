"""Who is asking, and what of the server's is theirs: the `auth` of langgraph.json.

Without GEMS_TOKENS everybody who gets past the gate is the machine's owner. With them each owner has threads, runs, stored
items and pictures of their own; another's are as if they were not there.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

from langgraph_sdk import Auth
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Scope

from gems.app.web.limits import WebLimits, load_limits
from gems.app.web.quota import RunQuota, ServerThreads
from gems.app.web.sessions import COOKIE, Sessions
from gems.core.links import PATH as IMAGES
from gems.core.links import ImageLinks
from gems.core.settings import TOKENS, Settings

if TYPE_CHECKING:
    auth: Auth

CALLER: Final = "gems.caller"
"""The key of a scope under which the gate leaves whom it recognised. No request can set it."""
NOBODY: Final = ""
"""The identity of whoever opens the page and has not signed in: it may do nothing else."""
SAFE: Final = ("GET", "HEAD")
"""Methods that change nothing."""

_OPEN: Final = re.compile(r"/gems/?|/gems/static/[A-Za-z0-9_.-]+|/gems/session|/gems/health|/gems/login|/ok|/")
_IMAGE: Final = re.compile(re.escape(IMAGES) + "([0-9a-f]{64})")
_INTERNAL: Final = "__pregel"
"""What LangGraph's own keys of a run's configuration begin with."""
_FROM_HERE: Final = ("same-origin", "none")


BegunBy = Callable[[str], Awaitable[str | None]]
"""Whose runs are on a thread; empty: the machine's owner's, None: there are none."""
IsRun = Callable[[str], Awaitable[bool]]
"""Whether some process runs a thread."""


class Caller(NamedTuple):
    """Whom a request comes from."""

    owner: str | None
    """None: nobody that the server knows."""
    has_failed: bool = False
    """Whether it showed a token, cookie or key that is not good."""


class Callers:
    """Recognises callers by what they show."""

    def __init__(self, settings: Settings) -> None:
        """Know those whom the settings name."""
        self._tokens = settings.tokens
        self._owner = settings.owner
        self._public = _host_of(settings.public_url or "")
        self._sessions = Sessions(settings.tokens)
        self._links = ImageLinks(settings.public_url, settings.tokens)

    def who(self, scope: Scope) -> Caller:
        """Whom a request or WebSocket comes from.

        A token wins over a cookie, and a wrong one is not made good by it. The key of a picture opens that picture,
        whoever follows it.
        """
        if not self._tokens:
            return Caller(self._owner)
        key = _key_of(scope)
        if key and (owner := self._links.owner_of_key(*key)):
            return Caller(owner)
        headers = Headers(scope=scope)
        if (token := _token_of(headers)) is not None:
            owner = owner_of_token(self._tokens, token)
            return Caller(owner, has_failed=owner is None)
        cookie = HTTPConnection(scope).cookies.get(COOKIE)
        if cookie and self._is_from_own_page(scope, headers) and (owner := self._sessions.owner_of(cookie)):
            return Caller(owner)
        return Caller(None, has_failed=bool(cookie or key))

    def _is_from_own_page(self, scope: Scope, headers: Headers) -> bool:
        """Whether a browser says that a page of this server asks: a cookie goes along with what other pages ask, too.

        The cookie is `SameSite=Strict`, but other ports of a host are the same site.
        """
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        is_safe = scope["type"] == "http" and scope["method"] in SAFE
        if site is not None and site not in _FROM_HERE:
            return False
        if origin is not None:
            asked = _host_of(origin)
            return bool(asked) and asked in (headers.get("host", "").lower(), self._public)
        # Browsers name the origin of whatever is not safe. They leave out both where the address is plain HTTP.
        return is_safe or site == "same-origin"


def is_open(path: str) -> bool:
    """Whether a path is for everybody: the page itself, which holds nothing of anybody's, and signs of life."""
    return bool(_OPEN.fullmatch(path))


def owner_of_token(tokens: Mapping[str, SecretStr], given: str) -> str | None:
    """Whose token it is. All are compared, so that the time taken says nothing about which was nearly right."""
    presented = given.encode("utf-8", "replace")
    owners = [
        owner for owner, token in tokens.items() if hmac.compare_digest(presented, token.get_secret_value().encode())
    ]
    return owners[0] if owners else None


class Rules:
    """What an owner may do with the LangGraph server's own resources."""

    def __init__(
        self, settings: Settings, limits: WebLimits, quota: RunQuota, begun_by: BegunBy, is_run: IsRun | None = None
    ) -> None:
        """Rules for a server with these settings. Without `is_run`, threads are deleted as they are asked to be."""
        self._begun_by = begun_by
        self._is_run = is_run
        self._tokens = settings.tokens
        self._owner = settings.owner
        self._is_shared = bool(settings.tokens) or limits.is_open
        self._quota = quota

    async def threads(self, ctx: Auth.types.AuthContext, value: Any) -> Auth.types.FilterType | None:
        """Threads and their runs: what is made is the caller's, and of what there is only the caller's is seen.

        Raises:
            Auth.exceptions.HTTPException: nobody is known, the run is one that may not be, or the thread that is to be
                deleted is being run.
        """
        owner = self._known(ctx)
        if ctx.action in ("create", "create_run") or (ctx.action == "update" and value.get("metadata") is not None):
            _sign(value, owner)
        thread = str(value.get("thread_id") or "")
        if thread and self._tokens and ctx.action in ("create", "create_run"):
            await self._check_thread(thread, owner)
        if ctx.action == "create_run":
            self._check_run(value, owner)
            await self._quota.take(owner, thread or None)
        if thread and ctx.action == "delete":
            await self._check_rest(thread, owner)
        return {"owner": owner} if self._tokens else None

    async def assistants(self, ctx: Auth.types.AuthContext, value: Any) -> bool:  # noqa: ARG002
        """The graph's own is for all. Others would be everybody's, too, so nobody makes any where there are several.

        Raises:
            Auth.exceptions.HTTPException: nobody is known.
        """
        self._known(ctx)
        return ctx.action in ("read", "search") or not self._tokens

    async def crons(self, ctx: Auth.types.AuthContext, value: Any) -> bool:  # noqa: ARG002
        """Timed runs would be started by the server, as nobody: refused where there are tokens.

        Raises:
            Auth.exceptions.HTTPException: nobody is known.
        """
        self._known(ctx)
        return not self._tokens

    async def store(self, ctx: Auth.types.AuthContext, value: Any) -> bool | None:
        """Stored items: each owner's under their own name.

        Raises:
            Auth.exceptions.HTTPException: nobody is known.
        """
        owner = self._known(ctx)
        namespace = tuple(value.get("namespace") or ())
        if not self._tokens:
            return None
        if not namespace and ctx.action == "list_namespaces":
            value["namespace"] = namespace = (owner,)
        return namespace[:1] == (owner,)

    async def others(self, ctx: Auth.types.AuthContext, value: Any) -> bool:  # noqa: ARG002
        """What LangGraph adds one day is refused until it has a rule here, where there are tokens."""
        self._known(ctx)
        return not self._tokens

    def _known(self, ctx: Auth.types.AuthContext) -> str:
        owner = str(ctx.user.identity)
        if owner not in (self._tokens or (self._owner,)):
            raise Auth.exceptions.HTTPException(status_code=401, detail=ASK)
        return owner

    async def _check_thread(self, thread: str, owner: str) -> None:
        """Refuse the id of a thread whose checkpoints are another's, though the server may have forgotten the thread."""
        begun_by = await self._begun_by(thread)
        if begun_by is not None and (begun_by or self._owner) != owner:
            raise Auth.exceptions.HTTPException(status_code=404, detail=f"Thread with ID {thread} not found")

    async def _check_rest(self, thread: str, owner: str) -> None:
        """Refuse to delete what is being run: LangGraph would let the run go on, and write the thread anew."""
        if self._is_run is None or not await self._is_run(thread):
            return
        if self._tokens:
            await self._check_thread(thread, owner)
        raise Auth.exceptions.HTTPException(status_code=409, detail="the thread is being run: cancel its run first")

    def _check_run(self, value: Any, owner: str) -> None:
        kwargs = value.get("kwargs") or {}
        if kwargs.get("webhook") and self._is_shared:
            raise Auth.exceptions.HTTPException(
                status_code=403, detail="webhook: this server calls no addresses that its clients name; leave it out"
            )
        config = kwargs.get("config") or {}
        if config.get("metadata"):
            _sign(config, owner)
        configurable = config.get("configurable") or {}
        for name in configurable:
            if str(name).startswith(_INTERNAL):
                raise Auth.exceptions.HTTPException(
                    status_code=403, detail=f"configurable {str(name)[:40]!r}: what begins so is LangGraph's own"
                )
        if configurable.get("langgraph_auth_user_id", owner) != owner:
            raise Auth.exceptions.HTTPException(
                status_code=403,
                detail="configurable 'langgraph_auth_user_id': whom a run is for is not for a client to say",
            )


ASK: Final = f"a token is needed: send `Authorization: Bearer TOKEN` (or x-api-key) with one of the server's {TOKENS}"


def make_auth(callers: Callers, rules: Rules) -> Auth:
    """The handlers, as the LangGraph server takes them."""
    made = Auth()

    @made.authenticate
    async def authenticate(scope: dict[str, Any], path: str) -> str:
        owner = scope[CALLER] if CALLER in scope else callers.who(scope).owner
        if owner is None and not is_open(path):
            raise Auth.exceptions.HTTPException(status_code=401, detail=ASK)
        return str(owner or NOBODY)

    made.on.threads(rules.threads)
    made.on.assistants(rules.assistants)
    made.on.crons(rules.crons)
    made.on.store(rules.store)
    made.on(rules.others)
    return made


@cache
def _machine_auth() -> Auth:
    from gems.graph.serving import services

    async def begun_by(thread: str) -> str | None:
        runs = await asyncio.to_thread(lambda: services.runs)
        known = await runs.find(thread)
        return known.owner if known else None

    async def is_run(thread: str) -> bool:
        return await asyncio.to_thread(lambda: services.stores.locks.is_held(thread))

    settings = services.settings
    limits = load_limits(settings)
    quota = RunQuota(limits.runs_at_once, ServerThreads())
    return make_auth(Callers(settings), Rules(settings, limits, quota, begun_by, is_run))


def __getattr__(name: str) -> Auth:
    """`auth`, made when the server takes it: whoever only imports this module reads no settings."""
    if name == "auth":
        return _machine_auth()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _sign(value: Any, owner: str) -> None:
    """Write into metadata whose it is, over what a client wrote there."""
    if value.get("metadata") is None:
        value["metadata"] = {}
    value["metadata"]["owner"] = owner


def _token_of(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    # LangGraph's SDK sends one that it was given as `api_key`.
    return headers.get("x-api-key")


def _key_of(scope: Scope) -> tuple[str, str] | None:
    """The picture that a request is to see, and the key that its address brings along."""
    image = _IMAGE.fullmatch(scope["path"])
    if image is None or scope.get("method") not in SAFE:
        return None
    keys = parse_qs(bytes(scope.get("query_string") or b"").decode("latin-1")).get("key")
    return (image[1], keys[-1]) if keys else None


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
