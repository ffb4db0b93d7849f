"""The command line as processes: real signals, real kills, two processes at once, and the embedded engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from gems.app.cli import main
from gems.evals.warm import Forked, Warm
from gems.memory import read_png_text

GEMS = [sys.executable, "-c", "from gems.app.cli import main; main()"]
# A run on models that load nothing; the drawing whose seed stands in the file `hold` waits until the file is gone.
HELD = """
import asyncio, sys
from pathlib import Path
from gems.app import commands
from gems.app.session import Target
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.graph import OwnServices

def note(text):
    with open("drawings.log", "a") as log:
        log.write(text + "\\n")

class Held(ScriptedImages):
    async def generate(self, request, progress=None):
        note(f"{request.seed} begun")
        while Path("hold").exists() and Path("hold").read_text() == str(request.seed):
            progress(1, 20)
            await asyncio.sleep(0.02)
        drawing = await super().generate(request)
        note(f"{request.seed} received")
        return drawing

services = OwnServices(chat=rehearse(["+--", "++-", "+++"]), images=Held())
target = Target("t", as_json=True)
if sys.argv[1] == "run":
    sys.exit(commands.start("two red dogs", {"size": "64x64", "seed": 7}, target, services))
sys.exit(commands.resume({}, target, services))
"""
unix_only = pytest.mark.skipif(os.name == "nt", reason="sends a process the signal that a terminal's Ctrl-C sends")


Start = Callable[..., Forked]


def answer(ended: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one object on standard output."""
    run: dict[str, Any] = json.loads(ended.stdout)
    return run


@pytest.fixture
def held(warm: Warm) -> Start:
    return lambda command: warm.start([sys.executable, "-c", HELD, command])


def anew(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it in an interpreter of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [*GEMS, *arguments], capture_output=True, encoding="utf-8", env=environment, timeout=300, check=False
    )


def hold(seed: int) -> None:
    Path("hold").write_text(str(seed))


def let_go() -> None:
    Path("hold").unlink()


def drawings() -> list[str]:
    log = Path("drawings.log")
    return log.read_text().splitlines() if log.exists() else []


def wait_until(it_is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not it_is_so():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def wait_for(line: str) -> None:
    wait_until(lambda: line in drawings())


@unix_only
def test_ctrl_c_once_ends_the_step_and_keeps_the_best(held: Start) -> None:
    hold(8)
    process = held("run")
    wait_for("8 begun")
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "Press Ctrl-C again" in process.err)
    let_go()
    stopped = process.done()
    assert stopped.returncode == 130
    assert "gems resume t" in stopped.stderr
    told = answer(stopped)
    assert (told["status"], told["stop_reason"], told["error"]) == ("stopped", "stopped", None)
    assert told["best"]["round"] == 1
    assert drawings()[-1] == "8 received"
    assert Path("gems-out/t/round-2-a.png").is_file()
    resumed = held("resume").done()
    assert (resumed.returncode, answer(resumed)["stop_reason"]) == (0, "satisfied")
    assert drawings().count("8 begun") == 1


@unix_only
def test_ctrl_c_twice_cancels_within_the_drawing(held: Start) -> None:
    hold(8)
    process = held("run")
    wait_for("8 begun")
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "Press Ctrl-C again" in process.err)
    process.send_signal(signal.SIGINT)
    stopped = process.done()
    assert stopped.returncode == 130
    assert answer(stopped)["status"] == "stopped"
    assert drawings()[-1] == "8 begun"
    assert Path(answer(stopped)["best"]["path"]).is_file()


def test_a_killed_run_goes_on_where_it_was_and_draws_nothing_twice(held: Start) -> None:
    hold(8)
    process = held("run")
    wait_for("8 begun")
    process.kill()
    assert process.wait() != 0
    let_go()
    resumed = held("resume").done()
    assert (resumed.returncode, answer(resumed)["stop_reason"]) == (0, "satisfied")
    assert "goes on   in round 2" in resumed.stderr
    assert drawings().count("7 begun") == 1
    assert [it["seed"] for it in answer(resumed)["attempts"]][:2] == [7, 8]


