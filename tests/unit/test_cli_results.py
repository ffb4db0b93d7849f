"""What is left of a run: the JSON object, the exit code, the folder."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from PIL import Image

from gems.app.export import OutFolder, export_run, image_files
from gems.app.outcome import EXIT_FAILED, EXIT_INPUT, EXIT_STOPPED, EXIT_WAITING, describe, outcome_of, refused
from gems.core.errors import GemsConfigError, ModelOutage
from gems.core.state import GemsState
from gems.memory import FileArtifacts, read_png_text

FIELDS = (
    "thread_id",
    "status",
    "stop_reason",
    "score",
    "limit",
    "rounds",
    "since",
    "best",
    "requirements",
    "attempts",
    "said",
    "waiting",
    "rulings",
    "remarks",
    "lessons",
    "digest",
    "usage",
    "warnings",
    "forked",
    "out",
    "error",
)


@pytest.fixture
async def state(finished_run: Callable[[int, int], Awaitable[GemsState]]) -> GemsState:
    return await finished_run(96, 64)


async def test_the_object_of_a_finished_run(state: GemsState, artifacts: FileArtifacts) -> None:
    run = outcome_of("t", state, artifacts.path).as_json()
    assert tuple(run) == FIELDS
    best = state["attempts"][-1]
    assert (run["thread_id"], run["status"], run["stop_reason"], run["score"], run["rounds"]) == (
        "t",
        "done",
        "satisfied",
        1.0,
        3,
    )
    assert run["best"] == {
        "artifact": best["artifact"],
        "path": str(artifacts.path(best["artifact"])),
        "prompt": best["prompt"],
        "seed": 481516238,
        "round": 3,
    }
    assert run["requirements"][0] == {
        "id": "r1",
        "question": "Are there exactly three apples?",
        "kind": "count",
        "verdict": "met",
        "evidence": "seen clearly",
        "by_user": False,
    }
    assert run["said"] == [state["request"]["prompt"]]
    assert [it["id"] for it in run["attempts"]] == ["1.1", "1.2", "2.1", "2.2", "3.1"]
    assert run["attempts"][1]["artifact"] is None
    assert "refused" in run["attempts"][1]["error"]
    assert run["usage"] == {
        "mllm_calls": 14,
        "input_tokens": 18234,
        "output_tokens": 1911,
        "images": 4,
        "reused": 1,
        "images_sent": 7,
        "mllm_seconds": 41.2,
        "image_seconds": 9.31,
        "cost": 0.0725,
        "seconds": 59.5,
    }
    json.dumps(run)


async def test_what_a_person_ruled_and_said_is_told(state: GemsState, artifacts: FileArtifacts) -> None:
    state["request"]["said"] = ["apples and a vase", "three apples, and a sign"]
    state["rulings"] = [{"attempt": "3.1", "requirement": "r2", "verdict": "met", "note": "left of it"}]
    state["remarks"] = [{"round": 2, "text": "warmer"}]
    state["lessons"] = [{"id": "k7", "kind": "count", "text": "say the number", "round": 2}]
    state["digest"] = {"until": 1, "text": "counts are hard"}
    state["since"] = 2
    run = outcome_of("t", state, artifacts.path).as_json()
    assert run["said"] == ["apples and a vase", "three apples, and a sign"]
    assert [it["id"] for it in run["requirements"] if it["by_user"]] == ["r2"]
    assert [it["ruled"] for it in run["attempts"]] == [[], [], [], [], ["r2"]]
    told = ("rulings", "remarks", "lessons", "digest", "since")
    assert {name: run[name] for name in told} == {name: state[name] for name in told}  # type: ignore[literal-required]


async def test_a_question_makes_a_run_wait(state: GemsState, artifacts: FileArtifacts) -> None:
    state["status"], state["stop_reason"] = "running", None
    question = {"kind": "round", "round": 3}
    run = outcome_of("t", state, artifacts.path, waiting=question)
    assert (run.status, run.stop_reason, run.waiting, run.exit_code) == ("waiting", None, question, EXIT_WAITING)


async def test_a_limit_of_an_earlier_end_is_not_told_again(state: GemsState, artifacts: FileArtifacts) -> None:
    state["result"]["limit"] = "max_images"
    state["stop_reason"] = "budget"
    assert outcome_of("t", state, artifacts.path).limit == "max_images"
    state["stop_reason"] = None
    assert outcome_of("t", state, artifacts.path).limit is None


async def test_a_stopped_run_keeps_its_best(state: GemsState, artifacts: FileArtifacts) -> None:
    state["status"], state["stop_reason"], state["best"] = "running", None, None
    run = outcome_of("t", state, artifacts.path, stopped=True)
    assert (run.status, run.stop_reason, run.exit_code) == ("stopped", "stopped", EXIT_STOPPED)
    assert run.best is not None
    assert run.best.seed == 481516238


def test_a_run_that_never_began_has_the_same_shape() -> None:
    run = refused(None, GemsConfigError("unknown profile 'x'"))
    assert tuple(run.as_json()) == FIELDS
    assert run.as_json()["error"] == {"kind": "input", "message": "unknown profile 'x'"}
    assert run.exit_code == EXIT_INPUT
    assert refused("t", KeyboardInterrupt()).exit_code == EXIT_STOPPED


def test_the_exit_code_says_who_can_mend_it() -> None:
    assert describe(GemsConfigError("x")).exit_code == EXIT_INPUT
    assert describe(ModelOutage("x")).exit_code == EXIT_FAILED
    assert describe(ZeroDivisionError()).kind == "unexpected"
    assert describe(ZeroDivisionError()).message == "ZeroDivisionError"


async def test_the_folder_holds_everything(state: GemsState, artifacts: FileArtifacts, tmp_path: Path) -> None:
    folder = OutFolder(tmp_path / "deep" / "out")
    folder.prepare()
    exported = await export_run(folder, "t-1", state, artifacts, {"images": "openai:gpt-image-1-mini"})
    names = {path.name for path in (tmp_path / "deep" / "out").iterdir()}
    images = {"round-1-a.png", "round-2-a.png", "round-2-b.png", "round-3-a.png"}
    assert names == {"best.png", "report.html", "trajectory.json", *images}
    assert exported.problems == []
    best = exported.folder / "best.png"
    assert exported.best == best
    text = read_png_text(best.read_bytes())
    expected = {"seed": "481516238", "model": "openai:gpt-image-1-mini", "thread": "t-1", "round": "3"}
    assert {name: text[name] for name in expected} == expected
    assert text["request"] == state["request"]["prompt"]
    assert text["prompt"] == state["attempts"][-1]["prompt"]
    with Image.open(best) as image:
        assert image.size == (96, 64)
        assert image.info["request"] == state["request"]["prompt"]
        image.load()


async def test_the_trajectory_is_whole(state: GemsState, artifacts: FileArtifacts, tmp_path: Path) -> None:
    folder = OutFolder(tmp_path / "out")
    folder.prepare()
    await export_run(folder, "t", state, artifacts, {"images": "sketch"})
    run = json.loads((tmp_path / "out" / "trajectory.json").read_text(encoding="utf-8"))
    told: GemsState = {
        "since": 2,
        "rulings": [{"attempt": "3.1", "requirement": "r2", "verdict": "met", "note": ""}],
        "remarks": [{"round": 2, "text": "warmer"}],
        "lessons": [{"id": "k7", "kind": "count", "text": "say the number", "round": 2}],
        "digest": {"until": 1, "text": "counts are hard"},
    }
    state |= told
    await export_run(folder, "t", state, artifacts, {"images": "sketch"})
    run = json.loads((tmp_path / "out" / "trajectory.json").read_text(encoding="utf-8"))
    assert {name: run[name] for name in told} == told
    same = (
        "trajectory_id",
        "request",
        "options",
        "plan",
        "requirements",
        "experiences",
        "versions",
        "best",
        "stop_reason",
    )
    assert {name: run[name] for name in same} == {name: state[name] for name in same}  # type: ignore[literal-required]
    assert [it["file"] for it in run["attempts"]] == [
        "round-1-a.png",
        None,
        "round-2-a.png",
        "round-2-b.png",
        "round-3-a.png",
    ]
    assert run["attempts"][2]["verdicts"] == state["attempts"][2]["verdicts"]
    assert run["models"] == {"images": "sketch"}


async def test_a_lost_image_costs_only_itself(state: GemsState, artifacts: FileArtifacts, tmp_path: Path) -> None:
    artifacts.path(state["attempts"][2]["artifact"]).unlink()
    folder = OutFolder(tmp_path / "out")
    folder.prepare()
    exported = await export_run(folder, "t", state, artifacts, {})
    assert [problem.partition(":")[0] for problem in exported.problems] == ["round-2-a.png"]
    assert (tmp_path / "out" / "best.png").exists()
    assert (tmp_path / "out" / "report.html").exists()


async def test_images_of_an_earlier_run_do_not_stay_beside_the_new_ones(
    state: GemsState, artifacts: FileArtifacts, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    folder = OutFolder(out)
    folder.prepare()
    await export_run(folder, "t", state, artifacts, {})
    (out / "round-9-z.png").write_bytes(b"the user's own")
    state["attempts"] = state["attempts"][:1]
    state["best"] = "1.1"
    await export_run(folder, "u", state, artifacts, {})
    assert sorted(path.name for path in out.glob("*.png")) == ["best.png", "round-1-a.png", "round-9-z.png"]


def test_a_folder_that_cannot_be_made_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(GemsConfigError, match=r"cannot write to .*--out"):
            OutFolder(path).prepare()


def test_a_folder_made_in_vain_is_taken_away(tmp_path: Path) -> None:
    folder = OutFolder(tmp_path / "a" / "b")
    folder.prepare()
    assert list((tmp_path / "a" / "b").iterdir()) == []
    folder.withdraw()
    assert not (tmp_path / "a").exists()


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    folder = OutFolder(tmp_path)
    folder.prepare()
    folder.withdraw()
    assert tmp_path.exists()


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    folder = OutFolder(tmp_path)
    folder.write("best.png", b"old")
    with pytest.raises(TypeError):
        folder.write("best.png", "no bytes")  # type: ignore[arg-type]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("best.png", b"old")]


def test_files_are_named_by_round_and_place(state: GemsState) -> None:
    assert image_files(state["attempts"])["2.2"] == "round-2-b.png"
