"""`gems batch` as a process that is killed amid a hundred prompts, against servers that log every request."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gems.backends.chat.rehearsal import rehearse
from gems.core.messages import TaskInput
from gems.evals.loopback import ChatServer, ImageServer, Loopback, brain_of

GEMS = [sys.executable, "-c", "from gems.app.cli import main; main()"]
PROMPTS, JOBS = 100, 6
PROMPT = re.compile(r"two red dogs and \d+ cats")
KEY = "sk-loopback-0123456789abcdef"
SETTINGS = """
profile = "wire"

[profiles.wire]
mllm = "openai:loopback"
mllm_base_url = "{url}/v1"
images = "openai:loopback-image"
images_base_url = "{url}/v1"
api_key_env = "WIRE_KEY"
size = "64x64"
max_calls = 20
max_images = 5
lessons = false

[profiles.wire.drawing]
server = "vllm-omni"
concurrency = 8
"""
OUT = Path("gems-out/dogs")
CALLS = ("write_prompts", "decompose", "judge")
"""The calls of a run that needs one picture, and no skill."""


def decompose(task: TaskInput) -> dict[str, Any]:
    """One question, which names the prompt, so that the critic's calls say what they are about."""
    question = f"Does it show {task.fields['request']['prompt']}?"
    return {"requirements": [{"id": "r1", "question": question, "kind": "count", "depends_on": []}]}


class Servers:
    """Model servers, and what they were asked, by the prompt it was about."""

    def __init__(self) -> None:
        self._brain = brain_of(rehearse(["+"], decompose=decompose))
        self.calls: list[tuple[str, str]] = []
        self.loopback = Loopback(ChatServer(self._answer, key=KEY), ImageServer(key=KEY))

    def _answer(self, task: TaskInput) -> dict[str, Any]:
        about = PROMPT.search(json.dumps(task.fields))
        assert about, task
        self.calls.append((about[0], task.task))
        return self._brain(task)

    @property
    def drawn(self) -> list[str]:
        return [entry.prompt for entry in self.loopback.log.drawn]

    def asked(self) -> Asked:
        return Asked(Counter(self.calls), Counter(self.drawn))


class Asked(NamedTuple):
    """How often each call was made and each prompt drawn."""

    calls: Counter[tuple[str, str]]
    drawings: Counter[str]

    def since(self, before: Asked) -> Asked:
        return Asked(self.calls - before.calls, self.drawings - before.drawings)

    @property
    def prompts(self) -> set[str]:
        return {prompt for prompt, _ in self.calls} | set(self.drawings)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    monkeypatch.setenv("WIRE_KEY", KEY)
    started = Servers()
    with started.loopback:
        Path("gems.toml").write_text(SETTINGS.format(url=started.loopback.url), encoding="utf-8")
        rows = ({"prompt": f"two red dogs and {number} cats", "seed": number} for number in range(PROMPTS))
        Path("dogs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        yield started


def start() -> subprocess.Popen[str]:
    command = [*GEMS, "batch", "dogs.jsonl", "--jobs", str(JOBS), "--no-skills", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def end(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, (err, [row for row in results() if row["status"] == "failed"])
    summary: dict[str, Any] = json.loads(out)
    return summary


def results() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (OUT / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def pictures() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in OUT.glob("*.png")}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_batch_that_is_killed_goes_on_and_touches_nothing_that_is_finished(servers: Servers) -> None:
    process = start()
    wait_until(lambda: len(servers.drawn) >= PROMPTS // 2, process)
    process.kill()
    process.communicate()
    finished = {row["id"]: row for row in results()}
    assert PROMPTS // 2 - 2 * JOBS <= len(finished) == len(results()) < PROMPTS
    kept, before = pictures(), servers.asked()
    summary = end(start())
    assert (summary["rows"], summary["done"], summary["satisfied"], summary["left"]) == (PROMPTS, PROMPTS, PROMPTS, 0)
    assert len(finished) <= summary["ended_earlier"] <= len(finished) + JOBS

    rows = results()
    assert [row["id"] for row in rows] == [f"{number:05d}" for number in range(1, PROMPTS + 1)]
    assert {(row["stop_reason"], row["usage"]["images"] + row["usage"]["reused"]) for row in rows} == {("satisfied", 1)}
    assert {row["image"] for row in rows} == {path.name for path in OUT.glob("*.png")}
    assert {row["id"]: row for row in rows if row["id"] in finished} == finished
    later = servers.asked().since(before)
    assert not later.prompts & {row["prompt"] for row in finished.values()}, "a finished row was asked about again"
    assert kept.items() <= pictures().items(), "a finished picture was written again"

    asked = servers.asked()
    assert len(asked.drawings) == PROMPTS
    assert asked.drawings.total() - PROMPTS <= JOBS, "more was drawn again than was in flight"
    assert set(asked.calls) == {(row["prompt"], task) for row in rows for task in CALLS}
    assert asked.calls.total() - PROMPTS * len(CALLS) <= JOBS * 2, "more was asked again than was in flight"

    assert end(start())["ended_earlier"] == PROMPTS
    assert servers.asked() == asked
    assert results() == rows
    assert KEY not in (OUT / "results.jsonl").read_text(encoding="utf-8")
