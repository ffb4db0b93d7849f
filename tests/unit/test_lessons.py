"""Lessons: found again, merged, settled, counted, faded, bounded, and never another owner's."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gems.core.errors import GemsConfigError
from gems.core.ports import Lesson, LessonQuery
from gems.memory import SqliteFile
from gems.memory.embedding import StaticEmbedding
from gems.memory.lesson_choice import faded, usefulness
from gems.memory.lesson_merging import Kept, settle, within
from gems.memory.lessons import SqlLessons
from gems.memory.likeness import Likeness, opposed

EMBEDDING = StaticEmbedding()
LIKENESS = Likeness(EMBEDDING)
MANY = "five or more of a small thing"
GRID = "lay them out in a grid and say the number of each row"
MODEL = "openai:gpt-image-1"


def lesson(when: str = MANY, advice: str = GRID, **other: Any) -> Lesson:
    return Lesson(
        **{"id": "", "kind": "count", "backend": MODEL, "skills": (), "when": when, "advice": advice, **other}
    )


def query(text: str, **other: Any) -> LessonQuery:
    return LessonQuery(text, **{"backend": MODEL, **other})


def store(path: Path, **options: Any) -> SqlLessons:
    return SqlLessons(SqliteFile(path / "lessons.sqlite"), EMBEDDING, **options)


async def learned(path: Path, *found: Lesson, owner: str = "me", **options: Any) -> tuple[SqlLessons, list[Lesson]]:
    lessons = store(path, **options)
    await lessons.learn(owner, found)
    return lessons, await lessons.all(owner)


def change(path: Path, sql: str, *values: object) -> None:
    connection = sqlite3.connect(path / "lessons.sqlite")
    with connection:
        connection.execute(sql, values)
    connection.close()


# Finding


async def test_a_lesson_is_found_by_a_request_in_other_words(tmp_path: Path) -> None:
    lessons, _ = await learned(
        tmp_path,
        lesson(),
        lesson("watercolour painting", "name wet edges and paper texture", kind="style"),
        lesson("one thing under a piece of furniture", "look from a low camera", kind="spatial"),
    )
    for text, when in (
        ("nine small acorns in rows", MANY),
        ("a harbour in watercolours on rough paper", "watercolour painting"),
        ("Are the shoes under the furniture?", "one thing under a piece of furniture"),
    ):
        found = await lessons.fitting("me", query(text), most=1)
        assert [it.when for it in found] == [when]
    assert await lessons.fitting("me", query("an essay about the tax law of Iceland"), most=3) == []
    assert await lessons.fitting("me", query(""), most=3) == []
    assert await lessons.fitting("me", query("many small things"), most=0) == []


async def test_one_question_among_many_finds_its_lesson(tmp_path: Path) -> None:
    lessons, _ = await learned(tmp_path, lesson("one thing under a piece of furniture", "a low camera", kind="spatial"))
    rest = " ".join(
        f"Is the {color} flag of the {place} made of silk?" for color in ("red", "blue") for place in "abcd"
    )
    assert len(await lessons.fitting("me", query(f"{rest} Is the cat under the sofa?"), most=3)) == 1


async def test_only_the_kinds_asked_for_are_given(tmp_path: Path) -> None:
    lessons, _ = await learned(tmp_path, lesson(), lesson(f"{MANY}, in a row", "use a ruler", kind="spatial"))
    for kinds, given in ((frozenset({"spatial"}), ["spatial"]), (frozenset({"text"}), []), (frozenset(), None)):
        found = await lessons.fitting("me", query(MANY, kinds=kinds), most=3)
        assert sorted(it.kind for it in found) == (["count", "spatial"] if given is None else given)


async def test_the_backend_comes_first_and_one_advice_is_given_once(tmp_path: Path) -> None:
    lessons, _ = await learned(
        tmp_path,
        lesson(backend="sketch"),
        lesson("a handful of little things, five and more", "use rows of a grid with the number of each row"),
        lesson("more than five of some small thing", "name the total twice, as a word", backend="sketch"),
    )
    found = await lessons.fitting("me", query(MANY), most=3)
    assert [it.backend for it in found] == [MODEL, "sketch"]
    assert "rows of a grid" in found[0].advice
    assert found[1].advice == "name the total twice, as a word"


async def test_likeness_is_weighted_by_skills_and_by_what_helped(tmp_path: Path) -> None:
    advice = ("think of dominoes", "mention an abacus", "write a poem")
    lessons, kept = await learned(tmp_path, *(lesson(advice=it, skills=(f"skill {it[-4:]}",)) for it in advice))
    poem = next(it.id for it in kept if it.advice == "write a poem")

    async def order(**other: Any) -> list[str]:
        return [it.advice.split()[-1] for it in await lessons.fitting("me", query(MANY, **other), most=3)]

    assert await order() == ["dominoes", "abacus", "poem"]
    assert await order(skills=frozenset({"skill poem"})) == ["poem", "dominoes", "abacus"]
    for _ in range(9):
        await lessons.credit("me", {poem: True})
    assert await order() == ["poem", "dominoes", "abacus"]


# Owners


async def test_owners_never_meet(tmp_path: Path) -> None:
    lessons, (mine,) = await learned(tmp_path, lesson(), owner="me")
    await lessons.learn(
        "you", [lesson(advice="do not lay them out in a grid"), lesson("sign", "quote it", kind="text")]
    )
    assert await lessons.all("me") == [mine]
    for other in ("", "m", "ME", "%", "me' OR '1'='1"):
        assert await lessons.all(other) == []
        assert await lessons.fitting(other, query(MANY), most=9) == []
        await lessons.credit(other, {mine.id: True})
        with pytest.raises(GemsConfigError, match=f"no lesson '{mine.id}'"):
            await lessons.edit(other, mine.id, advice="mine now")
        with pytest.raises(GemsConfigError, match=f"no lesson '{mine.id}'"):
            await lessons.delete(other, mine.id)
    assert await lessons.all("me") == [mine]
    assert len(await lessons.all("you")) == 2


async def test_the_bound_is_each_owners_own(tmp_path: Path) -> None:
    lessons = store(tmp_path, most_kept=2)
    for owner in ("me", "you"):
        await lessons.learn(
            owner, [lesson("a sign", "quote it", kind="text"), lesson("fog", "name haze", kind="other")]
        )
    await lessons.learn("me", [lesson()])
    assert len(await lessons.all("me")) == len(await lessons.all("you")) == 2


# Learning


async def test_a_lesson_gets_an_id_of_its_own_and_no_uses(tmp_path: Path) -> None:
    told = lesson(id="deadbeef", uses=9, successes=9, created=1.0)
    _, (kept,) = await learned(tmp_path, told, clock=lambda: 1000.0)
    assert re.fullmatch(r"[a-z2-9]{6}", kept.id)
    assert kept == replace(told, id=kept.id, uses=0, successes=0, created=1000.0, updated=1000.0)


async def test_the_same_lesson_in_other_words_is_one_with_more_support(tmp_path: Path) -> None:
    again = lesson("many small items, five and up", "use rows of a grid, say the number of each", skills=("layout",))
    lessons, (kept,) = await learned(tmp_path, lesson(skills=("counting",)), again)
    assert (kept.support, kept.skills) == (2, ("counting", "layout"))
    assert (kept.when, kept.advice) == (again.when, again.advice), "the shorter advice is kept"
    await lessons.credit("me", {kept.id: True})
    await lessons.learn("me", [lesson(advice="a grid, with the number of each row")])
    (tried,) = await lessons.all("me")
    assert (tried.advice, tried.support, tried.uses) == (kept.advice, 3, 1), "words that were tried stay"


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "object"},
        {"backend": "sketch"},
        {"when": "a sign", "advice": "quote it"},
        {"when": "a few of a small thing"},
    ],
)
async def test_another_kind_backend_or_matter_is_another_lesson(tmp_path: Path, other: dict[str, Any]) -> None:
    _, kept = await learned(tmp_path, lesson(), lesson(**other))
    assert [it.support for it in kept] == [1, 1]


async def test_two_pieces_of_advice_for_one_situation_may_both_hold(tmp_path: Path) -> None:
    _, kept = await learned(tmp_path, lesson(), lesson(advice="use a plain background"))
    assert sorted(it.advice for it in kept) == [GRID, "use a plain background"]


WORD, NO_WORD = "write the number as a word", "never write the number as a word"


@pytest.mark.parametrize(
    ("known", "votes", "left"),
    [
        ({"support": 1}, 1, [(NO_WORD, 1)]),
        ({"support": 3}, 1, [(WORD, 2)]),
        ({"support": 3}, 3, [(NO_WORD, 3)]),
        ({"support": 1, "uses": 20, "successes": 19}, 1, [(WORD, 1)]),
        ({"support": 9, "uses": 20, "successes": 0}, 1, [(NO_WORD, 1)]),
        ({"support": 2, "uses": 4, "successes": 4}, 2, [(NO_WORD, 2)]),
    ],
    ids=["as many votes", "fewer votes", "all its votes", "proven", "faded", "too few uses to be proven"],
)
def test_a_contradiction_is_settled(known: dict[str, int], votes: int, left: list[tuple[str, int]]) -> None:
    old = Kept(lesson(advice=WORD, id="old", **known))
    after = settle([old], lesson(advice=NO_WORD, id="new", support=votes), LIKENESS)
    assert [(it.lesson.advice, it.lesson.support) for it in after] == left
    assert [it.lesson.uses for it in after] == [known.get("uses", 0) if left[0][0] == WORD else 0]


async def test_the_side_with_more_votes_wins_in_the_end(tmp_path: Path) -> None:
    lessons = store(tmp_path)
    for advice in (WORD, NO_WORD, NO_WORD, WORD, NO_WORD):
        await lessons.learn("me", [lesson(advice=advice)])
        assert len(await lessons.all("me")) == 1
    (kept,) = await lessons.all("me")
    assert (kept.advice, kept.support) == (NO_WORD, 2)


@pytest.mark.parametrize(
    ("one", "other", "are"),
    [
        ("use a low camera", "use a high camera", True),
        ("name the colour first", "name the colour last", True),
        ("put the text in quotes", "do not put the text in quotes", True),
        ("don't name the colour", "never name the colour", False),
        ("begin on the left, then on the right", "start on the left, then on the right", False),
        ("lay them out in a grid", "arrange them in rows", False),
    ],
)
def test_opposites(one: str, other: str, are: bool) -> None:
    assert opposed(one, other) is opposed(other, one) is are


async def test_words_are_tidied_and_cut_and_a_lesson_without_any_is_passed_over(tmp_path: Path) -> None:
    _, (kept,) = await learned(
        tmp_path,
        lesson("  a\n\0 situation ", "x" * 1000),
        lesson(" ", "advice"),
        lesson("when", "\n"),
        lesson("half \ud800", ""),
    )
    assert kept.when == "a situation"
    assert kept.advice == "x" * 399 + "…"


async def test_the_least_useful_leave_first(tmp_path: Path) -> None:
    lessons, _ = await learned(
        tmp_path,
        lesson("a sign", "quote it", kind="text"),
        lesson("fog", "name haze", kind="other"),
        lesson("fur", "name single hairs", kind="attribute"),
        most_kept=3,
    )
    ids = {it.when: it.id for it in await lessons.all("me")}
    await lessons.credit("me", {ids["a sign"]: True, ids["fog"]: False})
    await lessons.learn("me", [lesson()])
    assert {it.when for it in await lessons.all("me")} == {"a sign", "fur", MANY}


def test_what_a_person_wrote_leaves_last() -> None:
    by_hand = Kept(lesson(id="mine", uses=9, successes=0), by_hand=True)
    others = [Kept(lesson(f"thing {n}", f"do {n}", id=str(n), uses=9, successes=9)) for n in range(3)]
    assert [it.lesson.id for it in within([*others, by_hand], 1)] == ["mine"]
    assert len(within([*others, by_hand], 9)) == 4


# Use


def test_usefulness_is_a_half_before_any_use() -> None:
    assert usefulness(lesson()) == 0.5
    assert usefulness(lesson(uses=8, successes=8)) == 0.9
    assert usefulness(lesson(uses=8)) == 0.1


@pytest.mark.parametrize(
    ("uses", "successes", "others", "fades"),
    [
        (4, 0, (40, 40), False),
        (5, 0, (40, 40), True),
        (10, 5, (40, 38), True),
        (10, 5, (40, 24), False),
        (15, 0, (0, 0), False),
        (16, 0, (0, 0), True),
        (40, 4, (40, 5), False),
    ],
    ids=["hardly tried", "never helps", "helps less", "not surely less", "alone", "alone and no help", "all are hard"],
)
def test_a_lesson_fades_that_surely_helps_less_than_others_of_its_kind(
    uses: int, successes: int, others: tuple[int, int], fades: bool
) -> None:
    one = lesson(id="one", uses=uses, successes=successes)
    rest = lesson("a sign", id="rest", uses=others[0], successes=others[1])
    elsewhere = lesson("fog", id="far", kind="text", uses=40, successes=40)
    assert ("one" in faded([one, rest, elsewhere])) is fades
    assert ("one" in faded([one, rest])) is fades, "other kinds do not count"


async def test_a_faded_lesson_is_listed_last_and_no_longer_given_and_can_come_back(tmp_path: Path) -> None:
    lessons, kept = await learned(tmp_path, lesson(), lesson("one lone thing", "centre it on an empty background"))
    bad, good = sorted(kept, key=lambda it: it.when != MANY)
    for _ in range(8):
        await lessons.credit("me", {bad.id: False, good.id: True})
    assert await lessons.fitting("me", query(MANY), most=3) == []
    listed = await lessons.all("me")
    assert [(it.id, it.uses, it.successes) for it in listed] == [(good.id, 8, 8), (bad.id, 8, 0)]
    for _ in range(40):
        await lessons.credit("me", {good.id: False})
    assert [it.id for it in await lessons.fitting("me", query(MANY), most=3)] == [bad.id]


async def test_credit_for_a_lesson_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    lessons, (kept,) = await learned(tmp_path, lesson())
    await lessons.credit("me", {"gone": True, kept.id: True})
    await lessons.credit("me", {})
    assert [(it.uses, it.successes) for it in await lessons.all("me")] == [(1, 1)]


async def test_a_clock_that_goes_back_makes_nothing_older(tmp_path: Path) -> None:
    times = iter([1000.0, *[10.0] * 9])
    lessons, (kept,) = await learned(tmp_path, lesson(), clock=lambda: next(times))
    await lessons.credit("me", {kept.id: True})
    await lessons.learn("me", [lesson()])
    edited = await lessons.edit("me", kept.id, when="six or more of a small thing")
    assert (edited.created, edited.updated, edited.uses, edited.support) == (1000.0, 1000.0, 1, 2)
    await lessons.learn("me", [lesson("a sign", "quote it", kind="text")])
    assert sorted(it.created for it in await lessons.all("me")) == [10.0, 1000.0]


# A person's hand


async def test_an_edited_lesson_keeps_its_words_and_gives_way_to_none(tmp_path: Path) -> None:
    lessons, (kept,) = await learned(tmp_path, lesson())
    await lessons.credit("me", {kept.id: True})
    same = await lessons.edit("me", kept.id, when=f" {MANY},\n really ")
    assert (same.when, same.advice, same.uses) == (f"{MANY}, really", GRID, 1)
    mine = await lessons.edit(
        "me", kept.id, advice="lay them out in a grid and say the number of every row, row by row"
    )
    assert (mine.id, mine.uses, mine.successes) == (kept.id, 0, 0), "other advice has everything to prove again"
    await lessons.learn("me", [lesson(), lesson(advice=f"do not {mine.advice}", support=9)])
    assert await lessons.all("me") == [replace(mine, support=2, updated=(await lessons.all("me"))[0].updated)]


@pytest.mark.parametrize("words", [{"when": " "}, {"advice": ""}, {"when": "x" * 201}, {"advice": "x" * 401}])
async def test_words_that_cannot_be_kept_are_refused(tmp_path: Path, words: dict[str, str]) -> None:
    lessons, (kept,) = await learned(tmp_path, lesson())
    with pytest.raises(GemsConfigError, match=r"(when|advice) has \d+ characters: write 1 to \d+"):
        await lessons.edit("me", kept.id, **words)
    assert await lessons.all("me") == [kept]


async def test_a_deleted_lesson_is_gone_for_good(tmp_path: Path) -> None:
    lessons, (kept,) = await learned(tmp_path, lesson())
    await lessons.delete("me", kept.id)
    assert await lessons.all("me") == await lessons.fitting("me", query(MANY), most=3) == []
    for call in (lessons.delete("me", kept.id), lessons.edit("me", kept.id, advice="x")):
        with pytest.raises(GemsConfigError, match=f"no lesson '{kept.id}': `gems lessons list`"):
            await call


# Trouble


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("kind", "colour"), ("skills", "not JSON"), ("skills", "3"), ("skills", "[1]"), ("uses", -1), ("uses", "many"),
        ("successes", 7), ("support", "x"), ("created", "yesterday"), ("situation", b"\xff"),
    ],
)  # fmt: skip
async def test_a_damaged_lesson_is_passed_over_and_can_be_deleted(
    tmp_path: Path, column: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    lessons, kept = await learned(tmp_path, lesson(), lesson("a sign", "quote it", kind="text"))
    bad, good = sorted(kept, key=lambda it: it.when != MANY)
    change(tmp_path, f"UPDATE lessons SET {column} = ? WHERE id = ?", value, bad.id)
    assert await lessons.all("me") == [good]
    assert f"gems lessons delete {bad.id}" in caplog.text
    assert await lessons.fitting("me", query(MANY), most=3) == []
    await lessons.learn("me", [lesson("fog", "name haze", kind="other")])
    await lessons.delete("me", bad.id)
    caplog.clear()
    assert len(await lessons.all("me")) == 2
    assert caplog.text == ""


async def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    _, (kept,) = await learned(tmp_path, lesson())
    change(tmp_path, "UPDATE gems_parts SET version = 7 WHERE name = 'lessons'")
    newer = store(tmp_path)
    for call in (
        newer.all("me"),
        newer.learn("me", [lesson()]),
        newer.fitting("me", query(MANY), 3),
        newer.delete("me", kept.id),
    ):
        with pytest.raises(GemsConfigError, match=r"'lessons' tables are of version 7, .* up to 1"):
            await call


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "lessons.sqlite").write_bytes(b"no database, but long enough to be looked at" * 40)
    with pytest.raises(GemsConfigError, match=r"lessons\.sqlite: file is not a database"):
        await store(tmp_path).all("me")


async def test_nothing_is_half_learned(tmp_path: Path) -> None:
    lessons, kept = await learned(tmp_path, lesson())
    change(
        tmp_path,
        "CREATE TRIGGER no BEFORE INSERT ON lessons WHEN NEW.kind = 'other' BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    with pytest.raises(sqlite3.IntegrityError):
        await lessons.learn(
            "me", [lesson(), lesson("a sign", "quote it", kind="text"), lesson("fog", "haze", kind="other")]
        )
    assert await lessons.all("me") == kept


async def test_many_threads_lose_nothing(tmp_path: Path) -> None:
    lessons, (kept,) = await learned(tmp_path, lesson())
    others = [store(tmp_path) for _ in range(4)]
    await asyncio.gather(*(it.credit("me", {kept.id: n % 2 == 0}) for n in range(5) for it in others))
    await asyncio.gather(*(it.learn("me", [lesson()]) for it in others))
    (after,) = await lessons.all("me")
    assert (after.uses, after.successes, after.support) == (20, 12, 5)


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    code = """if True:
        import asyncio, sys
        from pathlib import Path
        from gems.core.ports import Lesson
        from gems.memory import SqliteFile
        from gems.memory.lessons import SqlLessons

        async def main():
            lessons = SqlLessons(SqliteFile(Path(sys.argv[1])))
            for n in range(10):
                when, advice = "five or more of a small thing", "lay them out in a grid"
                await lessons.learn("me", [Lesson("", "count", "sketch", (), when, advice)])
                await lessons.credit("me", {it.id: True for it in await lessons.all("me")})

        asyncio.run(main())
    """
    command = [sys.executable, "-c", code, str(tmp_path / "lessons.sqlite")]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [worker.communicate(timeout=120)[1] for worker in workers] == ["", ""]
    assert [worker.returncode for worker in workers] == [0, 0]
    (kept,) = asyncio.run(store(tmp_path).all("me"))
    assert (kept.support, kept.uses, kept.successes) == (20, 20, 20)
