"""The gate that every request of the server passes: where it comes from, how long it is, how often."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import pytest
from langgraph_sdk import Auth
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gems.app.web.access import CALLER
from gems.app.web.buckets import MOST_KNOWN, Buckets
from gems.app.web.gate import Gate
from gems.app.web.limits import ATTEMPTS_PER_MINUTE, BODY_BYTES, UPLOAD_BYTES, WebLimits
from gems.app.web.quota import RunQuota
from gems.app.web.sessions import COOKIE, Sessions
from gems.core.links import ImageLinks
from gems.core.settings import Settings

ANNA, BOB = "a" * 24, "b" * 24
TOKENS = {"anna": SecretStr(ANNA), "bob": SecretStr(BOB)}
PICTURE = "0" * 63 + "1"
OWN = {"authorization": f"Bearer {ANNA}"}


@pytest.fixture
def shared(settings: Settings) -> Settings:
    """Settings of a server with two tokens."""
    return settings.model_copy(update={"tokens": TOKENS, "public_url": "https://gems.example.com"})


async def echo(request: Request) -> Response:
    """Says what came through, as a route of the server would."""
    body = await request.body()
    known = {"caller": request.scope.get(CALLER), "bytes": len(body), "query": request.url.query}
    return JSONResponse(known, headers={"x-own": "1"})


async def careless(request: Request) -> Response:
    """As LangGraph's routes that catch whatever goes wrong with a body."""
    try:
        await request.body()
    except Exception:
        return JSONResponse({"detail": "Invalid JSON body"}, 400)
    return JSONResponse({})


async def broken(request: Request) -> Response:
    await request.body()
    raise ZeroDivisionError


async def framed(request: Request) -> Response:
    return Response(headers={"content-security-policy": "default-src 'self'", "cache-control": "private"})


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
INSIDE = Starlette(
    routes=[
        Route("/careless", careless, methods=["POST"]),
        Route("/broken", broken, methods=["POST"]),
        Route("/gems/framed", framed),
        Route("/{path:path}", echo, methods=METHODS),
    ]
)


def client(
    settings: Settings, *, host: str = "localhost:2024", address: str = "127.0.0.1", **limits: Any
) -> httpx.AsyncClient:
    gate = Gate(INSIDE, settings, WebLimits(**limits))
    transport = httpx.ASGITransport(gate, client=(address, 40_000))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


@pytest.mark.parametrize("host", ["localhost", "localhost:2024", "127.0.0.1:2024", "[::1]:2024", "LOCALHOST:1"])
async def test_the_server_answers_programs_of_its_machine(settings: Settings, host: str) -> None:
    async with client(settings, host=host) as asked:
        assert (await asked.get("/threads")).json()["caller"] == "me"


@pytest.mark.parametrize(
    "host", ["evil.example:2024", "localhost.evil.example", "evil@localhost", "192.168.1.5", "0.0.0.0", "", "["]
)
async def test_a_name_that_was_bound_to_this_machine_is_refused(settings: Settings, host: str) -> None:
    async with client(settings) as asked:
        refused = await asked.get("/threads", headers={"host": host})
        assert refused.status_code == 400
        assert "GEMS_TOKENS" in refused.json()["detail"]
        assert (await asked.get("/gems/runs", headers={"host": host})).json()["error"]


async def test_another_machine_cannot_say_that_it_is_this_one(settings: Settings) -> None:
    async with client(settings, address="192.168.1.9") as asked:
        assert (await asked.get("/threads")).status_code == 400
        assert (await asked.get("/ok")).status_code == 200
        assert (await asked.get("/gems/health")).status_code == 200


