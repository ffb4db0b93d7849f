"""`gems follow-up`, runs that are not overwritten, settings that changed, and facts read back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gems.app import commands, facts_command
from gems.app.cli import main
from gems.app.follow_up_command import follow_up
from gems.app.runner import Call
from gems.app.session import Target
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import DrawingRefused, GemsConfigError, ModelOutage
from gems.core.ports import Models
from gems.core.settings import Settings
from gems.core.state import SCHEMA
from gems.graph import OwnServices, open_graph

SMALL = {"size": "64x64", "seed": 7}


def make(settings: Settings, *marks: str, images: ScriptedImages | None = None) -> OwnServices:
    return OwnServices(settings, chat=rehearse(list(marks)), images=images or ScriptedImages())


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one object on standard output."""
    run: dict[str, Any] = json.loads(capsys.readouterr().out)
    return run


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_a_message_changes_the_picture_and_the_folder(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    # The first picture lacks what the message asks for, the second has it.
    services = make(settings, "+++-", "++++")
    assert commands.start("two red dogs", SMALL, Target("t"), services) == 0
    capsys.readouterr()
    assert follow_up("make them blue", {}, Target("t", as_json=True), services) == 0
    printed = capsys.readouterr()
    run = json.loads(printed.out)
    assert (run["stop_reason"], run["rounds"], run["since"]) == ("satisfied", 2, 1)
    assert run["said"] == ["two red dogs", "make them blue"]
    assert [it["id"] for it in run["requirements"]] == ["r1", "r2", "r3", "r4"]
    assert Path("gems-out/t/round-2-a.png").is_file()
    trajectory = json.loads(Path("gems-out/t/trajectory.json").read_text(encoding="utf-8"))
    assert trajectory["request"]["said"] == run["said"]
    assert "make them blue" in Path("gems-out/t/report.html").read_text(encoding="utf-8")
    shown = printed.err.splitlines()
    assert "  change    make them blue" in shown
    assert "            r4  Does the picture show: make them blue?" in shown
    assert not any(line.startswith("  request") for line in shown)


def test_the_conversation_is_shown(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    services = make(settings, "++++")
    commands.start("two red dogs", SMALL, Target("t"), services)
    follow_up("make them blue", {}, Target("t"), services)
    capsys.readouterr()
    commands.show(Target("t"))
    out = capsys.readouterr().out
    assert "  you said  1. two red dogs\n            2. make them blue\n" in out


def test_the_end_of_a_run_says_how_to_change_it(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    commands.start("two red dogs", SMALL, Target("t"), make(settings, "+++"))
    assert '  change    gems follow-up t "what is to change"' in capsys.readouterr().out


def test_rounds_to_raise_are_counted_from_the_message(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    services = make(settings, "+---")
    commands.start("two red dogs", {**SMALL, "max_rounds": 3, "patience": 9}, Target("t"), services)
    capsys.readouterr()
    follow_up("make them blue", {"max_rounds": 1}, Target("t"), services)
    out = capsys.readouterr().out
    assert "The limit of rounds is reached, after 4 rounds" in out
    assert "gems resume t --max-rounds 4" in out


@pytest.mark.parametrize("message", ["", "  \n"])
def test_an_empty_message_is_refused(settings: Settings, capsys: pytest.CaptureFixture[str], message: str) -> None:
    services = make(settings, "+++")
    commands.start("two red dogs", SMALL, Target("t"), services)
    capsys.readouterr()
    assert follow_up(message, {}, Target("t", as_json=True), services) == 2
    assert "say what to change" in answer(capsys)["error"]["message"]


def test_there_is_no_such_thread(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert follow_up("make it blue", {}, Target("nope", as_json=True), make(settings, "+++")) == 2
    assert "no run on thread 'nope'" in answer(capsys)["error"]["message"]
    assert not Path("gems-out").exists()


def test_an_unfinished_run_is_to_be_finished_first(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = iter(range(1, 1000))
    away = ScriptedImages(lambda _: ModelOutage("the server is down") if next(drawn) > 1 else None)
    commands.start("two red dogs", SMALL, Target("t"), make(settings, "+--", images=away))
    capsys.readouterr()
    services = make(settings, "+++")
    assert follow_up("make it blue", {}, Target("t", as_json=True), services) == 2
    assert "continue it with `gems resume t` first" in answer(capsys)["error"]["message"]
    assert commands.resume({}, Target("t"), services) == 0
    assert follow_up("make it blue", {}, Target("t"), services) == 0


def test_without_a_picture_there_is_nothing_to_change(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    refusing = ScriptedImages(lambda _: DrawingRefused("not this"))
    services = make(settings, "+++", images=refusing)
    commands.start("two red dogs", {**SMALL, "max_rounds": 1}, Target("t"), services)
    capsys.readouterr()
    assert follow_up("make it blue", {}, Target("t", as_json=True), services) == 2
    assert "no picture yet" in answer(capsys)["error"]["message"]


def test_a_refused_message_leaves_the_run_as_it_is(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    services = make(settings, "+++")
    commands.start("two red dogs", SMALL, Target("t"), services)
    assert follow_up("make it blue", {"max_images": 1}, Target("t"), services) == 2
    assert "give a higher max_images" in capsys.readouterr().err
    commands.show(Target("t", as_json=True))
    run = answer(capsys)
    assert (run["stop_reason"], run["said"]) == ("satisfied", ["two red dogs"])
    assert follow_up("make it blue", {}, Target("t"), services) == 0


def test_a_message_outlives_a_death_before_its_first_step(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    services = make(settings, "+++-", "+---", "++++")
    commands.start("two red dogs", SMALL, Target("t"), services)
    capsys.readouterr()
    _kill_in_the_first_step(settings, services, "make them blue", max_rounds=1)
    assert follow_up("make them green", {}, Target("t", as_json=True), services) == 2
    assert "gems resume t" in answer(capsys)["error"]["message"]
    assert commands.resume({}, Target("t", as_json=True), services) == 0
    printed = capsys.readouterr()
    run = json.loads(printed.out)
    assert run["said"] == ["two red dogs", "make them blue"]
    assert (run["stop_reason"], run["rounds"]) == ("max_rounds", 2)
    assert "  change    make them blue" in printed.err.splitlines()


def _kill_in_the_first_step(settings: Settings, services: Any, message: str, **context: Any) -> None:
    """Leave the thread as a kill does: the input is kept, and no step of it."""

    async def begin() -> None:
        async with open_graph(settings, services=services) as graph:
            untyped: Any = graph
            call = Call("t", {"prompt": message}, context)
            stream = untyped.astream(
                call.given, call.config, context=context, stream_mode="checkpoints", durability="sync"
            )
            async with aclosing(stream) as checkpoints:
                async for checkpoint in checkpoints:
                    if checkpoint["next"] == ["intake"]:
                        return

    asyncio.run(begin())


# A run is never overwritten


def test_a_finished_run_is_not_overwritten(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    services = make(settings, "+++")
    commands.start("two red dogs", SMALL, Target("t"), services)
    capsys.readouterr()
    assert commands.start("a blue cat", SMALL, Target("t", as_json=True), services) == 2
    message = answer(capsys)["error"]["message"]
    assert 'gems follow-up t "..."' in message
    assert "another --thread" in message
    commands.show(Target("t", as_json=True))
    assert answer(capsys)["said"] == ["two red dogs"]


# Settings that changed


class Other(ScriptedImages):
    """A generator with another setting than the scripted one."""

    @property
    def identity(self) -> dict[str, Any]:
        return {**super().identity, "steps": 50}


def unfinished(settings: Settings) -> None:
    """A run that was interrupted in its second round."""
    drawn = iter(range(1, 1000))
    away = ScriptedImages(lambda _: ModelOutage("the server is down") if next(drawn) > 1 else None)
    assert commands.start("two red dogs", SMALL, Target("t"), make(settings, "+--", images=away)) == 1


def finished(settings: Settings) -> None:
    """A run that reached its limit."""
    assert commands.start("two red dogs", {**SMALL, "max_rounds": 1}, Target("t"), make(settings, "+--")) == 0


@pytest.mark.parametrize(("before", "options"), [(unfinished, {}), (finished, {"max_rounds": 3})])
def test_what_changed_is_told_before_a_run_goes_on(
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    before: Callable[[Settings], None],
    options: dict[str, Any],
) -> None:
    before(settings)
    capsys.readouterr()
    images = Other()
    services = make(settings, "+++", images=images)
    assert commands.resume(options, Target("t", as_json=True), services) == 2
    message = answer(capsys)["error"]["message"]
    assert "the settings of the image model changed" in message
    assert "--accept-changes" in message
    assert images.history == []
    accepted = {**options, "accept_changes": True}
    assert commands.resume(accepted, Target("t", as_json=True), services) == 0
    assert answer(capsys)["stop_reason"] == "satisfied"
    assert len(images.history) == 1


def test_a_follow_up_minds_changes_too(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    commands.start("two red dogs", SMALL, Target("t"), make(settings, "++++"))
    capsys.readouterr()
    services = make(settings, "++++", images=Other())
    assert follow_up("make it blue", {}, Target("t", as_json=True), services) == 2
    assert "the settings of the image model changed" in answer(capsys)["error"]["message"]
    assert follow_up("make it blue", {"accept_changes": True}, Target("t"), services) == 0
    # It was agreed to: from now on these are the run's settings.
    assert follow_up("and bigger", {}, Target("t"), services) == 0


def test_other_models_are_named(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished(settings)
    capsys.readouterr()

    class Renamed(OwnServices):
        def models(self, profile: str) -> Models:
            return replace(super().models(profile), mllm="openai:other")

    services = Renamed(settings, chat=rehearse(["+++"]), images=ScriptedImages())
    assert commands.resume({}, Target("t", as_json=True), services) == 2
    assert "the chat model was your own and is openai:other" in answer(capsys)["error"]["message"]
    assert commands.resume({"accept_changes": True}, Target("t"), services) == 0


def test_accepting_changes_is_no_reason_to_go_on(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    finished(settings)
    capsys.readouterr()
    assert commands.resume({"accept_changes": True}, Target("t", as_json=True), make(settings, "+++")) == 2
    assert "Raise a limit to go on" in answer(capsys)["error"]["message"]


def test_a_run_of_a_newer_version_is_refused(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    commands.start("two red dogs", SMALL, Target("t"), make(settings, "+++"))
    capsys.readouterr()

    async def age() -> None:
        async with open_graph(settings) as graph:
            await graph.aupdate_state({"configurable": {"thread_id": "t"}}, {"schema": SCHEMA + 1}, as_node="finish")

    asyncio.run(age())
    with pytest.raises(GemsConfigError, match="upgrade GEMS"):
        commands.show(Target("t"))
    assert follow_up("make it blue", {}, Target("t", as_json=True), make(settings, "+++")) == 2
    assert "upgrade GEMS" in answer(capsys)["error"]["message"]


# Facts read back


@pytest.fixture
def run(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """Two rounds on the thread `t`."""
    commands.start("two red dogs", SMALL, Target("t"), make(settings, "+--", "+++"))
    capsys.readouterr()


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize("name", ["1.1", "1a"])
def test_one_attempt_is_read_back_whole(name: str) -> None:
    result = call("show", "t", "--attempt", name, "--json")
    assert result.exit_code == 0
    attempt = json.loads(result.stdout)
    assert (attempt["id"], attempt["seed"], attempt["action"], attempt["is_best"]) == ("1.1", 7, "rewrite", False)
    assert attempt["prompt"] == "two red dogs"
    assert Path(attempt["path"]).is_file()
    assert {it: verdict["verdict"] for it, verdict in attempt["verdicts"].items()} == {
        "r1": "met",
        "r2": "unmet",
        "r3": "unmet",
    }


@pytest.mark.usefixtures("run")
def test_one_attempt_is_shown_to_a_person() -> None:
    lines = call("show", "t", "--attempt", "2a").stdout.splitlines()
    assert lines[0].startswith("2a (best)  rewrite, seed ")
    assert "  prompt    two red dogs, attempt 2" in lines
    assert "  ✓ r3 Are there exactly two dogs?  (seen)" in lines


@pytest.mark.usefixtures("run")
def test_an_attempt_that_is_not_there() -> None:
    result = call("show", "t", "--attempt", "9.9")
    assert result.exit_code == 2
    assert "has no attempt '9.9'; there are: 1.1, 2.1" in result.stderr


@pytest.mark.usefixtures("run")
def test_the_calls_are_listed_and_read_back() -> None:
    calls = json.loads(call("show", "t", "--calls", "--json").stdout)["calls"]
    assert [it["number"] for it in calls] == list(range(1, len(calls) + 1))
    judged = [it for it in calls if it["task"] == "judge"]
    assert [(it["round"], it["attempts"], it["problem"]) for it in judged] == [(1, ["1.1"], ""), (2, ["2.1"], "")]
    assert {"write_prompts", "decompose", "refine", "compress"} <= {it["task"] for it in calls}
    lines = call("show", "t", "--calls").stdout.splitlines()
    assert len(lines) == len(calls)
    assert any(line.split()[:6] == [str(judged[1]["number"]), "judge", "critic", "round", "2", "2a"] for line in lines)
    number = str(judged[0]["number"])
    whole = json.loads(call("show", "t", "--call", number, "--json").stdout)
    assert [it["id"] for it in whole["fields"]["requirements"]] == ["r1", "r2", "r3"]
    assert whole["reply"]["verdicts"][0]["evidence"] == "seen"
    shown = call("show", "t", "--call", number).stdout
    assert f"Call {number}: judge, as critic" in shown
    assert whole["instructions"].splitlines()[0] in shown
    assert '"verdict": "unmet"' in shown


@pytest.mark.usefixtures("run")
def test_a_call_that_is_not_there() -> None:
    result = call("show", "t", "--call", "999")
    assert result.exit_code == 2
    assert "has no call 999" in result.stderr


def test_facts_of_an_unknown_thread() -> None:
    for show in (
        lambda: facts_command.show_attempt(Target("x"), "1.1"),
        lambda: facts_command.list_calls(Target("x")),
        lambda: facts_command.show_call(Target("x"), 1),
    ):
        with pytest.raises(GemsConfigError, match="no run on thread 'x'"):
            show()
