"""How often somebody may ask: token buckets, one for each of those who ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MOST_KNOWN: Final = 4096
"""Buckets that are kept: an address more than that pushes out the one that asked longest ago."""


class Buckets:
    """Buckets that hold a minute's worth, and fill evenly. They are this process's own."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Let each ask `per_minute` times a minute; `clock` tells seconds."""
        self._most = float(per_minute)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str) -> float:
        """Take one from the bucket of `who`.

        Returns:
            0, or, where it is empty, the seconds until there is one again.
        """
        now = self._clock()
        left, then = self._left.pop(who, (self._most, now))
        left = min(self._most, left + (now - then) * self._most / 60)
        waiting = 0.0 if left >= 1 else (1 - left) * 60 / self._most
        self._left[who] = (left if waiting else left - 1, now)
        if len(self._left) > MOST_KNOWN:
            self._left.popitem(last=False)
        return waiting