async def test_anyone_may_be_let_in(settings: Settings) -> None:
    async with client(settings, host="gems.lan:2024", address="192.168.1.9", is_open=True) as asked:
        assert (await asked.get("/threads")).json()["caller"] == "me"
        assert (await asked.get("/threads", headers={"origin": "https://evil.example"})).status_code == 403


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:2024",
        "http://localhost:3000",
        "http://127.0.0.1:5173",
        "https://smith.langchain.com",
        "https://eu.smith.langchain.com",
        "https://chat.example.com",
    ],
)
async def test_pages_that_may_use_the_server(settings: Settings, shared: Settings, origin: str) -> None:
    async with client(settings, origins=("https://chat.example.com",)) as asked:
        assert (await asked.post("/threads", headers={"origin": origin})).status_code == 200
    async with client(shared, host="gems.lan", origins=("https://chat.example.com",)) as asked:
        assert (await asked.post("/threads", headers={"origin": origin} | OWN)).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "https://smith.langchain.com.evil.example",
        "http://smith.langchain.com",
        "https://localhost.evil.example",
        "https://chat.example.com:8443",
        "http://[",
    ],
)
async def test_pages_of_others_may_not(settings: Settings, shared: Settings, origin: str) -> None:
    for given in (settings, shared):
        async with client(given, origins=("https://chat.example.com",)) as asked:
            refused = await asked.post("/threads", headers={"origin": origin} | OWN)
            assert refused.status_code == 403
            assert "GEMS_ORIGINS" in refused.json()["detail"]
            assert "access-control-allow-origin" not in refused.headers


