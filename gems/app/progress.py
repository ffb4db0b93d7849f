"""A run as it happens, for people: lines that stay, and on a terminal the step bars of what is being drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.text import Text

from gems.app.terminal import one_line, printable
from gems.app.wording import ASCII_TICKS, TICKS, duration, expected, percent
from gems.core.events import (
    DrawingStep,
    Drawn,
    Event,
    Judged,
    Learned,
    NotDrawn,
    Planned,
    Refined,
    RequirementsSet,
    Reviewed,
    RoundBegan,
    Started,
)
from gems.core.state import GemsState, Requirement, Verdict, VerdictName

STYLES: Final[dict[VerdictName, str]] = {"met": "green", "unmet": "red", "unknown": "yellow", "skipped": "dim"}
_LABEL: Final = 9
"""Columns of the label at the left."""
_LONGEST: Final = 600
"""Characters shown of a prompt or a diagnosis; the report has them whole."""
_ID: Final = re.compile(r"(\d+)\.(\d+)")
_LABEL_OF: Final = re.compile(r"(\d+)([a-z])")


class ProgressView:
    """Shows the events of one run. Without a terminal it writes plain lines and no bars."""

    def __init__(self, console: Console, thread_id: str, path: Callable[[str], Path | str]) -> None:
        """Write to `console`; `path` says where an artifact lies."""
        self._console = console
        self._thread_id = thread_id
        self._path = path
        self._requirements: list[Requirement] = []
        self._prompts: set[str] = set()
        self._warnings: set[str] = set()
        self._said: tuple[str, str] | None = None
        self._is_headed = False
        self.has_begun = False
        """Whether an event has come: before the first, nothing was spent."""
        self._ticks = ASCII_TICKS if console.options.ascii_only else TICKS
        self._live = _live_bars(console) if console.is_terminal else None
        self._status: TaskID | None = None
        self._bars: dict[str, TaskID] = {}
        # Each takes the one event of its name.
        self._shows: dict[str, Callable[[Any], None]] = {
            "started": self._started,
            "plan": self._plan,
            "requirements": self._checks,
            "round": self._round,
            "drawing": self._drawing,
            "drawn": self._drawn,
            "not_drawn": self._not_drawn,
            "judged": self._judged,
            "reviewed": self._reviewed,
            "refined": self._refined,
            "experience": self._experience,
        }

    def resumed(self, state: GemsState) -> None:
        """What a run that is resumed has told another process: the request and the questions."""
        self._recall(state)
        if "request" in state:
            options, request = state["options"], state["request"]
            if "said" in request:
                self._said = ("change", request["said"][-1])
            self._head(options["profile"], options["seed"], request["prompt"])
            self._line("goes on", f"in round {max(1, state['round'])}")

    def changing(self, state: GemsState, message: str) -> None:
        """What a run has told before, now that a message is to change its picture: the head will show that message."""
        self._recall(state)
        self._said = ("change", message)

    def show(self, event: Event) -> None:
        """Show one event."""
        self.has_begun = True
        if (handler := self._shows.get(event["event"])) is not None:
            handler(event)

    def say(self, text: str) -> None:
        """A word to the person outside the run's own events."""
        self._line("", text, "bold yellow")

    def working(self, what: str) -> None:
        """What is going on now; seen on a terminal only."""
        if self._live is None:
            return
        if self._status is None:
            self._live.start()
            self._status = self._live.add_task(what, total=None, note="")
        self._live.update(self._status, description=what)

    def close(self) -> None:
        """Take the bars away, until something is drawn or done again."""
        if self._live is None:
            return
        self._live.stop()
        for bar in self._live.task_ids:
            self._live.remove_task(bar)
        self._bars, self._status = {}, None

    def _recall(self, state: GemsState) -> None:
        self._requirements = state.get("requirements", [])
        self._prompts = {attempt["prompt"] for attempt in state.get("attempts", [])}
        self._warnings = set(state.get("warnings", []))

    def _started(self, event: Started) -> None:
        self._head(event["profile"], event["seed"], event["prompt"])
        if event["estimate"]["cost"] != 0:
            self._line("estimate", expected(event["estimate"]))
        for warning in (it for it in event["warnings"] if it not in self._warnings):
            self._line("warning", warning, "yellow")
        self.working("planning")

    def _head(self, profile: str, seed: int, prompt: str) -> None:
        if self._is_headed:
            return
        self._is_headed = True
        told = f"  {profile} · seed {seed} · thread {self._thread_id}"
        self._console.print(Text.assemble(("GEMS", "bold"), (told, "dim")), soft_wrap=True)
        label, text = self._said or ("request", prompt)
        self._line(label, text, "bold")

    def _plan(self, event: Planned) -> None:
        skills = [f"{skill['name']} ({', '.join(skill['files'])})" for skill in event["skills"]]
        self._line("skills", "; ".join(skills) or "none")

    def _checks(self, event: RequirementsSet) -> None:
        before, self._requirements = self._requirements, event["requirements"]
        if before == self._requirements:
            return
        for place, requirement in enumerate(self._requirements):
            # Where a message or a person has changed them, what is new stands out.
            style = "bold" if before and requirement not in before else ""
            self._line("" if place else "to check", f"{requirement['id']}  {requirement['question']}", style)
        for place, requirement in enumerate(it for it in before if it not in self._requirements):
            self._line("" if place else "no more", f"{requirement['id']}  {requirement['question']}", "dim")

    def _round(self, event: RoundBegan) -> None:
        self._console.print()
        self._console.print(Text(f"Round {event['round']}", "bold cyan"))
        self.working("drawing")

    def _drawing(self, event: DrawingStep) -> None:
        if self._live is None:
            return
        name = image_label(event["attempt"])
        if event["attempt"] not in self._bars:
            self.working("drawing")
            self._bars[event["attempt"]] = self._live.add_task(f"  {name}", total=event["steps"], note="")
        bar = self._bars[event["attempt"]]
        self._live.update(bar, completed=event["step"], note=f"step {event['step']} of {event['steps']}", refresh=True)

    def _drawn(self, event: Drawn) -> None:
        self._take_bar(event["attempt"])
        prompt = event["prompt"]
        if prompt not in self._prompts:
            self._prompts.add(prompt)
            self._line("prompt", prompt)
        how = "found again" if event["reused"] else f"drawn in {duration(event['seconds'])}"
        self._line(image_label(event["attempt"]), f"{event['action']}, {how}, seed {event['seed']}")
        self._console.print(Text(f"    {self._path(event['artifact'])}", "dim"), soft_wrap=True)
        self.working("looking")

    def _not_drawn(self, event: NotDrawn) -> None:
        self._take_bar(event["attempt"])
        self._line(image_label(event["attempt"]), f"not drawn: {event['error']}", "red")

    def _judged(self, event: Judged) -> None:
        verdicts = event["verdicts"]
        met = [it["id"] for it in self._requirements if _name(verdicts, it) == "met"]
        label = image_label(event["attempt"])
        if met:
            self._line(label, f"{self._ticks['met']} {' '.join(met)}", STYLES["met"])
            label = ""
        for requirement in self._requirements:
            name = _name(verdicts, requirement)
            if name in ("unmet", "unknown", "skipped"):
                evidence = one_line(verdicts[requirement["id"]]["evidence"], 160)
                seen = f"  ({evidence})" if evidence else ""
                self._line(
                    label, f"{self._ticks[name]} {requirement['id']} {requirement['question']}{seen}", STYLES[name]
                )
                label = ""

    def _reviewed(self, event: Reviewed) -> None:
        best = event["best"]
        if best is not None:
            self._line("best", f"{image_label(best)}, {percent(event['score'])} met")
        if not event["stop_reason"]:
            self.working("thinking about what to change")

    def _refined(self, event: Refined) -> None:
        if event["diagnosis"]:
            self._line("why", event["diagnosis"])
        self._line("next", ", ".join(event["actions"]))

    def _experience(self, event: Learned) -> None:
        self._line("learned", f"in round {event['round']}: {event['text']}", "italic")

    def _take_bar(self, attempt: str) -> None:
        bar = self._bars.pop(attempt, None)
        if bar is not None and self._live is not None:
            self._live.remove_task(bar)

    def _line(self, label: str, text: str, style: str = "") -> None:
        text = printable(text)
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        start = f"  {label:<{_LABEL}} "
        if not self._console.is_terminal:
            self._console.print(Text.assemble((start, "dim"), (" ".join(text.split("\n")), style)), soft_wrap=True)
            return
        room = max(20, self._console.width - len(start) - 1)
        for number, line in enumerate(Text(text, style).wrap(self._console, room)):
            line.rstrip()
            self._console.print(Text.assemble((" " * len(start) if number else start, "dim"), line))


def image_label(attempt: str) -> str:
    """`2.1` as `2a`: the name an image has in the folder of the run, `round-2-a.png`."""
    match = _ID.fullmatch(attempt)
    return f"{match[1]}{chr(ord('a') + int(match[2]) - 1)}" if match and int(match[2]) <= 26 else attempt


def attempt_id(label: str) -> str:
    """`2a` as `2.1`: the attempt that has that image. What is no such name stays as it is."""
    match = _LABEL_OF.fullmatch(label)
    return f"{match[1]}.{ord(match[2]) - ord('a') + 1}" if match else label


def _name(verdicts: dict[str, Verdict], requirement: Requirement) -> VerdictName | None:
    verdict = verdicts.get(requirement["id"])
    return verdict["verdict"] if verdict else None


class _StepBar(ProgressColumn):
    """A bar where the steps are known; what has no steps shows its spinner only."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = BarColumn(bar_width=28)

    def render(self, task: Task) -> RenderableType:
        return Text() if task.total is None else self._bar.render(task)


def _live_bars(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        _StepBar(),
        TextColumn("{task.fields[note]}", style="dim"),
        console=console,
        transient=True,
    )
