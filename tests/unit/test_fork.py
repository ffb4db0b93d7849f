"""Branches: where they begin, what differs in them, what they find again, and that the parent stays as it is."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gems.app import commands
from gems.app.cli import main
from gems.app.fork_command import Place, fork, list_checkpoints
from gems.app.session import Target
from gems.app.threads import branch_thread_id, check_thread_id
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError, ModelOutage, OutOfVocabulary
from gems.core.ports import Capabilities, DrawRequest, Models
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.graph import OwnServices, open_graph
from gems.graph.branching import Changes, begin_branch
from gems.graph.forking import Checkpoint, read_checkpoints, write_branch
from gems.memory import SqliteFile, SqlLedger
from gems.memory.locks import FileLocks

START = {"size": "64x64", "seed": 7, "max_rounds": 3, "lessons": False}
MISSES = ("+--", "++-", "+--")


def make(settings: Settings, *marks: str, images: ScriptedImages | None = None, **scripts: Any) -> OwnServices:
    return OwnServices(settings, chat=rehearse(list(marks), **scripts), images=images or ScriptedImages())


@pytest.fixture
def parent(settings: Settings, capsys: pytest.CaptureFixture[str]) -> GemsState:
    """A run of three rounds that never got it right, on thread `t`."""
    return begin(settings, capsys)


def begin(settings: Settings, capsys: pytest.CaptureFixture[str], **options: Any) -> GemsState:
    assert commands.start("two red dogs", {**START, **options}, Target("t"), make(settings, *MISSES)) == 0
    capsys.readouterr()
    return state_of(settings, "t")


def state_of(settings: Settings, thread_id: str) -> GemsState:
    with open_graph(settings) as graph:
        return graph.get_state({"configurable": {"thread_id": thread_id}}).values  # type: ignore[return-value]


def stored(settings: Settings, thread_id: str) -> list[tuple[Any, ...]]:
    """Every row of a thread, as it lies on the disk."""
    with sqlite3.connect(settings.home / "checkpoints.sqlite") as connection:
        found = [
            row
            for table in ("checkpoints", "writes")
            for row in connection.execute(
                f"SELECT * FROM {table} WHERE thread_id = ? ORDER BY 1, 2, 3, 4", (thread_id,)
            )
        ]
    connection.close()
    return found


def branch(
    settings: Settings,
    services: OwnServices | None,
    place: Place,
    thread_id: str = "b",
    prompt: str | None = None,
    **options: Any,
) -> GemsState:
    """Fork, run to the end, and answer the branch's state."""
    assert fork(place, prompt, options, Target(thread_id), services or make(settings, "+++")) == 0
    return state_of(settings, thread_id)


def refused(
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    place: Place,
    services: OwnServices | None = None,
    prompt: str | None = None,
    thread_id: str = "b",
    **options: Any,
) -> str:
    """The message of a fork that is refused before anything is drawn or written."""
    images = ScriptedImages()
    before = stored(settings, thread_id)
    target = Target(thread_id, as_json=True)
    assert fork(place, prompt, options, target, services or make(settings, "+++", images=images)) == 2
    assert images.history == []
    assert stored(settings, thread_id) == before
    message: str = json.loads(capsys.readouterr().out)["error"]["message"]
    return message


def points(settings: Settings, services: OwnServices, thread_id: str = "t") -> list[Checkpoint]:
    import asyncio

    async def read() -> list[Checkpoint]:
        async with open_graph(settings, services=services) as graph:
            return await read_checkpoints(graph, thread_id)

    return asyncio.run(read())


def facts(state: GemsState, *names: str) -> list[list[Any]]:
    return [[attempt.get(name) for name in names] for attempt in state["attempts"]]


# What differs


def test_another_prompt(settings: Settings, parent: GemsState) -> None:
    images = ScriptedImages()
    state = branch(settings, make(settings, "+++", images=images), Place("t", 2), prompt="  a pair of red dogs ")
    assert state["attempts"][0] == parent["attempts"][0]
    assert facts(state, "id", "action", "prompt", "seed") == [
        ["1.1", "rewrite", "two red dogs", 7],
        ["2.1", "rewrite", "a pair of red dogs", 8],
    ]
    assert [request.prompt for request in images.history] == ["a pair of red dogs"]
    assert (state["best"], state["stop_reason"], state["status"]) == ("2.1", "satisfied", "done")
    assert state["trajectory_id"] != parent["trajectory_id"]
    assert (state["forked"]["thread"], state["forked"]["round"]) == ("t", 2)


