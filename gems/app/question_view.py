"""What a run waits with, shown to a person: the plan, or the round's pictures with their verdicts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from gems.app.progress import STYLES, image_label
from gems.app.terminal import one_line, printable
from gems.app.waiting import Question
from gems.app.wording import ASCII_TICKS, TICKS, percent
from gems.core.state import Attempt


def show_question(question: Question, console: Console, path: Callable[[str], Path | str]) -> None:
    """Show all that an answer needs. `path` says where an artifact lies."""
    value = question.value
    head = "The plan" if question.is_plan else f"Round {value['round']}"
    console.print()
    console.print(Text.assemble((f"{head} for: ", "bold cyan"), (printable(value["request"]), "bold")), soft_wrap=True)
    if question.is_plan:
        _show_plan(question, console)
    for attempt in question.shown:
        _show_attempt(question, attempt, console, path)


def _show_plan(question: Question, console: Console) -> None:
    value = question.value
    reason = f": {one_line(value['reason'], 300)}" if value["reason"] else ""
    _line(console, "skills", f"{', '.join(value['skills']) or 'none'}{reason}")
    for number, prompt in enumerate(value["prompts"], start=1):
        _line(console, f"prompt {number}" if len(value["prompts"]) > 1 else "prompt", prompt)
    for place, item in enumerate(value["requirements"]):
        _line(console, "" if place else "to check", f"{item['id']}  {item['question']}")


def _show_attempt(question: Question, attempt: Attempt, console: Console, path: Callable[[str], Path | str]) -> None:
    ticks = ASCII_TICKS if console.options.ascii_only else TICKS
    mark = " (best)" if question.best and question.best["id"] == attempt["id"] else ""
    label = image_label(attempt["id"])
    if "artifact" not in attempt:
        _line(console, label, f"not drawn: {attempt.get('error', '')}", "red")
        return
    _line(
        console,
        label,
        f"{percent(attempt.get('score'))} met{mark}, {attempt['action']}, seed {attempt['seed']}",
        "bold",
    )
    _line(console, "", str(path(attempt["artifact"])))
    _line(console, "", attempt["prompt"], "dim")
    for item in question.value["requirements"]:
        verdict = attempt.get("verdicts", {}).get(item["id"])
        if verdict is not None:
            evidence = one_line(verdict["evidence"], 200)
            seen = f"  ({evidence})" if evidence else ""
            name = verdict["verdict"]
            _line(console, "", f"{ticks[name]} {item['id']} {item['question']}{seen}", STYLES[name])


def _line(console: Console, label: str, text: str, style: str = "") -> None:
    shown = " ".join(printable(text).split("\n"))
    console.print(Text.assemble((f"  {label:<9} ", "dim"), (shown, style)), soft_wrap=True)
