"""The bench measures what it says: real graph, real checkpoints, scripted models."""

from __future__ import annotations

import io

from PIL import Image

from gems.evals import bench_loop
from gems.evals.bench_loop import (
    checkpoint_size,
    make_picture,
    measure_checkpoints,
    measure_rounds,
    measure_view,
    open_stage,
    run_rounds,
)
from gems.evals.figures import Figure, Target
from gems.nodes.refiner import VIEW_SIDE


def test_a_figure_knows_whether_it_is_met() -> None:
    assert Figure("a", 29.9, target=Target("under", 30)).verdict == "met"
    assert Figure("a", 30.0, target=Target("under", 30)).verdict == "MISSED"
    assert Figure("a", 30.0, target=Target("at most", 30)).verdict == "met"
    assert Figure("a", 0.97, target=Target("at least", 0.98)).verdict == "MISSED"
    assert Figure("a", float("nan"), target=Target("at least", 0.98)).verdict == "MISSED"
    assert Figure("a", 1.0).verdict == ""


def test_pictures_are_as_hard_to_compress_as_photographs() -> None:
    png = make_picture(128)
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (128, 128)
    assert 1.0 < len(png) / 128**2 < 3.0


async def test_rounds_are_timed_from_review_to_review() -> None:
    async with open_stage(make_picture(64)) as stage:
        laps = await run_rounds(stage, 4, 64)
        size = checkpoint_size(stage.home / "checkpoints.sqlite")
        assert len(stage.chat.role.asked("refine")) == 3
    assert len(laps) == 3
    assert all(lap.cpu > 0 and lap.wall > 0 for lap in laps)
    assert stage.chat.wall > 0
    assert 0 < size.stored < size.file
    assert size.steps > 4 * 4


async def test_the_image_work_is_told_from_the_rest() -> None:
    own, clock, codec = await measure_rounds(repeats=1, side=2 * VIEW_SIDE)
    assert own.value > 0
    assert clock.value > 0
    assert codec.value > 0


async def test_checkpoints_do_not_hold_images() -> None:
    small, large = await measure_checkpoints((64, 512))
    assert (small.verdict, large.verdict) == ("met", "met")
    assert large.value < 1.2 * small.value


async def test_the_view_stops_growing() -> None:
    *by_round, growth = await measure_view((2, 18, 22), side=64)
    assert [figure.name for figure in by_round] == ["round 2", "round 18", "round 22"]
    assert growth.verdict == "met"
    assert all(figure.note.startswith("2 images") for figure in by_round)
    assert bench_loop.GROWTH < 1.05
