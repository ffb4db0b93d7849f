"""`gems run` and `gems resume` on scripted models: answers, exit codes, files."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gems.app import commands
from gems.app.session import Target
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import DrawingRefused, GemsConfigError, ModelOutage
from gems.core.ports import DrawRequest
from gems.core.settings import Settings
from gems.graph import OwnServices
from gems.memory import FileArtifacts

SMALL = {"size": "64x64", "seed": 7}


def make(settings: Settings, *marks: str, images: ScriptedImages | None = None) -> OwnServices:
    return OwnServices(settings, chat=rehearse(list(marks)), images=images or ScriptedImages())


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one object on standard output."""
    run: dict[str, Any] = json.loads(capsys.readouterr().out)
    return run


def outages(first: int) -> ScriptedImages:
    """A generator that does not answer from its `first` drawing on."""
    asked = iter(range(1, 1000))
    return ScriptedImages(lambda _: ModelOutage("the server is down") if next(asked) >= first else None)


def test_a_run_answers_with_one_object_and_a_folder(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    code = commands.start("two red dogs", SMALL, Target("t", as_json=True), make(settings, "+--", "+++"))
    printed = capsys.readouterr()
    run = json.loads(printed.out)
    assert code == 0
    assert (run["thread_id"], run["status"], run["stop_reason"], run["rounds"]) == ("t", "done", "satisfied", 2)
    assert Path(run["best"]["path"]) == Path("gems-out/t/best.png").absolute()
    assert Path(run["best"]["path"]).is_file()
    assert sorted(path.name for path in Path("gems-out/t").iterdir()) == [
        "best.png",
        "report.html",
        "round-1-a.png",
        "round-2-a.png",
        "trajectory.json",
    ]
    assert "seed 7" in printed.err
    assert "Every requirement is met, after 2 rounds." in printed.err


def test_without_json_all_is_said_on_standard_output(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.start("two red dogs", SMALL, Target("t"), make(settings, "+++")) == 0
    printed = capsys.readouterr()
    assert "best.png" in printed.out
    assert printed.err == ""


def test_best_effort_is_done_too(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    options = {**SMALL, "max_rounds": 1}
    assert commands.start("two red dogs", options, Target("t"), make(settings, "+--")) == 0
    out = capsys.readouterr().out
    assert "The limit of rounds is reached, after 1 round: the best image meets 33% of the requirements." in out
    assert "gems resume t --max-rounds" in out


def test_a_finished_run_goes_on_under_a_raised_limit(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    services = make(settings, "+--", "++-", "+++")
    commands.start("two red dogs", {**SMALL, "max_rounds": 1}, Target("t"), services)
    assert commands.resume({}, Target("t", as_json=True), services) == 2
    assert commands.resume({"max_rounds": 3}, Target("t"), services) == 0
    capsys.readouterr()
    assert commands.resume({}, Target("t", as_json=True), services) == 0
    run = answer(capsys)
    assert (run["stop_reason"], run["rounds"]) == ("satisfied", 3)
    assert Path("gems-out/t/round-3-a.png").is_file()


def test_results_that_a_kill_took_are_written_by_resume(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    services = make(settings, "+--")
    assert commands.start("two red dogs", {"max_rounds": 1}, Target("t"), services) == 0
    (Path("gems-out") / "t" / "trajectory.json").unlink()
    capsys.readouterr()
    assert commands.resume({}, Target("t"), services) == 0
    assert (Path("gems-out") / "t" / "trajectory.json").is_file()
    assert "its results are written now" in capsys.readouterr().out
    assert commands.resume({}, Target("t"), services) == 2


def test_a_failed_run_hands_over_what_it_has_and_can_be_resumed(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    services = make(settings, "+--", "+++", images=outages(first=2))
    assert commands.start("two red dogs", SMALL, Target("t", as_json=True), services) == 1
    run = answer(capsys)
    assert run["error"] == {"kind": "run", "message": "the server is down"}
    assert (run["status"], run["rounds"], len(run["attempts"])) == ("failed", 1, 1)
    assert Path(run["best"]["path"]).is_file()
    assert commands.resume({}, Target("t", as_json=True), make(settings, "+++")) == 0
    assert answer(capsys)["rounds"] == 2


def test_a_disk_that_fills_up_on_the_way_loses_nothing(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    class Fills(FileArtifacts):
        async def put(self, content: bytes) -> str:
            if any(self.folder.rglob("*.png")):
                raise GemsConfigError("cannot store an image: No space left on device")
            return await super().put(content)

    full = Fills(settings.home / "artifacts")
    services = OwnServices(settings, chat=rehearse(["+--"]), images=ScriptedImages(), artifacts=full)
    assert commands.start("two red dogs", SMALL, Target("t", as_json=True), services) == 2
    run = answer(capsys)
    assert "No space left" in run["error"]["message"]
    assert Path(run["best"]["path"]).is_file()
    assert commands.resume({}, Target("t", as_json=True), make(settings, "+++")) == 0
    assert answer(capsys)["rounds"] == 2


def test_a_run_without_any_image_has_failed(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    refusing = ScriptedImages(lambda _: DrawingRefused("not this"))
    services = make(settings, "+++", images=refusing)
    assert commands.start("two red dogs", {**SMALL, "max_rounds": 1}, Target("t", as_json=True), services) == 1
    run = answer(capsys)
    assert (run["status"], run["best"]) == ("failed", None)
    assert run["error"] == {"kind": "run", "message": "no image could be drawn: not this"}


def test_a_defect_ends_with_a_short_message(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    services = make(settings, "+++", images=ScriptedImages(lambda _: ZeroDivisionError("oh")))
    assert commands.start("two red dogs", SMALL, Target("t"), services) == 1
    printed = capsys.readouterr()
    assert "ZeroDivisionError: oh" in printed.err
    assert "Traceback" not in printed.err
    commands.start("two red dogs", SMALL, Target("u", debug=True), services)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prompt", "options", "complaint"),
    [
        ("", {}, "empty"),
        ("x" * 20_001, {}, "20000"),
        ("a\x00b", {}, "x00"),
        ("\udcff\udcfe", {}, "prompt"),
        ("two dogs", {"profile": "nope"}, "nope"),
        ("two dogs", {"size": "9x9"}, "9x9"),
        ("two dogs", {"size": "99999x1"}, "99999x1"),
        ("two dogs", {"max_rounds": 0}, "max_rounds 0"),
        ("two dogs", {"seed": -1}, "seed -1"),
        ("two dogs", {"skills": ["nope"]}, "nope"),
    ],
)
def test_bad_input_is_refused_before_anything_is_spent(
    settings: Settings, capsys: pytest.CaptureFixture[str], prompt: str, options: dict[str, Any], complaint: str
) -> None:
    images = ScriptedImages()
    services = make(settings, "+++", images=images)
    assert commands.start(prompt, {"size": "64x64", **options}, Target("t", as_json=True), services) == 2
    run = answer(capsys)
    assert run["error"]["kind"] == "input"
    assert complaint in run["error"]["message"]
    assert len(run["error"]["message"]) < 400
    assert (run["thread_id"], run["best"], run["usage"]["mllm_calls"]) == ("t", None, 0)
    assert images.history == []
    assert not Path("gems-out").exists()


def test_a_refused_request_does_not_spoil_its_thread(settings: Settings) -> None:
    services = make(settings, "+++")
    assert commands.start("", SMALL, Target("t"), services) == 2
    assert commands.start("two red dogs", SMALL, Target("t"), services) == 0


def test_an_unfinished_run_is_not_overwritten(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    services = make(settings, "+--", "+++", images=outages(first=2))
    commands.start("two red dogs", SMALL, Target("t"), services)
    assert commands.start("a blue cat", SMALL, Target("t"), services) == 2
    assert "gems resume t" in capsys.readouterr().err


@pytest.mark.parametrize("thread_id", ["../x", "a/b", "", "-x", "nul", "x" * 65, "a b", "é"])
def test_thread_ids_cannot_leave_their_folder(
    settings: Settings, capsys: pytest.CaptureFixture[str], thread_id: str
) -> None:
    assert commands.start("two red dogs", SMALL, Target(thread_id, as_json=True), make(settings, "+++")) == 2
    assert "letters, digits" in answer(capsys)["error"]["message"]


def test_resuming_what_is_not_there(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.resume({}, Target("nope"), make(settings, "+++")) == 2
    assert "no run on thread 'nope'" in capsys.readouterr().err
    assert not Path("gems-out").exists()


def test_a_folder_that_cannot_be_written_stops_the_run_before_it_starts(
    settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    images = ScriptedImages()
    target = Target("t", out=tmp_path / "file" / "out")
    assert commands.start("two red dogs", SMALL, target, make(settings, "+++", images=images)) == 2
    assert "--out" in capsys.readouterr().err
    assert images.history == []


def test_a_home_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("GEMS_HOME", str(tmp_path / "file" / "home"))
    assert commands.start("two red dogs", SMALL, Target("t", as_json=True)) == 2
    assert "home" in answer(capsys)["error"]["message"]


def test_a_damaged_checkpoint_file(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    settings.home.mkdir()
    (settings.home / "checkpoints.sqlite").write_bytes(b"this is no database" * 100)
    assert commands.start("two red dogs", SMALL, Target("t", as_json=True), make(settings, "+++")) == 2
    assert "checkpoints.sqlite" in answer(capsys)["error"]["message"]


def test_options_survive_a_death_before_the_first_step(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    class Dies(OwnServices):
        def defaults(self, profile: str | None) -> Any:
            raise ZeroDivisionError

    dying = Dies(settings, chat=rehearse(["+++"]), images=ScriptedImages())
    assert commands.start("two red dogs", {"size": "64x64", "seed": 99}, Target("t"), dying) == 1
    capsys.readouterr()
    assert commands.resume({}, Target("t", as_json=True), make(settings, "+++")) == 0
    assert answer(capsys)["best"]["seed"] == 99


def test_runs_show_and_report(settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    commands.start("two red dogs", SMALL, Target("t"), make(settings, "+--", "+++"))
    capsys.readouterr()
    commands.list_runs(5, as_json=True)
    assert [(it["thread_id"], it["stop_reason"]) for it in answer(capsys)["runs"]] == [("t", "satisfied")]
    commands.list_runs(5, as_json=False)
    assert "two red dogs" in capsys.readouterr().out
    assert commands.show(Target("t", as_json=True)) == 0
    assert answer(capsys)["rounds"] == 2
    assert commands.show(Target("t")) == 0
    shown = capsys.readouterr().out
    assert "✓ r3 Are there exactly two dogs?" in shown
    assert "in round 1: round 1 failed" in shown
    assert commands.report(Target("t", out=tmp_path / "page.html")) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    assert "two red dogs" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_show_of_an_unknown_run() -> None:
    with pytest.raises(GemsConfigError, match="no run on thread 'x'"):
        commands.show(Target("x"))


def test_no_runs_yet(capsys: pytest.CaptureFixture[str]) -> None:
    commands.list_runs(5, as_json=False)
    assert "gems run" in capsys.readouterr().out
    commands.list_runs(5, as_json=True)
    assert answer(capsys) == {"runs": []}


class _Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_a_prompt_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin("\ufeffzwei Hündchen\n".encode()))
    assert commands.read_prompt("-") == "zwei Hündchen\n"
    assert commands.read_prompt("two dogs") == "two dogs"


@pytest.mark.parametrize(("content", "complaint"), [(b"\x89PNG\xff", "not UTF-8"), (b"x" * 100_000, "too long")])
def test_standard_input_that_is_no_prompt(monkeypatch: pytest.MonkeyPatch, content: bytes, complaint: str) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(content))
    with pytest.raises(GemsConfigError, match=complaint):
        commands.read_prompt("-")


def test_what_packages_print_does_not_break_the_object(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    def chatter(_: DrawRequest) -> None:
        sys.stdout.write("loading weights ...\n")

    services = make(settings, "+++", images=ScriptedImages(chatter))
    assert commands.start("two red dogs", SMALL, Target("t", as_json=True), services) == 0
    printed = capsys.readouterr()
    json.loads(printed.out)
    assert "loading weights" in printed.err
