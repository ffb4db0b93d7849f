"""`gems show --attempt`, `--calls` and `--call`: single facts of a run, read back by their ids."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from gems.app.commands import StoredRun, load_run
from gems.app.outcome import NO_VERDICT, AttemptResult, RequirementResult
from gems.app.progress import attempt_id, image_label
from gems.app.session import Target
from gems.app.summary import show_field, show_head, show_requirement
from gems.app.terminal import make_console, printable
from gems.core.errors import GemsConfigError
from gems.memory import SqlJournal
from gems.memory.stores import stores_of


def show_attempt(target: Target, name: str) -> int:
    """One attempt whole, by its id (`2.1`) or the name of its image (`2a`).

    Raises:
        GemsConfigError: there is no such run or attempt.
    """
    run = asyncio.run(load_run(target.thread_id))
    attempt = next((it for it in run.outcome.attempts if it.id == attempt_id(name)), None)
    if attempt is None:
        ids = ", ".join(it.id for it in run.outcome.attempts) or "none yet"
        raise GemsConfigError(f"thread {target.thread_id!r} has no attempt {name!r}; there are: {ids}")
    if target.as_json:
        _echo(asdict(attempt) | {"is_best": attempt.id == run.state.get("best")})
        return 0
    console = make_console(stderr=False)
    show_head(attempt, console, is_best=attempt.id == run.state.get("best"))
    _show_fields(attempt, console)
    console.print()
    for requirement in _verdicts(run, attempt):
        show_requirement(requirement, console)
    return 0


def list_calls(target: Target) -> int:
    """The calls of a run to its models, in the order they were answered.

    Raises:
        GemsConfigError: there is no such run.
    """
    run = asyncio.run(load_run(target.thread_id))
    pictures = {it.artifact: it for it in run.outcome.attempts if it.artifact is not None}
    lines = [_line(number, call, pictures) for number, call in enumerate(_calls(run), start=1)]
    if target.as_json:
        _echo({"calls": lines})
        return 0
    console = make_console(stderr=False)
    for line in lines:
        place = f"round {line['round']}" if line["round"] is not None else ""
        seen = " ".join(image_label(attempt) for attempt in line["attempts"])
        tokens = f"{line['input_tokens']:,.0f} tokens in, {line['output_tokens']:,.0f} out"
        told = f"{line['number']:>4}  {line['task']:<14} {line['role']:<11} {place:<9} {seen:<7} {tokens:<28} "
        console.print(Text.assemble(printable(told), (line["problem"], "red")), soft_wrap=True)
    return 0


def show_call(target: Target, number: int) -> int:
    """One call whole: what the model was told, and what it answered. `number` is counted from 1, as they are listed.

    Raises:
        GemsConfigError: there is no such run or call.
    """
    calls = _calls(asyncio.run(load_run(target.thread_id)))
    if not 1 <= number <= len(calls):
        raise GemsConfigError(
            f"thread {target.thread_id!r} has no call {number}: `gems show {target.thread_id} --calls` lists "
            f"{len(calls) or 'none'}"
        )
    call = calls[number - 1]
    if target.as_json:
        _echo(call)
        return 0
    console = make_console(stderr=False)
    console.print(Text(f"Call {number}: {call['task']}, as {call['role']}", "bold cyan"), soft_wrap=True)
    parts = {
        "Instructions": call["instructions"],
        "Fields": _pretty(call["fields"]),
        "Images": "\n".join(f"{image['label']} {image['artifact']}" for image in call["images"]),
        "Thoughts": call["thoughts"],
        "Reply": _pretty(call["reply"]) if call["reply"] is not None else "",
        "Problem": call["problem"],
        "Usage": _pretty(call["usage"]),
    }
    for name, text in parts.items():
        if text:
            console.print(Text(f"\n{name}", "bold"), soft_wrap=True)
            console.print(printable(text), soft_wrap=True)
    return 0


def _show_fields(attempt: AttemptResult, console: Console) -> None:
    show_field(console, "id", attempt.id)
    show_field(console, "prompt", attempt.prompt)
    if attempt.parent is not None:
        show_field(console, "parent", f"{attempt.parent} ({image_label(attempt.parent)})")
    show_field(console, "image", attempt.path or attempt.error or "not drawn yet", "" if attempt.path else "red")
    if attempt.reused:
        show_field(console, "", "found again, not drawn")


def _verdicts(run: StoredRun, attempt: AttemptResult) -> list[RequirementResult]:
    results = []
    for item in run.state.get("requirements", []):
        verdict = attempt.verdicts.get(item["id"], NO_VERDICT)
        results.append(
            RequirementResult(
                item["id"],
                item["question"],
                item["kind"],
                verdict["verdict"],
                verdict["evidence"],
                item["id"] in attempt.ruled,
            )
        )
    return results


def _calls(run: StoredRun) -> list[dict[str, Any]]:
    stores = stores_of(run.settings)
    if not stores.may_hold("journal"):
        return []
    return asyncio.run(SqlJournal(stores.database("journal")).calls(run.state["trajectory_id"]))


def _line(number: int, call: Mapping[str, Any], pictures: Mapping[str, AttemptResult]) -> dict[str, Any]:
    """A call as it is listed. Its round is what it was told, or else that of the newest picture it was shown."""
    usage = call["usage"]
    seen = [pictures[image["artifact"]] for image in call["images"] if image["artifact"] in pictures]
    shown_round = max((attempt.round for attempt in seen), default=None)
    return {
        "number": number,
        "key": call["key"],
        "task": call["task"],
        "role": call["role"],
        "round": call["fields"].get("round", shown_round),
        "attempts": [attempt.id for attempt in seen],
        "input_tokens": usage.get("input_tokens", 0),
        "output_tokens": usage.get("output_tokens", 0),
        "problem": call["problem"],
    }


def _pretty(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def _echo(value: Any) -> None:
    click.echo(_pretty(value))
