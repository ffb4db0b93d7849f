"""A real `langgraph dev`, driven by its SDK: forms, streams, chats, cancels, ten runs at once, and a power cut."""

from __future__ import annotations

import asyncio
import io
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from PIL import Image

from gems.backends.chat.rehearsal import rehearse
from gems.core.events import event_adapter
from gems.core.messages import TaskInput
from gems.evals.dev_server import DevServer
from gems.evals.loopback import ChatServer, Entry, ImageServer, Loopback, brain_of
from gems.evals.loopback.pictures import Wish, flat
from gems.evals.loopback.wire import Request
from gems.evals.tiny import build_tiny

CONFIG = Path(__file__).parents[2] / "langgraph.json"
TOGETHER = 10
STEPS = 2000
"""Of the pipeline whose drawing is cancelled: together they take half a minute at least."""
FLUSH_SECONDS = 11.0
"""`langgraph dev` writes what it holds in memory every 10 s: a thread that is younger is lost at a kill."""
SETTINGS = """
[profiles.wire]
mllm = "openai:loopback"
mllm_base_url = "{url}/v1"
images = "openai:loopback-image"
images_base_url = "{url}/v1"
api_key_env = "WIRE_KEY"
size = "64x64"
lessons = false
[profiles.wire.chat]
concurrency = 20
[profiles.wire.drawing]
server = "vllm-omni"
concurrency = 8

[profiles.long]
mllm = "sketch"
images = "diffusers:tiny"
size = "64x64"
lessons = false
[profiles.long.drawing]
steps = {steps}
concurrency = 1
[profiles.long.local]
device = "cpu"
"""
QUICK: Any = {"profile": "wire", "seed": 5, "skills": []}


class Meeting:
    """Stands before a chat server: the first call about each of so many prompts waits until there are all of them."""

    def __init__(self) -> None:
        self._all_here = threading.Barrier(TOGETHER)
        self._came = set[bytes]()
        self._lock = threading.Lock()

    def answer(self, request: Request, entry: Entry) -> None:
        """Let the request through, to those that answer."""
        found = re.search(rb"\d+ dogs together", request.body)
        if found is None:
            return
        with self._lock:
            is_first = found[0] not in self._came
            self._came.add(found[0])
        if is_first:
            # Broken, and the run with it, unless all are under way at the same time.
            self._all_here.wait(60)


class Models:
    """Model servers that keep some answers back."""

    def __init__(self) -> None:
        brain = brain_of(rehearse(["+"], decompose=self._decompose))
        self._kept_back = 0
        self.release = threading.Event()
        self.loopback = Loopback(Meeting(), ChatServer(brain), ImageServer(paint=self._paint))

    def _decompose(self, task: TaskInput) -> dict[str, Any]:
        question = f"Does it show {task.fields['request']['prompt']}?"
        return {"requirements": [{"id": "r1", "question": question, "kind": "other", "depends_on": []}]}

    def _paint(self, wish: Wish) -> bytes:
        if "power cut" in wish.prompt:
            self._kept_back += 1
            if self._kept_back == 2:
                self.release.wait(60)
        return flat(wish)

    def drawn(self, words: str) -> list[int | None]:
        """The seeds of the drawings made for prompts with these words."""
        return [entry.seed for entry in self.loopback.log.drawn if words in entry.prompt]


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    started = Models()
    with started.loopback:
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Iterator[DevServer]:
    folder = tmp_path_factory.mktemp("server")
    build_tiny("z-image-turbo", folder / "tiny")
    settings = SETTINGS.format(url=models.loopback.url, steps=STEPS)
    (folder / "gems.toml").write_text(settings, encoding="utf-8")
    environ = {"OMP_NUM_THREADS": "1", "WIRE_KEY": "sk-loopback"}
    with DevServer(CONFIG, folder, jobs=TOGETHER, environ=environ) as started:
        yield started


@pytest.fixture
async def client(server: DevServer) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=server.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def old_thread(server: DevServer) -> tuple[str, float]:
    """A thread of the server's first moments, and when it was made."""
    made: dict[str, Any] = httpx.post(f"{server.url}/threads", json={}).json()
    return str(made["thread_id"]), time.monotonic()


async def new_thread(client: LangGraphClient) -> str:
    return str((await client.threads.create())["thread_id"])