def test_the_parent_stays_byte_for_byte(settings: Settings, parent: GemsState) -> None:
    before = stored(settings, "t")
    assert len(before) > 20
    branch(settings, None, Place("t", 1), seed=50)
    assert stored(settings, "t") == before
    assert state_of(settings, "t") == parent


def test_other_seeds_from_that_round_on(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    begin(settings, capsys, candidates=2)
    state = branch(settings, make(settings, "+--"), Place("t", 2), seed=100)
    assert facts(state, "id", "seed") == [
        ["1.1", 7],
        ["1.2", 8],
        ["2.1", 102],
        ["2.2", 103],
        ["3.1", 104],
        ["3.2", 105],
    ]
    assert state["options"]["seed"] == 100


def test_another_prompt_goes_to_all_candidates_of_the_round(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(settings, capsys, candidates=2)
    state = branch(settings, None, Place("t", 2), prompt="a pair of red dogs")
    assert facts(state, "prompt", "seed")[2:] == [["a pair of red dogs", 9], ["a pair of red dogs", 10]]


def test_a_limit_alone_finds_all_drawings_again(settings: Settings, parent: GemsState) -> None:
    images = ScriptedImages()
    state = branch(settings, make(settings, *MISSES, images=images), Place("t", 2), max_rounds=4)
    assert facts(state, "id", "reused") == [["1.1", False], ["2.1", True], ["3.1", True], ["4.1", False]]
    assert facts(state, "artifact")[:3] == facts(parent, "artifact")
    assert [request.prompt for request in images.history] == ["two red dogs, attempt 4"]
    assert (state["usage"]["images"], state["usage"]["reused"]) == (2, 2)


def test_what_was_distilled_of_the_round_before_is_not_paid_for_again(settings: Settings, parent: GemsState) -> None:
    services = make(settings, "+++")
    state = branch(settings, services, Place("t", 3), prompt="a pair of red dogs")
    assert state["experiences"] == parent["experiences"]
    asked = [item.task for item in services._chat.history]  # type: ignore[union-attr]
    assert asked == ["judge"]
    shared = points(settings, services)
    began = next(it for it in shared if it.id == state["forked"]["checkpoint"])
    assert state["usage"]["mllm_calls"] == began.state["usage"]["mllm_calls"] + 1


def test_where_chat_and_drawing_take_turns(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    turns = settings.profiles["sketch"].model_copy(update={"overlap": False})
    settings = settings.model_copy(update={"profiles": {**settings.profiles, "sketch": turns}})
    begin(settings, capsys)
    services = make(settings, "+++")
    state = branch(settings, services, Place("t", 2), seed=40)
    assert [item.task for item in services._chat.history] == ["judge"]  # type: ignore[union-attr]
    assert [it["round"] for it in state["experiences"]] == [1]


class _OtherImages(ScriptedImages):
    """Another model, which draws only what it has a word for."""

    name = "other"

    def check(self, prompt: str, width: int, height: int) -> list[str]:
        if "dogs" in prompt:
            raise OutOfVocabulary("no word for 'dogs'")
        return ["it draws cats best"]


class _TwoBackends(OwnServices):
    """The profile `other` draws with a model of its own."""

    other: ScriptedImages

    def models(self, profile: str) -> Models:
        from dataclasses import replace

        models = super().models(profile)
        return replace(models, images=self.other) if profile == "other" else models


def two_backends(settings: Settings, other: ScriptedImages) -> _TwoBackends:
    profile = settings.profiles["sketch"].model_copy(update={"max_images": 5, "max_rounds": 9})
    with_other = settings.model_copy(update={"profiles": {**settings.profiles, "other": profile}})
    services = _TwoBackends(with_other, chat=rehearse(["+++"]), images=ScriptedImages())
    services.other = other
    return services


def test_another_backend_brings_its_limits_where_there_were_none(
    settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str]
) -> None:
    other = _OtherImages()
    services = two_backends(settings, other)
    state = branch(settings, services, Place("t", 2), prompt="two red cats", profile="other")
    options = state["options"]
    assert (options["profile"], options["models"]["images"]) == ("other", "other")
    assert (options["max_images"], options["max_rounds"]) == (5, 3)
    assert [request.prompt for request in other.history] == ["two red cats"]
    assert state["made_with"] != parent["made_with"]
    assert "it draws cats best" in state["warnings"]
    told = " ".join(capsys.readouterr().out.split())
    assert "Branch b of t, before round 2: profile sketch → other; max_images none → 5; prompt of 2.1" in told
    assert commands.resume({"max_rounds": 5}, Target("b"), services) == 0


def test_another_backend_is_checked_before_anything_is_spent(
    settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str]
) -> None:
    services = two_backends(settings, _OtherImages())
    assert "no word for 'dogs'" in refused(settings, capsys, Place("t", 2), services, profile="other")
    assert "unknown profile 'nope'" in refused(settings, capsys, Place("t", 2), profile="nope")


def test_an_edit_needs_a_backend_that_edits(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    def refine(_: Any) -> dict[str, Any]:
        return {"diagnosis": "", "actions": [{"action": "edit", "prompt": "one more dog"}]}

    services = make(settings, *MISSES, refine=refine)
    assert commands.start("two red dogs", START, Target("t"), services) == 0
    capsys.readouterr()
    plain = two_backends(settings, ScriptedImages(capabilities=Capabilities()))
    plain.other.name = "plain"
    message = refused(settings, capsys, Place("t", 2), plain, profile="other")
    assert "2.1 is an edit, and plain cannot edit" in message
    state = branch(settings, plain, Place("t", 2), prompt="two red dogs, please", profile="other")
    assert facts(state, "action", "parent")[-1] == ["rewrite", None]
    edited = branch(settings, make(settings, "+++", refine=refine), Place("t", 2), "c", seed=99)
    assert facts(edited, "action", "parent", "seed")[-1] == ["edit", "1.1", 100]


def test_settings_that_changed_since_are_told(
    settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = make(settings, "+++", images=_OtherImages())
    message = refused(settings, capsys, Place("t", 2), changed, prompt="two cats")
    assert "since this run began, the image model was scripted and is other" in message
    assert "--profile sketch" in message
    state = branch(settings, changed, Place("t", 2), prompt="two cats", profile="sketch")
    assert state["options"]["models"]["images"] == "other"


# Where a branch begins


@pytest.mark.parametrize("overlap", [True, False])
def test_a_branch_goes_on_from_any_checkpoint_with_what_is_next_there(
    settings: Settings, capsys: pytest.CaptureFixture[str], overlap: bool
) -> None:
    turns = settings.profiles["sketch"].model_copy(update={"overlap": overlap})
    settings = settings.model_copy(update={"profiles": {**settings.profiles, "sketch": turns}})
    begin(settings, capsys, max_rounds=2)
    services = make(settings, "++-")
    found = points(settings, services)
    possible = [it for it in found if not it.obstacle]
    visited = Counter(node for it in possible for node in it.next)
    assert set(visited) >= {"planner", "decomposer", "brief", "generator", "critic", "review", "refiner", "compressor"}
    for number, place in enumerate(possible):
        thread_id = f"b{number}"
        state = branch(settings, services, Place("t", checkpoint=place.id), thread_id, max_rounds=3)
        first = next(it for it in reversed(points(settings, services, thread_id)))
        kept = [node for node in place.next if not (overlap and node == "compressor")]
        assert list(first.next) == kept, place.next
        assert (first.round, first.state["attempts"]) == (place.round, place.state["attempts"])
        assert (state["round"], state["stop_reason"]) == (3, "max_rounds"), place.next
        assert [it["round"] for it in state["experiences"]] == [1, 2]
        assert state["forked"] == {"thread": "t", "checkpoint": place.id, "round": place.round}


async def test_all_drawings_of_a_round_are_sent_out_anew(settings: Settings) -> None:
    services = make(settings, "+--")
    async with open_graph(settings, services=services) as graph:
        options: Any = {**START, "candidates": 3}
        chat: Any = {"messages": [{"role": "user", "content": "two red dogs"}]}
        await graph.ainvoke(chat, {"configurable": {"thread_id": "t"}}, context=options)
        place = next(it for it in await read_checkpoints(graph, "t") if it.is_before_a_round)
        from gems.core.context import GemsContext

        made = begin_branch(services, "t", place, Changes(options=GemsContext(seed=50)))
        await write_branch(graph, "b", place, made.state)
        began = await graph.aget_state({"configurable": {"thread_id": "b"}})
    assert [task.name for task in began.tasks].count("generator") == 3
    assert [message.content for message in began.values["messages"]] == ["two red dogs"]


def test_a_checkpoint_where_nothing_is_drawn_takes_no_prompt(
    settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str]
) -> None:
    services = make(settings, "++-")
    judged = next(it for it in points(settings, services) if it.next == ("critic",))
    message = refused(settings, capsys, Place("t", checkpoint=judged.id), prompt="a pair of dogs")
    assert "no drawing is about to be made that another prompt could change" in message
    state = branch(settings, services, Place("t", checkpoint=judged.id), seed=30, max_rounds=4)
    assert facts(state, "id", "seed")[-1] == ["4.1", 33]


def test_a_branch_of_a_branch_and_two_of_one_round(settings: Settings, parent: GemsState) -> None:
    first = branch(settings, make(settings, "+--"), Place("t", 2), "b", seed=20)
    again = branch(settings, None, Place("t", 2), "c", seed=30)
    assert (facts(first, "seed")[1], facts(again, "seed")[1]) == ([21], [31])
    # At its own first round a branch has no earlier step to be read from; at a later one it has.
    same = branch(settings, None, Place("b", 2), "d", seed=40)
    later = branch(settings, None, Place("b", 3), "e", prompt="a pair of red dogs")
    assert (same["forked"]["thread"], facts(same, "seed")[1]) == ("b", [41])
    assert facts(later, "id", "seed", "reused")[:2] == [["1.1", 7, False], ["2.1", 21, False]]
    images = ScriptedImages()
    found = branch(settings, make(settings, "+--", images=images), Place("e", 3), "f", max_rounds=9, prompt=None)
    assert images.history
    assert found["attempts"][2]["reused"] is True


def test_a_run_that_stopped_in_the_middle_can_be_forked(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    asked = iter(range(100))
    fails = ScriptedImages(lambda _: ModelOutage("down") if next(asked) else None)
    assert commands.start("two red dogs", START, Target("t"), make(settings, *MISSES, images=fails)) == 1
    capsys.readouterr()
    state = branch(settings, None, Place("t", 2), seed=20)
    assert facts(state, "id", "seed") == [["1.1", 7], ["2.1", 21]]
    assert commands.resume({}, Target("t"), make(settings, "+++")) == 0
    assert facts(state_of(settings, "t"), "id", "seed") == [["1.1", 7], ["2.1", 8]]


def test_a_branch_that_stopped_is_resumed_as_what_it_is(
    settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str]
) -> None:
    down = make(settings, "+++", images=ScriptedImages(lambda _: ModelOutage("down")))
    assert fork(Place("t", 2), "a pair of red dogs", {"seed": 20}, Target("b"), down) == 1
    capsys.readouterr()
    assert "b " in _listed(capsys)
    assert commands.resume({}, Target("b"), make(settings, "+++")) == 0
    state = state_of(settings, "b")
    assert facts(state, "id", "prompt", "seed")[-1] == ["2.1", "a pair of red dogs", 21]
    assert state["forked"]["thread"] == "t"


def _listed(capsys: pytest.CaptureFixture[str]) -> str:
    commands.list_runs(5, as_json=False)
    return capsys.readouterr().out


def test_rounds_are_those_of_the_latest_prompt_of_a_thread(
    settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str]
) -> None:
    services = make(settings, "+++")
    with open_graph(settings, services=services) as graph:
        given: Any = {"prompt": "one blue cat", "restart": True}
        graph.invoke(given, {"configurable": {"thread_id": "t"}}, context=START)  # type: ignore[call-overload]
    assert "has no round 2: there is round 1" in refused(settings, capsys, Place("t", 2), seed=1)
    assert branch(settings, None, Place("t", 1), seed=1)["request"]["prompt"] == "one blue cat"
    earlier = next(it for it in points(settings, services) if it.round == 3 and it.is_before_a_round)
    state = branch(settings, None, Place("t", checkpoint=earlier.id), "c", seed=1)
    assert (state["request"]["prompt"], state["round"]) == ("two red dogs", 3)


def test_a_branch_from_after_a_follow_up(
    settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str]
) -> None:
    def amend(task: Any) -> dict[str, Any]:
        added = {"id": "n1", "question": "Are the dogs blue?", "kind": "attribute", "depends_on": []}
        return {"request": "two blue dogs", "drop": [], "add": [added]}

    services = make(settings, "+--", "++-", "+--", "+--", amend=amend)
    with open_graph(settings, services=services) as graph:
        given: Any = {"prompt": "make them blue"}
        graph.invoke(given, {"configurable": {"thread_id": "t"}}, context={"max_rounds": 2})  # type: ignore[call-overload]
    followed = state_of(settings, "t")
    assert (followed["round"], followed["since"]) == (5, 3)
    state = branch(settings, services, Place("t", 5), seed=60)
    assert (state["round"], state["request"]["prompt"], state["since"]) == (5, "two blue dogs", 3)
    assert facts(state, "seed")[-1] == [64]
    said = next(it for it in points(settings, services) if it.next == ("amender",))
    again = branch(settings, services, Place("t", checkpoint=said.id), "c", seed=70)
    assert (again["round"], again["request"]["prompt"]) == (5, "two blue dogs")
    assert facts(again, "seed")[-2:] == [[73], [74]]


