"""Tables in SQLite files: versions, what an earlier GEMS left, and several who use them at the same time."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from gems.core.errors import GemsConfigError
from gems.core.ports import RunRecord
from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings
from gems.core.spending import Spend
from gems.memory import SqliteFile, SqlLedger, SqlRuns
from gems.memory.database import Part
from gems.memory.postgres import Postgres, in_postgres
from gems.memory.stores import FileStores, PostgresStores, stores_of

THINGS = Part("things", 1, ("CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY)",))
LATER = Part(
    "things",
    3,
    THINGS.schema,
    {
        1: ("ALTER TABLE things ADD COLUMN size INTEGER", "UPDATE things SET size = 1"),
        2: ("UPDATE things SET size = size + 10",),
    },
)


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def twice(database: SqliteFile) -> None:
    with database.connect(THINGS) as connection:
        for _ in range(2):
            connection.execute("INSERT INTO things VALUES (?)", ("pear",))


def test_work_is_kept_at_the_end_and_undone_by_an_error(tmp_path: Path) -> None:
    database = SqliteFile(tmp_path / "new" / "things.sqlite")
    with database.connect(THINGS) as connection:
        connection.execute("INSERT INTO things VALUES (?)", ("apple",))
    with pytest.raises(sqlite3.IntegrityError):
        twice(database)
    with database.connect(THINGS) as connection:
        assert [name for (name,) in connection.execute("SELECT name FROM things")] == ["apple"]


def test_a_part_is_brought_to_its_version_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "things.sqlite"
    with SqliteFile(path).connect(THINGS) as connection:
        connection.execute("INSERT INTO things VALUES ('apple')")
    for _ in range(2):  # once is enough
        with SqliteFile(path).connect(LATER) as connection:
            assert connection.execute("SELECT * FROM things").fetchall() == [("apple", 11)]
    with SqliteFile(tmp_path / "fresh.sqlite").connect(LATER) as connection:
        connection.execute("INSERT INTO things VALUES ('pear', 2)")
    assert rows(path, "SELECT * FROM gems_parts") == [("things", 3)]


def test_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "things.sqlite"
    with SqliteFile(path).connect(LATER):
        pass
    before = path.read_bytes()
    with (
        pytest.raises(
            GemsConfigError, match=r"'things' tables are of version 3, .* up to 1: install a newer one .*GEMS_HOME"
        ),
        SqliteFile(path).connect(THINGS),
    ):
        pass
    assert path.read_bytes() == before


def test_an_upgrade_that_fails_is_undone_whole(tmp_path: Path) -> None:
    path = tmp_path / "things.sqlite"
    with SqliteFile(path).connect(THINGS) as connection:
        connection.execute("INSERT INTO things VALUES ('apple')")
    broken = Part(
        "things", 2, THINGS.schema, {1: ("DELETE FROM things", "ALTER TABLE missing ADD COLUMN size INTEGER")}
    )
    with pytest.raises(GemsConfigError, match="no such table: missing"), SqliteFile(path).connect(broken):
        pass
    assert rows(path, "SELECT name FROM things") == [("apple",)]
    assert rows(path, "SELECT * FROM gems_parts") == [("things", 1)]


async def test_files_of_the_first_gems_are_taken_over(tmp_path: Path) -> None:
    """They had no versions, and an older journal mode."""
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        connection.execute(
            "CREATE TABLE drawings (trajectory_id TEXT NOT NULL, key TEXT NOT NULL, artifact TEXT NOT NULL, "
            "PRIMARY KEY (trajectory_id, key))"
        )
        connection.execute("INSERT INTO drawings VALUES ('t', 'key', 'artifact')")
        connection.execute(
            "CREATE TABLE spending (trajectory_id TEXT NOT NULL PRIMARY KEY, calls INTEGER NOT NULL, "
            "images INTEGER NOT NULL, cost REAL NOT NULL, seconds REAL NOT NULL)"
        )
        connection.execute("INSERT INTO spending VALUES ('t', 3, 2, 0.5, 1.5)")
    with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as connection, connection:
        connection.execute(
            "CREATE TABLE runs (thread_id TEXT PRIMARY KEY, trajectory_id TEXT NOT NULL, prompt TEXT NOT NULL, "
            "profile TEXT NOT NULL, status TEXT NOT NULL, stop_reason TEXT, score REAL, rounds INTEGER NOT NULL, "
            "best TEXT, started REAL NOT NULL, updated REAL NOT NULL)"
        )
        line = RunRecord("t", "1", "a dog", "sketch", "done", "satisfied", 1.0, 2, "best", 10.0, 12.0)
        connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", line[:11])
    stores = FileStores(tmp_path)
    ledger = SqlLedger(stores.database("ledger"))
    await ledger.book("t", Spend(calls=1))
    assert await ledger.find("t", "key") == "artifact"
    assert await ledger.spent("t") == Spend(4, 2, 0.5, 1.5)
    assert await SqlRuns(stores.database("runs")).recent(5) == [line]
    assert rows(tmp_path / "ledger.sqlite", "PRAGMA journal_mode") == [("wal",)]


def test_many_may_begin_on_a_new_file(tmp_path: Path) -> None:
    part = Part("things", 1, ("CREATE TABLE things (number INTEGER)",))
    path, ready, failed = tmp_path / "things.sqlite", threading.Barrier(8), list[BaseException]()

    def begin(number: int) -> None:
        database = SqliteFile(path)  # as another process has
        ready.wait()
        try:
            with database.connect(part) as connection:
                connection.execute("INSERT INTO things VALUES (?)", (number,))
        except BaseException as error:
            failed.append(error)

    run_all([threading.Thread(target=begin, args=(number,)) for number in range(8)])
    assert failed == []
    assert sorted(rows(path, "SELECT number FROM things")) == [(number,) for number in range(8)]


def test_whoever_reads_in_order_to_write_is_alone(tmp_path: Path) -> None:
    part = Part("things", 1, ("CREATE TABLE things (count INTEGER)", "INSERT INTO things VALUES (0)"))
    database = SqliteFile(tmp_path / "things.sqlite")

    def add() -> None:
        with database.connect(part, alone=True) as connection:
            (found,) = connection.execute("SELECT count FROM things").fetchone()
            connection.execute("UPDATE things SET count = ?", (found + 1,))

    run_all([threading.Thread(target=add) for _ in range(12)])
    assert rows(database.path, "SELECT count FROM things") == [(12,)]


def test_a_reader_goes_on_beside_a_writer(tmp_path: Path) -> None:
    database = SqliteFile(tmp_path / "things.sqlite")
    with database.connect(THINGS) as writer:
        writer.execute("INSERT INTO things VALUES ('apple')")
        with database.connect(THINGS) as reader:
            assert reader.execute("SELECT * FROM things").fetchall() == []


def test_a_file_that_is_moved_away_is_begun_anew(tmp_path: Path) -> None:
    database = SqliteFile(tmp_path / "things.sqlite")
    with database.connect(THINGS) as connection:
        connection.execute("INSERT INTO things VALUES ('apple')")
    for path in tmp_path.glob("things.sqlite*"):
        path.rename(path.with_name(path.name.replace("things", "kept")))
    with database.connect(THINGS) as connection:
        assert connection.execute("SELECT * FROM things").fetchall() == []
    assert rows(tmp_path / "kept.sqlite", "SELECT * FROM things") == [("apple",)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_forked_process_has_connections_of_its_own(tmp_path: Path) -> None:
    database = SqliteFile(tmp_path / "things.sqlite")
    with database.connect(THINGS) as connection:
        connection.execute("INSERT INTO things VALUES ('apple')")
        inherited = connection
    child = os.fork()
    if child == 0:
        with database.connect(THINGS) as connection:
            connection.execute("INSERT INTO things VALUES ('pear')")
            os._exit(int(connection is inherited))
    assert os.waitpid(child, 0)[1] == 0
    with database.connect(THINGS) as connection:
        assert connection is inherited
        assert connection.execute("SELECT name FROM things").fetchall() == [("apple",)]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(GemsConfigError, match=r"cannot make .*file"),
        SqliteFile(tmp_path / "file" / "x").connect(THINGS),
    ):
        pass


@pytest.mark.parametrize(
    ("sql", "values", "spoken"),
    [
        ("SELECT a FROM t WHERE b = ? AND c = ?", True, "SELECT a FROM t WHERE b = %s AND c = %s"),
        ("SELECT a FROM t WHERE b LIKE '50%?' AND c = ?", True, "SELECT a FROM t WHERE b LIKE '50%%?' AND c = %s"),
        ("SELECT '50%'", False, "SELECT '50%'"),
        ("CREATE TABLE t (a REAL, b INTEGER, c BLOB)", False, "CREATE TABLE t (a DOUBLE PRECISION, b BIGINT, c BYTEA)"),
        ("ALTER TABLE t ADD COLUMN a INTEGER", False, "ALTER TABLE t ADD COLUMN a BIGINT"),
        (
            "CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY)",
            False,
            "CREATE TABLE IF NOT EXISTS t (a BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY)",
        ),
    ],
)
def test_the_common_sql_is_put_into_the_words_of_postgres(sql: str, values: bool, spoken: str) -> None:
    assert in_postgres(sql, values) == spoken


def test_the_url_decides_where_all_lies(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, profiles=dict(BUILT_IN))
    files = stores_of(settings)
    assert isinstance(files, FileStores)
    assert not files.may_hold("runs")
    url = SecretStr("postgresql://u:word@h/d")
    server = stores_of(settings.model_copy(update={"database_url": url}))
    assert isinstance(server, PostgresStores)
    assert server.may_hold("runs")
    assert server.database("runs") is server.database("ledger"), "one database holds all"


@pytest.mark.parametrize("missing", ["psycopg", "psycopg_pool"])
def test_without_its_packages_postgres_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    database = Postgres(SecretStr("postgresql://u:word@h/d"))
    with pytest.raises(GemsConfigError, match=r"pip install 'gems-agent\[postgres\]'"), database.connect(THINGS):
        pass


def test_postgres_is_loaded_only_where_it_is_used() -> None:
    code = "import sys, gems.graph, gems.app.commands; print([it for it in sys.modules if 'psycopg' in it])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
