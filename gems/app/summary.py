"""What a run came to, in a few lines; and a run in detail, for `gems show`."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from gems.app.export import REPORT
from gems.app.outcome import Failure, Outcome
from gems.app.progress import STYLES, image_label
from gems.app.terminal import one_line, printable
from gems.app.wording import ASCII_TICKS, TICKS, cost, percent, plural, raised, stopped_because
from gems.core.state import GemsState


def show_outcome(outcome: Outcome, console: Console) -> None:
    """The end of a run."""
    for warning in outcome.warnings:
        if outcome.error is not None or warning.startswith("round-"):
            _field(console, "warning", warning, "yellow")
    if outcome.error is not None:
        show_failure(outcome.error, console)
    if outcome.error is not None and outcome.error.kind == "input" and not outcome.attempts:
        return
    console.print()
    console.print(
        Text(_headline(outcome), "bold green" if outcome.stop_reason == "satisfied" else "bold yellow"), soft_wrap=True
    )
    if outcome.best is not None:
        _field(console, "best", f"{outcome.best.path}  (round {outcome.best.round}, seed {outcome.best.seed})")
    if outcome.out is not None:
        _field(console, "report", f"{outcome.out}/{REPORT}")
    _field(console, "cost", cost(outcome.usage))
    if (
        outcome.limit is None
        and outcome.exit_code
        and (outcome.attempts or outcome.error is None or outcome.error.kind == "run")
    ):
        _field(console, "resume", f"gems resume {outcome.thread_id}", "bold")
    elif outcome.stop_reason != "satisfied":
        _field(console, "go on", f"gems resume {outcome.thread_id} {raised(outcome.limit, outcome.rounds)}")


def show_failure(failure: Failure, console: Console) -> None:
    """Why a command failed, in one line where it fits."""
    console.print(Text.assemble(("Error: ", "bold red"), printable(failure.message)), soft_wrap=True)
    if failure.kind == "unexpected":
        console.print(Text("This should not happen. Run it again with --debug for the details.", "dim"))


def show_run(outcome: Outcome, state: GemsState, console: Console) -> None:
    """A run in detail."""
    ticks = ASCII_TICKS if console.options.ascii_only else TICKS
    options = state["options"]
    console.print(Text(printable(state["request"]["prompt"]), "bold"), soft_wrap=True)
    shape = f"{options['width']}x{options['height']}"
    _field(console, "run", f"{outcome.thread_id} · {options['profile']} · seed {options['seed']} · {shape}")
    _field(console, "state", _headline(outcome))
    for warning in outcome.warnings:
        _field(console, "warning", warning, "yellow")
    console.print()
    for requirement in outcome.requirements:
        name = requirement.verdict
        seen = f"  ({one_line(requirement.evidence, 160)})" if requirement.evidence else ""
        line = f"  {ticks[name]} {requirement.id} {printable(requirement.question)}{seen}"  # type: ignore[index]
        console.print(Text(line, STYLES[name]), soft_wrap=True)  # type: ignore[index]
    for attempt in outcome.attempts:
        console.print()
        mark = " (best)" if outcome.best and attempt.artifact == outcome.best.artifact else ""
        head = f"{image_label(attempt.id)}{mark}  {attempt.action}, seed {attempt.seed}, {percent(attempt.score)} met"
        console.print(Text(head, "bold cyan"), soft_wrap=True)
        _field(console, "prompt", one_line(attempt.prompt, 600))
        _field(console, "image", attempt.path or attempt.error or "not drawn yet", "" if attempt.path else "red")
    if state.get("experiences"):
        console.print()
    for experience in state.get("experiences", []):
        _field(console, "learned", f"in round {experience['round']}: {one_line(experience['text'], 900)}", "italic")
    console.print()
    _field(console, "cost", cost(outcome.usage))


def _headline(outcome: Outcome) -> str:
    if outcome.status == "running":
        return f"Not finished. If no process is running it, `gems resume {outcome.thread_id}` goes on."
    why = stopped_because(outcome.stop_reason, outcome.limit) if outcome.stop_reason else outcome.status
    sentence = f"{why[0].upper()}{why[1:]}"
    if outcome.rounds:
        sentence += f", after {plural(outcome.rounds, 'round')}"
    if outcome.score is not None and outcome.stop_reason != "satisfied":
        sentence += f": the best image meets {percent(outcome.score)} of the requirements"
    return f"{sentence}."


def _field(console: Console, label: str, text: str, style: str = "") -> None:
    console.print(Text.assemble((f"  {label:<9} ", "dim"), (printable(text), style)), soft_wrap=True)
