"""Shares with their uncertainty."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

Z_95: Final = 1.959964
"""Standard normal quantile of a 95% interval."""


class Share(NamedTuple):
    """`hits` of `total`, with the 95% Wilson score interval of the share; nan where the total is 0."""

    hits: int
    total: int
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """The share and its interval: ".950 [.764, .991]"."""
        if not self.total:
            return "-"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def share(hits: int, total: int, z: float = Z_95) -> Share:
    """A share with Wilson's score interval (Wilson 1927), which holds for few trials and for shares near 0 and 1.

    Raises:
        ValueError: `hits` is not between 0 and `total`.
    """
    if not 0 <= hits <= total:
        raise ValueError(f"{hits} hits of {total}")
    if not total:
        return Share(0, 0, math.nan, math.nan, math.nan)
    value = hits / total
    spread = z * z / total
    middle = (value + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(value * (1 - value) / total + spread / (4 * total))
    # At the ends the interval reaches 0 and 1 exactly; rounding alone would stop it short of them.
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    high = 1.0 if hits == total else min(1.0, middle + half)
    return Share(hits, total, value, low, high)
