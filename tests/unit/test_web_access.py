"""Who is asking the server, and what of its resources is theirs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import Auth
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection

from gems.app.web import sessions
from gems.app.web.access import CALLER, NOBODY, Caller, Callers, Rules, is_open, make_auth, owner_of_token
from gems.app.web.limits import WebLimits, load_limits
from gems.app.web.quota import RunQuota, Starts, starting
from gems.app.web.sessions import COOKIE, DAYS, Sessions
from gems.app.web.site import Site
from gems.core.errors import GemsConfigError
from gems.core.links import ImageLinks
from gems.core.settings import Settings
from gems.graph.services import MachineServices
from gems.graph.serving import Threads

ANNA, BOB = "a" * 24, "b" * 24
TOKENS = {"anna": SecretStr(ANNA), "bob": SecretStr(BOB)}
PICTURE = "0" * 63 + "1"


@pytest.fixture
def shared(settings: Settings) -> Settings:
    """Settings of a server with two tokens."""
    return settings.model_copy(update={"tokens": TOKENS, "public_url": "https://gems.example.com"})


def request(path: str = "/threads", method: str = "GET", kind: str = "http", **headers: str) -> dict[str, Any]:
    path, _, query = path.partition("?")
    told = {"host": "gems.example.com"} | {name.replace("_", "-"): value for name, value in headers.items()}
    raw = [(name.encode(), value.encode()) for name, value in told.items()]
    scope = {"type": kind, "path": path, "query_string": query.encode(), "headers": raw}
    return scope | ({"method": method} if kind == "http" else {})


def session(
    owner: str = "anna", tokens: dict[str, SecretStr] = TOKENS, clock: Callable[[], float] | None = None
) -> str:
    made = Sessions(tokens, clock) if clock else Sessions(tokens)
    return f"{COOKIE}={made.begin(owner)}"


def test_without_tokens_everybody_is_the_owner(settings: Settings) -> None:
    callers = Callers(settings)
    assert callers.who(request()) == Caller("me")
    assert callers.who(request(authorization="Bearer whatever-it-may-be")) == Caller("me")


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {ANNA}"}, {"authorization": f"bearer  {ANNA} "}, {"x_api_key": ANNA}]
)
def test_a_token_is_known_by_either_header(shared: Settings, headers: dict[str, str]) -> None:
    assert Callers(shared).who(request(**headers)) == Caller("anna")


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {ANNA[:-1]}"},
        {"authorization": f"Bearer {ANNA}a"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer \xe4"},
        {"x_api_key": ""},
        {"x_api_key": "anna"},
        {"authorization": f"Bearer {BOB[:-1]}", "x_api_key": ANNA},
        {"authorization": "Bearer none-of-the-tokens", "cookie": session()},
    ],
)
def test_a_wrong_token_is_nobody_whatever_else_is_shown(shared: Settings, headers: dict[str, str]) -> None:
    assert Callers(shared).who(request(**headers)) == Caller(None, has_failed=True)


def test_nothing_shown_is_nobody_and_no_failure(shared: Settings) -> None:
    callers = Callers(shared)
    assert callers.who(request()) == Caller(None)
    assert callers.who(request(authorization="Basic YTpi")) == Caller(None)
    assert callers.who(request(x_auth_scheme="langsmith")) == Caller(None), "LangGraph's bypass for its Studio"


def test_tokens_are_compared_whole() -> None:
    assert owner_of_token(TOKENS, BOB) == "bob"
    assert owner_of_token(TOKENS, BOB[:-1]) is None
    assert owner_of_token({}, "") is None


@pytest.mark.parametrize(
    ("method", "kind", "headers"),
    [
        ("GET", "http", {"sec_fetch_site": "same-origin"}),
        ("GET", "http", {"sec_fetch_site": "none"}),
        ("GET", "http", {}),
        ("POST", "http", {"sec_fetch_site": "same-origin", "origin": "https://gems.example.com"}),
        ("POST", "http", {"origin": "https://gems.example.com"}),
        ("DELETE", "http", {"origin": "http://proxied:8000", "host": "proxied:8000"}),
        ("GET", "websocket", {"origin": "https://gems.example.com"}),
    ],
)
def test_a_session_holds_for_pages_of_this_server(
    shared: Settings, method: str, kind: str, headers: dict[str, str]
) -> None:
    assert Callers(shared).who(request("/threads", method, kind, cookie=session(), **headers)) == Caller("anna")


@pytest.mark.parametrize(
    ("method", "kind", "headers"),
    [
        ("GET", "http", {"sec_fetch_site": "cross-site"}),
        ("GET", "http", {"sec_fetch_site": "same-site"}),
        ("GET", "http", {"origin": "http://gems.example.com:8080"}),
        ("POST", "http", {}),
        ("POST", "http", {"sec_fetch_site": "none"}),
        ("POST", "http", {"origin": "null"}),
        ("POST", "http", {"origin": "https://evil.example"}),
        ("POST", "http", {"origin": "https://gems.example.com.evil.example"}),
        ("POST", "http", {"sec_fetch_site": "cross-site", "origin": "https://gems.example.com"}),
        ("GET", "websocket", {}),
        ("GET", "websocket", {"origin": "https://evil.example"}),
    ],
)
def test_a_session_is_worth_nothing_to_pages_of_others(
    shared: Settings, method: str, kind: str, headers: dict[str, str]
) -> None:
    found = Callers(shared).who(request("/threads", method, kind, cookie=session(), **headers))
    assert found == Caller(None, has_failed=True)


@pytest.mark.parametrize("origin", ["null", "", "gems.example.com", "http://["])
def test_an_origin_that_is_none_is_nobodys(shared: Settings, origin: str) -> None:
    nowhere = shared.model_copy(update={"public_url": None})
    found = Callers(nowhere).who(request("/threads", "POST", cookie=session(), origin=origin, host=""))
    assert found == Caller(None, has_failed=True)


def test_a_session_is_good_for_its_time_and_its_token() -> None:
    now = 1_000_000.0
    made = Sessions(TOKENS, lambda: now)
    cookie = made.begin("anna")
    assert made.owner_of(cookie) == "anna"
    assert Sessions(TOKENS, lambda: now + DAYS * 86400 - 1).owner_of(cookie) == "anna"
    assert Sessions(TOKENS, lambda: now + DAYS * 86400).owner_of(cookie) is None, "it is over"
    assert Sessions({**TOKENS, "anna": SecretStr("c" * 24)}, lambda: now).owner_of(cookie) is None, "a new token"
    assert Sessions({"bob": TOKENS["bob"]}, lambda: now).owner_of(cookie) is None, "an owner who is gone"


def test_a_forged_session_is_none() -> None:
    made = Sessions(TOKENS)
    name, expires, signed = made.begin("anna").split(".")
    forged = [
        f"bob.{expires}.{signed}",
        f"{name}.{int(expires) + 1}.{signed}",
        f"{name}.{expires}.{signed[:-1]}",
        f"{name}.{expires}.",
        f"{name}.{'9' * 400}.{signed}",
        f"{name}.-1.{signed}",
        f"{name}.²3.{signed}",
        signed,
        "",
        "..",
        "anna",
    ]
    assert [made.owner_of(cookie) for cookie in forged] == [None] * len(forged)
    assert made.owner_of(f"{name}.{expires}.{signed}") == "anna"
    odd = Sessions({"anna.b@example.com": TOKENS["anna"]})
    assert odd.owner_of(odd.begin("anna.b@example.com")) == "anna.b@example.com"


def test_a_signature_for_one_purpose_is_worth_nothing_for_another(shared: Settings) -> None:
    address = ImageLinks(shared.public_url, TOKENS).url(PICTURE, "anna")
    assert address is not None
    key = address.partition("?key=")[2]
    assert Callers(shared).who(request(cookie=f"{COOKIE}={key}")) == Caller(None, has_failed=True)
    value = session().partition("=")[2]
    found = Callers(shared).who(request(f"/gems/images/{PICTURE}?key={value}"))
    assert found == Caller(None, has_failed=True)


def test_the_key_of_a_picture_opens_that_picture_and_nothing_else(shared: Settings) -> None:
    callers = Callers(shared)
    address = ImageLinks(shared.public_url, TOKENS).url(PICTURE, "anna")
    assert address is not None
    path = address.removeprefix("https://gems.example.com")
    key = path.partition("?")[2]
    assert callers.who(request(path)) == Caller("anna")
    assert callers.who(request(f"{path}&side=256", "HEAD")) == Caller("anna")
    assert callers.who(request(path, authorization=f"Bearer {BOB}")) == Caller("anna"), "bob was sent anna's link"
    assert callers.who(request(path, "POST")).owner is None
    assert callers.who(request(path, "DELETE")).owner is None
    assert callers.who(request(path, kind="websocket")).owner is None
    for other in (f"/gems/images/{'0' * 64}", "/gems/images/x", f"/gems/images/{PICTURE}/", "/threads", "/gems/runs"):
        assert callers.who(request(f"{other}?{key}")).owner is None, other
    forged = [key[:-1], key.replace("anna", "bob"), key + "a", "key=", "key=...", f"key=anna.{'9' * 12}.x"]
    assert [callers.who(request(f"/gems/images/{PICTURE}?{it}")).owner for it in forged] == [None] * len(forged)
    rotated = shared.model_copy(update={"tokens": {**TOKENS, "anna": SecretStr("c" * 24)}})
    assert Callers(rotated).who(request(path)) == Caller(None, has_failed=True)


def test_only_the_page_and_signs_of_life_are_for_everybody() -> None:
    opened = ["/", "/ok", "/gems", "/gems/", "/gems/static/main.js", "/gems/session", "/gems/health"]
    assert all(map(is_open, opened))
    closed = [
        "", "/okay", "/gems/runs", "/gems/images", f"/gems/images/{PICTURE}", "/gems/options", "/gems/static/",
        "/gems/static/../runs", "/gems/static/a/b", "/gems/session/x", "/threads", "/docs", "/metrics", "/openapi.json", "/info",
        "/mcp", "/ui/gems", "/store/items", "/gems//", "/gems/\n",
    ]  # fmt: skip
    assert [path for path in closed if is_open(path)] == []


class User(SimpleUser):
    """Somebody, as LangGraph gives them to its handlers."""

    @property
    def identity(self) -> str:
        return self.username


async def no_busy(owner: str, most: int) -> set[str]:
    return set()


async def nobodys(thread: str) -> str | None:
    return None


def rules(
    settings: Settings, *, limits: WebLimits | None = None, quota: RunQuota | None = None, begun_by: Any = nobodys
) -> Rules:
    return Rules(settings, limits or WebLimits(), quota or RunQuota(None, no_busy), begun_by)


def ctx(resource: Any, action: Any, owner: str = "anna") -> Auth.types.AuthContext:
    return Auth.types.AuthContext(permissions=[], user=User(owner), resource=resource, action=action)


def run(**kwargs: Any) -> dict[str, Any]:
    """What LangGraph gives the handler of a new run."""
    return {"thread_id": uuid4(), "assistant_id": uuid4(), "run_id": uuid4(), "metadata": {}, "kwargs": kwargs}


@pytest.mark.parametrize("action", ["create", "read", "update", "delete", "search"])
async def test_threads_are_seen_by_their_owner_alone(shared: Settings, action: str) -> None:
    assert await rules(shared).threads(ctx("threads", action), {"thread_id": uuid4()}) == {"owner": "anna"}


async def test_whose_a_thread_is_cannot_be_said_by_a_client(shared: Settings) -> None:
    made = rules(shared)
    for action in ("create", "create_run", "update"):
        value: dict[str, Any] = run(config={"metadata": {"owner": "bob", "x": 1}}) | {"metadata": {"owner": "bob"}}
        assert await made.threads(ctx("threads", action), value) == {"owner": "anna"}
        assert value["metadata"] == {"owner": "anna"}
        if action == "create_run":
            assert value["kwargs"]["config"]["metadata"] == {"owner": "anna", "x": 1}
    unsaid: dict[str, Any] = {"thread_id": uuid4(), "metadata": None}
    await made.threads(ctx("threads", "create"), unsaid)
    assert unsaid["metadata"] == {"owner": "anna"}
    state: dict[str, Any] = {"thread_id": uuid4()}
    await made.threads(ctx("threads", "update"), state)
    assert "metadata" not in state
    search: dict[str, Any] = {"metadata": {"owner": "bob"}}
    assert await made.threads(ctx("threads", "search"), search) == {"owner": "anna"}


async def test_without_tokens_threads_are_signed_and_all_are_seen(settings: Settings) -> None:
    value: dict[str, Any] = {"thread_id": uuid4(), "metadata": {}}
    assert await rules(settings).threads(ctx("threads", "create", "me"), value) is None
    assert value["metadata"] == {"owner": "me"}
    assert await rules(settings).threads(ctx("threads", "search", "me"), {}) is None


@pytest.mark.parametrize("owner", [NOBODY, "eve", "langgraph-studio-user", "me"])
@pytest.mark.parametrize(
    ("resource", "action"),
    [
        ("threads", "create"), ("threads", "create_run"), ("threads", "search"), ("assistants", "read"),
        ("assistants", "create"), ("crons", "create"), ("store", "get"), ("store", "list_namespaces"),
    ],
)  # fmt: skip
async def test_nobody_may_do_nothing(shared: Settings, owner: str, resource: str, action: str) -> None:
    handler = getattr(rules(shared), resource)
    with pytest.raises(Auth.exceptions.HTTPException, match="a token is needed") as caught:
        await handler(ctx(resource, action, owner), {"namespace": (owner,), "metadata": {}})
    assert caught.value.status_code == 401


async def test_an_id_whose_checkpoints_are_anothers_cannot_be_taken(shared: Settings) -> None:
    owners = {"of-bob": "bob", "of-anna": "anna", "of-the-machine": ""}

    async def begun_by(thread: str) -> str | None:
        return owners.get(thread)

    made = rules(shared, begun_by=begun_by)
    for action in ("create", "create_run"):
        for thread in ("of-anna", "of-nobody"):
            assert await made.threads(ctx("threads", action), run() | {"thread_id": thread}) == {"owner": "anna"}
        for thread in ("of-bob", "of-the-machine"):
            with pytest.raises(Auth.exceptions.HTTPException, match="not found") as caught:
                await made.threads(ctx("threads", action), run() | {"thread_id": thread})
            assert caught.value.status_code == 404
    annas_machine = rules(shared.model_copy(update={"owner": "anna"}), begun_by=begun_by)
    await annas_machine.threads(ctx("threads", "create"), {"thread_id": "of-the-machine", "metadata": {}})


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"webhook": "https://evil.example/hook"}, "webhook"),
        ({"config": {"configurable": {"__pregel_checkpointer": {}}}}, "__pregel_checkpointer"),
        ({"config": {"configurable": {"langgraph_auth_user_id": "bob"}}}, "langgraph_auth_user_id"),
    ],
)
async def test_runs_that_may_not_be(shared: Settings, kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(Auth.exceptions.HTTPException, match=words) as caught:
        await rules(shared).threads(ctx("threads", "create_run"), run(**kwargs))
    assert caught.value.status_code == 403


async def test_a_webhook_is_called_for_whoever_is_at_this_machine_only(settings: Settings) -> None:
    asked = run(webhook="https://example.com/hook")
    assert await rules(settings).threads(ctx("threads", "create_run", "me"), asked) is None
    with pytest.raises(Auth.exceptions.HTTPException, match="webhook"):
        await rules(settings, limits=WebLimits(is_open=True)).threads(ctx("threads", "create_run", "me"), asked)


async def test_a_good_run_passes(shared: Settings) -> None:
    given = {"configurable": {"langgraph_auth_user_id": "anna", "thread_id": "t", "profile": "sketch"}}
    assert await rules(shared).threads(ctx("threads", "create_run"), run(config=given, webhook=None)) == {
        "owner": "anna"
    }


async def test_assistants_are_read_by_all_and_changed_by_nobody(shared: Settings, settings: Settings) -> None:
    for action, may in {"read": True, "search": True, "create": False, "update": False, "delete": False}.items():
        assert await rules(shared).assistants(ctx("assistants", action), {"metadata": {}}) is may
        assert await rules(settings).assistants(ctx("assistants", action, "me"), {"metadata": {}}) is True


async def test_timed_runs_and_what_has_no_rule_are_for_whoever_is_at_this_machine(
    shared: Settings, settings: Settings
) -> None:
    for action in ("create", "read", "update", "delete", "search"):
        assert await rules(shared).crons(ctx("crons", action), {}) is False
        assert await rules(settings).crons(ctx("crons", action, "me"), {}) is True
    assert await rules(shared).others(ctx("secrets", "read"), {}) is False


@pytest.mark.parametrize("action", ["get", "put", "delete", "search", "list_namespaces"])
async def test_the_store_is_each_owners_own(shared: Settings, settings: Settings, action: str) -> None:
    made = rules(shared)
    assert await made.store(ctx("store", action), {"namespace": ("anna", "notes")}) is True
    for namespace in (("bob",), ("bob", "anna"), ("",), ("anna.b",)):
        assert await made.store(ctx("store", action), {"namespace": namespace}) is False
    value: dict[str, Any] = {"namespace": None}
    assert await made.store(ctx("store", action), value) is (action == "list_namespaces")
    assert value["namespace"] == (("anna",) if action == "list_namespaces" else None)
    assert await rules(settings).store(ctx("store", action, "me"), {"namespace": ("x",)}) is None


async def test_the_handlers_that_langgraph_takes(shared: Settings) -> None:
    made = make_auth(Callers(shared), rules(shared))
    authenticate: Any = made._authenticate_handler
    assert await authenticate(scope=request(x_api_key=BOB), path="/threads") == "bob"
    assert await authenticate(scope=request("/gems/"), path="/gems/") == NOBODY
    assert await authenticate(scope=request("/gems/session", cookie=session()), path="/gems/session") == "anna"
    assert await authenticate(scope=request() | {CALLER: "anna"}, path="/threads") == "anna", "the gate knew"
    for headers in ({}, {"x_auth_scheme": "langsmith"}, {"x_api_key": "z" * 24}):
        with pytest.raises(Auth.exceptions.HTTPException, match="a token is needed") as caught:
            await authenticate(scope=request(**headers), path="/threads")
        assert caught.value.status_code == 401
    with pytest.raises(Auth.exceptions.HTTPException):
        await authenticate(scope=request() | {CALLER: None}, path="/threads")
    handled = {resource for resource, _ in made._handlers}
    assert handled == {"threads", "assistants", "crons", "store"}
    assert len(made._global_handlers) == 1


class _Recognised(AuthenticationBackend):
    """Stands for LangGraph's middleware."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, User]:
        return AuthCredentials(), User(self._callers.who(conn.scope).owner or NOBODY)