# Bad input


def test_what_would_not_differ_is_refused(
    settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "nothing would differ"
    assert told in refused(settings, capsys, Place("t", 2))
    assert told in refused(settings, capsys, Place("t", 2), seed=7, profile="sketch", max_rounds=3)
    assert told in refused(settings, capsys, Place("t", 2), prompt="two red dogs, attempt 2")


def test_places_that_are_none(settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no run on thread 'x'" in refused(settings, capsys, Place("x", 2), seed=1)
    assert "no round 4: there are rounds 1 to 3" in refused(settings, capsys, Place("t", 4), seed=1)
    assert "no checkpoint 'abc'" in refused(settings, capsys, Place("t", checkpoint="abc"), seed=1)
    found = points(settings, make(settings))
    ended, last = found[0], found[1]
    assert "the run ends there" in refused(settings, capsys, Place("t", checkpoint=ended.id), seed=1)
    assert "the run ends there" in refused(settings, capsys, Place("t", checkpoint=last.id), seed=1)
    assert "say where the branch begins" in refused(settings, capsys, Place("t"), seed=1)


@pytest.mark.parametrize(
    ("prompt", "options", "complaint"),
    [
        (" ", {}, "the prompt is empty"),
        ("a\x00b", {}, "x00"),
        ("x" * 20_001, {}, "20000"),
        (None, {"seed": -1}, "seed -1"),
        (None, {"max_rounds": 0}, "max_rounds 0"),
        (None, {"max_rounds": 1}, "below round 2, where the branch begins"),
        (None, {"max_images": 1}, "max_images is reached by the rounds that both share"),
        (None, {"max_calls": 3}, "max_calls"),
    ],
)
def test_changes_that_cannot_work(
    settings: Settings,
    parent: GemsState,
    capsys: pytest.CaptureFixture[str],
    prompt: str | None,
    options: dict[str, Any],
    complaint: str,
) -> None:
    assert complaint in refused(settings, capsys, Place("t", 2), prompt=prompt, **options)


def test_limits_count_the_shared_rounds(settings: Settings, parent: GemsState) -> None:
    images = ScriptedImages()
    state = branch(settings, make(settings, "+--", images=images), Place("t", 2), seed=20, max_images=2)
    assert (state["stop_reason"], len(images.history), state["usage"]["images"]) == ("budget", 1, 2)


def test_names_in_use(settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str]) -> None:
    branch(settings, None, Place("t", 2), "b", seed=20)
    capsys.readouterr()
    assert "thread 'b' is in use already" in refused(settings, capsys, Place("t", 2), seed=21)
    assert "cannot be a branch of itself" in refused(settings, capsys, Place("t", 2), seed=21, thread_id="t")
    assert "letters, digits" in refused(settings, capsys, Place("t", 2), seed=21, thread_id="../x")


@pytest.mark.parametrize("held", ["t", "b"])
def test_threads_that_others_run(
    settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str], held: str
) -> None:
    with FileLocks(settings.home / "locks").hold(held):
        assert f"thread '{held}' is being run by another" in refused(settings, capsys, Place("t", 2), seed=1)
    branch(settings, None, Place("t", 2), seed=1)


