"""Shares with Wilson's interval."""

from __future__ import annotations

import math

import pytest

from gems.core.intervals import share


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        # Agresti and Coull 1998 and common tables: 0 of 10, 10 of 10, 5 of 10, 81 of 263.
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_known_intervals(hits: int, total: int, low: float, high: float) -> None:
    found = share(hits, total)
    assert found.value == hits / total
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_more_trials_narrow_it() -> None:
    assert share(50, 100).high - share(50, 100).low < share(5, 10).high - share(5, 10).low


def test_nothing_measured_is_no_share() -> None:
    assert math.isnan(share(0, 0).value)
    assert str(share(0, 0)) == "-"
    with pytest.raises(ValueError, match="3 hits of 2"):
        share(3, 2)


def test_all_and_nothing_reach_the_ends_exactly() -> None:
    """A share that stopped short of 1 by a rounding would be taken for less than one that is 1."""
    for total in range(1, 1000):
        assert share(total, total).high == 1.0
        assert share(0, total).low == 0.0