def page(settings: Settings, address: str = "http://localhost:2024") -> httpx.AsyncClient:
    services = MachineServices(settings)
    app = Starlette(
        routes=sessions.routes(Site(services, Threads(services))),
        middleware=[Middleware(AuthenticationMiddleware, backend=_Recognised(Callers(settings)))],
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=address)


async def test_a_person_signs_in_and_out(shared: Settings) -> None:
    async with page(shared, "https://gems.example.com") as client:
        assert (await client.get("/gems/session")).status_code == 401
        begun = await client.post("/gems/session", json={"token": f" {ANNA}\n"})
        assert (begun.status_code, begun.json()) == (200, {"owner": "anna", "tokens": True})
        written = begun.headers["set-cookie"].lower()
        assert all(part in written for part in ("httponly", "samesite=strict", "path=/", "secure", "max-age=2592000"))
        assert ANNA not in written
        assert (await client.get("/gems/session")).json() == {"owner": "anna", "tokens": True}
        ended = await client.delete("/gems/session")
        assert ended.status_code == 204
        assert (await client.get("/gems/session")).status_code == 401


async def test_a_cookie_over_plain_http_is_not_called_secure(shared: Settings) -> None:
    async with page(shared) as client:
        begun = await client.post("/gems/session", json={"token": ANNA})
        assert "secure" not in begun.headers["set-cookie"].lower()
        begun = await client.post("/gems/session", json={"token": ANNA}, headers={"x-forwarded-proto": "https"})
        assert "secure" in begun.headers["set-cookie"].lower()
        begun = await client.post("/gems/session", json={"token": ANNA}, headers={"host": "gems.example.com"})
        assert "secure" in begun.headers["set-cookie"].lower(), "the public address is on HTTPS"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"{}", b'{"token": null}', b'{"token": ["x"]}', b'{"token": ""}', b"[" * 100_000,
     json.dumps({"token": ANNA[:-1]}).encode(), b"\xff\xfe"],
)  # fmt: skip
async def test_what_is_no_token_begins_no_session(shared: Settings, body: bytes) -> None:
    async with page(shared) as client:
        refused = await client.post("/gems/session", content=body)
        assert refused.status_code == 401
        assert "ask whoever runs it" in refused.json()["error"]
        assert "set-cookie" not in refused.headers


