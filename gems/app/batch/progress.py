"""A batch as it goes on, for people: on a terminal one bar, elsewhere a line for each row that ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from gems.app.batch.rows import Row
from gems.app.batch.tally import Tally
from gems.app.outcome import Outcome
from gems.app.terminal import one_line
from gems.app.wording import duration, percent, plural, stopped_because
from gems.core.events import Event

_LONGEST: Final = 300
"""Characters shown of an error; the results have it whole."""


class BatchView:
    """Shows how far a batch is."""

    def __init__(self, console: Console, tally: Tally, jobs: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to `console`; `clock` counts seconds. Most `jobs` rows run at a time."""
        self._console = console
        self._tally = tally
        self._jobs = jobs
        self._clock = clock
        self._running: dict[int, float] = {}
        self._seconds = 0.0
        """Of rows that ended here, together."""
        self._ended = 0
        self._images = 0
        self._live = _live_bar(console) if console.is_terminal else None
        self._bar = self._live.add_task("", total=tally.rows, note="") if self._live else None

    def started(self) -> None:
        """The threads have been read, and rows begin to run."""
        tally = self._tally
        told = f"{plural(tally.rows, 'prompt')}, {self._jobs} at a time"
        if tally.earlier:
            told += f"; {tally.earlier:,} ended before"
        self._console.print(Text.assemble(("GEMS", "bold"), (f"  batch {tally.name} · {told}", "dim")), soft_wrap=True)
        if self._live is not None:
            self._live.start()
        self._update()

    def began(self, row: Row) -> None:
        """A row runs."""
        self._running[row.number] = self._clock()
        self._update()

    def event(self, event: Event) -> None:
        """Something happened in a row."""
        if event["event"] == "drawn" and not event["reused"]:
            self._images += 1
            self._update()

    def postponed(self, row: Row, error: Exception) -> None:
        """A row's model did not answer; it is tried once more when all others have ended."""
        self._running.pop(row.number, None)
        self._line(row, f"no answer, tried again at the end: {one_line(str(error), _LONGEST)}", "yellow")
        self._update()

    def ended(self, row: Row, outcome: Outcome) -> None:
        """A row has ended, and was counted."""
        began = self._running.pop(row.number, None)
        if began is not None:
            self._seconds += self._clock() - began
            self._ended += 1
        if outcome.error is not None:
            self._line(row, f"failed: {one_line(outcome.error.message, _LONGEST)}", "red")
        elif self._live is None:
            self._line(row, _how(outcome), "green" if outcome.stop_reason == "satisfied" else "")
        self._update()

    def say(self, text: str) -> None:
        """A word to the person."""
        self._console.print(Text(text, "bold yellow"), soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._live is not None:
            self._live.stop()

    @property
    def seconds_left(self) -> float | None:
        """What the rows that have not ended may take, by the mean of those that ended here; None: none has yet."""
        remaining = self._tally.left
        if not self._ended:
            return None
        return self._seconds / self._ended * remaining / max(1, min(self._jobs, remaining))

    def _line(self, row: Row, text: str, style: str) -> None:
        place = f"{self._tally.rows - self._tally.left:,}/{self._tally.rows:,}"
        self._console.print(
            Text.assemble((f"  {place}  {row.id}  ", "dim"), (text, style), (self._eta(" · "), "dim")), soft_wrap=True
        )

    def _update(self) -> None:
        if self._live is None or self._bar is None:
            return
        tally = self._tally
        counts = [f"{len(self._running)} running", f"{tally.satisfied:,} satisfied", plural(self._images, "image")]
        if tally.failed:
            counts.insert(1, f"{tally.failed:,} failed")
        note = " · ".join(counts) + self._eta(" · ")
        self._live.update(self._bar, completed=tally.rows - tally.left, note=note)

    def _eta(self, joint: str) -> str:
        left = self.seconds_left
        return f"{joint}about {duration(left)} left" if left else ""


def _how(outcome: Outcome) -> str:
    reason = outcome.stop_reason
    why = stopped_because(reason, outcome.limit) if reason else outcome.status
    return f"{why}, {percent(outcome.score)} met, {plural(outcome.rounds, 'round')}"


def _live_bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        MofNCompleteColumn(),
        BarColumn(bar_width=28),
        TextColumn("{task.fields[note]}", style="dim"),
        console=console,
        transient=True,
    )
