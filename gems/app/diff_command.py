"""`gems diff`: where the runs on two threads part, and what became of each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from gems.app.commands import load_run
from gems.app.progress import image_label
from gems.app.prompt_diff import Piece
from gems.app.terminal import make_console, one_line, printable
from gems.app.trajectory_diff import AttemptDiff, Change, End, RoundDiff, TrajectoryDiff, compare_trajectories
from gems.app.wording import cost, percent, plural, stopped_because
from gems.memory.migrations import up_to_date

EXIT_SAME: Final = 0
EXIT_DIFFERENT: Final = 1
_MARKS: Final = {"same": ("", ""), "removed": ("[-", "-]"), "added": ("{+", "+}")}
_STYLES: Final = {"same": "", "removed": "red", "added": "green"}


def diff(first_id: str, second_id: str, *, as_json: bool) -> int:
    """`gems diff`. The exit code is that of the Unix command: 0 the same, 1 different.

    Raises:
        GemsConfigError: there is no run on one of the threads.
    """
    first, second = asyncio.run(load_run(first_id)), asyncio.run(load_run(second_id))
    found = compare_trajectories(first_id, up_to_date(first.state), second_id, up_to_date(second.state))
    if as_json:
        click.echo(json.dumps(found.as_json(), ensure_ascii=False, indent=2))
    else:
        show_diff(found, make_console(stderr=False))
    return EXIT_SAME if found.same else EXIT_DIFFERENT


def show_diff(found: TrajectoryDiff, console: Console) -> None:
    """The differences, for people: `[-in the first alone-]{+in the second alone+}`."""
    headline = f"They part {found.parted}." if found.parted else "The two runs are the same."
    console.print(Text(printable(headline), "bold"), soft_wrap=True)
    if not found.same:
        _show_setting(found, console)
        for number in found.rounds:
            _show_round(number, found.ends, console)
    console.print()
    for end in found.ends:
        _field(console, end.thread_id, _ended(end))


def _show_setting(found: TrajectoryDiff, console: Console) -> None:
    """What was there before any drawing."""
    if found.request:
        _field(console, "request", _marked(found.request))
    for change in [*([found.references] if found.references else []), *found.options, *found.plan]:
        _field(console, change.name, f"{_told(change.first)} → {_told(change.second)}")
    for prompt in found.prompts:
        _field(console, prompt.name, _marked(prompt.pieces))
    for sign, style, questions in (("-", "red", found.removed), ("+", "green", found.added)):
        for question in questions:
            _field(console, "checks", Text(f"{sign} {printable(question)}", style))


def _show_round(number: RoundDiff, ends: Sequence[End], console: Console) -> None:
    console.print()
    head = f"Round {number.number}"
    if number.is_same:
        console.print(Text.assemble((head, "bold cyan"), "  the same"))
        return
    if number.only:
        alone = ends[0 if number.only == "first" else 1].thread_id
        console.print(Text.assemble((head, "bold cyan"), f"  only {alone} has it"))
        return
    console.print(Text(head, "bold cyan"))
    for attempt in number.attempts:
        _show_attempt(attempt, ends, console)
    if number.experience:
        _field(console, "learned", one_line(number.experience.first, 300))
        _field(console, "", f"→ {one_line(number.experience.second, 300)}")


def _show_attempt(attempt: AttemptDiff, ends: Sequence[End], console: Console) -> None:
    label = image_label(attempt.id)
    if attempt.only:
        _field(console, label, f"only {ends[0 if attempt.only == 'first' else 1].thread_id} has it")
        return
    lines = [_marked(attempt.prompt)] if attempt.prompt else []
    lines += [_fact(change) for change in attempt.changes if change.name != "score"]
    for verdict in attempt.verdicts:
        better = "green" if verdict.second == "met" else "red" if verdict.first == "met" else "yellow"
        told = f"{verdict.first or 'not asked'} → {verdict.second or 'not asked'}"
        lines.append(Text.assemble(f"{printable(verdict.question)} ", (told, better)))
    lines += [Text(f"{percent(it.first)} → {percent(it.second)} met") for it in attempt.changes if it.name == "score"]
    for place, line in enumerate(lines):
        _field(console, "" if place else label, line)


def _fact(change: Change) -> Text:
    if change.name == "artifact":
        is_there = [value is not None for value in (change.first, change.second)]
        return Text("another picture" if all(is_there) else f"{_drawn(is_there[0])} → {_drawn(is_there[1])}")
    return Text(f"{change.name} {_told(change.first)} → {_told(change.second)}")


def _drawn(is_there: bool) -> str:
    return "drawn" if is_there else "not drawn"


def _ended(end: End) -> str:
    why = stopped_because(end.stop_reason, end.limit) if end.stop_reason else "not finished"
    branch = f" · branch of {end.forked['thread']} from round {end.forked['round']}" if end.forked else ""
    return f"{why}, after {plural(end.rounds, 'round')}: {percent(end.score)} met{branch} · {cost(end.usage)}"


def _marked(pieces: Sequence[Piece]) -> Text:
    """Both prompts in one: marked, because colours do not outlive a pipe."""
    text = Text()
    for piece in pieces:
        before, after = _MARKS[piece.kind]
        text.append(f"{before}{printable(piece.text)}{after}", _STYLES[piece.kind])
    return text


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return " and ".join(map(str, value.values()))
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _field(console: Console, label: str, text: str | Text) -> None:
    body = Text(printable(text)) if isinstance(text, str) else text
    console.print(Text.assemble((f"  {label:<9} ", "dim"), body), soft_wrap=True)