async def test_without_tokens_there_is_nothing_to_sign_in_with(settings: Settings) -> None:
    async with page(settings) as client:
        assert (await client.get("/gems/session")).json() == {"owner": "me", "tokens": False}
        begun = await client.post("/gems/session", json={"token": "x"})
        assert begun.json() == {"owner": "me", "tokens": False}
        assert "set-cookie" not in begun.headers


async def refused_by(quota: RunQuota, owner: str = "anna", thread: str | None = None) -> str:
    try:
        await quota.take(owner, thread)
    except Auth.exceptions.HTTPException as refusal:
        return f"{refusal.status_code} {refusal.headers} {refusal.detail}"
    return ""


async def test_runs_at_once_are_counted_by_what_the_server_says() -> None:
    asked: list[tuple[str, int]] = []

    async def busy(owner: str, most: int) -> set[str]:
        asked.append((owner, most))
        return {"t1", "t2"} if owner == "anna" else set()

    refusal = await refused_by(RunQuota(2, busy))
    assert refusal.startswith("429 {'Retry-After': '10'} 2 runs of yours are under way")
    assert await refused_by(RunQuota(2, busy), "bob") == ""
    assert await refused_by(RunQuota(3, busy)) == ""
    assert await refused_by(RunQuota(2, busy), thread="t1") == "", "it waits behind the run of its own thread"
    assert await refused_by(RunQuota(2, busy), thread="t3") != ""
    assert asked[:2] == [("anna", 3), ("bob", 3)]