async def state_of(client: LangGraphClient, thread: str) -> Any:
    return (await client.threads.get_state(thread))["values"]


def colour(content: bytes) -> Any:
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGB").getpixel((0, 0))


@pytest.mark.usefixtures("old_thread")
async def test_the_schemas_draw_a_good_form(client: LangGraphClient) -> None:
    (assistant,) = await client.assistants.search()
    assert (assistant["graph_id"], bool(assistant["description"])) == ("gems", True)
    schemas: Any = await client.assistants.get_schemas(assistant["assistant_id"])
    given, context = schemas["input_schema"]["properties"], schemas["context_schema"]["properties"]
    assert (given["prompt"]["title"], given["prompt"]["maxLength"]) == ("Prompt", 20_000)
    assert given["prompt"]["examples"]
    assert {"profile", "mode", "max_rounds", "candidates", "seed", "size", "skills", "review"} <= set(context)
    assert context["review"]["anyOf"][0]["enum"] == ["none", "plan", "round"]
    assert context["candidates"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 16}
    for field in [*given.values(), *context.values()]:
        assert field["title"]
        assert field["description"]
    assert {"status", "stop_reason", "result"} <= set(schemas["output_schema"]["properties"])
    # By these names Studio knows that a graph can be talked to.
    kinds = [option["$ref"] for option in given["messages"]["items"]["oneOf"]]
    assert {"#/$defs/HumanMessage", "#/$defs/AIMessage"} <= set(kinds)


async def test_the_drawing_of_the_graph_has_all_roles(client: LangGraphClient) -> None:
    (assistant,) = await client.assistants.search()
    drawing: Any = await client.assistants.get_graph(assistant["assistant_id"])
    assert [node["id"] for node in drawing["nodes"]] == [
        "__start__",
        *("intake", "planner", "decomposer", "amender", "brief", "generator", "critic", "review", "refiner"),
        *("compressor", "distiller", "finish", "__end__"),
    ]


async def test_a_prompt_is_drawn_and_streamed_and_survives_a_bad_input(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    errors = [
        part async for part in client.runs.stream(thread, "gems", input={"prompt": "a dragon"}, stream_mode="custom")
    ]
    assert "'dragon'" in str(errors[-1].data)
    assert "GEMS_IMAGES" in str(errors[-1].data)
    assert (await client.threads.get(thread))["status"] == "error"
    assert not (await state_of(client, thread)).get("attempts")
    assert await client.threads.get_history(thread)

    context: Any = {"seed": 5, "size": "256x256", "max_rounds": 2}
    modes: Any = ["custom", "values", "updates"]
    parts = [
        part
        async for part in client.runs.stream(
            thread, "gems", input={"prompt": "a red apple"}, context=context, stream_mode=modes
        )
    ]
    assert {part.event for part in parts} == {"metadata", "custom", "values", "updates"}
    events = [part.data for part in parts if part.event == "custom"]
    for event in events:
        event_adapter("forbid").validate_python(event, strict=True)
    names = [event["event"] for event in events]
    assert (names[0], names[-1]) == ("started", "finished")
    assert names.count("drawing") >= 2
    updated = [name for part in parts if part.event == "updates" for name in part.data]
    assert updated[:1] == ["intake"]
    assert set(updated) >= {"planner", "decomposer", "brief", "generator", "critic", "review", "finish"}
    values = await state_of(client, thread)
    last: Any = [part.data for part in parts if part.event == "values"][-1]
    assert last["result"] == values["result"]
    assert (values["status"], values["attempts"][0]["seed"]) == ("done", 5)
    assert (await client.threads.get(thread))["status"] == "idle"
    assert len(await client.threads.get_history(thread)) > 5


@pytest.mark.parametrize(
    ("given", "context", "words"),
    [
        ({"prompt": "a dog"}, {"profile": "nope"}, "unknown profile 'nope'"),
        ({"prompt": "a dog"}, {"max_rounds": 0}, "max_rounds"),
        ({"prompt": "x" * 20_001}, {}, "the limit is 20000"),
        ({"prompt": 5}, {}, "the prompt is int, not text"),
        ({"prompt": "a dog", "references": ["../../etc/passwd"]}, {}, "'../../etc/passwd' is not an artifact id"),
        ({"messages": [{"foo": 1}]}, {}, "a message cannot be read"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "base64": "AAAA"}]}]}, {}, "/gems/images"),
        ({}, {}, "the prompt is empty"),
    ],
)
async def test_a_bad_request_ends_in_words_and_the_thread_can_be_used(
    client: LangGraphClient, given: Any, context: Any, words: str
) -> None:
    thread = await new_thread(client)
    result: Any = await client.runs.wait(thread, "gems", input=given, context=context, raise_error=False)
    assert words in str(result["__error__"])
    assert (await state_of(client, thread)).get("request") is None
    # An option is refused before there is any step; all else in the first one.
    assert bool(await client.threads.get_history(thread)) == (context != {"max_rounds": 0})
    again: Any = await client.runs.wait(thread, "gems", input={"prompt": "a dog"}, context=QUICK)
    assert again["status"] == "done"


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "a red dog"},
        {"type": "human", "content": [{"type": "text", "text": "a red "}, {"type": "text", "text": "dog"}]},
    ],
)
async def test_a_chat_front_end_gets_a_picture_it_can_show(
    client: LangGraphClient, server: DevServer, message: Any
) -> None:
    thread = await new_thread(client)
    # As `useStream` does: it shows the messages of the last `values`.
    modes: Any = ["values", "messages-tuple"]
    stream = client.runs.stream(thread, "gems", input={"messages": [message]}, context=QUICK, stream_mode=modes)
    values: Any = [part.data async for part in stream if part.event == "values"][-1]
    assert [it["type"] for it in values["messages"]] == ["human", "ai"]
    url = values["result"]["image_url"]
    assert url == f"{server.url}/gems/images/{values['result']['image']}"
    content = values["messages"][-1]["content"]
    assert f"]({url})" in next(part["text"] for part in content if part["type"] == "text")
    assert any(url in str(part) for part in content if part["type"] != "text")
    async with httpx.AsyncClient() as browser:
        shown = await browser.get(url)
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
    assert colour(shown.content) == colour(flat(Wish("a red dog", 5, 64, 64)))


