"""The bench of weights in this process measures what it says."""

from __future__ import annotations

import pytest

from gems.evals.bench_local import Stand, choose_stand, measure_local


@pytest.mark.long
def test_it_draws_the_same_picture_both_ways() -> None:
    speed, together, apart, ready = measure_local(Stand("cpu", 64, 2), repeats=1, together=3)
    assert apart.verdict == "met"
    assert "64 px" in speed.note
    assert min(speed.value, together.value, ready.value) > 0


def test_a_machine_without_a_gpu_measures_a_tiny_model() -> None:
    stand = choose_stand()
    assert stand.full_size == stand.device.startswith("cuda")
