"""What became of the requests, counted since the server was started."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts; they only grow."""

    drawn: int = 0
    failed: int = 0
    cancelled: int = 0
    """Drawings that nobody waited for any more, or that the end of the server cut off."""
    seconds: float = 0.0
    """Of drawing, summed over the drawings that were made."""
    refused: Counter[int] = field(default_factory=Counter)
    """Requests that were answered without a picture, by their HTTP status."""

    def count_drawn(self, seconds: float) -> None:
        """Count a drawing."""
        self.drawn += 1
        self.seconds += seconds