def test_two_processes_cannot_run_one_thread(held: Start) -> None:
    hold(7)
    first = held("run")
    wait_for("7 begun")
    second, third = held("resume"), held("run")
    ended = second.done(), third.done()
    let_go()
    assert [process.returncode for process in ended] == [2, 2]
    assert ["t'" in answer(process)["error"]["message"] for process in ended] == [True, True]
    assert "another process" in answer(ended[0])["error"]["message"]
    assert (first.wait(), drawings().count("7 begun")) == (0, 1)


class _Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_embedded_engine_from_prompt_to_folder(tmp_path: Path, warm_with_torch: Warm) -> None:
    prompt = "three red apples to the left of a blue vase"
    options = ["--seed", "1", "--size", "320x320", "--max-rounds", "3", "--out", "out", "--json"]
    ended = warm_with_torch.run([*GEMS, "run", prompt, *options])
    assert ended.returncode == 0, ended.stderr
    run = answer(ended)
    assert (run["status"], run["error"], run["best"]["path"]) == ("done", None, str(tmp_path / "out" / "best.png"))
    assert run["score"] is not None
    assert run["usage"]["images"] == len(run["attempts"]) >= 1
    with Image.open("out/best.png") as image:
        assert image.size == (320, 320)
    text = read_png_text(Path("out/best.png").read_bytes())
    assert (text["request"], text["thread"], text["model"]) == (prompt, run["thread_id"], "sketch")
    assert text["seed"] == str(run["best"]["seed"])
    sources = _Sources()
    sources.feed(Path("out/report.html").read_text(encoding="utf-8"))
    assert all(source.startswith(("data:", "#")) for source in sources.found)
    assert len(sources.found) >= 2
    trajectory = json.loads(Path("out/trajectory.json").read_text(encoding="utf-8"))
    assert (trajectory["thread_id"], trajectory["request"]["prompt"]) == (run["thread_id"], prompt)
    assert "\x1b" not in ended.stderr
    assert "seed 1" in ended.stderr

    listed = json.loads(CliRunner().invoke(main, ["runs", "--json"]).stdout)["runs"]
    assert [(it["thread_id"], it["prompt"]) for it in listed] == [(run["thread_id"], prompt)]
    shown = json.loads(CliRunner().invoke(main, ["show", run["thread_id"], "--json"]).stdout)
    assert {**shown, "best": None, "out": None} == {**run, "best": None, "out": None}


def test_words_it_cannot_draw_are_named_before_anything_is_spent(warm: Warm) -> None:
    ended = warm.run([*GEMS, "run", "a florgian zibbet", "--json"])
    assert ended.returncode == 2
    assert "zibbet" in answer(ended)["error"]["message"]
    assert "GEMS_IMAGES" in answer(ended)["error"]["message"]
    assert not Path("gems-out").exists()
    assert "Traceback" not in ended.stderr


def test_the_doctor_finds_this_machine_well(warm_with_torch: Warm) -> None:
    ended = warm_with_torch.run([*GEMS, "doctor"])
    assert ended.returncode == 0, ended.stdout
    assert "Ready." in ended.stdout
    assert "'Is there an apple?': met" in ended.stdout


def test_help_is_quick() -> None:
    def spent() -> float:
        """Seconds that children computed: of a busy machine the clock tells more. Windows does not count them."""
        return time.monotonic() if os.name == "nt" else sum(os.times()[2:4])

    times = []
    for _ in range(3):
        begun = spent()
        assert anew("--help").returncode == 0
        times.append(spent() - begun)
    assert min(times) < 0.5


def test_a_prompt_in_another_script_is_read_and_answered_in_utf_8() -> None:
    process = subprocess.run(
        [*GEMS, "run", "-", "--json"], input="три яблока\n".encode(), capture_output=True, timeout=300
    )
    assert process.returncode == 2
    assert "яблока" in json.loads(process.stdout.decode("utf-8"))["error"]["message"]
