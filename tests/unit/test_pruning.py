"""Pruning: what goes, what never does, and what a kill in the middle leaves for the next time."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from langgraph.checkpoint.memory import InMemorySaver

from gems.app.cli import main
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.ports import Capabilities
from gems.core.settings import Settings
from gems.graph import OwnServices, build_graph, open_graph
from gems.graph.forking import find_round, read_checkpoints
from gems.memory.artifacts import FileArtifacts, artifact_id
from gems.memory.locks import FileLocks
from gems.memory.packing import STAGED, Home, home_of
from gems.memory.pruning import DAY, Plan, Wishes, plan, prune

HOUR = 3600.0


@pytest.fixture
def home(settings: Settings) -> Home:
    return home_of(settings)


def run(settings: Settings, thread_id: str = "t", seed: int = 7, **context: Any) -> dict[str, Any]:
    services = OwnServices(settings, chat=rehearse(["+--", "++-", "+++"]), images=ScriptedImages())
    config: Any = {"configurable": {"thread_id": thread_id}}
    with open_graph(settings, services=services) as graph:
        given: Any = {"size": "64x64", "seed": seed, **context}
        graph.invoke({"prompt": "two red dogs"}, config, context=given, durability="sync")  # type: ignore[call-overload]
        return graph.get_state(config).values


def find(home: Home, *, now: float | None = None, **wishes: Any) -> Plan:
    return asyncio.run(plan(home, Wishes(**wishes), now))


def remove(home: Home, found: Plan) -> Plan:
    return asyncio.run(prune(home, found))


def age(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def age_all(home: Home, seconds: float = 2 * HOUR) -> None:
    for path in home.settings.home.rglob("*"):
        if path.is_file() and path.suffix in (".png", ".lock"):
            age(path, seconds)


def stored(home: Home) -> set[str]:
    return {it.stem for it in home.artifacts.folder.rglob("*.png")}


def drawn(state: dict[str, Any]) -> set[str]:
    return {it["artifact"] for it in state["attempts"]}


def age_thread(home: Home, thread_id: str, days: float) -> None:
    """As if its last step had been so long ago: the index of runs, and the time in the latest checkpoint."""
    then = time.time() - days * DAY
    with sqlite3.connect(home.settings.home / "runs.sqlite") as connection:
        connection.execute("UPDATE runs SET updated = ? WHERE thread_id = ?", (then, thread_id))
    connection.close()

    async def rewrite() -> None:
        async with home.stores.checkpoints.open_async() as saver:
            config: Any = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
            latest = await saver.aget_tuple(config)
            assert latest is not None
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(then))
            parent = (latest.parent_config or {}).get("configurable", {}).get("checkpoint_id")
            place: Any = {"configurable": {**config["configurable"], "checkpoint_id": parent}}
            await saver.aput(place, {**latest.checkpoint, "ts": stamp}, latest.metadata, {})

    asyncio.run(rewrite())


def test_nothing_is_found_where_nothing_is(home: Home) -> None:
    found = find(home, older_than=1, keep="last")
    assert found.is_empty
    assert remove(home, found).is_empty
    assert not home.settings.home.exists()


def test_what_threads_need_is_left_alone(settings: Settings, home: Home) -> None:
    state = run(settings, candidates=2)
    age_all(home)
    found = find(home)
    assert found.is_empty
    assert stored(home) == drawn(state)


def test_orphans_go_when_they_are_an_hour_old(settings: Settings, home: Home) -> None:
    state = run(settings)
    old, young, future = (asyncio.run(home.artifacts.put(word.encode())) for word in ("old", "young", "future"))
    age(home.artifacts.path(old), HOUR + 60)
    age(home.artifacts.path(young), HOUR - 60)
    age(home.artifacts.path(future), -5 * HOUR)  # the clock was set back since
    part = home.artifacts.folder / old[:2] / ".part-x"
    part.write_bytes(b"half")
    age(part, 2 * HOUR)
    found = find(home)
    assert [it.stem for it in found.images] == [old]
    assert (found.parts, found.image_bytes) == ([part], len(b"old") + len(b"half"))
    done = remove(home, found)
    assert [it.stem for it in done.images] == [old]
    assert stored(home) == drawn(state) | {young, future}
    assert not part.exists()


def test_files_that_are_not_the_stores_stay(settings: Settings, home: Home) -> None:
    run(settings)
    strange = home.artifacts.folder / "ab" / "holiday.png"
    strange.parent.mkdir(exist_ok=True)
    strange.write_bytes(b"sun")
    misplaced = home.artifacts.folder / "zz" / f"{artifact_id(b'x')}.png"
    misplaced.parent.mkdir()
    misplaced.write_bytes(b"x")
    age_all(home)
    assert find(home).is_empty


def test_a_damaged_image_is_told_and_stays(settings: Settings, home: Home) -> None:
    run(settings)
    orphan = home.artifacts.path(asyncio.run(home.artifacts.put(b"once whole")))
    orphan.write_bytes(b"rot")
    age(orphan, 2 * HOUR)
    found = find(home)
    assert (found.images, found.damaged) == ([], [orphan])
    remove(home, found)
    assert orphan.read_bytes() == b"rot"


async def test_an_image_that_is_received_again_while_it_is_removed_stays(settings: Settings, home: Home) -> None:
    artifact = await home.artifacts.put(b"picture")
    age(home.artifacts.path(artifact), 2 * HOUR)
    found = await plan(home, Wishes())
    assert [it.stem for it in found.images] == [artifact]
    await FileArtifacts(home.artifacts.folder).put(b"picture")  # as another process does: it is there, and new again
    assert (await prune(home, found)).images == []
    age(home.artifacts.path(artifact), 2 * HOUR)
    await home.ledger.record("f" * 32, "k" * 64, artifact)  # or it is about to be stored
    assert (await prune(home, found)).images == []
    assert await home.artifacts.get(artifact) == b"picture"


def test_records_of_trajectories_that_no_thread_has_go(settings: Settings, home: Home) -> None:
    state = run(settings)
    lost = "e" * 32
    image = asyncio.run(home.artifacts.put(b"received"))
    asyncio.run(home.ledger.record(lost, "a" * 64, image))
    asyncio.run(home.journal.restore(lost, [{"key": "b" * 64, "reply": None}]))
    age_all(home)
    found = find(home)
    assert found.trajectories == [lost]
    assert [it.stem for it in found.images] == [image]
    remove(home, found)
    assert (
        asyncio.run(home.ledger.trajectories()) == asyncio.run(home.journal.trajectories()) == [state["trajectory_id"]]
    )
    assert stored(home) == drawn(state)
    assert find(home).is_empty


def test_records_stay_while_a_thread_begins(settings: Settings, home: Home) -> None:
    """A branch takes over its parent's drawings before any checkpoint of it is there."""
    run(settings)
    asyncio.run(home.ledger.record("e" * 32, "a" * 64, "b" * 64))
    with FileLocks(settings.home / "locks").hold("a new one"):
        assert find(home).trajectories == []
    assert find(home).trajectories == ["e" * 32]


