"""A run replayed from its archive comes to the same, or says where it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from langchain_core.messages import BaseMessage
from langgraph.types import Command

from gems.app.cli import main
from gems.app.fork_command import Place, fork
from gems.app.replaying import Replayed, read_record, replay_record
from gems.app.session import Target
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import DrawingRefused, GemsConfigError, ModelOutage
from gems.core.messages import TaskInput, read_task
from gems.core.ports import Answer, ChatRole, DrawRequest, Lesson, R
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.graph import OwnServices, open_graph
from gems.memory.archive import open_archive
from gems.memory.packing import home_of, pack

CONFIG: Any = {"configurable": {"thread_id": "t"}}
OPTIONS = {"size": "64x64", "seed": 7, "lessons": False}


class Away:
    """A role that is away for some questions."""

    def __init__(self, inner: ChatRole, tasks: dict[str, int]) -> None:
        self.inner = inner
        self.tasks = tasks

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        task = read_task(messages).task
        if self.tasks.get(task, 0) > 0:
            self.tasks[task] -= 1
            raise ModelOutage("the line is dead")
        return await self.inner.ask(messages, reply_model)


def make(settings: Settings, *marks: str, images: ScriptedImages | None = None, **scripts: Any) -> OwnServices:
    return OwnServices(settings, chat=rehearse(list(marks), **scripts), images=images or ScriptedImages())


def invoke(settings: Settings, services: OwnServices, *given: Any, **context: Any) -> GemsState:
    """One invocation after the other, all with these options; the thread's state at their end."""
    with open_graph(settings, services=services) as graph:
        untyped: Any = graph
        for it in given:
            untyped.invoke(it, CONFIG, context={**OPTIONS, **context}, durability="sync")
        return graph.get_state(CONFIG).values  # type: ignore[return-value]


def replay(settings: Settings, thread_id: str = "t", *, only_last: bool = False) -> Replayed:
    path = settings.home.parent / f"{thread_id}.gems"
    asyncio.run(pack(home_of(settings), thread_id, path, only_last=only_last))
    with open_archive(path) as archive:
        return asyncio.run(replay_record(read_record(archive), archive))


PROMPT = {"prompt": "two red dogs"}


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"candidates": 3},
        {"mode": "paper", "max_rounds": 3},
        {"memory": "thoughts", "candidates": 2},
        {"skills": [], "patience": 1},
        {"size": "1024x768"},
    ],
)
def test_a_run_comes_to_the_same(settings: Settings, context: dict[str, Any]) -> None:
    state = invoke(settings, make(settings, "+--", "?+-", "++-", "+-?", "+++"), PROMPT, **context)
    found = replay(settings)
    assert (found.parted, found.unanswered, found.left, found.notes) == (None, [], 0, [])
    assert found.images == len(state["attempts"])
    assert found.calls == state["usage"]["mllm_calls"] > 4


def test_nothing_of_this_machine_is_asked(settings: Settings, tmp_path: Path) -> None:
    """Another machine has neither the models nor the images: the file is enough."""
    invoke(settings, make(settings, "+--", "+++"), PROMPT)
    path = tmp_path / "t.gems"
    asyncio.run(pack(home_of(settings), "t", path))
    for it in settings.home.rglob("*"):
        if it.is_file():
            it.unlink()
    result = CliRunner().invoke(main, ["replay", str(path)])
    assert result.exit_code == 0
    assert result.output.startswith("Identical: ")
    assert not [it for it in settings.home.rglob("*") if it.is_file()]


def test_edits_refusals_and_outages_are_as_they_were(settings: Settings) -> None:
    def fails(request: DrawRequest) -> Exception | None:
        return DrawingRefused("not this") if request.seed == 8 else None

    def edits(task: TaskInput) -> dict[str, Any]:
        return {"diagnosis": "nearly", "actions": [{"action": "edit", "prompt": "make it red"}]}

    chat = Away(rehearse(["+--", "++-", "++-", "+++"], refine=edits), {"judge": 1, "compress": 1})
    services = OwnServices(settings, chat=chat, images=ScriptedImages(fails))
    state = invoke(settings, services, PROMPT, candidates=2)
    attempts = state["attempts"]
    assert {it["action"] for it in attempts} == {"rewrite", "edit"}
    assert any(it.get("failure") == "refused" for it in attempts)
    assert chat.tasks == {"judge": 0, "compress": 0}
    assert any(it["source"] == "code" for it in state["experiences"])
    assert replay(settings).parted is None


def test_follow_ups_and_raised_limits_are_turns_of_their_own(settings: Settings) -> None:
    services = make(settings, "+--", "+--", "+++")
    with open_graph(settings, services=services) as graph:
        untyped: Any = graph
        untyped.invoke(PROMPT, CONFIG, context={**OPTIONS, "max_rounds": 2})
        with pytest.raises(GemsConfigError):
            untyped.invoke({"prompt": ""}, CONFIG)  # refused: nothing is left to do
        untyped.invoke({"prompt": ""}, CONFIG, context={"max_rounds": 5})
        untyped.invoke({"prompt": "make it night"}, CONFIG)
        state = graph.get_state(CONFIG).values
    assert state["request"]["said"] == ["two red dogs", "make it night"]
    assert replay(settings).parted is None


