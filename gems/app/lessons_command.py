"""What `gems lessons` does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.text import Text

from gems.app.terminal import make_console, printable
from gems.app.wording import plural
from gems.core.errors import GemsConfigError
from gems.core.ports import Lesson, Lessons
from gems.core.settings import load_settings
from gems.memory.lesson_choice import faded
from gems.memory.lessons import SqlLessons
from gems.memory.stores import stores_of


def list_lessons(*, as_json: bool) -> None:
    """All lessons of the owner, the best first."""
    lessons = _all(_open())
    out = faded(lessons)
    if as_json:
        _echo({"lessons": [_as_json(lesson, lesson.id in out) for lesson in lessons]})
        return
    console = make_console(stderr=False)
    if not lessons:
        console.print(
            "No lessons yet: a run that mends what had failed leaves some. A profile with lessons = false neither keeps "
            "nor uses any.",
            soft_wrap=True,
        )
    for lesson in lessons:
        console.print(_heading(lesson, is_faded=lesson.id in out), soft_wrap=True)
        _print_fields(console, {"when": lesson.when, "advice": lesson.advice})


def show_lesson(lesson_id: str, *, as_json: bool) -> None:
    """Everything about one lesson.

    Raises:
        GemsConfigError: the owner has no such lesson.
    """
    _show(_all(_open()), lesson_id, as_json=as_json)


def edit_lesson(lesson_id: str, when: str | None, advice: str | None, *, as_json: bool) -> None:
    """Change a lesson's words, and show it.

    Raises:
        GemsConfigError: the owner has no such lesson, or the words are empty or too long.
    """
    shelf = _open()
    asyncio.run(shelf.store.edit(shelf.owner, lesson_id, when=when, advice=advice))
    _show(_all(shelf), lesson_id, as_json=as_json)


def delete_lesson(lesson_id: str, *, as_json: bool) -> None:
    """Forget a lesson.

    Raises:
        GemsConfigError: the owner has no such lesson.
    """
    shelf = _open()
    asyncio.run(shelf.store.delete(shelf.owner, lesson_id))
    if as_json:
        _echo({"deleted": lesson_id})
    else:
        make_console(stderr=False).print(f"Lesson {printable(lesson_id)} is deleted.", soft_wrap=True)


class _Shelf(NamedTuple):
    store: Lessons
    owner: str
    is_new: bool
    """Nothing can be in it, and whoever only reads need not make it."""


def _open() -> _Shelf:
    settings = load_settings()
    stores = stores_of(settings)
    return _Shelf(SqlLessons(stores.database("lessons")), settings.owner, not stores.may_hold("lessons"))


def _all(shelf: _Shelf) -> list[Lesson]:
    return [] if shelf.is_new else asyncio.run(shelf.store.all(shelf.owner))


def _show(lessons: Sequence[Lesson], lesson_id: str, *, as_json: bool) -> None:
    lesson = next((it for it in lessons if it.id == lesson_id), None)
    if lesson is None:
        raise GemsConfigError(f"there is no lesson {lesson_id!r}: `gems lessons list` names them")
    is_faded = lesson_id in faded(lessons)
    if as_json:
        _echo(_as_json(lesson, is_faded))
        return
    console = make_console(stderr=False)
    console.print(_heading(lesson, is_faded=is_faded), soft_wrap=True)
    fields = {
        "when": lesson.when,
        "advice": lesson.advice,
        "skills": ", ".join(lesson.skills) or "none",
        "from": plural(lesson.support, "run"),
        "made": _time(lesson.created),
        "changed": _time(lesson.updated),
    }
    _print_fields(console, fields)


def _heading(lesson: Lesson, *, is_faded: bool) -> Text:
    used = f"used {lesson.uses}, helped {lesson.successes}" if lesson.uses else "not used yet"
    facts = f"  {lesson.kind}, {printable(lesson.backend)}, {used}"
    return Text.assemble((lesson.id, "bold"), facts, (", faded: no longer given" if is_faded else "", "yellow"))


def _print_fields(console: Console, fields: Mapping[str, str]) -> None:
    for name, value in fields.items():
        console.print(Text(f"        {name:<8}{printable(value)}"), soft_wrap=True)


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"


def _as_json(lesson: Lesson, is_faded: bool) -> dict[str, Any]:
    return {**asdict(lesson), "faded": is_faded}


def _echo(fields: Mapping[str, Any]) -> None:
    click.echo(json.dumps(fields, ensure_ascii=False, indent=2))
