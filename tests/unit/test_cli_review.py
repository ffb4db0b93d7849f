"""Runs that wait for a person: told on a pipe, answered by options, and asked at a terminal."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from rich.console import Console

from gems.app import commands
from gems.app.cli import main
from gems.app.follow_up_command import follow_up
from gems.app.outcome import Outcome
from gems.app.question_view import show_question
from gems.app.review_command import Reply, review
from gems.app.review_terminal import TerminalPerson
from gems.app.session import Target, open_session
from gems.app.waiting import Question
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.settings import Settings
from gems.core.state import Attempt, Requirement, VerdictName
from gems.graph import OwnServices

SMALL = {"size": "64x64", "seed": 7}


def make(settings: Settings, *marks: str) -> OwnServices:
    return OwnServices(settings, chat=rehearse(list(marks)), images=ScriptedImages())


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one object on standard output."""
    run: dict[str, Any] = json.loads(capsys.readouterr().out)
    return run


class Waiting:
    """A run on the thread `t` that waits for a person who is not there."""

    def __init__(self, settings: Settings, capsys: pytest.CaptureFixture[str], mode: str, *marks: str) -> None:
        self.services = make(settings, *marks)
        self._capsys = capsys
        assert commands.start("two red dogs", {**SMALL, "review": mode}, Target("t", as_json=True), self.services) == 3
        self.run = answer(capsys)

    def say(self, code: int = 0, **reply: Any) -> dict[str, Any]:
        """Answer, and see what became of the run."""
        assert review(Reply(**reply), {}, Target("t", as_json=True), self.services) == code
        self.run = answer(self._capsys)
        return self.run


