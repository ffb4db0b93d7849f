"""All that is kept, in a real Postgres: tables, checkpoints, locks between processes, and what is said when it fails."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from gems.app import commands
from gems.app.cli import main
from gems.app.doctor import examine
from gems.app.session import Target
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError, GemsError
from gems.core.ports import Capabilities, Lesson, LessonQuery, RunRecord
from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings
from gems.core.spending import Spend
from gems.evals.postgres import PASSWORD, USER, LoopbackPostgres
from gems.graph import OwnServices, make_services, open_graph
from gems.memory import FileArtifacts, SqlJournal, SqlLedger, SqlRuns
from gems.memory.database import Part
from gems.memory.locks import PostgresLocks
from gems.memory.packing import home_of
from gems.memory.postgres import Postgres, postgres_at
from gems.memory.pruning import Wishes, plan

THREAD: Any = {"configurable": {"thread_id": "t"}}
CONTEXT: Any = {"size": "64x64"}
HOLDER = """import sys
from pydantic import SecretStr
from gems.memory.locks import PostgresLocks
from gems.memory.packing import home_of
from gems.memory.postgres import Postgres, postgres_at
from gems.memory.pruning import Wishes, plan
with PostgresLocks(Postgres(SecretStr(sys.argv[1]))).hold('mine'):
    print('held', flush=True)
    sys.stdin.read()"""


@pytest.fixture
def database(database_url: str) -> Iterator[Postgres]:
    database = Postgres(SecretStr(database_url))
    yield database
    database.close()


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(home=tmp_path / "home", profiles=dict(BUILT_IN), database_url=SecretStr(database_url))


def services(settings: Settings, marks: list[str]) -> OwnServices:
    return OwnServices(settings, chat=rehearse(marks), images=ScriptedImages())


async def test_the_ledger_keeps_drawings_and_spending(database: Postgres) -> None:
    ledger = SqlLedger(database)
    await ledger.record("one", "key", "first")
    await ledger.record("one", "key", "artifact")
    await ledger.adopt("one", "branch")
    assert [await ledger.find(name, "key") for name in ("one", "branch", "two")] == ["artifact", "artifact", None]
    await asyncio.gather(*(ledger.book("one", Spend(2**40, 1, 0.1, 1 / 3)) for _ in range(20)))
    spent = await ledger.spent("one")
    assert (spent.calls, spent.images) == (20 * 2**40, 20)
    assert (spent.cost, spent.seconds) == (pytest.approx(2.0, abs=1e-12), pytest.approx(20 / 3, abs=1e-12))


async def test_the_journal_keeps_the_first_of_each_call_in_order(database: Postgres) -> None:
    journal = SqlJournal(database)
    for key in ("c", "a", "b", "a"):
        await journal.record("t", key, {"reply": f"100% of {key}?", "nul": "\x00", "again": key == "a"})
    await journal.record("other", "a", {"reply": "another's"})
    assert [call["key"] for call in await journal.calls("t")] == ["c", "a", "b"]
    assert await journal.find("t", "a") == {"reply": "100% of a?", "nul": "\x00", "again": True}
    assert await journal.find("t", "missing") is None


async def test_the_index_keeps_one_line_a_thread_and_its_start(database: Postgres) -> None:
    runs = SqlRuns(database)
    for thread, trajectory, now in (("a", "1", 10.5), ("b", "2", 11), ("a", "1", 12), ("b", "3", 13)):
        await runs.record(RunRecord(thread, trajectory, "50%?", "sketch", "done", None, 0.1, 0, None, now, now))
    assert [(it.thread_id, it.trajectory_id, it.started, it.updated, it.score) for it in await runs.recent(9)] == [
        ("b", "3", 13, 13, 0.1),
        ("a", "1", 10.5, 12, 0.1),
    ]


async def test_lessons_are_learned_found_and_credited(settings: Settings, database: Postgres) -> None:
    lessons = OwnServices(settings).lessons
    lesson = Lesson("", "count", "scripted", (), "five or more apples", "say the number twice in other words")
    await lessons.learn("me", [lesson])
    query = LessonQuery("six apples", "scripted", frozenset({"count"}))
    found = await lessons.fitting("me", query, 3)
    assert [it.advice for it in found] == [lesson.advice]
    assert await lessons.fitting("another", query, 3) == []
    await lessons.credit("me", {found[0].id: True})
    (kept,) = await lessons.all("me")
    assert (kept.uses, kept.successes) == (1, 1)
    await lessons.delete("me", kept.id)
    assert await lessons.all("me") == []


async def test_a_trajectory_is_read_back_and_gone_on_with_by_other_graphs(settings: Settings) -> None:
    async with open_graph(settings, services=services(settings, ["+--"])) as graph:
        await graph.ainvoke({"prompt": "a dog"}, THREAD, context={**CONTEXT, "max_rounds": 2})  # type: ignore[call-overload]

    def go_on() -> dict[str, Any]:
        with open_graph(settings, services=services(settings, ["+++"])) as graph:
            graph.invoke({"prompt": ""}, THREAD, context={"max_rounds": 3})  # type: ignore[call-overload]
            return graph.get_state(THREAD).values

    state = await asyncio.to_thread(go_on)
    assert state["stop_reason"] == "satisfied"
    assert len(state["attempts"]) == 3
    assert sorted(path.name for path in settings.home.iterdir()) == ["artifacts", "databases"], (
        "all but the images is in Postgres"
    )


def test_many_processes_may_begin_in_an_empty_database(settings: Settings, database_url: str) -> None:
    """The tables are made once, whoever comes first."""
    failed: list[BaseException] = []
    ready = threading.Barrier(4)

    def begin(number: int) -> None:
        # Another pool, as another process has.
        url = f"{database_url}?application_name={number}"
        own = settings.model_copy(update={"database_url": SecretStr(url)})
        ready.wait()
        try:
            with open_graph(own, services=services(own, ["+++"])) as graph:
                graph.invoke({"prompt": "a dog"}, {"configurable": {"thread_id": str(number)}}, context=CONTEXT)  # type: ignore[call-overload]
        except BaseException as error:
            failed.append(error)
        finally:
            postgres_at(url).close()

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(asyncio.run(OwnServices(settings).runs.recent(9))) == 4


def test_nothing_lies_among_the_tables_of_others(settings: Settings, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE runs (mine TEXT)")
        connection.execute("CREATE TABLE checkpoints (mine TEXT)")
    with open_graph(settings, services=services(settings, ["+++"])) as graph:
        graph.invoke({"prompt": "a dog"}, THREAD, context=CONTEXT)  # type: ignore[call-overload]
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT schemaname, tablename FROM pg_tables WHERE tableowner = current_user")
        tables = {name for schema, name in found if schema == "gems"}
        assert connection.execute("SELECT count(*) FROM public.runs").fetchone() == (0,)
    assert {"gems_parts", "runs", "drawings", "journal", "checkpoints", "checkpoint_writes"} <= tables


def test_a_thread_is_held_against_another_process_until_it_dies(database: Postgres, database_url: str) -> None:
    locks = PostgresLocks(database)
    assert not locks.is_held("mine")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, database_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == b"held"
    assert locks.is_held("mine")
    assert not locks.is_held("another")
    with pytest.raises(GemsConfigError, match=r"thread 'mine' is being run by another process"), locks.hold("mine"):
        pass
    with locks.hold("another"):
        assert locks.is_held("another")
    assert not locks.is_held("another")
    holder.kill()
    holder.communicate()
    wait_until(lambda: not locks.is_held("mine"))
    with locks.hold("mine"):
        pass


def wait_until(is_so: Any, seconds: float = 5.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if is_so():
            return
        threading.Event().wait(0.02)
    pytest.fail("it never came to be so")


async def test_two_runs_on_one_thread_are_refused(settings: Settings, database: Postgres) -> None:
    async with open_graph(settings, services=services(settings, ["+++"])) as graph:
        with PostgresLocks(database).hold("t"), pytest.raises(GemsConfigError, match="'t' is being run"):
            await graph.ainvoke({"prompt": "a dog"}, THREAD, context=CONTEXT)  # type: ignore[call-overload]
        await graph.ainvoke({"prompt": "a dog"}, THREAD, context=CONTEXT)  # type: ignore[call-overload]


def test_tables_of_a_newer_version_are_refused(database: Postgres) -> None:
    schema = ("CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY)",)
    newer = Part("things", 3, schema, {1: ("ALTER TABLE things ADD COLUMN size INTEGER",), 2: ()})
    with database.connect(newer) as connection:
        connection.execute("INSERT INTO things VALUES (?, ?)", ("apple", 2**40))
    other = Postgres(database.url)
    with (
        pytest.raises(GemsConfigError, match=r"'things' tables are of version 3, .* versions up to 1: install a newer"),
        other.connect(Part("things", 1, schema)),
    ):
        pass
    other.close()


def test_an_error_undoes_what_was_done(database: Postgres) -> None:
    part = Part("things", 1, ("CREATE TABLE things (name TEXT PRIMARY KEY)",))

    def add_twice() -> None:
        with database.connect(part) as connection:
            for _ in range(2):
                connection.execute("INSERT INTO things VALUES (?)", ("apple",))

    with pytest.raises(psycopg.errors.UniqueViolation):
        add_twice()
    with database.connect(part) as connection:
        assert connection.execute("SELECT name FROM things").fetchall() == []


def test_whoever_reads_in_order_to_write_is_alone(database: Postgres) -> None:
    part = Part("things", 1, ("CREATE TABLE things (count INTEGER)", "INSERT INTO things VALUES (0)"))

    def add() -> None:
        with database.connect(part, alone=True) as connection:
            (found,) = connection.execute("SELECT count FROM things").fetchone()
            connection.execute("UPDATE things SET count = ?", (found + 1,))

    threads = [threading.Thread(target=add) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.connect(part) as connection:
        assert connection.execute("SELECT count FROM things").fetchone() == (16,)


def test_a_connection_that_was_cut_is_replaced(database: Postgres, postgres: LoopbackPostgres) -> None:
    ledger = SqlLedger(database)
    asyncio.run(ledger.record("t", "key", "artifact"))
    assert cut_all(postgres) > 0
    assert asyncio.run(ledger.find("t", "key")) == "artifact"


def cut_all(postgres: LoopbackPostgres) -> int:
    """Cut all connections of GEMS, as a server that is started anew does."""
    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'gems'"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        return sum(count for (count,) in connection.execute(cut))


async def test_a_run_that_lost_its_hold_ends_and_can_be_resumed(settings: Settings, postgres: LoopbackPostgres) -> None:
    """While it was not held, another process may have taken the thread."""
    images = ScriptedImages(lambda _: cut(), Capabilities())

    def cut() -> None:
        if len(images.history) == 2:
            cut_all(postgres)
            threading.Event().wait(0.7)

    own = OwnServices(settings, chat=rehearse(["+--"]), images=images)
    async with open_graph(settings, services=own) as graph:
        # Whichever connection is used first tells: that of the lock, or that of the checkpoints.
        with pytest.raises(GemsError, match=r"connection that held the thread was cut|server closed the connection"):
            await graph.ainvoke({"prompt": "a dog"}, THREAD, context=CONTEXT)  # type: ignore[call-overload]
        assert len(images.history) == 2
        output = await graph.ainvoke(None, THREAD)
    assert output["stop_reason"] == "max_rounds"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password": "xyzzy"}, "password authentication failed"),
        ({"password": "tr?xyzzy"}, "password authentication failed"),
        ({"database": "missing"}, 'database "missing" does not exist'),
        ({"port": 1}, "connection failed: .*refused"),
        # Unescaped, these tear the URL at another place than its owner meant.
        ({"password": "tr@xyzzy"}, "cannot be read: write .* as %40"),
        ({"password": "tr/xyzzy"}, "cannot be read"),
        ({"password": "12/xyzzy"}, "cannot be read"),
        ({"password": "tr%xyzzy"}, "cannot be read"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_without_its_password(
    postgres: LoopbackPostgres,
    wrong: dict[str, Any],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = {
        "user": USER,
        "password": PASSWORD.replace(":", "%3A"),
        "port": postgres.port,
        "database": "postgres",
        **wrong,
    }
    url = "postgresql://{user}:{password}@127.0.0.1:{port}/{database}".format(**parts)
    monkeypatch.setenv("GEMS_DATABASE_URL", url)
    for command in (["runs"], ["show", "t", "--debug"], ["run", "two dogs", "--json"], ["stop", "t"]):
        with pytest.raises(SystemExit) as left:
            main(command)
        out, err = capsys.readouterr()
        assert left.value.code == 2
        assert re.search(said, err)
        assert "GEMS_DATABASE_URL" in err
        assert "xyzzy" not in out + err


def test_the_commands_work_on_it(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEMS_DATABASE_URL", database_url)
    target = Target("t", as_json=True)
    assert commands.start("a dog", {"max_rounds": 1, "size": "64x64"}, target, services(settings, ["+--"])) == 0
    assert commands.resume({"max_rounds": 2}, target, services(settings, ["+++"])) == 0
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["runs", "--json"])
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert (run["thread_id"], run["stop_reason"], run["rounds"]) == ("t", "satisfied", 2)
    assert commands.show(target) == 0
    assert len(json.loads(capsys.readouterr().out)["attempts"]) == 2
    assert commands.report(Target("t")) == 0
    assert Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8").startswith("<!doctype html")
    with pytest.raises(SystemExit) as left:
        main(["stop", "t"])
    assert left.value.code == 2
    assert "nobody runs thread 't'" in capsys.readouterr().err


async def test_pruning_one_database_leaves_the_pictures_of_another(settings: Settings) -> None:
    """Pictures lie in the home, whichever database names them."""
    async with open_graph(settings, services=services(settings, ["+++"])) as graph:
        await graph.ainvoke({"prompt": "two red dogs"}, THREAD, context=CONTEXT)  # type: ignore[call-overload]
    await FileArtifacts(settings.home / "artifacts").put(b"an orphan")
    pictures = list((settings.home / "artifacts").rglob("*.png"))
    for path in pictures:
        os.utime(path, (0, 0))
    own = await plan(home_of(settings), Wishes())
    assert len(own.images) == 1
    without_url = settings.model_copy(update={"database_url": None})
    found = await plan(home_of(without_url), Wishes())
    assert found.images == []
    assert "another database keeps threads" in found.spared[0]
    async with open_graph(without_url, services=services(without_url, ["+++"])) as graph:
        await graph.ainvoke({"prompt": "a cat"}, THREAD, context=CONTEXT)  # type: ignore[call-overload]
    assert (await plan(home_of(settings), Wishes())).images == []


def test_the_doctor_asks_the_database(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEMS_DATABASE_URL", database_url)
    assert examine(None, make_services()) == 0
    assert "Postgres answers" in capsys.readouterr().out
    monkeypatch.setenv("GEMS_DATABASE_URL", "postgresql://bob:s3cret@127.0.0.1:9/none")
    assert examine(None, make_services()) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "GEMS_DATABASE_URL" in said
    assert "s3cret" not in said
