"""`gems lessons`: list, show, edit, delete."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gems.app.cli import main
from gems.core.ports import Lesson
from gems.memory import SqliteFile
from gems.memory.lessons import SqlLessons

MANY = Lesson("", "count", "openai:gpt-image-1", ("layout",), "five or more of a small thing", "lay them out in a grid")
SIGN = Lesson("", "text", "sketch", (), "a short word on a sign", "put it in quotes \x1b[31m")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home, in a folder without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEMS_HOME", str(tmp_path / "home"))
    for name in ("GEMS_OWNER", "GEMS_DATABASE_URL", "GEMS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def learned(home: Path) -> SqlLessons:
    """Two lessons; the first was tried and no longer helps."""
    lessons = SqlLessons(SqliteFile(home / "lessons.sqlite"))

    async def fill() -> None:
        await lessons.learn("me", [MANY, SIGN])
        bad = next(it for it in await lessons.all("me") if it.kind == "count")
        for _ in range(20):
            await lessons.credit("me", {bad.id: False})

    asyncio.run(fill())
    return lessons


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["lessons", *arguments])


def listed() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(call("list", "--json").stdout)["lessons"]
    return found


def test_a_fresh_home_has_none_and_stays_fresh(home: Path) -> None:
    result = call("list")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("No lessons yet: a run that mends what had failed leaves some.")
    assert listed() == []
    unknown = call("show", "k7mq3x")
    assert unknown.exit_code == 2
    assert "there is no lesson 'k7mq3x': `gems lessons list` names them" in " ".join(unknown.stderr.split())
    assert not home.exists()


def test_each_is_listed_with_its_words_and_what_became_of_it(learned: SqlLessons) -> None:
    sign, many = listed()
    assert call("list").stdout.splitlines() == [
        f"{sign['id']}  text, sketch, not used yet",
        "        when    a short word on a sign",
        "        advice  put it in quotes  [31m",
        f"{many['id']}  count, openai:gpt-image-1, used 20, helped 0, faded: no longer given",
        "        when    five or more of a small thing",
        "        advice  lay them out in a grid",
    ]
    assert [it["faded"] for it in (sign, many)] == [False, True]
    assert set(sign) == {
        "id", "kind", "backend", "skills", "when", "advice", "uses", "successes", "support", "created", "updated", "faded",
    }  # fmt: skip


def test_one_is_shown_whole(learned: SqlLessons) -> None:
    many = listed()[1]
    text = call("show", str(many["id"])).stdout
    assert "skills  layout" in text
    assert "from    1 run" in text
    assert json.loads(call("show", str(many["id"]), "--json").stdout) == many


def test_words_can_be_changed(learned: SqlLessons) -> None:
    name = str(listed()[1]["id"])
    result = call("edit", name, "--advice", "say seven, then name each row", "--json")
    edited = json.loads(result.stdout)
    assert (edited["id"], edited["advice"], edited["uses"], edited["faded"]) == (
        name,
        "say seven, then name each row",
        0,
        False,
    )
    assert "when    many small things" in call("edit", name, "--when", "many small things").stdout
    assert {it["when"] for it in listed()} == {"many small things", SIGN.when}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("edit", "k7mq3x"), "say what to change: --when, --advice, or both"),
        (("edit", "k7mq3x", "--when", "x"), "there is no lesson 'k7mq3x'"),
        (("edit", "k7mq3x", "--when", " "), "when has 0 characters: write 1 to 200"),
        (("delete", "k7mq3x"), "there is no lesson 'k7mq3x'"),
        (("delete",), "Missing argument 'ID'"),
    ],
)
def test_mistakes_are_2_and_say_what_to_do(learned: SqlLessons, arguments: tuple[str, ...], message: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert len(listed()) == 2


def test_one_can_be_deleted(learned: SqlLessons) -> None:
    sign, many = (str(it["id"]) for it in listed())
    assert call("delete", many).stdout == f"Lesson {many} is deleted.\n"
    assert json.loads(call("delete", sign, "--json").stdout) == {"deleted": sign}
    assert listed() == []


def test_another_owner_sees_none_of_them(learned: SqlLessons, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(listed()[0]["id"])
    monkeypatch.setenv("GEMS_OWNER", "you")
    assert listed() == []
    for arguments in (("show", name), ("edit", name, "--when", "mine"), ("delete", name)):
        assert call(*arguments).exit_code == 2
    monkeypatch.delenv("GEMS_OWNER")
    assert len(listed()) == 2


def test_a_home_that_is_a_file_is_named(home: Path) -> None:
    home.write_text("", encoding="utf-8")
    result = call("delete", "k7mq3x")
    assert result.exit_code == 2
    assert "home" in result.stderr
