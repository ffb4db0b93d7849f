"""Where two trajectories part: as data, in words, as an exit code."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable
from copy import deepcopy
from typing import Any

import pytest
from rich.console import Console

from gems.app import commands
from gems.app.diff_command import diff, show_diff
from gems.app.fork_command import Place, fork
from gems.app.session import Target
from gems.app.trajectory_diff import Change, TrajectoryDiff, VerdictChange, compare_trajectories
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.graph import OwnServices

Compare = Callable[[GemsState], TrajectoryDiff]


@pytest.fixture
async def state(finished_run: Callable[[int, int], Awaitable[GemsState]]) -> GemsState:
    """Three rounds, of which the first has a refused drawing."""
    return await finished_run(8, 8)


@pytest.fixture
def against(state: GemsState) -> Compare:
    """Compares the finished run with another one."""
    return lambda other: compare_trajectories("a", state, "b", other)


@pytest.fixture
def other(state: GemsState) -> GemsState:
    return deepcopy(state)


def shown(found: TrajectoryDiff) -> str:
    console = Console(file=io.StringIO(), width=200, markup=False, highlight=False)
    show_diff(found, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_same(against: Compare, other: GemsState) -> None:
    other["trajectory_id"] = "another"
    other["spans"], other["usage"] = [[0.0, 1.0]], {"mllm_calls": 1}
    found = against(other)
    assert (found.same, found.parted) == (True, None)
    assert all(it.is_same for it in found.rounds)
    assert shown(found).startswith("The two runs are the same.")


def test_the_prompt_is_told_word_by_word(against: Compare, other: GemsState) -> None:
    drawing = other["attempts"][2]
    assert drawing["id"] == "2.1"
    words = drawing["prompt"].split()
    drawing["prompt"] = " ".join(["Certainly", *words[1:]])
    drawing["artifact"] = "f" * 64
    found = against(other)
    assert found.parted == "in round 2: the prompt of 2.1"
    assert [it.is_same for it in found.rounds] == [True, False, True]
    attempt = found.rounds[1].attempts[0]
    assert [piece.text.strip() for piece in attempt.prompt if piece.kind == "added"] == ["Certainly"]
    assert [piece.text.strip() for piece in attempt.prompt if piece.kind == "removed"] == [words[0]]
    assert [change.name for change in attempt.changes] == ["artifact"]
    told = shown(found)
    assert f"[-{words[0]}-]{{+Certainly+}}" in told
    assert "another picture" in told
    assert "Round 1  the same" in told


@pytest.mark.parametrize(
    ("name", "value", "parted", "line"),
    [
        ("seed", 5, "the seed of 2.1", "seed {} → 5"),
        ("action", "edit", "the action of 2.1", "action {} → edit"),
        ("parent", "1.2", "the source of 2.1", "parent {} → 1.2"),
        ("artifact", "0" * 64, "the picture of 2.1", "another picture"),
        ("failure", "outage", "the failure of 2.1", "failure none → outage"),
        ("score", 0.1, "the score of 2.1", "→ 10% met"),
    ],
)
def test_what_else_makes_a_drawing(
    against: Compare, other: GemsState, name: str, value: Any, parted: str, line: str
) -> None:
    before = other["attempts"][2].get(name)
    other["attempts"][2][name] = value  # type: ignore[literal-required]
    found = against(other)
    assert found.parted == f"in round 2: {parted}"
    assert found.rounds[1].attempts[0].changes == [Change(name, before, value)]
    assert line.format(before) in shown(found)


def test_verdicts_are_compared_by_question(against: Compare, state: GemsState, other: GemsState) -> None:
    first = other["requirements"][0]
    verdicts = other["attempts"][-1]["verdicts"]
    verdicts["q"] = {**verdicts.pop(first["id"]), "verdict": "unmet"}
    first["id"] = "q"
    found = against(other)
    assert found.removed == found.added == []
    changes = [it for number in found.rounds for attempt in number.attempts for it in attempt.verdicts]
    assert VerdictChange(first["question"], "met", "unmet") in changes
    assert f"{first['question']} met → unmet" in shown(found)


def test_the_first_thing_in_time_is_where_they_part(against: Compare, other: GemsState) -> None:
    other["options"]["seed"] = 1
    found = against(other)
    assert found.parted == "in their options alone"
    assert [change.name for change in found.options] == ["seed"]
    other["stop_reason"] = "budget"
    assert against(other).parted == "at their ends"
    other["attempts"][-1]["seed"] = 1
    assert against(other).parted == "in round 3: the seed of 3.1"
    other["experiences"][0]["text"] = "Something else."
    assert against(other).parted == "in round 1: its experience"
    other["requirements"][0]["question"] = "Is it raining?"
    assert against(other).parted == "at the requirements"
    other["plan"]["prompts"][0] = "Rain."
    assert against(other).parted == "at the plan"
    other["request"]["prompt"] = "rain"
    found = against(other)
    assert found.parted == "at the request"
    told = shown(found)
    assert "+ Is it raining?" in told
    assert "prompt 1" in told
    assert "Something else." in told


def test_what_a_follow_up_changed_comes_after_the_rounds(against: Compare, state: GemsState, other: GemsState) -> None:
    first_words = state["request"]["prompt"]
    other["request"] = {"prompt": f"{first_words}, at night", "said": [first_words, "at night"]}
    other["requirements"].append({"id": "r9", "question": "Is it night?", "kind": "style", "depends_on": []})
    found = against(other)
    assert (found.parted, found.added) == ("at a follow-up", ["Is it night?"])
    other["attempts"][2]["seed"] = 1
    assert against(other).parted == "in round 2: the seed of 2.1"


def test_rounds_and_drawings_of_one_alone(against: Compare, state: GemsState, other: GemsState) -> None:
    last = other["attempts"].pop()
    other["proposals"] = []
    found = against(other)
    assert found.parted == "before round 3: only a has it"
    assert found.rounds[-1].only == "first"
    assert "Round 3  only a has it" in shown(found)
    assert compare_trajectories("b", other, "a", state).rounds[-1].only == "second"
    other["attempts"] += [last, {**last, "id": "3.2", "seed": 9}]
    found = against(other)
    assert found.parted == "in round 3: only b has 3.2"
    assert "3b        only b has it" in shown(found)


def test_a_drawing_that_waits_is_compared_too(against: Compare, state: GemsState, other: GemsState) -> None:
    last = other["attempts"].pop()
    names = ("id", "round", "action", "prompt", "seed", "parent")
    other["proposals"] = [{name: last[name] for name in names}]  # type: ignore[list-item,literal-required]
    found = against(other)
    assert found.parted == "in round 3: the picture of 3.1"
    told = shown(found)
    assert "drawn → not drawn" in told
    assert "→ not asked" in told


def test_runs_and_their_branches(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    def services(*marks: str) -> OwnServices:
        return OwnServices(settings, chat=rehearse(list(marks)), images=ScriptedImages())

    options = {"size": "64x64", "seed": 7, "max_rounds": 3, "lessons": False}
    assert commands.start("two red dogs", options, Target("t"), services("+--", "++-", "+--")) == 0
    assert commands.start("one blue cat", options, Target("n"), services("+++")) == 0
    assert fork(Place("t", 2), "a pair of red dogs", {}, Target("b"), services("+++")) == 0
    capsys.readouterr()
    assert diff("t", "t", as_json=False) == 0
    assert "the same" in capsys.readouterr().out
    assert diff("t", "b", as_json=False) == 1
    told = capsys.readouterr().out
    assert told.startswith("They part in round 2: the prompt of 2.1.\n")
    assert "Are there exactly two dogs? unmet → met" in told
    assert "Round 3  only t has it" in told
    assert "branch of t from round 2" in told
    assert diff("t", "b", as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["same"], found["parted"]) == (False, "in round 2: the prompt of 2.1")
    assert [it["same"] for it in found["rounds"]] == [True, False, False]
    assert found["ends"][1]["forked"]["round"] == 2
    assert [end["stop_reason"] for end in found["ends"]] == ["max_rounds", "satisfied"]
    assert diff("t", "n", as_json=False) == 1
    assert capsys.readouterr().out.startswith("They part at the request.\n")
    with pytest.raises(GemsConfigError, match="no run on thread 'x'"):
        diff("t", "x", as_json=False)