def test_threads_whose_checkpoints_are_gone(
    settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str]
) -> None:
    third = next(it for it in points(settings, make(settings)) if it.round == 3 and it.is_before_a_round)
    prune(settings, f"checkpoint_id < '{third.parent}'")
    message = refused(settings, capsys, Place("t", 2), seed=1)
    assert "checkpoints before round 2 of thread 't' were pruned" in message
    assert "there is round 3 left to fork" in message
    oldest = points(settings, make(settings))[-1]
    assert "was pruned" in refused(settings, capsys, Place("t", checkpoint=oldest.id), seed=1)
    branch(settings, None, Place("t", 3), seed=1)
    prune(settings, "checkpoint_id < (SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = 't')")
    capsys.readouterr()
    message = refused(settings, capsys, Place("t", 3), seed=1, thread_id="c")
    assert "only the end of the run is left: start a new one" in message


def prune(settings: Settings, which: str) -> None:
    with sqlite3.connect(settings.home / "checkpoints.sqlite") as connection:
        for table in ("writes", "checkpoints"):
            connection.execute(f"DELETE FROM {table} WHERE thread_id = 't' AND {which}")
    connection.close()


# The ledger, the list, the command line


async def test_a_trajectory_finds_what_another_has_received(tmp_path: Path) -> None:
    ledger = SqlLedger(SqliteFile(tmp_path / "ledger.sqlite"))
    await ledger.record("parent", "k1", "a1")
    await ledger.record("child", "k2", "own")
    await ledger.record("parent", "k2", "a2")
    await ledger.adopt("parent", "child")
    await ledger.adopt("parent", "child")
    assert [await ledger.find("child", key) for key in ("k1", "k2", "k3")] == ["a1", "own", None]
    assert await ledger.find("parent", "k2") == "a2"
    assert await ledger.find("stranger", "k1") is None


