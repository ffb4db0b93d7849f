"""A real `langgraph dev`, driven by its SDK."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

ROOT = Path(__file__).parents[2]
START_SECONDS = 90.0
"""Patience of the test, not a target: a busy machine starts slowly."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server in a folder of its own, with this repository's langgraph.json."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(ROOT / "langgraph.json", folder)
    port = free_port()
    env = {
        **os.environ,
        "GEMS_HOME": str(folder / "home"),
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = Path(sys.executable).parent / "langgraph"
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [str(command), "dev", "--no-browser", "--no-reload", "--port", str(port)],
            cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(address, process, folder / "server.log")
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


@pytest.fixture
async def client(server: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=server) as opened:
        yield opened


async def test_the_schemas_draw_a_good_form(client: LangGraphClient) -> None:
    assistants = await client.assistants.search()
    assert [it["graph_id"] for it in assistants] == ["gems"]
    schemas: Any = await client.assistants.get_schemas(assistants[0]["assistant_id"])
    prompt = schemas["input_schema"]["properties"]["prompt"]
    assert prompt["title"] == "Prompt"
    assert prompt["maxLength"] == 20_000
    assert prompt["description"]
    context = schemas["context_schema"]["properties"]
    assert {"profile", "mode", "max_rounds", "candidates", "seed", "size", "skills"} <= set(context)
    assert all(field["description"] for field in context.values())
    assert set(schemas["output_schema"]["properties"]) == {"status", "stop_reason", "result"}


async def test_a_prompt_is_drawn_with_progress_and_survives_a_bad_input(client: LangGraphClient) -> None:
    thread = (await client.threads.create())["thread_id"]
    errors = [
        part async for part in client.runs.stream(thread, "gems", input={"prompt": "a dragon"}, stream_mode="custom")
    ]
    assert "'dragon'" in str(errors[-1].data)
    assert "GEMS_IMAGES" in str(errors[-1].data)
    assert (await client.threads.get(thread))["status"] == "error"
    assert not (await client.threads.get_state(thread))["values"].get("attempts")

    context: Any = {"seed": 5, "size": "512x512", "max_rounds": 2}
    parts = [
        part
        async for part in client.runs.stream(
            thread, "gems", input={"prompt": "a red apple"}, context=context, stream_mode=["custom", "values"]
        )
    ]
    names = [part.data["event"] for part in parts if part.event == "custom"]
    assert names[0] == "started"
    assert names[-1] == "finished"
    assert names.count("drawing") >= 2
    assert not [part for part in parts if part.event == "error"]
    state = await client.threads.get_state(thread)
    values: Any = state["values"]
    assert values["status"] == "done"
    assert values["attempts"][0]["seed"] == 5
    assert (await client.threads.get(thread))["status"] == "idle"
    history = await client.threads.get_history(thread)
    assert len(history) > 5


async def test_bad_options_end_in_words(client: LangGraphClient) -> None:
    thread = (await client.threads.create())["thread_id"]
    for context, words in (({"profile": "nope"}, "unknown profile 'nope'"), ({"max_rounds": 0}, "max_rounds")):
        result: Any = await client.runs.wait(
            thread, "gems", input={"prompt": "a dog"}, context=context, raise_error=False
        )
        assert words in str(result["__error__"])
    assert (await client.threads.get_state(thread))["values"].get("request") is None


async def test_runs_on_two_threads_do_not_mix(client: LangGraphClient) -> None:
    async def draw(prompt: str) -> Any:
        thread = (await client.threads.create())["thread_id"]
        context: Any = {"seed": 1, "size": "256x256", "max_rounds": 1}
        return await client.runs.wait(thread, "gems", input={"prompt": prompt}, context=context)

    one, other = await asyncio.gather(draw("a red apple"), draw("a blue car"))
    assert one["status"] == other["status"] == "done"
    assert one["result"]["image"] != other["result"]["image"]


async def pending(client: LangGraphClient, thread: str) -> Any:
    """The one question that a thread waits with."""
    waiting: Any = await client.threads.get(thread)
    assert waiting["status"] == "interrupted"
    ((question,),) = waiting["interrupts"].values()
    return question


async def test_a_person_answers_by_sdk_and_goes_on_as_in_a_chat(client: LangGraphClient) -> None:
    thread = (await client.threads.create())["thread_id"]
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
    values: Any = (await client.threads.get_state(thread))["values"]
    assert values["request"]["said"] == ["a red apple", "make the apple green"]
    assert values["request"]["prompt"] == "a green apple"
    assert [message["type"] for message in values["messages"]] == ["human", "ai", "human", "ai"]
