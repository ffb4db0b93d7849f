"""Branches as processes: one that is killed in its middle, one that another process wants, one of the embedded engine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gems.app import commands
from gems.app.diff_command import diff
from gems.app.fork_command import Place, fork
from gems.app.session import Target
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings, load_settings
from gems.graph import OwnServices, open_graph

# Models that load nothing; the drawing whose seed stands in the file `hold` waits until the file is gone.
WORKER = """
import asyncio, json, sys
from pathlib import Path
from gems.app import commands
from gems.app.fork_command import Place, fork
from gems.app.session import Target
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.graph import OwnServices

class Held(ScriptedImages):
    async def generate(self, request, progress=None):
        with open("drawings.log", "a") as log:
            log.write(f"{request.seed}\\n")
        while Path("hold").exists() and Path("hold").read_text() == str(request.seed):
            await asyncio.sleep(0.02)
        return await super().generate(request)

services = OwnServices(chat=rehearse(["+--"]), images=Held())
command, thread, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
if command == "run":
    sys.exit(commands.start("two red dogs", options, Target(thread), services))
if command == "fork":
    sys.exit(fork(Place(sys.argv[4], 2), None, options, Target(thread), services))
sys.exit(commands.resume(options, Target(thread), services))
"""


def worker(command: str, thread: str, parent: str = "", **options: Any) -> subprocess.Popen[str]:
    arguments = [command, thread, json.dumps(options), parent]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def done(process: subprocess.Popen[str]) -> str:
    """What it said, once it has ended well."""
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    return out


def wait_until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def drawn() -> Counter[int]:
    """How often each seed's drawing was begun."""
    return Counter(map(int, Path("drawings.log").read_text(encoding="utf-8").split()))


def stored(home: Path) -> int:
    return len(list((home / "artifacts").rglob("*.png")))


@pytest.mark.long
def test_a_branch_that_is_killed_goes_on_as_the_branch_it_was(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done(worker("run", "t", size="64x64", seed=7, candidates=3, max_rounds=2))
    assert drawn() == Counter(range(7, 13))
    before = stored(home)
    Path("hold").write_text("105")
    branch = worker("fork", "b", "t", seed=100)
    wait_until(lambda: stored(home) == before + 2 and drawn()[105] == 1)
    refused = worker("fork", "c", "b", seed=200)
    assert "thread 'b' is being run by another process" in refused.communicate(timeout=120)[0]
    assert refused.returncode == 2
    branch.kill()
    branch.communicate()
    Path("hold").unlink()
    done(worker("resume", "b"))
    assert drawn() == Counter([*range(7, 13), 103, 104, 105, 105])
    with open_graph(Settings(home=home, profiles=dict(BUILT_IN))) as graph:
        state = graph.get_state({"configurable": {"thread_id": "b"}}).values
    assert [(it["id"], it["seed"]) for it in state["attempts"]] == [
        ("1.1", 7),
        ("1.2", 8),
        ("1.3", 9),
        ("2.1", 103),
        ("2.2", 104),
        ("2.3", 105),
    ]
    assert (state["forked"]["thread"], state["stop_reason"]) == ("t", "max_rounds")
    assert state["usage"].get("images", 0) + state["usage"].get("reused", 0) == 6


def test_a_branch_in_postgres(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEMS_DATABASE_URL", database_url)
    images = ScriptedImages()

    def services(*marks: str) -> OwnServices:
        return OwnServices(load_settings(), chat=rehearse(list(marks)), images=images)

    options = {"size": "64x64", "seed": 7, "max_rounds": 2}
    assert commands.start("two red dogs", options, Target("t"), services("+--")) == 0
    capsys.readouterr()
    assert fork(Place("t", 2), None, {"max_rounds": 3}, Target("b", as_json=True), services("+--")) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [(it["id"], it["reused"]) for it in answer["attempts"]] == [("1.1", False), ("2.1", True), ("3.1", False)]
    assert len(images.history) == 3
    assert diff("t", "b", as_json=False) == 1
    assert capsys.readouterr().out.startswith("They part before round 3: only b has it.")
    assert not (Path("home") / "ledger.sqlite").exists()


def test_a_branch_of_the_embedded_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.start("a red apple", {"seed": 1}, Target("t")) == 0
    capsys.readouterr()
    assert fork(Place("t", 1), None, {"seed": 5}, Target("b", as_json=True)) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["thread_id"], answer["attempts"][0]["seed"]) == ("b", 5)
    assert (answer["forked"]["thread"], answer["forked"]["round"]) == ("t", 1)
    assert Path("gems-out/b/best.png").is_file()
    assert diff("t", "b", as_json=False) == 1
    assert capsys.readouterr().out.startswith("They part in round 1: the seed of 1.1.")
    assert fork(Place("t", 1), "a flurble", {}, Target("c", as_json=True)) == 2
    assert "flurble" in json.loads(capsys.readouterr().out)["error"]["message"]
