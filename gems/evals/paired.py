"""What changes when the same prompts are run twice: means, and mean differences of pairs, with 95% intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

RESAMPLES: Final = 4000
"""Samples of prompts that an interval is read from."""


class Mean(NamedTuple):
    """A mean over prompts with the 95% interval of the percentile bootstrap (Efron 1979); nan where there are none."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """The mean and its interval: "2.130 [1.980, 2.310]"."""
        return "-" if math.isnan(self.value) else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Comparison(NamedTuple):
    """One measure of the same prompts without something and with it."""

    name: str
    without: Mean
    having: Mean
    difference: Mean
    """Of the pairs: with it, less without."""
    higher: int
    """Pairs in which it is higher with it."""
    lower: int
    pairs: int

    @property
    def is_shown(self) -> bool:
        """Whether the interval of the difference leaves out zero."""
        return self.difference.low > 0 or self.difference.high < 0

    def told(self) -> str:
        """The difference for people. Where no pair differs the bootstrap knows no spread, and the words say so."""
        if self.higher == self.lower == 0:
            return "no pair differs" if self.pairs else "-"
        it = self.difference
        return f"{it.value:+.3f} [{it.low:+.3f}, {it.high:+.3f}]"


def mean(values: Sequence[float], seed: int = 0) -> Mean:
    """The mean of one value a prompt; its interval is over prompts. The same seed gives the same interval."""
    if not values:
        return Mean(math.nan, math.nan, math.nan)
    given = np.asarray(values, dtype=np.float64)
    places = np.random.default_rng(seed).integers(0, len(given), (RESAMPLES, len(given)))
    low, high = np.quantile(given[places].mean(axis=1), (0.025, 0.975))
    return Mean(float(given.mean()), float(low), float(high))


def compare(name: str, without: Sequence[float], having: Sequence[float], seed: int = 0) -> Comparison:
    """Compare two values of each prompt.

    Args:
        name: What is measured.
        without: One value a prompt.
        having: Those of the same prompts in the same order.
        seed: Of the resampling.

    Raises:
        ValueError: they are not as many.
    """
    differences = [after - before for before, after in zip(without, having, strict=True)]
    return Comparison(
        name,
        mean(without, seed),
        mean(having, seed),
        mean(differences, seed),
        higher=sum(it > 0 for it in differences),
        lower=sum(it < 0 for it in differences),
        pairs=len(differences),
    )
