"""What a batch has come to: its counts, its usage, its exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gems.app.batch.results import RESULTS
from gems.app.outcome import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED, Outcome, spent


@dataclass(slots=True)
class Tally:
    """The count of rows by how they ended. `usage` is that of all rows, also of those that an earlier call finished."""

    name: str
    rows: int
    done: int = 0
    satisfied: int = 0
    """Of those done: every requirement is met."""
    failed: int = 0
    stopped: int = 0
    """Begun, and to be gone on with."""
    earlier: int = 0
    """Ended before this call."""
    was_stopped: bool = False
    """Whether a person stopped the batch."""
    lacks_money: bool = False
    """Whether rows are left because the limit of all together leaves no room."""
    usage: dict[str, float] = field(default_factory=lambda: spent({}))

    def add(self, outcome: Outcome) -> None:
        """Count a row."""
        if outcome.error is not None or outcome.status == "failed":
            self.failed += 1
        elif outcome.status == "stopped":
            self.stopped += 1
        else:
            self.done += 1
            self.satisfied += outcome.stop_reason == "satisfied"
        total = Counter(self.usage)
        total.update(outcome.usage)
        self.usage = {name: round(total[name], 6) for name in self.usage}

    @property
    def left(self) -> int:
        """Rows of which nothing has become yet."""
        return self.rows - self.done - self.failed - self.stopped

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some failed, 130 stopped."""
        if self.was_stopped:
            return EXIT_STOPPED
        return EXIT_DONE if self.done == self.rows else EXIT_FAILED

    def as_json(self, out: Path) -> dict[str, Any]:
        """The object of `--json`. `out` is the folder of results."""
        return {
            "name": self.name,
            "rows": self.rows,
            "done": self.done,
            "satisfied": self.satisfied,
            "failed": self.failed,
            "stopped": self.stopped,
            "left": self.left,
            "ended_earlier": self.earlier,
            "usage": self.usage,
            "out": str(out),
            "results": str(out / RESULTS),
            "error": None,
        }
