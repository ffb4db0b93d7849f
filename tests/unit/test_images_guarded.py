"""The gate that every drawing goes through."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from gems.backends.images.guarded import GuardedImages, image_gate
from gems.backends.images.scripted import ScriptedImages
from gems.backends.serving import Gate, Turns
from gems.core.errors import Again, BudgetSpent, DrawingRefused, ModelOutage
from gems.core.ports import Capabilities, Drawing, DrawRequest, Progress
from gems.core.profiles import DrawingOptions
from gems.core.spending import Limits, Purses
from gems.core.state import Options, Usage

REQUEST = DrawRequest("a cat", 1, 64, 64)


async def no_wait(seconds: float) -> None:
    await asyncio.sleep(0)


def gate(sleep: Callable[[float], Awaitable[None]] = no_wait) -> Gate:
    return Gate("the image server", turns=Turns(2), seconds=5, retries=2, paid_retries=1, sleep=sleep)


def options(max_images: int | None, max_cost: float | None) -> Options:
    limits = {"max_calls": None, "max_images": max_images, "max_seconds": None, "max_cost": max_cost}
    return cast("Options", limits)


class Priced(ScriptedImages):
    """Says what a drawing cost."""

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        drawing = await super().generate(request, progress)
        return Drawing(drawing.png, drawing.seconds, cost=0.01)


def test_it_is_its_inner_generator_to_everybody() -> None:
    inner = ScriptedImages(capabilities=Capabilities(edit=True, references=3, seeds=False, notes="short"))
    guarded = GuardedImages(inner, gate(), 0.1)
    assert (guarded.name, guarded.identity, guarded.capabilities) == (inner.name, inner.identity, inner.capabilities)
    assert guarded.check("a cat", 64, 64) == []


async def test_a_drawing_that_fails_free_is_repeated_and_reports_its_steps() -> None:
    failures = iter([ModelOutage("busy", again="free"), ModelOutage("busy", again="free"), None])
    inner = ScriptedImages(lambda _: next(failures))
    steps: list[tuple[int, int]] = []
    drawing = await GuardedImages(inner, gate(), 0.0).generate(REQUEST, lambda done, of: steps.append((done, of)))
    assert drawing.png
    assert len(inner.history) == 3
    assert steps == [(1, 1)]


async def test_a_refusal_is_not_repeated() -> None:
    inner = ScriptedImages(lambda _: DrawingRefused("no"))
    with pytest.raises(DrawingRefused):
        await GuardedImages(inner, gate(), 0.0).generate(REQUEST)
    assert len(inner.history) == 1


async def test_one_image_is_reserved_for_each_drawing() -> None:
    inner = Priced()
    guarded = GuardedImages(inner, gate(), 0.0)
    await Purses().open("t", Limits(max_images=2), Usage(), 0.0)
    results = await asyncio.gather(*(guarded.generate(REQUEST) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(result, BudgetSpent) for result in results) == 2
    assert len(inner.history) == 2


async def test_the_price_is_reserved_and_what_it_cost_is_booked() -> None:
    inner = Priced()
    guarded = GuardedImages(inner, gate(), image_price=0.05)
    await Purses().open("t", Limits(max_cost=0.065), Usage(), 0.0)
    await guarded.generate(REQUEST)  # 0.01 spent: 0.05 more still fits
    await guarded.generate(REQUEST)  # 0.02 spent: it does not any more
    with pytest.raises(BudgetSpent, match="max_cost"):
        await guarded.generate(REQUEST)
    assert len(inner.history) == 2


async def test_who_knows_what_a_request_costs_at_most_is_asked() -> None:
    class BySide(Priced):
        def worst_cost(self, request: DrawRequest) -> float:
            return request.width / 1000

    inner = BySide()
    guarded = GuardedImages(inner, gate(), image_price=0.001)
    await Purses().open("t", Limits(max_cost=0.1), Usage(), 0.0)
    await guarded.generate(REQUEST)  # 0.01 of 0.064 spent
    with pytest.raises(BudgetSpent, match="max_cost"):
        await guarded.generate(DrawRequest("a cat", 1, 96, 64))
    assert len(inner.history) == 1


@pytest.mark.parametrize(
    ("retries", "again", "calls"), [(0, "free", 1), (3, "free", 4), (0, "paid", 1), (3, "paid", 2), (3, "never", 1)]
)
async def test_the_gate_of_the_settings(retries: int, again: Again, calls: int) -> None:
    inner = ScriptedImages(lambda _: ModelOutage("no", again=again, wait=0.0))
    with pytest.raises(ModelOutage):
        await GuardedImages(inner, image_gate(DrawingOptions(retries=retries)), 0.0).generate(REQUEST)
    assert len(inner.history) == calls


async def test_turns_and_time_are_those_of_the_settings() -> None:
    busy = most = 0

    class Slow(ScriptedImages):
        async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            await asyncio.sleep(request.seed)
            busy -= 1
            return await super().generate(request, progress)

    guarded = GuardedImages(Slow(), image_gate(DrawingOptions(concurrency=2, seconds=0.05, retries=0)), 0.0)
    await asyncio.gather(*(guarded.generate(DrawRequest("a cat", 0, 64, 64)) for _ in range(5)))
    assert most == 2
    with pytest.raises(ModelOutage, match=r"within 0\.05 s"):
        await guarded.generate(DrawRequest("a cat", 9, 64, 64))
