"""What a run came to, in a few lines; and a run in detail, for `gems show`."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from gems.app.export import REPORT
from gems.app.outcome import AttemptResult, Failure, Outcome, RequirementResult
from gems.app.progress import STYLES, image_label
from gems.app.terminal import one_line, printable
from gems.app.wording import ASCII_TICKS, TICKS, cost, percent, plural, raised, stopped_because
from gems.core.state import GemsState


def show_outcome(outcome: Outcome, console: Console) -> None:
    """The end of a run."""
    for warning in outcome.warnings:
        if outcome.error is not None or warning.startswith("round-"):
            show_field(console, "warning", warning, "yellow")
    if outcome.error is not None:
        show_failure(outcome.error, console)
    if outcome.error is not None and outcome.error.kind == "input" and not outcome.attempts:
        return
    console.print()
    console.print(
        Text(_headline(outcome), "bold green" if _is_right(outcome) else "bold yellow"),
        soft_wrap=True,
    )
    if outcome.best is not None:
        show_field(console, "best", f"{outcome.best.path}  (round {outcome.best.round}, seed {outcome.best.seed})")
    if outcome.out is not None:
        show_field(console, "report", f"{outcome.out}/{REPORT}")
    show_field(console, "cost", cost(outcome.usage))
    _next_command(outcome, console)


def _is_right(outcome: Outcome) -> bool:
    return outcome.stop_reason in ("satisfied", "accepted")


def _next_command(outcome: Outcome, console: Console) -> None:
    thread_id = outcome.thread_id
    if outcome.status == "waiting":
        show_field(console, "answer", f"gems review {thread_id}", "bold")
    elif (
        outcome.limit is None
        and outcome.exit_code
        and (outcome.attempts or outcome.error is None or outcome.error.kind == "run")
    ):
        show_field(console, "resume", f"gems resume {thread_id}", "bold")
    elif _is_right(outcome):
        show_field(console, "change", f'gems follow-up {thread_id} "what is to change"')
    elif outcome.stop_reason != "unverified":
        # Further rounds draw nothing where nothing is known to be wrong.
        show_field(console, "go on", f"gems resume {thread_id} {raised(outcome.limit, outcome.rounds - outcome.since)}")


def show_failure(failure: Failure, console: Console) -> None:
    """Why a command failed, in one line where it fits."""
    console.print(Text.assemble(("Error: ", "bold red"), printable(failure.message)), soft_wrap=True)
    if failure.kind == "unexpected":
        console.print(Text("This should not happen. Run it again with --debug for the details.", "dim"))


def show_run(outcome: Outcome, state: GemsState, console: Console) -> None:
    """A run in detail."""
    options = state["options"]
    console.print(Text(printable(state["request"]["prompt"]), "bold"), soft_wrap=True)
    if len(outcome.said) > 1:
        for number, text in enumerate(outcome.said, start=1):
            show_field(console, "" if number > 1 else "you said", f"{number}. {one_line(text, 600)}")
    shape = f"{options['width']}x{options['height']}"
    show_field(console, "run", f"{outcome.thread_id} · {options['profile']} · seed {options['seed']} · {shape}")
    if outcome.forked is not None:
        show_field(console, "branch", f"of {outcome.forked['thread']}, before round {outcome.forked['round']}")
    show_field(console, "state", _headline(outcome))
    if outcome.status == "waiting":
        show_field(console, "answer", f"gems review {outcome.thread_id}", "bold")
    for warning in outcome.warnings:
        show_field(console, "warning", warning, "yellow")
    console.print()
    for requirement in outcome.requirements:
        show_requirement(requirement, console)
    for attempt in outcome.attempts:
        console.print()
        show_head(attempt, console, is_best=outcome.best is not None and attempt.artifact == outcome.best.artifact)
        show_field(console, "prompt", one_line(attempt.prompt, 600))
        show_field(console, "image", attempt.path or attempt.error or "not drawn yet", "" if attempt.path else "red")
    _show_memory(outcome, state, console)
    console.print()
    show_field(console, "cost", cost(outcome.usage))


def _show_memory(outcome: Outcome, state: GemsState, console: Console) -> None:
    """What the run has learned, was told, and was given."""
    if state.get("experiences") or outcome.digest or outcome.remarks or outcome.lessons:
        console.print()
    if outcome.digest is not None:
        until = outcome.digest["until"]
        show_field(console, "digest", f"of rounds 1 to {until}: {one_line(outcome.digest['text'], 900)}", "italic")
    for experience in state.get("experiences", []):
        show_field(console, "learned", f"in round {experience['round']}: {one_line(experience['text'], 900)}", "italic")
    for remark in outcome.remarks:
        after = f"after round {remark['round']}" if remark["round"] else "at the plan"
        show_field(console, "you said", f"{after}: {one_line(remark['text'], 600)}")
    for lesson in outcome.lessons:
        show_field(
            console, "lesson", f"{lesson['id']}, given for round {lesson['round']}: {one_line(lesson['text'], 400)}"
        )


def show_requirement(requirement: RequirementResult, console: Console) -> None:
    """A requirement with its verdict; one that a person gave says so."""
    ticks = ASCII_TICKS if console.options.ascii_only else TICKS
    name = requirement.verdict
    parts = ["ruled by you"] if requirement.by_user else []
    parts += [one_line(requirement.evidence, 400)] if requirement.evidence else []
    seen = f"  ({': '.join(parts)})" if parts else ""
    line = f"  {ticks[name]} {requirement.id} {printable(requirement.question)}{seen}"  # type: ignore[index]
    console.print(Text(line, STYLES[name]), soft_wrap=True)  # type: ignore[index]


def show_head(attempt: AttemptResult, console: Console, *, is_best: bool) -> None:
    """The line above an attempt."""
    mark = " (best)" if is_best else ""
    head = f"{image_label(attempt.id)}{mark}  {attempt.action}, seed {attempt.seed}, {percent(attempt.score)} met"
    console.print(Text(head, "bold cyan"), soft_wrap=True)


def _headline(outcome: Outcome) -> str:
    if outcome.status == "running":
        return f"Not finished. If no process is running it, `gems resume {outcome.thread_id}` goes on."
    if outcome.waiting is not None and outcome.status == "waiting":
        asked = "the plan" if outcome.waiting["kind"] == "plan" else f"round {outcome.waiting['round']}"
        return f"It waits for your answer to {asked}."
    why = stopped_because(outcome.stop_reason, outcome.limit) if outcome.stop_reason else outcome.status
    sentence = f"{why[0].upper()}{why[1:]}"
    if outcome.rounds:
        sentence += f", after {plural(outcome.rounds, 'round')}"
    if outcome.score is not None and outcome.stop_reason != "satisfied":
        sentence += f": the best image meets {percent(outcome.score)} of the requirements"
    return f"{sentence}."


def show_field(console: Console, label: str, text: str, style: str = "") -> None:
    """A line with its label at the left."""
    console.print(Text.assemble((f"  {label:<9} ", "dim"), (printable(text), style)), soft_wrap=True)
