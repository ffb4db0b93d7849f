"""The live view of a run, on a pipe and on a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from gems.app.progress import ProgressView, attempt_id, image_label
from gems.app.terminal import make_console, one_line, printable
from gems.core.events import Estimate, Event
from gems.core.state import Attempt, GemsState, Requirement, Verdict


def requirement(number: int, question: str) -> Requirement:
    return Requirement(id=f"r{number}", question=question, kind="object", depends_on=[])


def verdict(name: str, evidence: str = "") -> Verdict:
    return Verdict(verdict=name, evidence=evidence, confidence=0.9)  # type: ignore[typeddict-item]


QUESTIONS = [requirement(1, "Is there a dog?"), requirement(2, "Is it red?"), requirement(3, "Are there two?")]
SEEN = {"r1": verdict("met"), "r2": verdict("unmet", "a blue \x1b[2Jdog"), "r3": verdict("unknown")}
DRAWN: Event = {
    "event": "drawn",
    "attempt": "1.1",
    "artifact": "ab12",
    "seconds": 0.25,
    "reused": False,
    "prompt": "two [bold]red[/bold] dogs",
    "seed": 7,
    "action": "rewrite",
}
ESTIMATE = Estimate(images=5, calls=16, cost=0.12, max_cost=1.0)
WARNINGS = ["x/SKILL.md:4: no name"]
EVENTS: list[Event] = [
    {
        "event": "started",
        "prompt": "two red dogs",
        "profile": "sketch",
        "seed": 7,
        "estimate": ESTIMATE,
        "warnings": WARNINGS,
    },
    {
        "event": "plan",
        "skills": [{"name": "spatial-layout", "files": ["SKILL.md"]}],
        "reason": "",
        "prompts": ["two red dogs"],
    },
    {"event": "requirements", "requirements": QUESTIONS},
    {"event": "round", "round": 1},
    {"event": "drawing", "attempt": "1.1", "step": 3, "steps": 20},
    DRAWN,
    {"event": "not_drawn", "attempt": "1.2", "error": "the image model refused"},
    {"event": "judged", "attempt": "1.1", "score": 1 / 3, "verdicts": SEEN},
    {"event": "reviewed", "round": 1, "best": "1.1", "score": 1 / 3, "stop_reason": None},
    {"event": "refined", "round": 1, "diagnosis": "the colour was lost", "actions": ["rewrite"]},
    {"event": "round", "round": 2},
    {"event": "experience", "round": 1, "text": "say red twice"},
    {"event": "finished", "stop_reason": "satisfied", "score": 1.0, "best": "2.1"},
]


def show(console: Console) -> None:
    view = ProgressView(console, "t-1", lambda artifact: Path("images") / f"{artifact}.png")
    for event in EVENTS:
        view.show(event)
    view.close()


def plain(**options: object) -> io.StringIO:
    out = io.StringIO()
    show(Console(file=out, markup=False, emoji=False, highlight=False, width=100, **options))  # type: ignore[arg-type]
    return out


def test_a_pipe_gets_plain_lines() -> None:
    lines = plain().getvalue().splitlines()
    for expected in (
        "GEMS  sketch · seed 7 · thread t-1",
        "  request   two red dogs",
        "  warning   x/SKILL.md:4: no name",
        "  skills    spatial-layout (SKILL.md)",
        "  to check  r1  Is there a dog?",
        "Round 1",
        "  prompt    two [bold]red[/bold] dogs",
        "  1a        rewrite, drawn in 0.25 s, seed 7",
        f"    {Path('images') / 'ab12.png'}",
        "  1b        not drawn: the image model refused",
        "  1a        ✓ r1",
        "            ✗ r2 Is it red?  (a blue [2Jdog)",
        "            ? r3 Are there two?",
        "  best      1a, 33% met",
        "  why       the colour was lost",
        "  next      rewrite",
        "  learned   in round 1: say red twice",
    ):
        assert expected in lines
    assert not any("step" in line for line in lines)


def test_nothing_from_a_model_reaches_the_terminal_as_a_command() -> None:
    assert "\x1b" not in plain().getvalue()
    assert "\x1b[2J" not in plain(force_terminal=True).getvalue()


def test_a_terminal_gets_step_bars_and_loses_them_again() -> None:
    out = plain(force_terminal=True, legacy_windows=False).getvalue()
    assert "step 3 of 20" in out
    assert "\x1b[?25h" in out.rpartition("\x1b[?25l")[2]


def test_no_color_means_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in plain(force_terminal=True).getvalue()
    monkeypatch.delenv("NO_COLOR")
    assert "\x1b[31m" in plain(force_terminal=True, color_system="standard").getvalue()


def test_an_old_terminal_gets_ascii_ticks() -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii", errors="replace"), width=100)
    show(console)
    console.file.flush()
    assert "x r2" in raw.getvalue().decode("ascii")
    assert "+ r1" in raw.getvalue().decode("ascii")


def test_long_lines_are_broken_under_their_label_on_a_terminal() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=40, color_system=None, legacy_windows=False)
    view = ProgressView(console, "t", Path)
    view.show({"event": "refined", "round": 1, "diagnosis": "word " * 20, "actions": ["rewrite"]})
    lines = [line for line in out.getvalue().splitlines() if "word" in line]
    assert len(lines) > 2
    assert all(len(line) <= 40 for line in lines)
    assert all(line.startswith(" " * 12) for line in lines[1:])


def test_images_are_called_as_their_files_are() -> None:
    assert image_label("2.1") == "2a"
    assert image_label("12.16") == "12p"
    assert image_label("mine") == "mine"


def test_text_is_made_fit_for_a_line() -> None:
    assert printable("a\x1b[31mb\r\x9bc\nd") == "a [31mb  c\nd"
    assert one_line("a\n  b\tc", 10) == "a b c"
    assert one_line("abcdef", 4) == "abc…"


def test_a_console_without_a_terminal_writes_no_codes(capsys: pytest.CaptureFixture[str]) -> None:
    make_console(stderr=True).print("[red]x[/red] :smile: 12", style="bold red")
    assert capsys.readouterr().err == "[red]x[/red] :smile: 12\n"


def follow_up_lines(message: str, requirements: list[Requirement]) -> list[str]:
    """What is shown of a follow-up on the run of `EVENTS`."""
    out = io.StringIO()
    view = ProgressView(Console(file=out, width=100), "t", Path)
    state: GemsState = {
        "requirements": QUESTIONS,
        "attempts": [Attempt(id="1.1", round=1, action="rewrite", prompt="two red dogs", seed=7, parent=None)],
        "warnings": WARNINGS,
    }
    view.changing(state, message)
    started = EVENTS[0]
    view.show({**started, "warnings": [*WARNINGS, "another"]})
    view.show({"event": "requirements", "requirements": requirements})
    view.close()
    return out.getvalue().splitlines()


def test_a_follow_up_is_headed_by_its_message() -> None:
    lines = follow_up_lines("make it blue", QUESTIONS)
    assert "  change    make it blue" in lines
    assert not any("request" in line for line in lines)
    assert [line for line in lines if "warning" in line] == ["  warning   another"]


def test_requirements_are_shown_again_only_when_they_changed() -> None:
    assert not any("to check" in line for line in follow_up_lines("x", QUESTIONS))
    blue: Requirement = {"id": "r4", "question": "Is it blue?", "kind": "attribute", "depends_on": []}
    lines = follow_up_lines("x", [QUESTIONS[0], QUESTIONS[2], blue])
    checked = lines.index("  to check  r1  Is there a dog?")
    assert lines[checked + 1 : checked + 4] == [
        "            r3  Are there two?",
        "            r4  Is it blue?",
        "  no more   r2  Is it red?",
    ]


def test_the_bars_come_back_after_a_pause() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, legacy_windows=False)
    view = ProgressView(console, "t", Path)
    drawing: Event = {"event": "drawing", "attempt": "1.1", "step": 1, "steps": 4}
    view.show(drawing)
    view.close()
    said = len(out.getvalue())
    view.show({**drawing, "attempt": "2.1", "step": 2})
    view.close()
    again = out.getvalue()[said:]
    assert "step 2 of 4" in again
    assert "1a" not in again


def test_an_image_is_found_by_the_name_of_its_file() -> None:
    assert [attempt_id(it) for it in ("2b", "12p", "2.2", "mine")] == ["2.2", "12.16", "2.2", "mine"]