async def test_the_public_address_is_the_servers_own(shared: Settings) -> None:
    async with client(shared, host="gems:8000") as asked:
        welcome = await asked.get("/threads", headers={"origin": "https://gems.example.com"} | OWN)
        assert welcome.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/threads",
        "/docs",
        "/openapi.json",
        "/metrics",
        "/info",
        "/mcp",
        "/ui/gems",
        "/gems/runs",
        "/gems/images/x",
        "/x",
    ],
)
async def test_all_but_the_page_needs_a_token(shared: Settings, path: str) -> None:
    async with client(shared, host="gems.example.com") as asked:
        for headers in ({}, {"x-auth-scheme": "langsmith"}, {"x-api-key": "none-of-the-tokens"}):
            refused = await asked.get(path, headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
            assert "a token is needed" in str(refused.json())
        assert (await asked.get(path, headers=OWN)).json()["caller"] == "anna"


async def test_the_page_itself_and_signs_of_life_need_none(shared: Settings) -> None:
    async with client(shared, host="gems.example.com") as asked:
        for path in ("/gems/", "/gems/static/main.js", "/gems/session", "/ok", "/gems/health"):
            passed = await asked.get(path)
            assert (passed.status_code, passed.json()["caller"]) == (200, None)
        assert (await asked.post("/gems/health")).json()["caller"] is None
        asks = {"origin": "https://smith.langchain.com", "access-control-request-method": "POST"}
        assert (await asked.options("/threads", headers=asks)).status_code == 200, "what a browser asks before"
        assert (await asked.options("/threads")).status_code == 401


async def test_a_session_does_for_the_page_and_for_no_other(shared: Settings) -> None:
    async with client(shared, host="gems.example.com") as asked:
        cookie = {"cookie": f"{COOKIE}={Sessions(TOKENS).begin('bob')}"}
        own = {"origin": "http://gems.example.com", "sec-fetch-site": "same-origin"}
        assert (await asked.post("/threads", headers=cookie | own)).json()["caller"] == "bob"
        other = {"origin": "http://localhost:3000", "sec-fetch-site": "cross-site"}
        assert (await asked.post("/threads", headers=cookie | other)).status_code == 401
        assert (await asked.post("/threads", headers=cookie)).status_code == 401


async def test_the_key_of_a_picture_goes_no_further_than_the_gate(shared: Settings) -> None:
    address = ImageLinks("http://gems.example.com", TOKENS).url(PICTURE, "anna")
    async with client(shared, host="gems.example.com") as asked:
        seen = await asked.get(f"{address}&side=256")
        assert seen.json() == {"caller": "anna", "bytes": 0, "query": "side=256"}
        assert (await asked.get(f"{address}x")).status_code == 401


@pytest.mark.parametrize("path", ["/internal/truncate", "/internal/debug/thread/x", "/internal"])
async def test_what_langgraph_leaves_open_for_its_own_tests_is_closed(
    settings: Settings, shared: Settings, path: str
) -> None:
    for given in (settings, shared):
        async with client(given) as asked:
            assert (await asked.post(path, headers=OWN)).status_code == 404


async def test_deploying_is_for_whoever_is_at_this_machine(settings: Settings, shared: Settings) -> None:
    async with client(settings) as asked:
        assert (await asked.get("/deploy")).status_code == 200
    async with client(shared) as asked:
        for path in ("/deploy", "/deploy/x/stream"):
            assert (await asked.get(path, headers=OWN)).status_code == 404
    async with client(settings, is_open=True) as asked:
        assert (await asked.post("/deploy")).status_code == 404


async def test_a_client_inside_passes_and_cannot_be_pretended_from_outside(shared: Settings) -> None:
    """`/noauth` is a root path that only the server's own transport sets, not a path."""
    inside = httpx.ASGITransport(Gate(INSIDE, shared, WebLimits()), root_path="/noauth")
    async with httpx.AsyncClient(transport=inside, base_url="http://api") as asked:
        assert (await asked.get("/noauth/threads")).json()["caller"] is None
    async with client(shared) as asked:
        assert (await asked.get("/noauth/threads")).status_code == 401
        assert (await asked.get("/noauth")).status_code == 401


async def pieces(count: int, size: int = 65_536) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size


@pytest.mark.parametrize("path", ["/threads", "/careless", "/broken", "/gems/x"])
async def test_a_body_that_is_too_long_is_not_read(settings: Settings, path: str) -> None:
    async with client(settings) as asked:
        told = await asked.post(path, content=b"x" * (BODY_BYTES + 1))
        untold = await asked.post(path, content=pieces(BODY_BYTES // 65_536 + 1))
        for refused in (told, untold):
            assert refused.status_code == 413
            assert f"longer than {BODY_BYTES} bytes" in str(refused.json())


async def test_a_body_without_end_is_left_alone(settings: Settings) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 65_536
            yield b"x" * 65_536

    async with client(settings) as asked:
        assert (await asked.post("/threads", content=endless())).status_code == 413
    assert taken <= BODY_BYTES + 2 * 65_536


async def test_a_body_that_may_be_passes_whole(settings: Settings) -> None:
    async with client(settings) as asked:
        assert (await asked.post("/threads", content=b"x" * BODY_BYTES)).json()["bytes"] == BODY_BYTES
        assert (await asked.post("/threads", content=pieces(BODY_BYTES // 65_536))).json()["bytes"] == BODY_BYTES
        assert (await asked.post("/gems/images", content=pieces(40))).json()["bytes"] == 40 * 65_536
        too_long = await asked.post("/gems/images", content=b"x", headers={"content-length": str(UPLOAD_BYTES + 1)})
        assert too_long.status_code == 413


async def test_a_failure_of_the_server_is_not_taken_for_a_long_body(settings: Settings) -> None:
    async with client(settings) as asked:
        with pytest.raises(ZeroDivisionError):
            await asked.post("/broken", content=b"x")


async def test_a_length_that_lies_is_counted(settings: Settings) -> None:
    async with client(settings) as asked:
        for length in ("1", "-1", "x", "9" * 30):
            lied = await asked.post("/threads", content=b"x" * (BODY_BYTES + 1), headers={"content-length": length})
            assert lied.status_code == 413


async def test_answers_of_ours_carry_headers_that_browsers_heed(settings: Settings) -> None:
    async with client(settings) as asked:
        headers = (await asked.get("/gems/runs")).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer", "an address may hold the key of a picture"
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["cache-control"] == "no-store"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        picture = (await asked.get(f"/gems/images/{PICTURE}")).headers
        assert picture["cross-origin-resource-policy"] == "cross-origin", "chat front ends show it"
        own = (await asked.get("/gems/framed")).headers
        assert (own["content-security-policy"], own["cache-control"]) == ("default-src 'self'", "private")
        assert "content-security-policy" not in (await asked.get("/docs")).headers
        refused = await asked.get("/gems/runs", headers={"host": "evil.example"})
        assert refused.headers["x-content-type-options"] == "nosniff"


COSTLY = [
    "/runs", "/runs/wait", "/runs/stream", "/runs/batch", "/runs/crons", "/threads/t/runs", "/threads/t/runs/stream",
    "/threads/t/runs/wait", "/threads/t/runs/crons", "/threads/t/commands", "/threads/t/state", "/threads/t/copy",
    "/mcp", "/mcp/", "/a2a/gems", "/gems/images",
]  # fmt: skip


@pytest.mark.parametrize("path", COSTLY)
async def test_what_costs_something_cannot_be_asked_without_end(shared: Settings, path: str) -> None:
    async with client(shared, host="gems.example.com", requests_per_minute=2) as asked:
        statuses = [(await asked.post(path, headers=OWN)).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        refused = await asked.post(path, headers=OWN | {"origin": "https://smith.langchain.com"})
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert refused.headers["access-control-allow-origin"] == "https://smith.langchain.com", "so that it can be read"
        assert (await asked.post(path, headers={"x-api-key": BOB})).status_code == 200, "each token has its own"
        assert (await asked.post("/threads/search", headers=OWN)).status_code == 200, "reading is free"
        assert (await asked.get("/gems/runs", headers=OWN)).status_code == 200


async def test_without_tokens_each_address_has_its_own_bucket(settings: Settings) -> None:
    gate = Gate(INSIDE, settings, WebLimits(requests_per_minute=1, is_open=True))
    found = []
    for address in ("10.0.0.1", "10.0.0.1", "10.0.0.2"):
        transport = httpx.ASGITransport(gate, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://gems.lan") as asked:
            found.append((await asked.post("/runs")).status_code)
    assert found == [200, 429, 200]


async def test_tokens_cannot_be_guessed_without_end(shared: Settings) -> None:
    async with client(shared, host="gems.example.com", address="10.0.0.1") as asked:
        for number in range(ATTEMPTS_PER_MINUTE):
            assert (await asked.get("/threads", headers={"x-api-key": f"{number}"})).status_code == 401
        assert (await asked.get("/threads", headers={"x-api-key": "next"})).status_code == 429
        assert (await asked.post("/gems/session", json={"token": ANNA})).status_code == 429
        assert (await asked.get("/threads", headers=OWN)).status_code == 200, "who has a token is not locked out"
        assert (await asked.get("/threads")).status_code == 401, "nothing shown is no guess"


async def test_signing_in_cannot_be_tried_without_end(shared: Settings) -> None:
    async with client(shared, host="gems.example.com") as asked:
        tried = [(await asked.post("/gems/session", json={})).status_code for _ in range(ATTEMPTS_PER_MINUTE + 1)]
        assert tried == [200] * ATTEMPTS_PER_MINUTE + [429]
        assert (await asked.get("/gems/session")).status_code == 200


def test_a_bucket_fills_evenly() -> None:
    now = 0.0
    buckets = Buckets(2, lambda: now)
    assert [buckets.take("a"), buckets.take("a"), buckets.take("a"), buckets.take("b")] == [0, 0, 30, 0]
    now = 29.0
    assert buckets.take("a") == pytest.approx(1)
    now = 30.0
    assert [buckets.take("a"), buckets.take("a")] == [0, 30]
    now = 100_000.0
    assert [buckets.take("a"), buckets.take("a"), buckets.take("a")] == [0, 0, 30], "never more than a minute's worth"


def test_buckets_do_not_grow_without_end() -> None:
    buckets = Buckets(1, lambda: 0.0)
    assert buckets.take("first") == 0
    for number in range(MOST_KNOWN):
        buckets.take(str(number))
    assert buckets.take(str(MOST_KNOWN - 1)) > 0
    assert buckets.take("first") == 0, "it was pushed out"


class Socket:
    """A WebSocket's client: sends what it was given, and keeps what comes back."""

    def __init__(self, gate: Gate, texts: Iterable[str] = (), **headers: str) -> None:
        self._gate = gate
        self._left = [{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": text} for text in texts)]
        self.came: list[Any] = []
        told = {"host": "localhost:2024"} | headers
        self._scope = {
            "type": "websocket", "path": "/threads/t/stream/events", "query_string": b"", "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in told.items()], "client": ("127.0.0.1", 1),
        }  # fmt: skip

    async def run(self) -> list[Any]:
        async def receive() -> Any:
            return self._left.pop(0) if self._left else {"type": "websocket.disconnect", "code": 1000}

        async def send(message: Any) -> None:
            self.came.append(message)

        await self._gate(self._scope, receive, send)
        return self.came


async def talk(scope: Any, receive: Any, send: Any) -> None:
    """An application that accepts, and says whom it sees and how much they sent."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": json.dumps([scope[CALLER], len(message["text"])])})


async def test_a_websocket_passes_the_same_rules(settings: Settings, shared: Settings) -> None:
    here, both = Gate(talk, settings, WebLimits()), Gate(talk, shared, WebLimits())
    said = {"type": "websocket.send", "text": '["me", 2]'}
    assert await Socket(here, ["hi"]).run() == [{"type": "websocket.accept"}, said]
    assert (await Socket(both, ["hi"], **OWN).run())[1]["text"] == '["anna", 2]'
    refused = [{"type": "websocket.close", "code": 1008}]
    assert await Socket(here, host="evil.example").run() == refused
    assert await Socket(here, origin="https://evil.example").run() == refused
    assert await Socket(both).run() == refused
    assert await Socket(both, authorization="Bearer wrong").run() == refused
    cookie = f"{COOKIE}={Sessions(TOKENS).begin('anna')}"
    assert await Socket(both, cookie=cookie, origin="http://localhost:3000").run() == refused
    assert await Socket(both, cookie=cookie).run() == refused
    assert (await Socket(both, cookie=cookie, origin="http://localhost:2024").run())[0]["type"] == "websocket.accept"


async def test_messages_of_a_websocket_are_limited_too(settings: Settings) -> None:
    long = await Socket(Gate(talk, settings, WebLimits()), ["x" * (BODY_BYTES + 1), "y"]).run()
    assert long == [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1009}]
    often = await Socket(Gate(talk, settings, WebLimits(requests_per_minute=1)), ["x", "y", "z"]).run()
    assert [it.get("code") for it in often] == [None, None, 1013]


async def test_a_run_counts_until_the_server_has_answered(settings: Settings) -> None:
    """Leave to start one is given back when the answer begins: the server shows the run by then."""

    async def none_yet(owner: str, most: int) -> set[str]:
        return set()

    quota = RunQuota(1, none_yet)
    held: list[int] = []

    async def start(scope: Any, receive: Any, send: Any) -> None:
        await quota.take("me", None)
        with pytest.raises(Auth.exceptions.HTTPException):
            await quota.take("me", None)
        held.append(1)
        await Response("begun")(scope, receive, send)
        await quota.take("me", None)
        held.append(2)
        raise ClientDisconnect

    gate = Gate(start, settings, WebLimits())
    transport = httpx.ASGITransport(gate, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asked:
        for _ in range(2):
            with pytest.raises(ClientDisconnect):
                await asked.post("/runs")
    assert held == [1, 2, 1, 2], "a request that failed keeps nothing"