async def pending(client: LangGraphClient, thread: str) -> Any:
    """The one question that a thread waits with."""
    waiting: Any = await client.threads.get(thread)
    assert waiting["status"] == "interrupted"
    ((question,),) = waiting["interrupts"].values()
    return question


async def test_a_person_answers_by_sdk_and_goes_on_as_in_a_chat(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    context: Any = {"seed": 5, "size": "256x256", "max_rounds": 2, "review": "plan"}
    said: Any = {"messages": [{"role": "user", "content": "a red apple"}]}
    await client.runs.wait(thread, "gems", input=said, context=context)
    question = await pending(client, thread)
    assert (question["value"]["kind"], question["value"]["request"]) == ("plan", "a red apple")
    assert question["response_schema"]["properties"]["drop"]["items"]["enum"] == ["r1", "r2", "r3"]
    refused: Any = await client.runs.wait(thread, "gems", command={"resume": {"action": "perhaps"}}, raise_error=False)
    assert "answer action 'perhaps'" in str(refused["__error__"])
    done: Any = await client.runs.wait(thread, "gems", command={"resume": {"action": "approve"}})
    assert done["status"] == "done"
    said = {"messages": [{"role": "user", "content": "make the apple green"}]}
    await client.runs.wait(thread, "gems", input=said)
    values = await state_of(client, thread)
    assert values["request"]["said"] == ["a red apple", "make the apple green"]
    assert values["request"]["prompt"] == "a green apple"
    assert [message["type"] for message in values["messages"]] == ["human", "ai", "human", "ai"]


async def test_ten_runs_go_on_at_once_and_do_not_mix(client: LangGraphClient) -> None:
    async def draw(number: int) -> tuple[str, int, Any]:
        thread, prompt = await new_thread(client), f"{number} dogs together"
        context: Any = {**QUICK, "seed": 100 + number}
        await client.runs.wait(thread, "gems", input={"prompt": prompt}, context=context)
        return prompt, 100 + number, await state_of(client, thread)

    # None gets past its first question before all ten have come that far.
    for prompt, seed, values in await asyncio.gather(*(draw(number) for number in range(TOGETHER))):
        assert (values["status"], values["request"]["prompt"]) == ("done", prompt)
        assert [it["question"] for it in values["requirements"]] == [f"Does it show {prompt}?"]
        assert [(it["prompt"], it["seed"]) for it in values["attempts"]] == [(prompt, seed)]
        async with httpx.AsyncClient() as browser:
            shown = await browser.get(values["result"]["image_url"])
        assert colour(shown.content) == colour(flat(Wish(prompt, seed, 64, 64)))


async def test_a_stream_that_broke_off_goes_on_where_it_was(client: LangGraphClient) -> None:
    thread, seen, run_ids = await new_thread(client), [], list[str]()
    modes: Any = ["custom", "values"]
    context: Any = {"seed": 5, "size": "256x256", "max_rounds": 1}
    stream = client.runs.stream(
        thread,
        "gems",
        input={"prompt": "a red apple"},
        context=context,
        stream_mode=modes,
        stream_resumable=True,
        on_disconnect="continue",
        on_run_created=lambda created: run_ids.append(created["run_id"]),
    )
    async for part in stream:
        seen.append(part)
        if part.event == "custom" and part.data["event"] == "round":
            break
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator
    joined = client.runs.join_stream(thread, run_ids[0], last_event_id=seen[-1].id)
    rest = [part async for part in joined if part.event != "metadata"]
    ids = [part.id for part in [*seen, *rest] if part.id]
    assert len(set(ids)) == len(ids)
    names = [part.data["event"] for part in [*seen, *rest] if part.event == "custom"]
    assert [names.count(name) for name in ("started", "plan", "requirements", "round", "drawn", "finished")] == [1] * 6
    assert names[-1] == "finished"


async def test_a_cancelled_drawing_stops_within_a_step(client: LangGraphClient) -> None:
    started = asyncio.Event()
    run_ids, steps = list[str](), list[int]()
    context: Any = {"profile": "long", "seed": 1, "max_rounds": 1}

    async def watch(thread: str, stop_after: int) -> None:
        stream = client.runs.stream(
            thread,
            "gems",
            input={"prompt": "a red apple"},
            context=context,
            stream_mode="custom",
            on_disconnect="cancel",
            on_run_created=lambda created: run_ids.append(created["run_id"]),
        )
        async for part in stream:
            if part.event == "custom" and part.data["event"] == "drawing":
                steps.append(part.data["step"])
                started.set()
                if len(steps) == stop_after:
                    return

    first, second = await new_thread(client), await new_thread(client)
    watching = asyncio.create_task(watch(first, STEPS))
    await asyncio.wait_for(started.wait(), 90)
    await client.runs.cancel(first, run_ids[0], wait=True)
    await watching
    done = steps[-1]
    assert done < STEPS / 4
    assert (await client.threads.get(first))["status"] in ("interrupted", "idle")
    # One pipeline draws one picture after the other: another run's first step comes when the cancelled one has let it go.
    steps.clear()
    began = time.monotonic()
    await watch(second, 20)
    seconds_a_step = (time.monotonic() - began) / 20
    assert time.monotonic() - began < (STEPS - done) * seconds_a_step / 2
    values = await state_of(client, first)
    assert values["attempts"] == []


async def test_a_power_cut_in_the_middle_loses_nothing_that_was_received(
    server: DevServer, models: Models, old_thread: tuple[str, float]
) -> None:
    thread, made = old_thread
    await asyncio.sleep(max(0.0, made + FLUSH_SECONDS - time.monotonic()))
    context: Any = {**QUICK, "candidates": 2, "seed": 40, "max_rounds": 1}
    prompt = {"prompt": "a dog in a power cut"}
    async with get_client(url=server.url) as client:
        async for part in client.runs.stream(thread, "gems", input=prompt, context=context, stream_mode="custom"):
            if part.event == "custom" and part.data["event"] == "drawn":
                received = part.data
                server.kill()
                break
    models.release.set()
    before = models.drawn("power cut")
    assert received["seed"] in before
    server.start()
    async with get_client(url=server.url) as client:
        runs = [run for run in await client.runs.list(thread) if run["status"] in ("pending", "running")]
        if runs:
            await client.runs.join(thread, runs[0]["run_id"])
        else:
            await client.runs.wait(thread, "gems", input=None)
        values = await state_of(client, thread)
    assert values["status"] == "done"
    attempts = {it["seed"]: it for it in values["attempts"]}
    assert set(attempts) == {40, 41}
    assert attempts[received["seed"]]["artifact"] == received["artifact"]
    # What was being drawn at the kill may be drawn again; what was received is not.
    assert models.drawn("power cut").count(received["seed"]) == 1
