"""The command line on servers that speak the real protocols: without torch, and without ever telling a key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run

import gems
from gems.core.settings import load_settings
from gems.evals.loopback import ChatServer, ImageServer, Loopback, exactly, seeing
from gems.evals.warm import Warm
from gems.graph import open_graph

TORCH = (
    "torch",
    "torchgen",
    "functorch",
    "diffusers",
    "transformers",
    "tokenizers",
    "safetensors",
    "accelerate",
    "scipy",
)
CHAT_KEY = "sk-proj-ThisIsTheChatKey0123456789"
IMAGE_KEY = "imagekey0123456789abcdef"
PROMPT = "a red dog to the left of a blue car"


class Traced(BaseTracer):
    """Keeps all that a tracer is told."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.text = ""

    def _persist_run(self, run: Run) -> None:
        self._keep(run)

    def _keep(self, run: Run) -> None:
        self.names.add(run.name)
        told = (run.inputs, run.outputs, run.serialized, run.extra, run.error, run.events, run.tags)
        self.text += "".join(map(repr, told))
        for child in run.child_runs:
            self._keep(child)


@pytest.fixture(scope="module")
def site_without_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is installed here, but for torch and what comes with it, and this project as it is installed."""
    site = tmp_path_factory.mktemp("site")
    for folder in {Path(entry) for entry in sys.path if entry.endswith("site-packages")}:
        for package in folder.iterdir():
            name = package.name.lower().partition("-")[0].partition(".")[0]
            if name not in TORCH and name != "gems" and package.suffix != ".pth" and not (site / package.name).exists():
                (site / package.name).symlink_to(package)
    (site / "gems").mkdir()
    for folder in gems.__path__:
        for part in Path(folder).iterdir():
            (site / "gems" / part.name).symlink_to(part)
    for room in ("graph", "memory", "nodes", "skills"):
        if not (site / "gems" / room).exists():
            module = __import__(f"gems.{room}", fromlist=["__file__"])
            (site / "gems" / room).symlink_to(Path(str(module.__file__)).parent)
    return site


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(ChatServer(seeing(met=1.0), "openai", key=CHAT_KEY), ImageServer("sglang", key=IMAGE_KEY)) as running:
        yield running


def settings(folder: Path, url: str) -> None:
    (folder / "gems.toml").write_text(
        f"""
        profile = "mine"
        [profiles.mine]
        mllm = "openai:loopback"
        mllm_base_url = "{url}/v1"
        mllm_api_key_env = "MY_CHAT_KEY"
        images = "openai:loopback-image"
        images_base_url = "{url}/v1"
        images_api_key_env = "MY_IMAGE_KEY"
        size = "64x64"
        """,
        encoding="utf-8",
    )


def environment(folder: Path, **extra: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TEMP") if name in os.environ}
    return {**kept, "GEMS_HOME": str(folder / "home"), "HOME": str(folder), **extra}


def from_site(site: Path, folder: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a new interpreter that sees nothing but what is installed there."""
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from gems.app.cli import main; main({list(arguments)!r})"
    return subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=folder,
        env=environment(folder, **extra),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(warm: Warm) -> Command:
    def run(folder: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        code = "from gems.app.cli import main; main()"
        return warm.run([sys.executable, "-c", code, *arguments], environment(folder, **extra), folder)

    return run


KEYS = {"MY_CHAT_KEY": CHAT_KEY, "MY_IMAGE_KEY": IMAGE_KEY}


@pytest.mark.long
def test_a_profile_that_needs_no_torch_runs_where_there_is_none(
    tmp_path: Path, server: Loopback, site_without_torch: Path
) -> None:
    settings(tmp_path, server.url)
    probe = f"import sys; sys.path.insert(0, {str(site_without_torch)!r}); import torch"
    assert (
        "No module named 'torch'"
        in subprocess.run([sys.executable, "-S", "-c", probe], capture_output=True, text=True, check=False).stderr
    )
    for arguments in (("run", PROMPT, "--json", "--seed", "3"), ("doctor",), ("runs",)):
        done = from_site(site_without_torch, tmp_path, *arguments, **KEYS)
        assert done.returncode == 0, done.stderr + done.stdout
        if "--json" in arguments:
            assert json.loads(done.stdout)["stop_reason"] == "satisfied"
    refused = from_site(site_without_torch, tmp_path, "run", PROMPT, "--profile", "sketch")
    assert refused.returncode == 2
    assert "torch" in refused.stderr


def test_no_key_is_ever_told(tmp_path: Path, server: Loopback, command: Command) -> None:
    settings(tmp_path, server.url)
    recorded = {"GEMS_RECORD": str(tmp_path / "tape"), **KEYS}
    said = [
        command(tmp_path, "run", PROMPT, "--thread", "t", "--seed", "3", "--debug", **recorded),
        command(tmp_path, "show", "t", **KEYS),
        command(tmp_path, "report", "t", **KEYS),
        command(tmp_path, "doctor", "--debug", **KEYS),
    ]
    assert [it.returncode for it in said] == [0, 0, 0, 0], [it.stderr for it in said]
    _check_untold(tmp_path, said)
    assert (tmp_path / "gems-out" / "t" / "best.png").is_file()


def test_a_server_that_repeats_the_key_in_its_error_does_not_make_us_tell_it(tmp_path: Path, command: Command) -> None:
    chat = ChatServer(seeing(), "openai", key="sk-another-key-0123456789")
    with Loopback(chat, ImageServer("sglang", key=IMAGE_KEY)) as server:
        settings(tmp_path, server.url)
        said = [
            command(tmp_path, "run", PROMPT, "--thread", "t", "--debug", **KEYS),
            command(tmp_path, "run", PROMPT, "--json", **KEYS),
            command(tmp_path, "doctor", **KEYS),
        ]
    assert [it.returncode for it in said] == [2, 2, 2]
    assert "MY_CHAT_KEY" in said[0].stderr
    _check_untold(tmp_path, said)


def test_a_server_of_images_that_repeats_its_key_neither(tmp_path: Path, command: Command) -> None:
    with Loopback(ChatServer(seeing(), "openai"), ImageServer("sglang", key="other", plan=exactly())) as server:
        settings(tmp_path, server.url)
        said = [command(tmp_path, "run", PROMPT, "--thread", "t", "--debug", **KEYS)]
    assert said[0].returncode == 2
    assert "MY_IMAGE_KEY" in said[0].stderr
    _check_untold(tmp_path, said)


def _pieces() -> list[bytes]:
    return [key[start : start + 12].encode() for key in (CHAT_KEY, IMAGE_KEY) for start in (0, len(key) - 12)]


def _check_untold(folder: Path, said: list[subprocess.CompletedProcess[str]]) -> None:
    """Neither key, nor a long piece of one, in what was printed or in any file that was written."""
    for piece in _pieces():
        for done in said:
            assert piece not in (done.stdout + done.stderr).encode()
        for path in folder.rglob("*"):
            assert not path.is_file() or piece not in path.read_bytes(), path


async def test_traces_carry_no_key(tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """What LangSmith and other tracers would be sent: every run's inputs, outputs, options and errors."""
    settings(tmp_path, server.url)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    traced = Traced()
    config: Any = {"configurable": {"thread_id": "t"}, "callbacks": [traced]}
    async with open_graph(load_settings(tmp_path)) as graph:
        await graph.ainvoke({"prompt": PROMPT}, config, context={"seed": 3})  # type: ignore[arg-type]
    assert {"planner", "generator", "critic"} <= traced.names
    assert {"FirstPrompts", "Requirements", "Verdicts"} <= traced.names, "the questions to the model itself"
    for piece in _pieces():
        assert piece.decode() not in traced.text
