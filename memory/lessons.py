"""Lessons across trajectories, a row each. Every statement names the owner, so that nobody meets another's."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic import TypeAdapter

from gems.core.errors import GemsConfigError
from gems.core.ports import Lesson, LessonQuery
from gems.memory.database import Connection, Database, Part
from gems.memory.embedding import StaticEmbedding, TextEmbedding
from gems.memory.lesson_choice import best_first, choose
from gems.memory.lesson_merging import Kept, settle, within
from gems.memory.likeness import Likeness, whole

MOST_KEPT: Final = 500
"""Lessons of one owner. Beyond them the least useful leave."""
LONGEST_WHEN: Final = 200
"""Characters, as of `LONGEST_ADVICE`: forty words and a margin."""
LONGEST_ADVICE: Final = 400

PART: Final = Part(
    "lessons",
    1,
    # "when" is a word of SQL's own.
    (
        """CREATE TABLE IF NOT EXISTS lessons (
    owner TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL, backend TEXT NOT NULL, skills TEXT NOT NULL,
    situation TEXT NOT NULL, advice TEXT NOT NULL, uses INTEGER NOT NULL, successes INTEGER NOT NULL,
    support INTEGER NOT NULL, by_hand INTEGER NOT NULL, created REAL NOT NULL, updated REAL NOT NULL,
    PRIMARY KEY (owner, id))""",
        """CREATE TABLE IF NOT EXISTS lesson_occasions (
    owner TEXT NOT NULL, occasion TEXT NOT NULL, PRIMARY KEY (owner, occasion))""",
    ),
)
_NOTE: Final = "INSERT INTO lesson_occasions (owner, occasion) VALUES (?, ?) ON CONFLICT (owner, occasion) DO NOTHING"
_SELECT: Final = """SELECT id, kind, backend, skills, situation, advice, uses, successes, support, by_hand, created, updated
    FROM lessons WHERE owner = ?"""
_UPSERT: Final = """INSERT INTO lessons (owner, id, kind, backend, skills, situation, advice, uses, successes, support,
    by_hand, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (owner, id) DO UPDATE SET skills = excluded.skills, situation = excluded.situation,
    advice = excluded.advice, uses = excluded.uses, successes = excluded.successes, support = excluded.support,
    by_hand = excluded.by_hand, updated = excluded.updated"""
# A clock that went back does not make a lesson older.
_CREDIT: Final = """UPDATE lessons SET uses = uses + 1, successes = successes + ?,
    updated = CASE WHEN updated > ? THEN updated ELSE ? END WHERE owner = ? AND id = ?"""
# Letters and digits that are not mistaken for each other when copied by hand.
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_READER: Final = TypeAdapter(Lesson)

logger: Final = logging.getLogger(__name__)


class SqlLessons:
    """Lessons in a database. Each operation is one transaction, and those that write come one after the other."""

    def __init__(
        self,
        database: Database,
        embedding: TextEmbedding | None = None,
        *,
        most_kept: int = MOST_KEPT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep lessons in `database`.

        Args:
            database: Where the table lies.
            embedding: Compares texts; left out, `StaticEmbedding`. Another one needs other thresholds.
            most_kept: Most lessons of one owner.
            clock: Seconds since the epoch.
        """
        self._database = database
        self._embedding = embedding or StaticEmbedding()
        self._likeness = Likeness(self._embedding)
        self._most_kept = most_kept
        self._clock = clock

    async def fitting(self, owner: str, query: LessonQuery, most: int) -> list[Lesson]:
        """The few that fit, the best first: see `choose`.

        Raises:
            GemsConfigError: the database or the embedding cannot be used.
        """
        return await asyncio.to_thread(self._fitting, owner, query, most)

    async def learn(self, owner: str, found: Sequence[Lesson], occasion: str = "") -> None:
        """Keep what a trajectory taught, merged and settled with what is known: see `settle`.

        Each gets an id of its own, and no uses. Words that are too long are cut; a lesson without words is passed over.

        Raises:
            GemsConfigError: the database or the embedding cannot be used.
        """
        await asyncio.to_thread(self._learn, owner, found, occasion)

    async def credit(self, owner: str, outcomes: Mapping[str, bool], occasion: str = "") -> None:
        """Count a use of each lesson by its id, and whether it helped. One that is gone meanwhile is passed over."""
        await asyncio.to_thread(self._credit, owner, outcomes, occasion)

    async def check(self) -> None:
        """Make sure that lessons can be read.

        Raises:
            GemsConfigError: the database cannot be used, or is of a newer version.
        """
        await asyncio.to_thread(self._check)

    async def all(self, owner: str) -> list[Lesson]:
        """All of an owner's, the best first, faded ones too, as the last."""
        return await asyncio.to_thread(self._all, owner)

    async def edit(self, owner: str, lesson_id: str, *, when: str | None = None, advice: str | None = None) -> Lesson:
        """Change a lesson's words; nobody but a person changes them again. Other advice has its uses still before it.

        Raises:
            GemsConfigError: the owner has no such lesson, or the words are empty or too long.
        """
        words = _checked("when", when, LONGEST_WHEN), _checked("advice", advice, LONGEST_ADVICE)
        return await asyncio.to_thread(self._edit, owner, lesson_id, *words)

    async def delete(self, owner: str, lesson_id: str) -> None:
        """Forget a lesson.

        Raises:
            GemsConfigError: the owner has no such lesson.
        """
        await asyncio.to_thread(self._delete, owner, lesson_id)

    def _fitting(self, owner: str, query: LessonQuery, most: int) -> list[Lesson]:
        with self._database.connect(PART) as connection:
            known = _read(connection, owner, query.kinds)
        return choose([it.lesson for it in known], query, most, self._likeness)

    def _learn(self, owner: str, found: Sequence[Lesson], occasion: str) -> None:
        now = self._clock()
        fresh = [it for it in (_fresh(lesson, now) for lesson in found) if it.when and it.advice]
        if not fresh:
            return
        # Loading the embedding takes a while, during which others are to write.
        self._embedding.vectors([whole(lesson) for lesson in fresh])
        with self._database.connect(PART, alone=True) as connection:
            if not _is_first(connection, owner, occasion and f"{occasion} learn"):
                return
            before = _read(connection, owner)
            after = before
            for lesson in fresh:
                after = settle(after, replace(lesson, id=_new_id(after)), self._likeness)
            after = within(after, self._most_kept)
            for gone in {it.lesson.id for it in before} - {it.lesson.id for it in after}:
                connection.execute("DELETE FROM lessons WHERE owner = ? AND id = ?", (owner, gone))
            unchanged = set(before)
            for it in after:
                if it not in unchanged:
                    _write(connection, owner, it)

    def _credit(self, owner: str, outcomes: Mapping[str, bool], occasion: str) -> None:
        now = self._clock()
        with self._database.connect(PART, alone=True) as connection:
            if not _is_first(connection, owner, occasion and f"{occasion} credit"):
                return
            for lesson_id, helped in outcomes.items():
                connection.execute(_CREDIT, (int(helped), now, now, owner, lesson_id))

    def _check(self) -> None:
        with self._database.connect(PART):
            pass

    def _all(self, owner: str) -> list[Lesson]:
        with self._database.connect(PART) as connection:
            known = _read(connection, owner)
        return best_first([it.lesson for it in known])

    def _edit(self, owner: str, lesson_id: str, when: str | None, advice: str | None) -> Lesson:
        with self._database.connect(PART, alone=True) as connection:
            lesson = next((it.lesson for it in _read(connection, owner) if it.lesson.id == lesson_id), None)
            if lesson is None:
                raise _unknown(lesson_id)
            words = when or lesson.when, advice or lesson.advice
            edited = replace(lesson, when=words[0], advice=words[1], updated=max(lesson.updated, self._clock()))
            if edited.advice != lesson.advice:
                edited = replace(edited, uses=0, successes=0)
            _write(connection, owner, Kept(edited, by_hand=True))
        return edited

    def _delete(self, owner: str, lesson_id: str) -> None:
        with self._database.connect(PART, alone=True) as connection:
            cursor = connection.execute("DELETE FROM lessons WHERE owner = ? AND id = ?", (owner, lesson_id))
            if not cursor.rowcount:
                raise _unknown(lesson_id)


def _is_first(connection: Connection, owner: str, occasion: str) -> bool:
    """Whether nothing was kept for the occasion yet; from now on something is."""
    return not occasion or connection.execute(_NOTE, (owner, occasion)).rowcount == 1


def _read(connection: Connection, owner: str, kinds: Collection[str] = ()) -> list[Kept]:
    """An owner's lessons, of these kinds or all. What is damaged is passed over, and logged."""
    sql = f"{_SELECT} AND kind IN ({', '.join('?' * len(kinds))})" if kinds else _SELECT
    kept = []
    for row in connection.execute(sql, (owner, *sorted(kinds))).fetchall():
        try:
            kept.append(_kept(row))
        except (ValueError, TypeError):
            logger.warning("lesson %r is damaged and passed over; remove it: gems lessons delete %s", row[0], row[0])
    return kept


def _kept(row: Sequence[Any]) -> Kept:
    id_, kind, backend, skills, situation, advice, uses, successes, support, by_hand, created, updated = row
    fields = {
        "id": id_,
        "kind": kind,
        "backend": backend,
        "skills": json.loads(skills),
        "when": situation,
        "advice": advice,
        "uses": uses,
        "successes": successes,
        "support": support,
        "created": created,
        "updated": updated,
    }
    # SQLite keeps any value in any column; only from JSON does the strict reader make a tuple and a dataclass.
    lesson = _READER.validate_json(json.dumps(fields), strict=True)
    if not 0 <= lesson.successes <= lesson.uses:
        raise ValueError(f"{lesson.successes} successes of {lesson.uses} uses")
    return Kept(lesson, bool(by_hand))


def _write(connection: Connection, owner: str, it: Kept) -> None:
    lesson = it.lesson
    counts = lesson.uses, lesson.successes, lesson.support, int(it.by_hand), lesson.created, lesson.updated
    words = lesson.backend, json.dumps(lesson.skills), lesson.when, lesson.advice
    connection.execute(_UPSERT, (owner, lesson.id, lesson.kind, *words, *counts))


def _new_id(known: Sequence[Kept]) -> str:
    taken = {it.lesson.id for it in known}
    while (lesson_id := "".join(secrets.choice(_LETTERS) for _ in range(6))) in taken:
        pass
    return lesson_id


def _fresh(lesson: Lesson, now: float) -> Lesson:
    when, advice = _shortened(lesson.when, LONGEST_WHEN), _shortened(lesson.advice, LONGEST_ADVICE)
    return replace(lesson, when=when, advice=advice, uses=0, successes=0, created=now, updated=now)


def _shortened(text: str, longest: int) -> str:
    line = _one_line(text)
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"


def _checked(name: str, text: str | None, longest: int) -> str | None:
    """A person's words.

    Raises:
        GemsConfigError: they are empty or too long.
    """
    if text is None:
        return None
    line = _one_line(text)
    if not 0 < len(line) <= longest:
        raise GemsConfigError(f"{name} has {len(line)} characters: write 1 to {longest}")
    return line


def _one_line(text: str) -> str:
    # Postgres stores no NUL, and no text with half a surrogate pair can be stored at all.
    return " ".join(text.replace("\0", " ").encode("utf-8", "replace").decode().split())


def _unknown(lesson_id: str) -> GemsConfigError:
    return GemsConfigError(f"there is no lesson {lesson_id!r}: `gems lessons list` names them")