async def test_threads_of_a_server_are_not_ours(settings: Settings, home: Home) -> None:
    """Their checkpoints are elsewhere; the index of runs, the ledger and the journal name what they need."""
    services = OwnServices(
        settings, chat=rehearse(["+--", "+++"]), images=ScriptedImages(capabilities=Capabilities(references=4))
    )
    reference = await home.artifacts.put(_picture())
    graph = build_graph(services, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "on-a-server"}}
    given: Any = {"size": "64x64"}
    await graph.ainvoke({"prompt": "a dog", "references": [reference]}, config, context=given)  # type: ignore[call-overload]
    state = (await graph.aget_state(config)).values
    age_all(home)
    found = await plan(home, Wishes(older_than=0, keep="last"), time.time() + DAY)
    assert (found.trajectories, found.images, found.threads) == ([], [], [])
    assert stored(home) == drawn(state) | {reference}


def _picture() -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "navy").save(buffer, "PNG")
    return buffer.getvalue()


def test_old_threads_go_whole_and_take_only_their_own(settings: Settings, home: Home) -> None:
    """Two threads share a picture: it stays while one of them does."""
    old, new = run(settings, "old"), run(settings, "new", candidates=2)
    shared = drawn(old) & drawn(new)
    assert shared
    assert drawn(old) - drawn(new)
    age_all(home)
    age_thread(home, "old", days=8)
    assert find(home).is_empty
    assert find(home, older_than=9).is_empty
    found = find(home, older_than=7)
    assert [it.id for it in found.threads] == ["old"]
    assert found.trajectories == [old["trajectory_id"]]
    done = remove(home, found)
    assert [it.id for it in done.threads] == ["old"]
    assert home.stores.checkpoints.rows().ids() == ["new"]
    assert [it.thread_id for it in asyncio.run(home.runs.all())] == ["new"]
    assert asyncio.run(home.ledger.trajectories()) == [new["trajectory_id"]]
    assert asyncio.run(home.journal.trajectories()) == [new["trajectory_id"]]
    assert stored(home) == drawn(new)
    with open_graph(settings) as graph:
        assert graph.get_state({"configurable": {"thread_id": "new"}}).values == new
    # Its lock file is as old as it was; that of the other stays.
    assert len(list((settings.home / "locks").glob("*.lock"))) <= 1


