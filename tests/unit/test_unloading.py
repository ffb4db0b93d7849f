"""Chat servers that are asked to give a model's memory back."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from gems.backends.chat.unloading import FIRST_LOOK, LATER_LOOKS, ChatServers, Unloading
from gems.core.errors import ModelOutage
from gems.core.profiles import Endpoint
from gems.evals.loopback import OllamaNative
from gems.evals.loopback.log import Log
from gems.evals.loopback.wire import Request

URL = "http://localhost:11434/v1"
KEY = "sk-unload-0123456789"


class Server(httpx.AsyncBaseTransport):
    """Carries requests to an imitation, and remembers them."""

    def __init__(self, answer: OllamaNative | Callable[[httpx.Request], httpx.Response], model: str = "m") -> None:
        self.requests: list[httpx.Request] = []
        self._answer = answer
        self._model = model

    @property
    def paths(self) -> list[str]:
        return [f"{request.method} {request.url.path}" for request in self.requests]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if not isinstance(self._answer, OllamaNative):
            return self._answer(request)
        asked = Request(request.method, str(request.url), dict(request.headers), await request.aread())
        reply = self._answer.answer(asked, Log().open("other", asked.path, 0), self._model)
        assert reply is not None, asked.path
        return httpx.Response(reply.status, content=reply.body, headers={"content-type": reply.content_type})


class Waits:
    """Does not wait, but remembers for how long it should have; after so many waits something happens."""

    def __init__(self, after: int = 0, happens: Callable[[], object] = lambda: None) -> None:
        self.seconds: list[float] = []
        self._after = after
        self._happens = happens

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) == self._after:
            self._happens()
        await asyncio.sleep(0)


def unloading(
    server: httpx.AsyncBaseTransport,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    *,
    url: str = URL,
    model: str = "m",
    key: str = "",
    seconds: float = 5.0,
) -> Unloading:
    servers = ChatServers(server, seconds=seconds, sleep=sleep)
    made = servers.unloading(
        Endpoint(provider="openai", model=model, base_url=url, api_key=SecretStr(key) if key else None)
    )
    assert made is not None
    return made


def ollama(
    loaded: Callable[[], list[dict[str, Any]]] = list,
    unload: httpx.Response | None = None,
    version: httpx.Response | None = None,
    ps: int = 200,
) -> Server:
    """An Ollama that says it holds these models, whatever it is asked for."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/version":
            return version or httpx.Response(200, json={"version": "0.13.0"})
        if request.url.path == "/api/generate":
            return unload or httpx.Response(200, json={"done": True, "done_reason": "unload"})
        return httpx.Response(ps, json={"models": loaded()})

    return Server(answer)


async def test_an_ollama_is_asked_to_unload_the_model_and_waited_for_until_its_memory_is_free() -> None:
    native = OllamaNative(unload_seconds=0.01)
    server = Server(native, "qwen3-vl:8b")
    with native.using("qwen3-vl:8b"):
        pass
    assert native.loaded == ["qwen3-vl:8b"]
    await unloading(server, lambda _: asyncio.sleep(0.002), model="qwen3-vl:8b")()
    assert native.loaded == []
    assert server.paths[:3] == ["GET /api/version", "POST /api/generate", "GET /api/ps"]
    assert set(server.paths[3:]) == {"GET /api/ps"}
    assert json.loads(server.requests[1].content) == {"model": "qwen3-vl:8b", "keep_alive": 0}


async def test_a_model_that_is_being_used_is_waited_for() -> None:
    native = OllamaNative()
    server = Server(native)
    using = native.using("m")
    using.__enter__()
    waits = Waits(3, lambda: using.__exit__(None, None, None))
    await unloading(server, waits)()
    assert native.loaded == []
    assert waits.seconds == [FIRST_LOOK, 2 * FIRST_LOOK, 4 * FIRST_LOOK]


async def test_the_looks_become_rarer_to_a_limit() -> None:
    held = [{"name": "m:latest", "model": "m:latest"}]
    waits = Waits(6, held.clear)
    await unloading(ollama(lambda: held), waits)()
    assert waits.seconds[-2:] == [LATER_LOOKS, LATER_LOOKS]


@pytest.mark.parametrize(
    ("asked", "held", "waits"),
    [
        ("qwen3", "qwen3:latest", 1),
        ("qwen3:8b", "qwen3:8b", 1),
        ("Qwen3:8B", "qwen3:8b", 1),
        ("qwen3:8b", "qwen3:4b", 0),
        ("qwen3:8b", "qwen3:latest", 0),
        ("hf.co/me/model:Q4", "hf.co/me/model:Q4", 1),
    ],
)
async def test_a_model_is_known_by_all_its_names_and_other_models_are_not_waited_for(
    asked: str, held: str, waits: int
) -> None:
    models = [{"name": held, "model": held}]
    slept = Waits(1, models.clear)
    await unloading(ollama(lambda: models), slept, model=asked)()
    assert len(slept.seconds) == waits


async def test_what_a_server_is_is_asked_once() -> None:
    server = ollama()
    servers = ChatServers(server)
    for model in ("one", "two"):
        made = servers.unloading(Endpoint(provider="openai", model=model, base_url=URL))
        assert made is not None
        await made()
        await made()
    assert server.paths.count("GET /api/version") == 1
    assert server.paths.count("POST /api/generate") == 4


