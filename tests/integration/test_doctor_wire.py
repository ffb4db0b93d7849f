"""`gems init`, `gems doctor` and its exam as processes, against a loopback server that speaks OpenAI's protocol."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from gems.app.exam_pictures import make_pictures
from gems.app.machine import Addresses, look_around
from gems.core.messages import TaskInput
from gems.core.profiles import ChatOptions
from gems.evals.loopback import ChatServer, ImageServer, Loopback, OllamaNative
from gems.evals.tiny import build_tiny
from gems.evals.warm import Warm

GEMS = [sys.executable, "-c", "from gems.app.cli import main; main()"]
PICTURES = 12
SIDE = 384
KEY = "sk-never-shown-1234"
unix_only = pytest.mark.skipif(os.name == "nt", reason="sends a process the signal that a terminal's Ctrl-C sends")


class Liar:
    """Knows the truth of the exam's pictures, and lies about counts now and then."""

    def __init__(self) -> None:
        self.truth = {
            hashlib.sha256(picture.png).hexdigest(): {it.requirement["question"]: it for it in picture.questions}
            for picture in make_pictures(PICTURES, 0, SIDE)
        }
        self.rng = Random(1)
        self.lies: Counter[bool] = Counter()
        self.delay = 0.0

    def __call__(self, task: TaskInput) -> dict[str, Any]:
        time.sleep(self.delay)
        if task.task == "decompose":
            item = {"id": "r1", "question": "Is there an apple?", "kind": "object", "depends_on": []}
            return {"requirements": [item]}
        truth = self.truth.get(hashlib.sha256(task.images[0]).hexdigest(), {})
        return {"verdicts": [self._verdict(item, truth.get(item["question"])) for item in task.fields["requirements"]]}

    def _verdict(self, item: dict[str, Any], known: Any) -> dict[str, Any]:
        met = known.met if known else True
        if known and item["kind"] == "count" and self.rng.random() < 0.3:
            self.lies[met] += 1
            met = not met
        return {"id": item["id"], "evidence": "seen", "verdict": "met" if met else "unmet", "confidence": 1.0}


class Server(NamedTuple):
    liar: Liar
    loopback: Loopback

    @property
    def url(self) -> str:
        return f"{self.loopback.url}/v1"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    liar = Liar()
    with Loopback(ChatServer(liar, "ollama", model="eye", key=KEY), ImageServer("vllm-omni", model="eye")) as running:
        server = Server(liar, running)
        (tmp_path / "gems.toml").write_text(
            f'profile = "wire"\n[profiles.wire]\nmllm = "openai:eye"\nmllm_base_url = "{server.url}"\n'
            f'mllm_api_key_env = "EYE_KEY"\nimages = "openai:eye"\nimages_base_url = "{server.url}"\n'
            f'size = "{SIDE}x{SIDE}"\n[prices."openai:eye"]\ninput = 10\noutput = 100\n',
            encoding="utf-8",
        )
        (tmp_path / ".env").write_text(f"EYE_KEY={KEY}\n", encoding="utf-8")
        yield server


Gems = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def gems(warm: Warm) -> Gems:
    return lambda *arguments: warm.run([*GEMS, *arguments])


