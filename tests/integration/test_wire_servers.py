"""The loopback over real connections: the clients that people use, kept and lost connections, and a process of its own."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest

from gems.evals.loopback import ChatServer, ImageServer, Loopback, LoopbackProcess, exactly, seeing
from gems.evals.loopback.pictures import Wish, flat

MESSAGES = [{"role": "user", "content": "ready?"}]


def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="sk-any", max_retries=0)


def test_the_openai_client_reads_chats_and_models() -> None:
    with Loopback(ChatServer(seeing(), "openai")) as server, client(server.url) as real:
        answer = real.chat.completions.create(
            model="loopback", messages=MESSAGES, logprobs=True, top_logprobs=2  # type: ignore[arg-type]
        )  # fmt: skip
        assert answer.choices[0].message.content == '{"ok": true}'
        assert answer.choices[0].logprobs is not None
        assert answer.usage is not None
        assert answer.usage.completion_tokens_details is not None
        assert [model.id for model in real.models.list().data] == ["loopback"]


def test_the_openai_client_draws_and_edits() -> None:
    with Loopback(ImageServer("openai")) as server, client(server.url) as real:
        drawn = real.images.generate(model="loopback-image", prompt="a red dog", size="1024x1024")
        assert drawn.data is not None
        content = base64.b64decode(drawn.data[0].b64_json or "")
        real.images.edit(model="loopback-image", prompt="a blue dog", image=[("a.png", content, "image/png")])
        assert [(it.prompt, it.images) for it in server.log.drawn] == [("a red dog", 0), ("a blue dog", 1)]


def test_errors_reach_the_client_as_their_kind() -> None:
    plan = exactly("429", "500", "hang_up", "half")
    with Loopback(ChatServer(seeing(), "vllm", plan=plan)) as server, client(server.url) as real:
        for kind in (
            openai.RateLimitError,
            openai.InternalServerError,
            openai.APIConnectionError,
            (openai.APIError, httpx.RemoteProtocolError),
        ):
            with pytest.raises(kind):
                real.chat.completions.create(model="loopback", messages=MESSAGES)  # type: ignore[arg-type]
        real.chat.completions.create(model="loopback", messages=MESSAGES)  # type: ignore[arg-type]
        assert [entry.fault for entry in server.log.chat] == ["429", "500", "hang_up", "half", ""]


def test_a_connection_is_kept_and_many_are_served() -> None:
    with Loopback(ChatServer(seeing(), seconds=0.1)) as server, httpx.Client(base_url=server.url) as kept:
        streams = {kept.get("/v1/models").extensions["network_stream"].get_extra_info("client_addr") for _ in range(3)}
        assert len(streams) == 1
        body = {"model": "loopback", "messages": MESSAGES}
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda _: kept.post("/v1/chat/completions", json=body).status_code, range(8)))
        assert answers == [200] * 8
        entries = server.log.chat
        together = max(it.end or 0 for it in entries) - min(it.start for it in entries)
        assert together < 8 * 0.1, "chats are answered at the same time"


def test_ollama_and_the_reference_tell_of_themselves() -> None:
    with Loopback(ChatServer(seeing(), "ollama", model="qwen3-vl")) as server:
        assert httpx.get(f"{server.url}/api/tags").json()["models"][0]["name"] == "qwen3-vl"
        assert "version" in httpx.get(f"{server.url}/api/version").json()
        assert httpx.get(f"{server.url}/health").status_code == 404
    with Loopback(ImageServer("reference")) as server:
        reply = httpx.post(f"{server.url}/generate", params={"prompt": "a red dog & a cat"})
        assert reply.headers["content-type"] == "image/png"
        assert server.log.drawn[0].prompt == "a red dog & a cat"
        assert httpx.post(f"{server.url}/generate").status_code == 422


def test_a_failure_of_its_own_is_not_hidden() -> None:
    def confused(_: object) -> dict[str, object]:
        raise ZeroDivisionError

    block = '<gems task="judge">\n{"requirements": []}\n</gems>'
    body = {"model": "loopback", "messages": [{"role": "user", "content": block}]}
    with pytest.raises(RuntimeError, match="ZeroDivisionError"), Loopback(ChatServer(confused)) as server:
        assert httpx.post(f"{server.url}/v1/chat/completions", json=body).status_code == 500


def test_a_process_serves_until_it_is_left(tmp_path: Path) -> None:
    picture = flat(Wish("prepared", 1, 40, 40))
    path = tmp_path / "picture.png"
    path.write_bytes(picture)
    with LoopbackProcess("--images", "reference", "--picture", str(path)) as process:
        assert httpx.post(f"{process.url}/generate", params={"prompt": "a"}).content == picture
        assert [entry.prompt for entry in process.log().drawn] == ["a"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(process.url)


def test_it_needs_neither_torch_nor_a_web_framework() -> None:
    heavy = ("torch", "diffusers", "starlette", "openai")
    code = f"import sys, gems.evals.loopback; print(*(name for name in {heavy!r} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert run.stdout.split() == []