def test_a_run_that_nobody_can_be_asked_about_waits(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    run = Waiting(settings, capsys, "plan", "+++").run
    assert (run["status"], run["stop_reason"], run["error"]) == ("waiting", None, None)
    assert run["waiting"]["kind"] == "plan"
    assert run["waiting"]["prompts"] == ["two red dogs"]
    assert run["attempts"] == []
    assert commands.show(Target("t", as_json=True)) == 0
    assert answer(capsys)["status"] == "waiting"
    commands.show(Target("t"))
    assert "  answer    gems review t" in capsys.readouterr().out.splitlines()


def test_the_question_is_told_and_where_to_answer_it(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.start("two red dogs", {**SMALL, "review": "plan"}, Target("t"), make(settings, "+++")) == 3
    lines = capsys.readouterr().out.splitlines()
    assert "The plan for: two red dogs" in lines
    assert "  to check  r1  Is there a dog?" in lines
    assert "It waits for your answer to the plan." in lines
    assert lines[-1] == "  answer    gems review t"


def test_a_plan_is_changed_by_options(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = Waiting(settings, capsys, "plan", "++++")
    run = waiting.say(
        prompts=("two crimson dogs",), drop=("r1", "r2", "r3"), add=("Is it a photograph?",), feedback="no cartoons"
    )
    assert [it["question"] for it in run["requirements"]] == ["Is it a photograph?"]
    assert run["best"]["prompt"] == "two crimson dogs"
    assert run["remarks"] == [{"round": 0, "text": "no cartoons"}]


def test_a_round_is_answered_and_may_wait_again(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = Waiting(settings, capsys, "round", "+--", "++-")
    first = waiting.say(3, action="approve")
    assert (first["waiting"]["round"], first["rounds"]) == (1, 1)
    assert Path("gems-out/t/round-1-a.png").is_file()
    second = waiting.say(3, overrule=("r2=met",), note="it is dark red")
    assert second["waiting"]["round"] == 2
    assert second["rulings"] == [{"attempt": "1.1", "requirement": "r2", "verdict": "met", "note": "it is dark red"}]
    assert second["attempts"][0]["ruled"] == ["r2"]
    third = waiting.say(overrule=("2a:r3=met",), best="2a")
    assert (third["status"], third["stop_reason"]) == ("done", "satisfied")
    assert [it["by_user"] for it in third["requirements"]] == [False, False, True]
    commands.show(Target("t"))
    assert "✓ r3 Are there exactly two dogs?  (ruled by you: the user says so)" in capsys.readouterr().out
    assert "ruled by you" in Path("gems-out/t/report.html").read_text(encoding="utf-8")


def test_a_verdict_is_overruled_on_the_picture_that_meets_most(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = Waiting(settings, capsys, "round", "+--", "++-", "++-")
    waiting.say(3, action="approve")
    waiting.say(3, action="approve")
    run = waiting.say(overrule=("r3=met",))
    assert run["rulings"][0]["attempt"] == "2.1"
    assert run["stop_reason"] == "satisfied"


def test_the_best_is_accepted(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = Waiting(settings, capsys, "round", "+--")
    waiting.say(3, action="approve")
    run = waiting.say(action="accept")
    assert (run["status"], run["stop_reason"]) == ("done", "accepted")
    assert commands.resume({}, Target("t"), waiting.services) == 0
    out = capsys.readouterr().out
    assert "This run is finished: you took the best image as it is" in out
    assert "You took the best image as it is, after 1 round: the best image meets 33%" in out
    assert "gems follow-up t" in out


def test_a_run_is_stopped_and_goes_on_where_it_stopped(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = Waiting(settings, capsys, "round", "+--", "+++")
    waiting.say(3, action="approve")
    run = waiting.say(130, action="stop")
    assert (run["status"], run["stop_reason"]) == ("stopped", "stopped")
    assert commands.resume({}, Target("t", as_json=True), waiting.services) == 3
    assert answer(capsys)["waiting"]["round"] == 1


@pytest.mark.parametrize(
    ("mode", "reply", "complaint"),
    [
        ("plan", {"drop": ("r9",)}, "r9"),
        ("plan", {"drop": ("r1", "r2", "r3")}, "every requirement is dropped"),
        ("plan", {"best": "1a"}, "after drawing, and this run waits with its plan"),
        ("plan", {"action": "accept"}, "waits with its plan"),
        ("plan", {"prompts": (" ",)}, "nothing is said"),
        ("plan", {"note": "because"}, "give --overrule too"),
        ("plan", {"feedback": "a\x00b"}, "no text"),
        ("round", {"drop": ("r1",)}, "before drawing, and this run waits with a round"),
        ("round", {"best": "7c"}, "7.3"),
        ("round", {"overrule": ("r9=met",)}, "r9"),
        ("round", {"overrule": ("r1=perhaps",)}, "perhaps"),
        ("round", {"overrule": ("red",)}, "'red' overrules nothing"),
        ("round", {"prompts": ("a", "b")}, "2 prompts are given"),
    ],
)
def test_a_bad_answer_leaves_the_question(
    settings: Settings, capsys: pytest.CaptureFixture[str], mode: str, reply: dict[str, Any], complaint: str
) -> None:
    waiting = Waiting(settings, capsys, mode, "+++")
    if mode == "round":
        waiting.say(3, action="approve")
    refused = waiting.say(2, **reply)
    assert refused["error"]["kind"] == "input"
    assert complaint in refused["error"]["message"]
    assert waiting.say(action="approve")["stop_reason"] == "satisfied"


def test_review_without_an_answer_shows_the_question_again(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = Waiting(settings, capsys, "plan", "+++")
    assert review(Reply(), {}, Target("t"), waiting.services) == 3
    assert "The plan for: two red dogs" in capsys.readouterr().out


def test_resume_tells_how_to_answer(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = Waiting(settings, capsys, "plan", "+++")
    assert commands.resume({}, Target("t"), waiting.services) == 3
    assert "gems review t" in capsys.readouterr().out
    assert commands.resume({"review": "round"}, Target("t"), waiting.services) == 3
    assert commands.resume({"review": "none"}, Target("t", as_json=True), waiting.services) == 0


def test_a_waiting_run_is_neither_overwritten_nor_changed(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = Waiting(settings, capsys, "plan", "+++")
    for refuse in (commands.start, follow_up):
        assert refuse("a blue cat", {}, Target("t", as_json=True), waiting.services) == 2
        assert "gems review t" in answer(capsys)["error"]["message"]
    assert waiting.say(action="approve")["stop_reason"] == "satisfied"


def test_a_run_that_does_not_wait_takes_no_answer(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    services = make(settings, "+++")
    commands.start("two red dogs", SMALL, Target("t"), services)
    capsys.readouterr()
    assert review(Reply("approve"), {}, Target("t", as_json=True), services) == 2
    assert "waits for no answer" in answer(capsys)["error"]["message"]
    assert review(Reply("approve"), {}, Target("u", as_json=True), services) == 2
    assert "no run on thread 'u'" in answer(capsys)["error"]["message"]


def test_settings_that_changed_are_told_before_an_answer_counts(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    class Other(ScriptedImages):
        @property
        def identity(self) -> dict[str, Any]:
            return {**super().identity, "steps": 50}

    Waiting(settings, capsys, "plan", "+++")
    services = OwnServices(settings, chat=rehearse(["+++"]), images=Other())
    assert review(Reply("approve"), {}, Target("t", as_json=True), services) == 2
    assert "--accept-changes" in answer(capsys)["error"]["message"]
    assert review(Reply("approve"), {"accept_changes": True}, Target("t"), services) == 0


def test_the_command_reads_its_options(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    Waiting(settings, capsys, "plan", "+++")
    result = CliRunner().invoke(main, ["review", "t", "--accept", "--json"])
    assert result.exit_code == 2
    assert "waits with its plan" in json.loads(result.stdout)["error"]["message"]


# At a terminal


def requirement(number: int, question: str) -> Requirement:
    return Requirement(id=f"r{number}", question=question, kind="object", depends_on=[])


QUESTIONS = [requirement(1, "Is there a dog?"), requirement(2, "Is it red?")]


def attempt(name: str, *verdicts: VerdictName) -> Attempt:
    met = verdicts.count("met") / max(1, len(verdicts))
    return Attempt(
        id=name,
        round=int(name[0]),
        action="rewrite",
        prompt=f"prompt of {name}",
        seed=7,
        parent=None,
        artifact=f"file-{name}",
        score=met,
        verdicts={
            f"r{number}": {"verdict": verdict, "evidence": "seen \x1b[2J", "confidence": 0.9}
            for number, verdict in enumerate(verdicts, start=1)
        },
    )


PLAN = Question(
    {
        "kind": "plan",
        "request": "a red dog",
        "skills": ["poster"],
        "reason": "it is one",
        "prompts": ["a red dog", "one red dog"],
        "requirements": QUESTIONS,
    },
    (),
)
ROUND = Question(
    {
        "kind": "round",
        "round": 2,
        "request": "a red dog",
        "requirements": QUESTIONS,
        "attempts": [
            attempt("1.1", "met", "unmet"),
            attempt("2.1", "unmet", "skipped"),
            attempt("2.2", "met", "unmet"),
        ],
        "best": "1.1",
    },
    ("1.1", "2.1", "2.2"),
)


class Terminal:
    """A person who enters these lines, then Ctrl-D."""

    def __init__(self, *lines: str | BaseException) -> None:
        self._lines = iter(lines)
        self._out = io.StringIO()
        self.prefilled: list[str] = []
        self.person = TerminalPerson(Console(file=self._out, width=200), Path, self._read)

    def _read(self, shown: str, prefilled: str) -> str:
        self._out.write(shown)
        self.prefilled.append(prefilled)
        line = next(self._lines, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line

    @property
    def text(self) -> str:
        """What was shown."""
        return self._out.getvalue()


@pytest.mark.parametrize(
    ("question", "lines", "given"),
    [
        (PLAN, [""], {"action": "approve"}),
        (PLAN, ["prompt a crimson dog", "approve"], {"prompts": ["a crimson dog", "one red dog"], "action": "approve"}),
        (PLAN, ["prompt 2 one dog", ""], {"prompts": ["a red dog", "one dog"], "action": "approve"}),
        (
            PLAN,
            ["drop r1", "add Is it big?", "say no cartoons", "say warm light", ""],
            {"drop": ["r1"], "add": ["Is it big?"], "feedback": "no cartoons\nwarm light", "action": "approve"},
        ),
        (PLAN, ["drop r1", "undo", "stop"], {"action": "stop"}),
        (
            ROUND,
            ["r2=met dark red", ""],
            {
                "overrule": [{"attempt": "1.1", "requirement": "r2", "verdict": "met", "note": "dark red"}],
                "action": "approve",
            },
        ),
        (
            ROUND,
            ["2b:r1=unmet", "2b:r1=met", "2.1:r1=met", "2b", "accept"],
            {
                "overrule": [
                    {"attempt": "2.2", "requirement": "r1", "verdict": "met"},
                    {"attempt": "2.1", "requirement": "r1", "verdict": "met"},
                ],
                "best": "2.2",
                "action": "accept",
            },
        ),
        (ROUND, ["best 2.1", "prompt 2 dogs, red", ""], {"best": "2.1", "prompt": "2 dogs, red", "action": "approve"}),
    ],
)
def test_entries_make_an_answer(question: Question, lines: list[str], given: dict[str, Any]) -> None:
    assert Terminal(*lines).person.answer(question) == given


@pytest.mark.parametrize(
    ("question", "line", "words"),
    [
        (PLAN, "drop r9", "r9"),
        (PLAN, "accept", "this run waits with its plan"),
        (PLAN, "prompt 3 a dog", "there is no prompt 3: the plan has 2"),
        (PLAN, "add", "nothing is said"),
        (PLAN, "dorp r1", "'dorp' is not understood"),
        (ROUND, "r9=met", "r9"),
        (ROUND, "r1=perhaps", "perhaps"),
        (ROUND, "7a", "7.1"),
        (ROUND, "drop r1", "this run waits with a round"),
        (ROUND, UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "not text"),
    ],
)
def test_a_wrong_entry_is_explained_and_asked_again(question: Question, line: str | BaseException, words: str) -> None:
    terminal = Terminal("say warmer", line, "")
    assert terminal.person.answer(question) == {"feedback": "warmer", "action": "approve"}
    assert words in terminal.text


@pytest.mark.parametrize("end", [EOFError(), KeyboardInterrupt()])
def test_the_question_can_be_left_open(end: BaseException) -> None:
    assert Terminal("say warmer", end).person.answer(ROUND) is None


def test_a_prompt_is_edited_from_what_it_was() -> None:
    terminal = Terminal("prompt", "a redder dog", "")
    assert terminal.person.answer(ROUND) == {"prompt": "a redder dog", "action": "approve"}
    assert terminal.prefilled == ["", "prompt of 1.1", ""]


@pytest.mark.parametrize(
    ("line", "agreed"), [("y", True), ("Yes", True), ("", False), ("n", False), (EOFError(), False)]
)
def test_going_on_all_the_same_has_to_be_said(line: str | BaseException, agreed: bool) -> None:
    terminal = Terminal(line)
    assert terminal.person.agrees("The image model changed.") is agreed
    assert "The image model changed." in terminal.text


def test_a_round_is_shown_with_paths_verdicts_and_the_best() -> None:
    out = io.StringIO()
    show_question(ROUND, Console(file=out, width=200), lambda artifact: Path("images") / artifact)
    lines = out.getvalue().splitlines()
    assert "Round 2 for: a red dog" in lines
    assert "  1a        50% met (best), rewrite, seed 7" in lines
    assert f"            {Path('images') / 'file-2.2'}" in lines
    assert "            ✗ r2 Is it red?  (seen [2J)" in lines
    assert "\x1b" not in out.getvalue()


class Slow:
    """A person who takes so long over the first question that another process answers it."""

    def __init__(self, answers: Iterator[dict[str, Any] | None], meanwhile: Callable[[], None]) -> None:
        self._answers = answers
        self._meanwhile: list[Callable[[], None]] = [meanwhile]
        self.asked: list[str] = []

    def answer(self, question: Question) -> dict[str, Any] | None:
        self.asked.append(question.value["kind"])
        if self._meanwhile:
            self._meanwhile.pop()()
        return next(self._answers)

    def agrees(self, sentence: str) -> bool:
        raise AssertionError(sentence)


def test_an_answer_never_counts_for_another_question(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = Waiting(settings, capsys, "round", "+--")

    def meanwhile() -> None:
        with ThreadPoolExecutor() as elsewhere:
            elsewhere.submit(waiting.say, 3, action="approve").result()

    person = Slow(iter([{"action": "stop"}, None]), meanwhile)
    out = io.StringIO()

    async def resume() -> Outcome:
        async with open_session(Target("t"), {}, Console(file=out), waiting.services, person) as session:
            return await session.resume()

    outcome = asyncio.run(resume())
    assert person.asked == ["plan", "round"]
    assert (outcome.status, outcome.rounds) == ("waiting", 1)
    assert "Another process has answered this meanwhile." in out.getvalue()


# With a real terminal

RUN = """
import sys
from gems.app import commands
from gems.app.review_command import Reply, review
from gems.app.session import Target
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.graph import OwnServices

class Other(ScriptedImages):
    @property
    def identity(self):
        return {**super().identity, "steps": 50}

changed = "changed" in sys.argv
services = OwnServices(chat=rehearse(["+--", "++-", "+++"]), images=Other() if changed else ScriptedImages())
options = {"size": "64x64", "seed": 7, "review": "round", "lessons": False}
if sys.argv[1] == "run":
    sys.exit(commands.start("two red dogs", options, Target("t"), services))
sys.exit(commands.resume({}, Target("t"), services))
"""
unix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals of this kind")


class Talk:
    """A process at a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        ours, theirs = os.openpty()
        self._end = ours
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            preexec_fn=lambda: os.login_tty(theirs),
        )
        os.close(theirs)
        self._process = psutil.Process(self.process.pid)
        self.text = ""

    def wait_for(self, words: str) -> None:
        """Read until these words have come since the last entry."""
        deadline = time.monotonic() + 60
        while words not in self.text:
            assert time.monotonic() < deadline, f"{words!r} never came, only {self.text!r}"
            assert self._read(), f"{words!r} never came, only {self.text!r}"

    def enter(self, keys: str) -> None:
        # A Ctrl-C between the prompt and the wait for keys is only seen at the next key: Python's own race.
        while self._process.status() != psutil.STATUS_SLEEPING:
            time.sleep(0.01)
        self.text = ""
        os.write(self._end, keys.encode())

    def end(self) -> int:
        """The exit code, once all is said."""
        while self._read():
            pass
        return self.process.wait(60)

    def _read(self) -> bool:
        if not select.select([self._end], [], [], 60)[0]:
            return False
        try:
            got = os.read(self._end, 65536)
        except OSError:  # the other end is closed
            return False
        self.text += re.sub(r"\x1b\[[?\d;]*\w", "", got.decode(errors="replace"))
        return bool(got)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._end)


@pytest.fixture
def talk() -> Iterator[Any]:
    """Begins processes at terminals, and ends them."""
    begun: list[Talk] = []

    def begin(*arguments: str) -> Talk:
        begun.append(Talk(*arguments))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


@unix_only
def test_a_run_at_a_terminal_asks_there_and_goes_on(talk: Any) -> None:
    run = talk("run")
    run.wait_for("> ")
    assert "The plan for: two red dogs" in run.text
    run.enter("\n")
    run.wait_for("> ")
    assert "Round 1 for: two red dogs" in run.text
    run.enter("r9=met\n")
    run.wait_for("Input should be 'r1', 'r2' or 'r3'")
    run.wait_for("> ")
    run.enter("r2=met dark red\n")
    run.wait_for("r2 is met on 1a.")
    run.wait_for("> ")
    run.enter("\n")
    run.wait_for("Round 2 for: two red dogs")
    run.wait_for("> ")
    run.enter("accept\n")
    assert run.end() == 0
    assert "You took the best image as it is, after 2 rounds" in run.text
    trajectory = json.loads(Path("gems-out/t/trajectory.json").read_text(encoding="utf-8"))
    assert trajectory["rulings"] == [{"attempt": "1.1", "requirement": "r2", "verdict": "met", "note": "dark red"}]


@unix_only
@pytest.mark.parametrize("key", ["\x04", "\x03"])
def test_ctrl_d_and_ctrl_c_leave_the_run_waiting(talk: Any, key: str) -> None:
    run = talk("run")
    run.wait_for("> ")
    run.enter(key)
    assert run.end() == 3
    assert "gems review t" in run.text
    again = talk("resume")
    again.wait_for("The plan for: two red dogs")
    again.wait_for("> ")
    again.enter("stop\n")
    assert again.end() == 130


@unix_only
def test_changed_settings_are_asked_about(talk: Any) -> None:
    run = talk("run")
    run.wait_for("> ")
    run.enter("\x04")
    assert run.end() == 3
    for reply, code, told in (("\n", 2, "the run is left as it was"), ("y\n", 3, "The plan for: two red dogs")):
        changed = talk("resume", "changed")
        changed.wait_for("Go on all the same? [y/N]")
        assert "the settings of the image model changed" in changed.text
        changed.enter(reply)
        changed.wait_for(told)
        if code == 3:
            changed.wait_for("> ")
            changed.enter("\x04")
        assert changed.end() == code
