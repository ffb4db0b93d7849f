"""What is really sent to LangSmith and to an OpenTelemetry collector, by the command line and by a real `langgraph dev`."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_sync_client
from PIL import Image

from gems.backends.chat.rehearsal import rehearse
from gems.evals.loopback import ChatServer, ImageServer, Loopback, TraceServer, always, brain_of
from gems.memory import FileArtifacts

ROOT = Path(__file__).parents[2]
KEY, LANGSMITH_KEY, TOKEN = "sk-loopback-0123456789abcdef", "lsv2_pt_0123456789abcdef", "token-of-anna-0123456789"
SETTINGS = """
profile = "wire"
[profiles.wire]
mllm = "openai:loopback"
mllm_base_url = "{url}/v1"
images = "openai:qwen-image-edit"
images_base_url = "{url}/v1"
api_key_env = "GEMS_MLLM_API_KEY"
size = "64x64"
max_rounds = 3
[profiles.wire.chat]
retries = 0
[profiles.wire.drawing]
server = "vllm-omni"
edit = true
[profiles.broken]
mllm = "openai:loopback"
mllm_base_url = "{broken}/v1"
images = "sketch"
api_key_env = "GEMS_MLLM_API_KEY"
[profiles.broken.chat]
retries = 0
"""
TWICE = """
import sys
from gems.app.cli import main
for arguments in (["run", "my red dog", "--reference", "red.png", "--seed", "5"], ["run", "a cat", "--profile", "broken"]):
    try:
        main(arguments)
    except SystemExit as left:
        print("left with", left.code, file=sys.stderr)
"""


@dataclass(frozen=True)
class World:
    """A folder with settings, servers to use from there, and what they and a home hold."""

    folder: Path
    traces: TraceServer
    environment: Mapping[str, str]

    def images(self) -> dict[str, bytes]:
        found = FileArtifacts(self.folder / "home" / "artifacts")
        return {path.stem: path.read_bytes() for path in found.path("0" * 64).parents[1].rglob("*.png")}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    traces = TraceServer()
    refine = {"diagnosis": "the dog is blue", "actions": [{"action": "edit", "prompt": "make the dog red"}]}
    chat = ChatServer(brain_of(rehearse(["+--", "+++"], refine=lambda _: refine)), key=KEY)
    broken = Loopback(ChatServer(brain_of(rehearse(["+"])), plan=always("500"), key=KEY))
    with Loopback(chat, ImageServer("vllm-omni", model="qwen-image-edit"), traces) as server, broken:
        (tmp_path / "gems.toml").write_text(SETTINGS.format(url=server.url, broken=broken.url))
        (tmp_path / "red.png").write_bytes(red())
        yield World(
            tmp_path,
            traces,
            {
                **os.environ,
                "GEMS_HOME": str(tmp_path / "home"),
                "GEMS_MLLM_API_KEY": KEY,
                "LANGSMITH_TRACING": "true",
                "LANGSMITH_TRACING_MODE": "hybrid",
                "LANGSMITH_API_KEY": LANGSMITH_KEY,
                "LANGSMITH_ENDPOINT": server.url,
                # By another name, so that it is not LangSmith's own.
                "OTEL_EXPORTER_OTLP_ENDPOINT": server.url.replace("127.0.0.1", "localhost"),
                "OTEL_BSP_SCHEDULE_DELAY": "200",
                "LANGGRAPH_CLI_NO_ANALYTICS": "1",
                "NO_PROXY": "*",
                "OMP_NUM_THREADS": "1",
            },
        )


def red() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    return buffer.getvalue()


def check(sent: bytes, world: World) -> None:
    """The questions are in it with the ids of their images, and nothing that must not be."""
    images = world.images()
    assert len(images) == 3, "a reference, a drawing, and an edit of it"
    for artifact, content in images.items():
        assert f"(gems artifact {artifact})".encode() in sent
        assert base64.b64encode(content)[:60] not in sent
        assert content[:60] not in sent
    assert b"make the dog red" in sent
    assert b"data:image" not in sent
    assert b"iVBORw0KGgo" not in sent, "how a PNG begins in base64"
    assert b"/9j/4AAQ" not in sent, "how a JPEG begins"
    for secret in (KEY, LANGSMITH_KEY, TOKEN):
        assert secret.encode() not in sent
    for path in (str(world.folder), str(ROOT), sys.prefix):
        assert path.encode() not in sent
    assert b"Traceback" not in sent


def sent_both_ways(world: World) -> tuple[bytes, bytes]:
    """LangSmith's own key goes to LangSmith alone."""
    assert world.traces.headers
    assert not any(LANGSMITH_KEY in value for headers in world.traces.headers for value in headers.values())
    return world.traces.langsmith, world.traces.collector


def test_the_command_line_sends_ids_in_place_of_images_and_no_key(world: World) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWICE], cwd=world.folder, env=world.environment, capture_output=True, text=True, timeout=120
    )  # fmt: skip
    assert re.findall(r"left with (\w+)", done.stderr) == ["0", "1"], done.stderr
    for sent in sent_both_ways(world):
        check(sent, world)
        assert b"ModelOutage: the chat model openai:loopback" in sent, "why the second run failed"
        assert b"Internal error in the request of ***" in sent
        assert b"Verdicts" in sent


def test_a_server_sends_no_token_and_no_signed_address_either(world: World) -> None:
    shutil.copy(ROOT / "langgraph.json", world.folder)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [
        str(Path(sys.executable).parent / "langgraph"),
        "dev",
        "--no-browser",
        "--no-reload",
        "--port",
        str(port),
    ]
    log = world.folder / "server.log"
    headers = {"authorization": f"Bearer {TOKEN}"}
    with log.open("w") as said:
        process = subprocess.Popen(
            command, cwd=world.folder, env={**world.environment, "GEMS_TOKENS": f"anna:{TOKEN}"},
            stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            wait_for(lambda: answers(f"{address}/ok"), log)
            kept = httpx.post(f"{address}/gems/images", content=red(), headers={**headers, "content-type": "image/png"})
            assert kept.status_code == 201, kept.text
            given: Any = {"messages": [{"role": "user", "content": "my red dog"}], "references": [kept.json()["id"]]}
            with get_sync_client(url=address, headers=headers) as client:
                output = client.runs.wait(None, "gems", input=given, context={"seed": 5})
                assert "?key=anna." in json.dumps(output)
                broken: Any = {"input": {"prompt": "a cat"}, "context": {"profile": "broken"}}
                client.runs.wait(None, "gems", **broken, raise_error=False)
            wait_for(lambda: b"Internal error in the request" in world.traces.langsmith, log)
            wait_for(lambda: b"Internal error in the request" in world.traces.collector, log)
        finally:
            process.terminate()
            process.wait(30)
    for sent in sent_both_ways(world):
        check(sent, world)
        assert b"key=anna" not in sent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def wait_for(happens: Any, log: Path) -> None:
    deadline = time.monotonic() + 90
    while not happens():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)