def test_the_list_of_checkpoints(settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str]) -> None:
    assert list_checkpoints("t", as_json=True) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["thread_id"] == "t"
    rounds = [it["round"] for it in listed["checkpoints"] if "generator" in it["next"]]
    assert rounds == [3, 2, 1]
    assert list(listed["checkpoints"][0]) == ["id", "step", "next", "round", "created"]
    assert list_checkpoints("t", as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [it["id"] for it in listed["checkpoints"]]
    with pytest.raises(GemsConfigError, match="no run on thread 'x'"):
        list_checkpoints("x", as_json=False)


def test_names_of_branches() -> None:
    name = branch_thread_id("red-apples")
    assert check_thread_id(name).startswith("red-apples-fork-")
    assert branch_thread_id(name).startswith("red-apples-fork-")
    assert branch_thread_id(name).count("-fork-") == 1
    assert len(check_thread_id(branch_thread_id("x" * 64))) == 64


@pytest.mark.parametrize("arguments", [[], ["--round", "2", "--checkpoint", "x"], ["--round", "0"]])
def test_the_command_wants_one_place(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["fork", "t", "--seed", "1", *arguments])
    assert result.exit_code == 2
    assert "--round" in result.output


def test_a_branch_says_so(settings: Settings, parent: GemsState, capsys: pytest.CaptureFixture[str]) -> None:
    branch(settings, None, Place("t", 2), seed=20)
    capsys.readouterr()
    assert commands.show(Target("b")) == 0
    assert "branch    of t, before round 2" in capsys.readouterr().out
    assert commands.show(Target("b", as_json=True)) == 0
    assert json.loads(capsys.readouterr().out)["forked"]["thread"] == "t"
    page = Path("gems-out/b/report.html").read_text(encoding="utf-8")
    assert 'branch of <span class="mono">t</span>, before round 2' in page


def test_a_drawing_of_the_parent_is_found_in_its_ledger_alone(settings: Settings, parent: GemsState) -> None:
    """What is forked is found again; the same request on a new thread is drawn anew."""
    images = ScriptedImages()
    commands.start("two red dogs", START, Target("n"), make(settings, "+++", images=images))
    asked: list[DrawRequest] = images.history
    assert len(asked) == 1