async def test_two_requests_at_once_do_not_slip_by_what_the_server_does_not_show_yet() -> None:
    quota = RunQuota(2, no_busy)
    with starting() as one:
        assert await refused_by(quota, thread="t1") == ""
        with starting() as other:
            assert await refused_by(quota) == ""
            with starting():
                assert await refused_by(quota) != ""
                assert await refused_by(quota, thread="t1") == ""
                assert await refused_by(quota, "bob") == ""
            other.are_shown()
            with starting():
                assert await refused_by(quota) == "", "the server shows it by now, or never will"
        assert isinstance(one, Starts)
    with starting():
        assert [await refused_by(quota), await refused_by(quota), bool(await refused_by(quota))] == ["", "", True]
    assert await refused_by(quota) == ""


async def test_where_no_number_is_set_the_server_is_not_asked() -> None:
    async def never(owner: str, most: int) -> set[str]:
        raise AssertionError

    assert await refused_by(RunQuota(None, never)) == ""


def test_limits_of_the_environment(shared: Settings, settings: Settings) -> None:
    assert load_limits(settings, {}) == WebLimits(None, 120, (), False)
    assert load_limits(shared, {}).runs_at_once == 10
    assert load_limits(settings, {"GEMS_OPEN": "1"}) == WebLimits(10, 120, (), True)
    given = {
        "GEMS_RUNS_AT_ONCE": "3",
        "GEMS_REQUESTS_PER_MINUTE": " 7 ",
        "GEMS_ORIGINS": "https://A.example/, http://b:81",
    }
    assert load_limits(settings, given) == WebLimits(3, 7, ("https://a.example", "http://b:81"), False)


