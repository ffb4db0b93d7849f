"""Other agents draw with ours: a real MCP client and a real A2A client at a real `langgraph dev`."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from gems.backends.chat.rehearsal import rehearse
from gems.core.events import events_schema
from gems.evals.dev_server import DevServer
from gems.evals.loopback import ChatServer, ImageServer, Loopback, brain_of

CONFIG = Path(__file__).parents[2] / "langgraph.json"
SETTINGS = """
profile = "wire"
[profiles.wire]
mllm = "openai:loopback"
mllm_base_url = "{url}/v1"
images = "openai:loopback-image"
images_base_url = "{url}/v1"
api_key_env = "WIRE_KEY"
size = "256x256"
lessons = false
[profiles.wire.drawing]
server = "vllm-omni"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    folder = tmp_path_factory.mktemp("server")
    with Loopback(ChatServer(brain_of(rehearse(["+++"]))), ImageServer()) as models:
        (folder / "gems.toml").write_text(SETTINGS.format(url=models.url), encoding="utf-8")
        with DevServer(CONFIG, folder, environ={"WIRE_KEY": "sk-loopback"}) as started:
            yield started


async def size_of(url: str) -> tuple[int, int]:
    """Width and height of the PNG at an address."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(answer.content)) as image:
        return image.size


async def test_an_mcp_client_finds_one_tool_and_gets_a_picture(server: DevServer) -> None:
    from mcp import Client
    from mcp.types import TextContent

    async with Client(f"{server.url}/mcp") as client:
        (tool,) = (await client.list_tools()).tools
        assert tool.name == "gems"
        assert tool.description
        assert tool.description.startswith("Draws a picture for a prompt")
        given: Any = tool.input_schema["properties"]
        assert given["prompt"]["type"] == "string"
        assert all(field["description"] for field in given.values())
        drawn = await client.call_tool("gems", {"prompt": "two red dogs"})
        refused = await client.call_tool("gems", {"prompt": ""})
        chatted = await client.call_tool("gems", {"messages": "two red dogs"})
    assert refused.is_error
    for answer in (drawn, chatted):
        (content,) = answer.content
        assert not answer.is_error
        assert isinstance(content, TextContent)
        told: Any = ast.literal_eval(content.text)
        assert (told["status"], told["stop_reason"]) == ("done", "satisfied")
        assert await size_of(told["result"]["image_url"]) == (256, 256)
    (content,) = drawn.content
    assert isinstance(content, TextContent)
    assert len(content.text) < 2000


async def test_an_a2a_client_reads_the_card_and_gets_a_picture(server: DevServer) -> None:
    from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
    from a2a.helpers import get_artifact_text, new_text_message
    from a2a.types import Role, SendMessageRequest, TaskState

    async with httpx.AsyncClient(timeout=60) as http:
        (assistant,) = (await http.post(f"{server.url}/assistants/search", json={})).json()
        path = f".well-known/agent-card.json?assistant_id={assistant['assistant_id']}"
        card = await A2ACardResolver(http, server.url).get_agent_card(relative_card_path=path)
        assert card.name == "gems"
        assert card.description.startswith("Draws a picture for a prompt")
        assert card.supported_interfaces[0].url == f"{server.url}/a2a/{assistant['assistant_id']}"
        client = ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create(card)
        message = new_text_message("two red dogs", role=Role.ROLE_USER)
        (answer,) = [part async for part in client.send_message(SendMessageRequest(message=message))]
        assert answer.task.status.state == TaskState.TASK_STATE_COMPLETED
        (artifact,) = answer.task.artifacts
        # As Markdown, so that whoever shows the words shows the picture.
        found = re.search(r"!\[.*?\]\((\S+)\)", get_artifact_text(artifact))
        assert found
        assert await size_of(found[1]) == (256, 256)
        # The same conversation goes on: a message on a thread with a picture changes it.
        message = new_text_message("make them blue", role=Role.ROLE_USER, context_id=answer.task.context_id)
        (changed,) = [part async for part in client.send_message(SendMessageRequest(message=message))]
        assert changed.task.status.state == TaskState.TASK_STATE_COMPLETED
        state = (await http.get(f"{server.url}/threads/{answer.task.context_id}/state")).json()
        assert state["values"]["request"]["said"] == ["two red dogs", "make them blue"]


async def test_the_events_are_described_by_the_server(server: DevServer) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{server.url}/gems/events.json")
    assert answer.status_code == 200
    assert answer.json() == events_schema()