def test_a_clock_that_went_back_keeps_threads(settings: Settings, home: Home) -> None:
    run(settings)
    assert find(home, older_than=0, now=time.time() - 3 * DAY).threads == []


def test_a_thread_that_is_being_run_or_waits_stays(settings: Settings, home: Home) -> None:
    run(settings, "running")
    run(settings, "waiting", review="plan")
    later = time.time() + 30 * DAY
    with FileLocks(settings.home / "locks").hold("running"):
        found = find(home, older_than=7, now=later)
        assert found.threads == []
        assert found.spared == ["running: it is being run", "waiting: it waits for an answer"]
    both = find(home, older_than=7, include_waiting=True, now=later)
    assert [it.id for it in both.threads] == ["running", "waiting"]
    # Begun again between the question and the answer: it stays, with all it needs.
    with FileLocks(settings.home / "locks").hold("running"):
        done = remove(home, both)
    assert [it.id for it in done.threads] == ["waiting"]
    assert "running: it is being run" in done.spared
    assert home.stores.checkpoints.rows().ids() == ["running"]


def test_a_thread_that_went_on_meanwhile_stays(settings: Settings, home: Home) -> None:
    run(settings, max_rounds=1)
    found = find(home, older_than=7, now=time.time() + 30 * DAY)
    assert [it.id for it in found.threads] == ["t"]
    config: Any = {"configurable": {"thread_id": "t"}}
    services = OwnServices(settings, chat=rehearse(["+++"]), images=ScriptedImages())
    with open_graph(settings, services=services) as graph:
        more: Any = {"max_rounds": 2}
        graph.invoke({"prompt": ""}, config, context=more)  # type: ignore[call-overload]
        state = graph.get_state(config).values
    done = remove(home, found)
    assert done.threads == []
    assert done.spared == ["t: it went on meanwhile"]
    assert drawn(state) <= stored(home)
    assert asyncio.run(home.journal.trajectories()) == [state["trajectory_id"]]


def test_a_thread_half_forgotten_is_forgotten_the_next_time(settings: Settings, home: Home) -> None:
    """Killed after the index of runs forgot it, its checkpoints still say how old it is."""
    run(settings)
    age_thread(home, "t", days=9)
    asyncio.run(home.runs.remove("t"))
    age_all(home)
    done = remove(home, find(home, older_than=7))
    assert [it.id for it in done.threads] == ["t"]
    assert stored(home) == set()
    assert asyncio.run(home.ledger.trajectories()) == []


def test_an_import_that_was_killed_is_removed(settings: Settings, home: Home) -> None:
    run(settings)
    rows = home.stores.checkpoints.rows()
    rows.rename("t", f"{STAGED}t")
    asyncio.run(home.runs.remove("t"))
    age_all(home)
    with FileLocks(settings.home / "locks").hold("t"):
        assert find(home).is_empty  # it is still under way
    found = find(home)
    assert found.staged == [f"{STAGED}t"]
    remove(home, found)
    assert rows.ids() == []
    second = find(home)
    remove(home, second)
    assert stored(home) == set()
    assert find(home).is_empty


