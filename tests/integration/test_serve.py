"""`gems serve` as a process of its own, over a tiny real pipeline: real sockets, real clients, real signals."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from gems.app.serve_command import ServeOptions, serve
from gems.backends.images.openai import OpenAIImages
from gems.backends.images.reference import ReferenceImages
from gems.backends.local.scripted import ScriptedStudio
from gems.core.errors import GemsConfigError
from gems.core.ports import DrawRequest
from gems.core.profiles import DrawingOptions, Endpoint
from gems.evals.tiny import build_tiny
from gems.evals.warm import Forked, Warm

GEMS = [sys.executable, "-c", "from gems.app.cli import main; main()"]
TOKEN = "integration-test-token"
QUICK: dict[str, Any] = {"prompt": "a red cat", "size": "64x64", "steps": 2}


class Server:
    """`gems serve` as a process: a new interpreter, or a fork."""

    def __init__(self, process: subprocess.Popen[str] | Forked, log: Path | None = None) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> str:
        if isinstance(self.process, Forked):
            return self.process.out + self.process.err
        assert self._log is not None
        return self._log.read_text()

    def url(self) -> str:
        """Wait until it is ready."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if found := re.search(r"Ready: .* at (http://\S+);", self.said):
                return found.group(1)
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(self.said)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(30)


def anew(folder: Path, *arguments: str) -> Server:
    """A new interpreter's."""
    log = folder / "serve.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            [*GEMS, "serve", *arguments, "--port", "0"],
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )
    return Server(process, log)