def anew(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it in an interpreter of its own."""
    return subprocess.run([*GEMS, *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_the_exam_finds_the_lies_of_a_server(server: Server, gems: Gems) -> None:
    ended = gems("doctor", "--critic", "--pictures", str(PICTURES), "--json")
    assert ended.returncode == 0, ended.stderr
    record = json.loads(ended.stdout)
    counts = record["kinds"]["count"]
    lies = server.liar.lies
    assert (counts["false_accepts"]["number"], counts["false_rejects"]["number"]) == (lies[False], lies[True])
    assert sum(lies.values()) > 0
    others = [record["kinds"][kind] for kind in ("object", "attribute", "spatial", "text")]
    assert all(it["false_accepts"]["number"] == it["false_rejects"]["number"] == 0 for it in others)
    assert record["usage"]["mllm_calls"] == PICTURES
    asked = [entry for entry in server.loopback.log.chat if entry.status == 200]
    read, written = (
        sum(entry.text_tokens + entry.image_tokens for entry in asked),
        sum(entry.output_tokens for entry in asked),
    )
    assert (record["usage"]["input_tokens"], record["usage"]["output_tokens"]) == (read, written)
    assert record["usage"]["cost"] == pytest.approx((10 * read + 100 * written) / 1e6)
    assert KEY not in ended.stdout + ended.stderr


def test_the_exam_keeps_within_its_money(server: Server, gems: Gems) -> None:
    ended = gems("doctor", "--critic", "--pictures", str(PICTURES), "--max-calls", "4", "--json")
    assert ended.returncode == 0, ended.stderr
    record = json.loads(ended.stdout)
    assert (record["judged"], record["ending"], record["usage"]["mllm_calls"]) == (4, "budget", 4)


@unix_only
def test_ctrl_c_prints_what_was_measured(server: Server, warm: Warm) -> None:
    server.liar.delay = 1.0
    exam = warm.start([*GEMS, "doctor", "--critic", "--pictures", str(PICTURES), "--max-calls", "100"])
    give_up = time.monotonic() + 60
    # Of a second lot, so the first pictures are answered, and these are on their way.
    while len(server.loopback.log.chat) <= ChatOptions().concurrency and time.monotonic() < give_up:
        time.sleep(0.02)
    exam.send_signal(signal.SIGINT)
    ended = exam.done()
    out, err = ended.stdout, ended.stderr
    assert ended.returncode == 130, err
    assert "Ended early: you stopped it" in out
    assert "Icons are not photographs" in out
    assert "Traceback" not in err
    judged = int(out.partition(" of 12 pictures")[0].rpartition(" ")[2])
    assert 0 < judged < PICTURES


def test_the_doctor_looks_at_the_server_itself(server: Server) -> None:
    ended = anew("doctor")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{server.url} answers and has eye" in ended.stdout
    assert "which cost money" in ended.stdout
    assert "asked for replies as JSON by a schema" in ended.stdout
    assert KEY not in ended.stdout + ended.stderr


def test_the_doctor_draws_with_weights_of_its_own_in_turn_with_an_ollama(tmp_path: Path, warm_with_torch: Warm) -> None:
    folder = build_tiny("sd-turbo", tmp_path / "tiny")
    native = OllamaNative()
    with Loopback(ChatServer(Liar(), "ollama", model="eye", native=native)) as running:
        (tmp_path / "gems.toml").write_text(
            f'profile = "own"\n[profiles.own]\nmllm = "openai:eye"\nmllm_base_url = "{running.url}/v1"\n'
            f'images = "diffusers:{folder}"\nsize = "64x64"\noverlap = false\nlocal.device = "cpu"\n',
            encoding="utf-8",
        )
        ended = warm_with_torch.run([*GEMS, "doctor"])
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = {line.split()[1]: line for line in ended.stdout.splitlines() if line.startswith(("ok", "warn", "bad"))}
    assert f"{folder} is whole" in told["weights"]
    assert "resident, fp32 on cpu (CPU)" in told["memory"]
    assert "an Ollama, which unloads it before pictures are drawn" in told["turns"]
    assert "64x64 pixels" in told["draws"]
    assert native.loaded == ["eye"], "it looked at the picture"
    assert len(running.log.of("unload")) == 1


async def test_init_finds_it(server: Server, tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"
    machine = await look_around(tmp_path, Addresses(nobody, {"vLLM": server.url}, nobody), {})
    assert [(it.name, it.base_url, [model.name for model in it.models]) for it in machine.servers] == [
        ("vLLM", server.url, ["eye"])
    ]


def test_init_writes_a_file_that_the_doctor_takes(gems: Gems) -> None:
    ended = gems("init", "--yes")
    assert ended.returncode == 0, ended.stderr
    assert "gems doctor" in ended.stdout
    assert 'profile = "mine"' in Path("gems.toml").read_text(encoding="utf-8")
    assert gems("init", "--yes").returncode == 2
    assert gems("init", "--yes", "--force").returncode == 0
    assert Path("gems.toml.bak").exists()
