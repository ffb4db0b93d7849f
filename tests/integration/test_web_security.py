"""A real `langgraph dev` with two tokens: what one may do, and what of it the other sees."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import websockets
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from PIL import Image

from gems.app.web.limits import BODY_BYTES
from gems.core.ports import Lesson
from gems.memory.lessons import SqlLessons
from gems.memory.stores import FileStores

ROOT = Path(__file__).parents[2]
START_SECONDS = 90.0
"""Patience of the test, not a target: a busy machine starts slowly."""
ANNA, BOB = "anna-" * 6, "bob-" * 6
RUNS_AT_ONCE = 3
SMALL: Any = {"seed": 5, "size": "256x256", "max_rounds": 1}
LATER = 3600
"""Seconds until a run starts that is only there to be counted, and is deleted before."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's folder; a lesson of anna's lies in its home."""
    made = tmp_path_factory.mktemp("shared")
    (made / "home").mkdir()
    lessons = SqlLessons(FileStores(made / "home").database("lessons"))
    lesson = Lesson("l1", "count", "sketch", (), when="drawing a red apple", advice="put the apple on a table")
    asyncio.run(lessons.learn("anna", [lesson]))
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """The address of a server with this repository's langgraph.json and a token each for anna and bob."""
    shutil.copy(ROOT / "langgraph.json", folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    env = {
        **os.environ,
        "GEMS_HOME": str(folder / "home"),
        "GEMS_TOKENS": f"anna:{ANNA},bob:{BOB}",
        "GEMS_RUNS_AT_ONCE": str(RUNS_AT_ONCE),
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = Path(sys.executable).parent / "langgraph"
    log_file = folder / "server.log"
    with log_file.open("w") as log:
        process = subprocess.Popen(
            [str(command), "dev", "--no-browser", "--no-reload", "--port", str(port)],
            cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(address, process, log_file)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"langgraph dev ended: {log.read_text()[-3000:]}")
        try:
            if httpx.get(f"{address}/ok", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    pytest.fail(f"langgraph dev did not answer: {log.read_text()[-3000:]}")


class Drawn(NamedTuple):
    """A run of anna's."""

    thread: str
    run: str
    values: dict[str, Any]

    @property
    def image(self) -> str:
        return str(self.values["result"]["image"])


@pytest.fixture(scope="module")
def drawn(server: str) -> Drawn:
    async def draw() -> Drawn:
        async with get_client(url=server, headers={"Authorization": f"Bearer {ANNA}"}) as client:
            thread = (await client.threads.create(metadata={"owner": "bob"}))["thread_id"]
            await client.runs.wait(thread, "gems", input={"prompt": "a red apple"}, context=SMALL)
            values: Any = (await client.threads.get_state(thread))["values"]
            return Drawn(thread, str((await client.runs.list(thread))[0]["run_id"]), values)

    return asyncio.run(draw())


@pytest.fixture
async def anna(server: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=server, headers={"Authorization": f"Bearer {ANNA}"}) as opened:
        yield opened


@pytest.fixture
async def bob(server: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=server, api_key=BOB) as opened:
        yield opened


@pytest.fixture
async def web(server: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that shows nothing of itself."""
    async with httpx.AsyncClient(base_url=server, timeout=60) as opened:
        yield opened


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def refused(work: Coroutine[Any, Any, Any]) -> int:
    """The HTTP status that a call of the SDK was refused with."""
    with pytest.raises(httpx.HTTPStatusError) as caught:
        await work
    return caught.value.response.status_code


async def test_an_owner_has_what_they_made(anna: LangGraphClient, drawn: Drawn) -> None:
    thread = await anna.threads.get(drawn.thread)
    metadata: Any = thread["metadata"]
    assert metadata["owner"] == "anna", "though the client said it was bob's"
    assert drawn.values["status"] == "done"
    assert [it["thread_id"] for it in await anna.threads.search()] == [drawn.thread]
    await anna.threads.update(drawn.thread, metadata={"owner": "bob", "note": "mine"})
    kept: Any = (await anna.threads.get(drawn.thread))["metadata"]
    assert (kept["owner"], kept["note"]) == ("anna", "mine")


FOREIGN: dict[str, Callable[[LangGraphClient, Drawn], Coroutine[Any, Any, Any]]] = {
    "read": lambda bob, it: bob.threads.get(it.thread),
    "state": lambda bob, it: bob.threads.get_state(it.thread),
    "history": lambda bob, it: bob.threads.get_history(it.thread),
    "state-updated": lambda bob, it: bob.threads.update_state(it.thread, {"best": None}),
    "renamed": lambda bob, it: bob.threads.update(it.thread, metadata={"owner": "bob"}),
    "deleted": lambda bob, it: bob.threads.delete(it.thread),
    "run": lambda bob, it: bob.runs.create(it.thread, "gems", input={"prompt": "a dog"}),
    "run-anew": lambda bob, it: bob.runs.create(it.thread, "gems", input={"prompt": "a dog"}, if_not_exists="create"),
    "waited-for": lambda bob, it: bob.runs.wait(it.thread, "gems", input=None),
    "runs": lambda bob, it: bob.runs.list(it.thread),
    "one-run": lambda bob, it: bob.runs.get(it.thread, it.run),
    "joined": lambda bob, it: bob.runs.join(it.thread, it.run),
    "cancelled": lambda bob, it: bob.runs.cancel(it.thread, it.run),
    "run-deleted": lambda bob, it: bob.runs.delete(it.thread, it.run),
    "taken": lambda bob, it: bob.threads.create(thread_id=it.thread),
    "taken-over": lambda bob, it: bob.threads.create(thread_id=it.thread, if_exists="do_nothing"),
}


@pytest.mark.parametrize("way", FOREIGN)
async def test_a_foreign_thread_is_as_if_it_were_not_there(
    bob: LangGraphClient, anna: LangGraphClient, drawn: Drawn, way: str
) -> None:
    assert await refused(FOREIGN[way](bob, drawn)) == 404
    state: Any = (await anna.threads.get_state(drawn.thread))["values"]
    assert state["best"] == drawn.values["best"]


async def test_a_foreign_thread_cannot_be_copied_pruned_or_searched(
    bob: LangGraphClient, web: httpx.AsyncClient, drawn: Drawn
) -> None:
    assert await refused(bob.threads.copy(drawn.thread)) in (404, 409)
    pruned = await web.post("/threads/prune", json={"thread_ids": [drawn.thread]}, headers=bearer(BOB))
    assert pruned.status_code == 404
    for wanted in ({"metadata": {"owner": "anna"}}, {"ids": [drawn.thread]}):
        found = await bob.threads.search(**wanted)  # type: ignore[arg-type]
        assert drawn.thread not in [it["thread_id"] for it in found]
    assert await bob.threads.count(metadata={"owner": "anna"}) == 0
    checkpoint = {"checkpoint": {"thread_id": drawn.thread, "checkpoint_ns": ""}}
    own = (await bob.threads.create(graph_id="gems"))["thread_id"]
    for path in (f"/threads/{own}/state/checkpoint", f"/threads/{own}/history"):
        seen = await web.post(path, json=checkpoint, headers=bearer(BOB))
        assert drawn.image not in seen.text


async def test_a_foreign_stream_tells_nothing(
    bob: LangGraphClient, web: httpx.AsyncClient, server: str, drawn: Drawn
) -> None:
    joined = [part async for part in bob.runs.join_stream(drawn.thread, drawn.run)]
    assert [(part.event, "not found" in str(part.data)) for part in joined] == [("error", True)]
    events = await web.post(
        f"/threads/{drawn.thread}/stream/events", json={"channels": ["values"]}, headers=bearer(BOB)
    )
    assert events.text == ""
    start = {"id": 1, "method": "run.start", "params": {"assistant_id": "gems", "input": {"prompt": "a dog"}}}
    told = await web.post(f"/threads/{drawn.thread}/commands", json=start, headers=bearer(BOB))
    assert "not found" in told.json()["message"]
    address = f"{server.replace('http', 'ws', 1)}/threads/{drawn.thread}/stream/events"
    came = await heard(address, bearer(BOB))
    assert not [part for part in came if drawn.image in part]
    for headers in ({}, {"x-api-key": "wrong"}, bearer(ANNA) | {"origin": "https://evil.example"}):
        with pytest.raises(websockets.InvalidStatus) as caught:
            await websockets.connect(address, additional_headers=headers)
        assert caught.value.response.status_code == 403


async def heard(address: str, headers: dict[str, str]) -> list[str]:
    """All that a WebSocket says to whoever subscribes to a thread, until the server closes it."""
    came: list[str] = []
    subscribe = {"id": 1, "method": "subscription.subscribe", "params": {"channels": ["values"]}}
    async with asyncio.timeout(20), websockets.connect(address, additional_headers=headers) as opened:
        with contextlib.suppress(websockets.ConnectionClosed):
            await opened.send(json.dumps(subscribe))
            while True:
                came.append(str(await opened.recv()))
    return came


@pytest.mark.parametrize(
    "way", ["threads/{thread}", "report/{thread}", "threads/{thread}/attempts/1.1.png", "images/{image}"]
)
async def test_our_own_routes_keep_owners_apart(web: httpx.AsyncClient, drawn: Drawn, way: str) -> None:
    path = f"/gems/{way.format(thread=drawn.thread, image=drawn.image)}"
    assert (await web.get(path, headers=bearer(ANNA))).status_code == 200
    assert (await web.get(path, headers={"x-api-key": BOB})).status_code == 404
    assert (await web.get(path)).status_code == 401
    runs = (await web.get("/gems/runs", headers=bearer(BOB))).json()["runs"]
    assert drawn.thread not in [run["thread_id"] for run in runs]


async def test_an_image_is_seen_by_its_address_and_no_log_tells_it(
    web: httpx.AsyncClient, drawn: Drawn, folder: Path
) -> None:
    address = drawn.values["result"]["image_url"]
    seen = await web.get(address)
    assert (seen.status_code, seen.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(seen.content)) as picture:
        assert picture.size == (256, 256)
    forged = [
        address.replace("key=anna", "key=bob"),
        address[:-1],
        address.replace(drawn.image, "0" * 64),
        address.partition("?")[0],
    ]
    assert [(await web.get(it)).status_code for it in forged] == [401, 401, 401, 401]
    assert (await web.get(f"/gems/runs?{address.partition('?')[2]}")).status_code == 401
    signed = address.rpartition(".")[2]
    assert signed not in (folder / "server.log").read_text()


async def test_a_session_is_a_cookie_for_pages_of_this_server(
    web: httpx.AsyncClient, drawn: Drawn, server: str
) -> None:
    assert (await web.post("/gems/session", json={"token": "wrong"})).status_code == 401
    assert (await web.get("/gems/session")).status_code == 401
    begun = await web.post("/gems/session", json={"token": ANNA})
    assert begun.json() == {"owner": "anna", "tokens": True}
    own = {"origin": server, "sec-fetch-site": "same-origin"}
    found = await web.post("/threads/search", json={}, headers=own)
    assert drawn.thread in [it["thread_id"] for it in found.json()]
    assert (await web.get(f"/gems/images/{drawn.image}")).status_code == 200
    for other in ({}, {"origin": "http://localhost:1", "sec-fetch-site": "same-site"}):
        assert (await web.post("/threads/search", json={}, headers=other)).status_code == 401
    assert (await web.post("/threads/search", json={}, headers={"origin": "https://evil.example"})).status_code == 403
    await web.delete("/gems/session", headers=own)
    assert (await web.get("/gems/session")).status_code == 401


@pytest.mark.parametrize(
    "headers", [{}, {"x-auth-scheme": "langsmith"}, {"x-auth-scheme": "langsmith", "x-api-key": "x"}]
)
async def test_the_bypasses_of_the_dev_server_are_closed(
    web: httpx.AsyncClient, drawn: Drawn, headers: dict[str, str]
) -> None:
    for path in (
        "/docs",
        "/openapi.json",
        "/metrics",
        "/info",
        "/gems/runs",
        "/gems/options",
        f"/threads/{drawn.thread}",
    ):
        assert (await web.get(path, headers=headers)).status_code == 401
    assert (await web.post("/threads/search", json={}, headers=headers)).status_code == 401
    for path in (f"/internal/debug/thread/{drawn.thread}", "/deploy"):
        assert (await web.get(path, headers=headers | {"x-api-key": BOB})).status_code == 404
    assert (await web.post("/internal/truncate", headers=headers)).status_code == 404
    assert (await web.get("/gems/", headers=headers)).status_code == 200
    assert (await web.get("/gems/health")).json()["status"] == "ready"


async def test_what_belongs_to_all_is_changed_by_nobody(bob: LangGraphClient) -> None:
    (assistant,) = await bob.assistants.search()
    assert await refused(bob.assistants.create("gems", context={"profile": "openai"})) == 403
    assert await refused(bob.assistants.update(assistant["assistant_id"], name="mine")) == 403
    assert await refused(bob.assistants.delete(assistant["assistant_id"])) == 403
    assert await refused(bob.crons.create("gems", schedule="* * * * *", input={"prompt": "a dog"})) == 403


async def test_the_store_is_each_owners_own(anna: LangGraphClient, bob: LangGraphClient) -> None:
    await anna.store.put_item(["anna", "notes"], key="k", value={"said": "secret"})
    kept: Any = await anna.store.get_item(["anna", "notes"], key="k")
    assert kept["value"] == {"said": "secret"}
    assert await refused(bob.store.get_item(["anna", "notes"], key="k")) == 403
    assert await refused(bob.store.put_item(["anna", "notes"], key="k", value={})) == 403
    assert await refused(bob.store.search_items(["anna"])) == 403
    assert await refused(bob.store.delete_item(["anna", "notes"], key="k")) == 403
    found: Any = await bob.store.list_namespaces()
    assert found["namespaces"] == []


@pytest.mark.parametrize(
    ("prompt", "context", "words"),
    [
        ({}, {"skills": ["../../etc"]}, "no skill is named '../../etc'"),
        ({}, {"skills": ["/etc/passwd"]}, "no skill is named '/etc/passwd'"),
        ({}, {"profile": "../gems"}, "unknown profile '../gems'"),
        ({}, {"profile": "openai:gpt-image-1"}, "unknown profile 'openai:gpt-image-1'"),
        ({"references": ["https://evil.example/x.png"]}, {}, "is not an artifact id"),
        ({"references": ["data:image/png;base64,AAAA"]}, {}, "is not an artifact id"),
        ({"references": ["../../checkpoints.sqlite"]}, {}, "is not an artifact id"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]},
         {}, "a message holds more than text"),
    ],
)  # fmt: skip
async def test_a_request_names_nothing_that_was_not_set_up(
    bob: LangGraphClient, prompt: dict[str, Any], context: Any, words: str
) -> None:
    asked = prompt if "messages" in prompt else {"prompt": "a red apple", **prompt}
    ended: Any = await bob.runs.wait(None, "gems", input=asked, context=context, raise_error=False)
    assert words in ended["__error__"]["message"]


async def test_keys_urls_and_models_in_a_request_change_nothing(bob: LangGraphClient) -> None:
    strange: Any = {
        "base_url": "https://evil.example", "api_key": "x", "mllm": "openai:x", "images": "diffusers:/etc", "home": "/tmp",
        "langgraph_auth_user_id": "anna", "langgraph_auth_user": {"identity": "anna"}, "user_id": "anna",
    }  # fmt: skip
    thread = (await bob.threads.create())["thread_id"]
    ended: Any = await bob.runs.wait(
        thread, "gems", input={"prompt": "a dragon"}, config={"configurable": strange}, raise_error=False
    )
    assert "GEMS_IMAGES" in ended["__error__"]["message"], "sketch, the machine's own, knows no dragon"
    run: Any = (await bob.runs.list(thread))[0]
    assert run["kwargs"]["config"]["configurable"]["langgraph_auth_user_id"] == "bob"


async def test_another_owners_image_is_no_reference_and_no_state(
    bob: LangGraphClient, web: httpx.AsyncClient, drawn: Drawn
) -> None:
    asked = {"prompt": "a red apple", "references": [drawn.image]}
    ended: Any = await bob.runs.wait(None, "gems", input=asked, raise_error=False)
    assert "there is no image" in ended["__error__"]["message"]
    # bob knows all that anna's state says, and writes it into a thread of his own.
    own = (await bob.threads.create(graph_id="gems"))["thread_id"]
    forged = {name: value for name, value in drawn.values.items() if name not in ("messages", "spans", "usage")}
    await bob.threads.update_state(own, forged | {"trajectory_id": uuid.uuid4().hex}, as_node="finish")
    ended = await bob.runs.wait(own, "gems", input={"prompt": "make the apple green"}, context=SMALL, raise_error=False)
    assert "cannot be read: there is none of that id" in ended["__error__"]["message"]
    saved = await web.get(f"/gems/threads/{own}/attempts/{drawn.values['best']}.png", headers=bearer(BOB))
    assert saved.status_code == 404
    report = await web.get(f"/gems/report/{own}", headers=bearer(BOB))
    assert "data:image/png" not in report.text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"webhook": "https://93.184.215.14/hook"}, "webhook"),
        ({"config": {"configurable": {"__pregel_checkpointer": "x"}}}, "__pregel_checkpointer"),
    ],
)
async def test_runs_that_may_not_be(web: httpx.AsyncClient, given: dict[str, Any], words: str) -> None:
    asked = {"assistant_id": "gems", "input": {"prompt": "a dog"}, **given}
    ended = await web.post("/runs/wait", json=asked, headers=bearer(BOB))
    assert ended.status_code == 403
    assert words in ended.text


async def test_a_tool_call_is_its_callers(web: httpx.AsyncClient, drawn: Drawn) -> None:
    """MCP asks the server from inside, where nobody is asked for a token."""
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "gems", "arguments": {"prompt": "a blue car"}},
    }
    headers = {"accept": "application/json, text/event-stream", "x-api-key": BOB}
    assert (await web.post("/mcp", json=call, headers={"accept": headers["accept"]})).status_code == 401
    text = (await web.post("/mcp", json=call, headers=headers)).json()["result"]["content"][0]["text"]
    image = text.partition("'image': '")[2][:64]
    assert (await web.get(f"/gems/images/{image}", headers=bearer(BOB))).status_code == 200
    assert (await web.get(f"/gems/images/{image}", headers=bearer(ANNA))).status_code == 404
    assert image != drawn.image
    # The server makes a thread for the call alone, and removes it when it ends.
    listed = [(await web.get("/gems/runs", headers=bearer(token))).json()["runs"] for token in (ANNA, BOB)]
    assert "a blue car" not in [run["prompt"] for runs in listed for run in runs]


async def test_lessons_are_each_owners_own(bob: LangGraphClient, drawn: Drawn) -> None:
    (given,) = {lesson["text"] for lesson in drawn.values["lessons"]}
    assert "put the apple on a table" in given
    thread = (await bob.threads.create())["thread_id"]
    await bob.runs.wait(thread, "gems", input={"prompt": "a red apple"}, context=SMALL)
    values: Any = (await bob.threads.get_state(thread))["values"]
    assert values["status"] == "done"
    assert values["lessons"] == []
    assert values["attempts"][0]["reused"] is False, "though the same picture was drawn for anna"


async def test_no_more_runs_at_once_than_may_be(
    bob: LangGraphClient, anna: LangGraphClient, web: httpx.AsyncClient
) -> None:
    begin = {"assistant_id": "gems", "input": {"prompt": "a red apple"}, "after_seconds": LATER}
    threads = [(await bob.threads.create())["thread_id"] for _ in range(RUNS_AT_ONCE + 2)]
    try:
        tried = await asyncio.gather(
            *(web.post(f"/threads/{thread}/runs", json=begin, headers=bearer(BOB)) for thread in threads)
        )
        assert sorted(it.status_code for it in tried) == [200] * RUNS_AT_ONCE + [429] * 2
        assert await bob.threads.count(status="busy") == RUNS_AT_ONCE
        assert next(it for it in tried if it.status_code == 429).headers["retry-after"] == "10"
        for path, body in (("/runs", begin), ("/runs/wait", begin), ("/runs/stream", begin), ("/runs/batch", [begin])):
            refusal = await web.post(path, json=body, headers=bearer(BOB))
            assert refusal.status_code == 429, path
            assert "GEMS_RUNS_AT_ONCE" in refusal.text
        start = {"id": 1, "method": "run.start", "params": begin}
        free = next(thread for thread, it in zip(threads, tried, strict=True) if it.status_code == 429)
        told = await web.post(f"/threads/{free}/commands", json=start, headers=bearer(BOB))
        assert "GEMS_RUNS_AT_ONCE" in told.json()["message"]
        call = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "gems", "arguments": {"prompt": "a dog"}},
        }
        tool = await web.post("/mcp", json=call, headers={"accept": "application/json", "x-api-key": BOB})
        assert "GEMS_RUNS_AT_ONCE" in tool.text or tool.status_code == 429
        others = (await anna.threads.create())["thread_id"]
        await anna.runs.create(others, "gems", input={"prompt": "a red apple"}, after_seconds=LATER)
        await anna.threads.delete(others)
    finally:
        for thread in threads:
            await bob.threads.delete(thread)


async def test_a_body_that_is_too_long_is_refused_by_every_route(web: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES // 65_536 + 2):
            yield b"x" * 65_536

    for path in ("/threads/search", "/runs/wait", "/mcp", f"/threads/{uuid.uuid4()}/commands", "/gems/session"):
        answer = await web.post(path, content=pieces(), headers=bearer(ANNA))
        assert answer.status_code == 413, path


async def test_a_host_that_is_bound_to_this_machine_needs_a_token_like_any(web: httpx.AsyncClient) -> None:
    assert (await web.get("/gems/runs", headers={"host": "evil.example"})).status_code == 401
    assert (await web.get("/gems/runs", headers=bearer(ANNA) | {"origin": "https://evil.example"})).status_code == 403
