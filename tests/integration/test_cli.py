"""The command line as processes: real signals, real kills, two processes at once, and the embedded engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from PIL import Image

from gems.app.cli import main
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


class Ended(NamedTuple):
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        """The one object on standard output."""
        run: dict[str, Any] = json.loads(self.out)
        return run


def start(command: Sequence[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment
    )


def end(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out, err)


def gems(*arguments: str) -> Ended:
    return end(start([*GEMS, *arguments]))


def held(command: str) -> subprocess.Popen[str]:
    return start([sys.executable, "-c", HELD, command])


def hold(seed: int) -> None:
    Path("hold").write_text(str(seed))


def let_go() -> None:
    Path("hold").unlink()


def drawings() -> list[str]:
    log = Path("drawings.log")
    return log.read_text().splitlines() if log.exists() else []


def wait_for(line: str) -> None:
    deadline = time.monotonic() + 60
    while line not in drawings():
        assert time.monotonic() < deadline, f"{line!r} never came"
        time.sleep(0.02)


@unix_only
def test_ctrl_c_once_ends_the_step_and_keeps_the_best() -> None:
    hold(8)
    process = held("run")
    wait_for("8 begun")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    let_go()
    stopped = end(process)
    assert stopped.code == 130
    assert "Press Ctrl-C again" in stopped.err
    assert "gems resume t" in stopped.err
    assert (stopped.answer["status"], stopped.answer["stop_reason"], stopped.answer["error"]) == (
        "stopped",
        "stopped",
        None,
    )
    assert stopped.answer["best"]["round"] == 1
    assert drawings()[-1] == "8 received"
    assert Path("gems-out/t/round-2-a.png").is_file()
    resumed = end(held("resume"))
    assert (resumed.code, resumed.answer["stop_reason"]) == (0, "satisfied")
    assert drawings().count("8 begun") == 1


@unix_only
def test_ctrl_c_twice_cancels_within_the_drawing() -> None:
    hold(8)
    process = held("run")
    wait_for("8 begun")
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    stopped = end(process)
    assert stopped.code == 130
    assert stopped.answer["status"] == "stopped"
    assert drawings()[-1] == "8 begun"
    assert Path(stopped.answer["best"]["path"]).is_file()


def test_a_killed_run_goes_on_where_it_was_and_draws_nothing_twice() -> None:
    hold(8)
    process = held("run")
    wait_for("8 begun")
    process.kill()
    assert end(process).code != 0
    let_go()
    resumed = end(held("resume"))
    assert (resumed.code, resumed.answer["stop_reason"]) == (0, "satisfied")
    assert "goes on   in round 2" in resumed.err
    assert drawings().count("7 begun") == 1
    assert [it["seed"] for it in resumed.answer["attempts"]][:2] == [7, 8]


def test_two_processes_cannot_run_one_thread() -> None:
    hold(7)
    first = held("run")
    wait_for("7 begun")
    second, third = held("resume"), held("run")
    ended = end(second), end(third)
    let_go()
    assert [process.code for process in ended] == [2, 2]
    assert ["t'" in process.answer["error"]["message"] for process in ended] == [True, True]
    assert "another process" in ended[0].answer["error"]["message"]
    assert (end(first).code, drawings().count("7 begun")) == (0, 1)


class _Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_embedded_engine_from_prompt_to_folder(tmp_path: Path) -> None:
    prompt = "three red apples to the left of a blue vase"
    ended = gems("run", prompt, "--seed", "1", "--size", "320x320", "--max-rounds", "3", "--out", "out", "--json")
    assert ended.code == 0, ended.err
    run = ended.answer
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
    assert "\x1b" not in ended.err
    assert "seed 1" in ended.err

    listed = json.loads(CliRunner().invoke(main, ["runs", "--json"]).stdout)["runs"]
    assert [(it["thread_id"], it["prompt"]) for it in listed] == [(run["thread_id"], prompt)]
    shown = json.loads(CliRunner().invoke(main, ["show", run["thread_id"], "--json"]).stdout)
    assert {**shown, "best": None, "out": None} == {**run, "best": None, "out": None}


def test_words_it_cannot_draw_are_named_before_anything_is_spent() -> None:
    ended = gems("run", "a florgian zibbet", "--json")
    assert ended.code == 2
    assert "zibbet" in ended.answer["error"]["message"]
    assert "GEMS_IMAGES" in ended.answer["error"]["message"]
    assert not Path("gems-out").exists()
    assert "Traceback" not in ended.err


def test_the_doctor_finds_this_machine_well() -> None:
    ended = gems("doctor")
    assert ended.code == 0, ended.out
    assert "Ready." in ended.out
    assert "'Is there an apple?': met" in ended.out


def test_help_is_quick() -> None:
    times = []
    for _ in range(3):
        begun = time.monotonic()
        assert gems("--help").code == 0
        times.append(time.monotonic() - begun)
    assert min(times) < 0.5


def test_a_prompt_in_another_script_is_read_and_answered_in_utf_8() -> None:
    process = subprocess.run(
        [*GEMS, "run", "-", "--json"], input="три яблока\n".encode(), capture_output=True, timeout=60
    )
    assert process.returncode == 2
    assert "яблока" in json.loads(process.stdout.decode("utf-8"))["error"]["message"]