def test_limits_of_a_file_give_way_to_the_environment(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GEMS_RUNS_AT_ONCE=4\nGEMS_REQUESTS_PER_MINUTE=9\n")
    there = settings.model_copy(update={"folder": tmp_path})
    assert load_limits(there, {"GEMS_REQUESTS_PER_MINUTE": "8"}) == WebLimits(4, 8, (), False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GEMS_RUNS_AT_ONCE", "0"), ("GEMS_RUNS_AT_ONCE", "-1"), ("GEMS_RUNS_AT_ONCE", "many"), ("GEMS_RUNS_AT_ONCE", "²"),
        ("GEMS_REQUESTS_PER_MINUTE", "1e9"), ("GEMS_REQUESTS_PER_MINUTE", "9999999"), ("GEMS_OPEN", "yes"),
        ("GEMS_ORIGINS", "*"), ("GEMS_ORIGINS", "example.com"), ("GEMS_ORIGINS", "https://a.example/path"),
        ("GEMS_ORIGINS", "https://u@a.example"), ("GEMS_ORIGINS", "https://a:x"), ("GEMS_ORIGINS", "ftp://a"),
    ],
)  # fmt: skip
def test_limits_that_cannot_be(settings: Settings, name: str, value: str) -> None:
    with pytest.raises(GemsConfigError, match=name):
        load_limits(settings, {name: value})


def test_open_to_anyone_and_to_some_contradict(shared: Settings) -> None:
    with pytest.raises(GemsConfigError, match="leave one of them out"):
        load_limits(shared, {"GEMS_OPEN": "1"})