def test_a_persons_answers_are_given_again(settings: Settings) -> None:
    services = make(settings, "+--", "++-", "+++")
    answers = [
        {"add": ["Is it day?"], "feedback": "no cartoons"},
        {"overrule": [{"attempt": "1.1", "requirement": "r2", "verdict": "met"}], "action": "approve"},
        {"prompt": "two dogs, as I want them"},
        {"action": "accept"},
    ]
    state = invoke(settings, services, PROMPT, *(Command(resume=it) for it in answers), review="round")
    assert state["stop_reason"] == "accepted"
    assert state["rulings"]
    assert replay(settings).parted is None


def test_only_the_latest_of_two_runs_on_a_thread_is_replayed(settings: Settings) -> None:
    invoke(settings, make(settings, "+--", "+++"), PROMPT)
    state = invoke(settings, make(settings, "+++"), {"prompt": "a green cat", "restart": True})
    found = replay(settings)
    assert (found.parted, found.images) == (None, len(state["attempts"]))


def test_a_branch_begins_where_it_did(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    invoke(settings, make(settings, "+--", "+--", "+--"), PROMPT, max_rounds=3)
    assert fork(Place("t", 2), "a pair of dogs", {}, Target("b"), make(settings, "++-", "+++")) == 0
    capsys.readouterr()
    found = replay(settings, "b")
    assert found.parted is None
    assert found.images == 2


def test_lessons_that_were_given_are_given_again(settings: Settings) -> None:
    services = make(settings, "+--", "++-", "+++")
    lesson = Lesson("l1", "other", "scripted", (), "two dogs", "say that they are two")
    asyncio.run(services.lessons.learn("me", [lesson]))
    state = invoke(settings, services, PROMPT, lessons=True)
    assert state["lessons"]
    found = replay(settings)
    assert (found.parted, found.left) == (None, 0)


@pytest.mark.parametrize("limit", [{"max_calls": 9}, {"max_images": 3, "candidates": 2}, {"max_rounds": 1}])
def test_a_limit_ends_it_where_it_did(settings: Settings, limit: dict[str, Any]) -> None:
    state = invoke(settings, make(settings, "+--"), PROMPT, **limit)
    assert state["stop_reason"] in ("budget", "max_rounds")
    assert replay(settings).parted is None


def test_a_run_that_is_not_finished_is_compared_as_far_as_it_went(settings: Settings) -> None:
    chat = Away(rehearse(["+--", "++-", "+++"]), {})
    services = OwnServices(
        settings, chat=chat, images=ScriptedImages(lambda it: ModelOutage("down") if it.seed == 8 else None)
    )
    with pytest.raises(ModelOutage):
        invoke(settings, services, PROMPT)
    found = replay(settings)
    assert found.parted is None
    assert found.notes == ["the run is not finished: it is compared as far as it went"]
    assert found.images == 1


def test_the_latest_checkpoint_alone_is_enough_for_a_plain_run(settings: Settings) -> None:
    invoke(settings, make(settings, "+--", "+++"), PROMPT)
    assert replay(settings, only_last=True).parted is None
    invoke(settings, make(settings, "+++"), {"prompt": "make it night"})
    with pytest.raises(GemsConfigError, match="does not tell what a person said"):
        replay(settings, only_last=True)


def test_where_it_parts_is_told(settings: Settings, tmp_path: Path) -> None:
    """A record whose journal says otherwise than its state."""
    state = invoke(settings, make(settings, "+--", "++-", "+++"), PROMPT)
    home = home_of(settings)
    calls = asyncio.run(home.journal.calls(state["trajectory_id"]))
    asyncio.run(home.journal.forget(state["trajectory_id"]))
    refinement = next(it for it in calls if it["task"] == "refine")
    refinement["reply"]["actions"][0]["prompt"] = "two blue cats"
    asyncio.run(home.journal.restore(state["trajectory_id"], calls))
    found = replay(settings)
    assert found.parted is not None
    assert found.parted.startswith("in round 2: the prompt of 2.1")
    assert found.unanswered[0] == "a drawing"
    path = tmp_path / "t.gems"
    told = CliRunner().invoke(main, ["replay", str(path)])
    assert told.exit_code == 1
    assert "They part in round 2" in told.output
    answer = json.loads(CliRunner().invoke(main, ["replay", "t", "--json"]).stdout)
    assert (answer["identical"], answer["rounds"]) == (False, 3)


def test_what_cannot_be_replayed_is_refused(settings: Settings) -> None:
    result = CliRunner().invoke(main, ["replay", "nowhere"])
    assert result.exit_code == 2
    assert "no thread 'nowhere' here" in result.output
    with pytest.raises(GemsConfigError):
        invoke(settings, make(settings, "+++"), {"prompt": ""})
    with pytest.raises(GemsConfigError, match="nothing to replay yet"):
        replay(settings)