def forked(warm: Warm, folder: Path, *arguments: str, **environment: str) -> Server:
    return Server(warm.start([*GEMS, "serve", *arguments, "--port", "0"], {**os.environ, **environment}, folder))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny pipeline in it, which draws as it should."""
    folder = tmp_path_factory.mktemp("serve")
    build_tiny("sd-turbo", folder / "sd-turbo")
    return folder


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    """A server that all tests share which leave it as it is."""
    with running(anew(home, "./sd-turbo")) as server:
        yield server.url()


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="sk-any", max_retries=0) as made:
        yield made


def pixels(content: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), dtype=np.int16)


def decoded(part: Any) -> bytes:
    return base64.b64decode(part.b64_json or "")


def number(url: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found.group(1))


def test_the_official_client_generates_edits_and_streams(client: openai.OpenAI) -> None:
    assert [(card.id, card.owned_by) for card in client.models.list().data] == [("sd-turbo", "gems")]
    drawn = client.images.generate(
        model="sd-turbo", prompt="a cat", size="64x64", n=2, extra_body={"seed": 5, "steps": 2}  # type: ignore[arg-type]
    )  # fmt: skip
    assert drawn.data is not None
    assert [part.seed for part in drawn.data] == [5, 6]  # type: ignore[attr-defined]
    contents = [decoded(part) for part in drawn.data]
    assert pixels(contents[0]).shape == (64, 64, 3)
    assert np.abs(pixels(contents[0]) - pixels(contents[1])).max() > 8
    edited = client.images.edit(
        model="sd-turbo",
        prompt="a dog",
        image=("a.png", contents[0], "image/png"),
        extra_body={"size": "64x64", "seed": 5},
    )
    assert edited.data is not None
    assert pixels(decoded(edited.data[0])).shape == (64, 64, 3)
    events = list(
        client.images.generate(
            model="sd-turbo", prompt="a cat", size="64x64", stream=True, extra_body={"seed": 5, "steps": 2}  # type: ignore[call-overload]
        )
    )  # fmt: skip
    assert {event.type for event in events[:-1]} == {"image_generation.progress"}
    assert (events[-1].type, events[-1].seed) == ("image_generation.completed", 5)
    assert np.abs(pixels(decoded(events[-1])) - pixels(contents[0])).max() <= 1


def test_the_official_client_reads_refusals(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="multiples of 8") as caught:
        client.images.generate(model="sd-turbo", prompt="a cat", size="100x100")  # type: ignore[call-overload]
    assert caught.value.param == "size"
    with pytest.raises(openai.NotFoundError):
        client.images.generate(model="dall-e-3", prompt="a cat")


async def test_our_adapter_draws_edits_and_hears_of_steps(url: str) -> None:
    options = DrawingOptions(steps=4, edit=True)
    images = OpenAIImages(Endpoint(provider="openai", model="sd-turbo", base_url=f"{url}/v1", drawing=options))
    steps: list[tuple[int, int]] = []
    drawn = await images.generate(DrawRequest("a cat", 7, 64, 64), lambda *step: steps.append(step))
    assert steps[-1] == (4, 4)
    again = await images.generate(DrawRequest("a cat", 7, 64, 64))
    assert again.png == drawn.png
    edited = await images.generate(DrawRequest("a dog", 7, 64, 64, source=drawn.png))
    assert pixels(edited.png).shape == (64, 64, 3)
    assert edited.png != drawn.png
    await images.aclose()


async def test_our_reference_adapter_draws_in_the_models_size(url: str) -> None:
    images = ReferenceImages(Endpoint(provider="reference", model="sd-turbo", base_url=url))
    drawing = await images.generate(DrawRequest("a red dog & a cat", 7, 512, 512))
    assert pixels(drawing.png).shape == (512, 512, 3)
    await images.aclose()


def test_a_long_prompt_fits_into_the_address(url: str) -> None:
    long = httpx.post(f"{url}/generate", params={"prompt": "é" * 9_900, "size": "64x64", "steps": 1}, timeout=60)
    assert long.status_code == 200


def test_eight_at_once_draw_what_each_draws_alone(url: str) -> None:
    def draw(seed: int) -> bytes:
        reply = httpx.post(f"{url}/v1/images/generations", json=QUICK | {"seed": seed}, timeout=60)
        return base64.b64decode(reply.json()["data"][0]["b64_json"])

    batches = number(url, "gems_batches_total")
    with ThreadPoolExecutor(8) as clients:
        together = list(clients.map(draw, range(8)))
    assert number(url, "gems_batches_total") - batches < 8, "some were drawn in one go"
    for seed, content in enumerate(together):
        # A batch may round otherwise than a single drawing does.
        assert np.abs(pixels(content) - pixels(draw(seed))).max() <= 1
    assert len(set(together)) == 8


def read_five_steps(url: str, order: dict[str, Any]) -> None:
    seen = 0
    with httpx.stream("POST", f"{url}/v1/images/generations", json=order | {"stream": True}, timeout=60) as reply:
        for line in reply.iter_lines():
            seen += line.startswith("data: ")
            if seen == 5:
                return
    raise AssertionError(f"only {seen} steps")


def wait_while(it_is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while it_is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def ask_and_wait_until_it_is_drawn(url: str, order: dict[str, Any]) -> None:
    body, address = json.dumps(order).encode(), httpx.URL(url)
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: {address.host}:{address.port}\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection((address.host, address.port or 80), 60) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        wait_while(lambda: number(url, "gems_drawing") == 0, "nothing is drawn")


@pytest.mark.parametrize("leave", [ask_and_wait_until_it_is_drawn, read_five_steps])
def test_a_client_that_hangs_up_stops_its_drawing(url: str, leave: Callable[[str, dict[str, Any]], None]) -> None:
    cancelled, batches = number(url, "gems_cancelled_total"), number(url, "gems_batches_total")
    leave(url, QUICK | {"steps": 500, "size": "256x256"})
    wait_while(lambda: number(url, "gems_batches_total") == batches, "the drawing goes on")
    assert number(url, "gems_cancelled_total") == cancelled + 1
    assert number(url, "gems_drawing") == 0
    assert httpx.post(f"{url}/v1/images/generations", json=QUICK, timeout=60).status_code == 200


def test_a_server_for_others_wants_its_token_and_a_signal_lets_it_finish(home: Path, warm_with_torch: Warm) -> None:
    arguments = ("./sd-turbo", "--host", "0.0.0.0", "--devices", "all", "--queue", "2")
    started = forked(warm_with_torch, home, *arguments, GEMS_SERVE_TOKENS=TOKEN)
    with running(started) as server, ThreadPoolExecutor(1) as clients:
        url = server.url()
        assert "images_api_key_env" in server.said
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/v1/models").status_code == 401
        with httpx.Client(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
            assert client.post("/v1/images/generations", json=QUICK | {"n": 3}).status_code == 400
            work = clients.submit(client.post, "/v1/images/generations", json=QUICK | {"steps": 60})
            wait_while(lambda: "gems_drawing 1" not in client.get("/metrics").text, "nothing is drawn")
            assert server.end() == 0
            assert work.result().status_code == 200
        assert server.said.rstrip().endswith("Stopped.")
        assert "Traceback" not in server.said
        assert TOKEN not in server.said


def test_a_second_signal_waits_for_nothing(home: Path, warm_with_torch: Warm) -> None:
    with running(forked(warm_with_torch, home, "./sd-turbo")) as server, ThreadPoolExecutor(1) as clients:
        url = server.url()
        long = QUICK | {"steps": 500, "size": "512x512"}
        work = clients.submit(lambda: httpx.post(f"{url}/v1/images/generations", json=long, timeout=60))
        wait_while(lambda: number(url, "gems_drawing") == 0, "nothing is drawn")
        server.process.send_signal(signal.SIGINT)
        wait_while(lambda: httpx.get(f"{url}/health").json()["status"] != "stopping", "it does not stop")
        assert httpx.post(f"{url}/v1/images/generations", json=QUICK).status_code == 503
        started = time.monotonic()
        assert server.end(signal.SIGINT) == 0
        assert time.monotonic() - started < 15
        assert work.result().status_code == 503


def refused(warm: Warm, folder: Path, *arguments: str) -> str:
    run = warm.run([*GEMS, "serve", *arguments], cwd=folder)
    assert run.returncode == 2
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    return " ".join(run.stderr.split())


def test_what_cannot_be_served_is_told_at_once(home: Path, warm_with_torch: Warm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"--port {port}: something listens there already" in refused(
            warm_with_torch, home, "./sd-turbo", "--port", port
        )
    assert "lets other machines in" in refused(warm_with_torch, home, "./sd-turbo", "--host", "0.0.0.0")
    assert "nowhere" in refused(warm_with_torch, home, "./nowhere")
    assert "cuda:7" in refused(warm_with_torch, home, "./sd-turbo", "--devices", "cuda:7", "--port", "0")
    assert "would be called 'sd-turbo'" in refused(warm_with_torch, home, "./sd-turbo", str(home / "sd-turbo"))


def test_weights_that_cannot_be_loaded_end_the_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    studio = ScriptedStudio(broken=GemsConfigError("the weights are damaged"))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(GemsConfigError, match="are damaged"):
        serve(ServeOptions(models=("./sd-turbo",), port=0, devices="cpu"), lambda _: studio)
    assert studio.closed
    assert signal.getsignal(signal.SIGTERM) is before
