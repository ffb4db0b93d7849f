"""The embedded engine behind the image port: its weights, its refusals, its cancelling."""

from __future__ import annotations

import asyncio
import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

from gems.backends.sketch.images import WEIGHTS, SketchImages
from gems.core.errors import GemsConfigError, OutOfVocabulary
from gems.core.ports import DrawRequest

REQUEST = DrawRequest("a red apple", 3, 128, 96)


def test_missing_weights_are_told_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(GemsConfigError, match="weights are missing"):
        SketchImages(tmp_path).check("a red apple", 512, 512)


async def test_damaged_weights_are_told_in_words(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS, tmp_path / "weights")
    for path in (tmp_path / "weights").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(GemsConfigError, match="cannot be loaded"):
        await SketchImages(tmp_path / "weights").generate(REQUEST)


def test_what_cannot_be_drawn_is_refused_and_small_pictures_are_warned_of() -> None:
    images = SketchImages()
    with pytest.raises(OutOfVocabulary, match="'dragon'"):
        images.check("a dragon", 512, 512)
    assert images.check("a dog", 512, 512) == []
    assert "under 384 pixels" in images.check("a dog", 256, 512)[0]


async def test_a_seed_gives_the_same_picture_and_steps_are_reported() -> None:
    steps: list[tuple[int, int]] = []
    first = await SketchImages().generate(REQUEST, lambda step, all_steps: steps.append((step, all_steps)))
    second = await SketchImages().generate(REQUEST)
    assert first.png == second.png
    assert steps == [(number, 12) for number in range(1, 13)]
    with Image.open(io.BytesIO(first.png)) as image:
        assert image.size == (128, 96)


async def test_cancelling_stops_within_a_step_and_what_waits_is_never_begun() -> None:
    steps: list[int] = []
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_step(step: int, _: int) -> None:
        steps.append(step)
        loop.call_soon_threadsafe(started.set)

    await SketchImages().generate(REQUEST)
    drawing = asyncio.create_task(SketchImages().generate(REQUEST, on_step))
    waiting = asyncio.create_task(SketchImages().generate(REQUEST, lambda step, _: steps.append(100 + step)))
    await started.wait()
    drawing.cancel()
    waiting.cancel()
    await asyncio.gather(drawing, waiting, return_exceptions=True)
    await SketchImages().generate(REQUEST)  # the worker is free again
    assert drawing.cancelled()
    assert waiting.cancelled()
    assert len(steps) < 12
    assert max(steps) < 100