async def test_a_key_goes_where_the_chat_goes_and_redirects_are_not_followed() -> None:
    server = ollama(version=httpx.Response(302, headers={"location": "http://elsewhere/api/version"}))
    await unloading(server, key=KEY)()
    assert [str(request.url) for request in server.requests] == ["http://localhost:11434/api/version"]
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_without_a_key_none_is_sent() -> None:
    server = ollama()
    await unloading(server)()
    assert not any("authorization" in request.headers for request in server.requests)


@pytest.mark.parametrize("base", ["http://localhost:11434/v1", "http://localhost:11434/v1/", "http://localhost:11434"])
async def test_ollamas_own_paths_stand_beside_the_protocols(base: str) -> None:
    server = ollama()
    await unloading(server, url=base)()
    assert str(server.requests[1].url) == "http://localhost:11434/api/generate"


async def test_a_prefix_of_the_base_url_is_kept() -> None:
    server = Server(lambda _: httpx.Response(200, json={"version": "0.13.0", "models": []}))
    await unloading(server, url="https://gpu-box/ollama/v1")()
    paths = ["/api/version", "/api/generate", "/api/ps"]
    assert [str(request.url) for request in server.requests] == [f"https://gpu-box/ollama{path}" for path in paths]


NOT_OLLAMA = [
    httpx.Response(404, json={"detail": "Not Found"}),
    httpx.Response(200, text="<html>404</html>"),
    httpx.Response(200, json={"error": "Unexpected endpoint or method. (GET /api/version)"}),
    httpx.Response(200, json=["0.13.0"]),
    httpx.Response(200, json={"version": 13}),
    httpx.Response(200, text="[" * 100_000),
    httpx.Response(401, json={"error": "no"}),
]


@pytest.mark.parametrize("reply", NOT_OLLAMA)
async def test_another_server_is_left_alone_and_told_of_once(
    reply: httpx.Response, caplog: pytest.LogCaptureFixture
) -> None:
    server = ollama(version=reply)
    made = unloading(server)
    with caplog.at_level(logging.WARNING, "gems"):
        await made()
        await made()
    assert server.paths == ["GET /api/version"]
    told = [it.getMessage() for it in caplog.records if it.name.startswith("gems")]
    assert len(told) == 1
    assert "http://localhost:11434" in told[0]
    assert "--gpu-memory-utilization" in told[0]


async def test_a_server_that_is_only_starting_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    replies = [httpx.Response(503), httpx.Response(200, json={"version": "0.13.0"})]

    def answer(request: httpx.Request) -> httpx.Response:
        return replies.pop(0) if request.url.path == "/api/version" else httpx.Response(200, json={"models": []})

    server = Server(answer)
    made = unloading(server)
    with pytest.raises(ModelOutage, match=r"does not say what it is \(503\)"):
        await made()
    await made()
    assert server.paths == ["GET /api/version", "GET /api/version", "POST /api/generate", "GET /api/ps"]
    assert not caplog.records


async def test_a_model_that_the_server_does_not_have_it_does_not_hold() -> None:
    server = Server(OllamaNative(), "other")
    await unloading(server)()
    assert server.paths == ["GET /api/version", "POST /api/generate"]


async def test_an_ollama_too_old_to_tell_what_it_holds_is_believed() -> None:
    server = ollama(ps=404)
    await unloading(server)()
    assert server.paths[-1] == "GET /api/ps"


async def test_a_refusal_is_an_outage() -> None:
    server = Server(OllamaNative(refusal=403))
    with pytest.raises(ModelOutage, match=r"http://localhost:11434 refused to unload 'm' \(403\)") as caught:
        await unloading(server, key=KEY)()
    assert KEY not in str(caught.value)


async def test_a_model_that_stays_is_an_outage() -> None:
    server = ollama(lambda: [{"name": "m"}])
    with pytest.raises(ModelOutage, match=r"still holds 'm' after 0\.02 s: see `ollama ps`"):
        await unloading(server, lambda _: asyncio.sleep(0.001), seconds=0.02)()


@pytest.mark.parametrize("path", ["/api/version", "/api/generate", "/api/ps"])
@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ReadTimeout("late"), httpx.ReadError("gone")])
async def test_a_server_that_is_away_is_an_outage(path: str, error: httpx.HTTPError) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == path:
            raise error
        return httpx.Response(200, json={"version": "0.13.0", "models": []})

    with pytest.raises(ModelOutage, match=rf"did not answer when asked to unload 'm' \({type(error).__name__}\)"):
        await unloading(Server(answer))()


async def test_cancelled_it_is_cancelled() -> None:
    held = [{"name": "m"}]
    task = asyncio.ensure_future(unloading(ollama(lambda: held), Waits())())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_two_of_one_model_are_equal_and_show_no_key() -> None:
    servers = ChatServers(ollama())
    endpoint = Endpoint(provider="openai", model="m", base_url=URL, api_key=SecretStr(KEY))
    one, same = servers.unloading(endpoint), servers.unloading(endpoint.model_copy())
    other = servers.unloading(endpoint.model_copy(update={"model": "n"}))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert KEY not in repr(one)


def test_without_a_server_of_ones_own_there_is_nothing_to_unload() -> None:
    assert ChatServers().unloading(Endpoint(provider="openai", model="gpt-5-mini")) is None
    assert ChatServers().unloading(Endpoint(provider="sketch")) is None