@pytest.mark.parametrize("keep", ["rounds", "last"])
async def test_checkpoints_of_finished_runs_are_thinned(settings: Settings, home: Home, keep: Any) -> None:
    state = await asyncio.to_thread(run, settings, candidates=2)
    await asyncio.to_thread(run, settings, "waiting", review="plan")
    rows = home.stores.checkpoints.rows()
    before, others = rows.size("t"), rows.size("waiting")
    found = await plan(home, Wishes(keep=keep))
    (thin,) = found.thinned
    assert thin.id == "t"
    assert 0 < found.checkpoint_bytes < before
    await prune(home, found)
    assert before - rows.size("t") == found.checkpoint_bytes
    assert rows.size("waiting") == others
    assert (await plan(home, Wishes(keep=keep))).is_empty
    async with open_graph(settings) as graph:
        assert (await graph.aget_state({"configurable": {"thread_id": "t"}})).values == state
        left = await read_checkpoints(graph, "t")
        if keep == "last":
            assert len(left) == 1
        else:
            assert [find_round(left, "t", number).round for number in (1, 2)] == [1, 2]


def test_the_rest_of_a_thinned_run_goes_on(settings: Settings, home: Home) -> None:
    run(settings, max_rounds=1)
    remove(home, find(home, keep="last"))
    config: Any = {"configurable": {"thread_id": "t"}}
    services = OwnServices(settings, chat=rehearse(["+++"]), images=ScriptedImages())
    with open_graph(settings, services=services) as graph:
        more: Any = {"max_rounds": 3}
        graph.invoke({"prompt": ""}, config, context=more)  # type: ignore[call-overload]
        state = graph.get_state(config).values
    assert (state["stop_reason"], state["round"]) == ("satisfied", 2)


def test_a_database_file_shrinks(settings: Settings, home: Home) -> None:
    path = settings.home / "checkpoints.sqlite"
    services = OwnServices(settings, chat=rehearse(["+--"]), images=ScriptedImages())
    given: Any = {"size": "64x64", "max_rounds": 14, "candidates": 4, "patience": 100}
    config: Any = {"configurable": {"thread_id": "t"}}
    with open_graph(settings, services=services) as graph:
        graph.invoke({"prompt": "two dogs"}, config, context=given, durability="sync")  # type: ignore[call-overload]
    before = path.stat().st_size
    remove(home, find(home, keep="last"))
    assert before > 2**20
    assert path.stat().st_size < before / 4


def test_lock_files_of_threads_that_are_no_more_go(settings: Settings, home: Home) -> None:
    run(settings)
    locks = FileLocks(settings.home / "locks")
    for name in ("gone", "held"):
        with locks.hold(name):
            pass
    files = {name: locks._path(name) for name in ("t", "gone", "held")}
    for path in files.values():
        path.touch()
        age(path, 2 * HOUR)
    with locks.hold("held"):
        age(files["held"], 2 * HOUR)
        done = remove(home, find(home))
        assert files["gone"] in done.locks
        assert files["held"].exists()
        assert locks.is_held("held")
    assert files["t"].exists()


def call(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["prune", *arguments])


def test_the_command_tells_before_it_removes(settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    run(settings, "old-one")
    age_all(home)
    age_thread(home, "old-one", days=40)
    told = call("--dry-run", "--older-than", "30")
    assert "thread old-one, whole" in told.output
    assert home.stores.checkpoints.rows().ids() == ["old-one"]
    unasked = call("--older-than", "30")
    assert unasked.exit_code == 2
    assert "give --yes" in unasked.output
    assert "Nothing to remove" in call("--yes").output
    monkeypatch.setenv("GEMS_KEEP_DAYS", "30")
    done = call("--yes", "--json")
    answer = json.loads(done.stdout)
    assert answer["removed"]["threads"] == ["old-one"]
    assert len(answer["removed"]["images"]) == 3
    assert home.stores.checkpoints.rows().ids() == []
