"""Weights on a CUDA device: what can only be seen there. Run: `python -m pytest tests/gpu -n 0`."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gems.backends.images.presets import family_of
from gems.backends.local.devices import find_device, read_memory
from gems.backends.local.images import sampling_of
from gems.backends.local.loading import Loaded, load
from gems.backends.local.orders import LocalModel, Order
from gems.backends.local.painting import paint
from gems.backends.local.placement import GB, Placement
from gems.backends.local.weights import find_weights
from gems.backends.local.workers import LocalStudio
from gems.core.profiles import DrawingOptions, LocalOptions
from gems.evals.tiny import TINY_FAMILIES, build_tiny, write_gguf
from gems.evals.tiny.full_size import write_full_size

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
DEVICE = "cuda:0"
Tiny = Callable[[str], Path]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return cache(lambda family: build_tiny(family, tmp_path_factory.mktemp("tiny") / family))


@pytest.fixture(autouse=True)
def _memory_is_given_back() -> Iterator[None]:
    yield
    torch.cuda.empty_cache()


def loaded(source: Path, placement: Placement, device: str = DEVICE, **options: Any) -> Loaded:
    model = LocalModel(str(source), LocalOptions(**options))
    return load(model, find_weights(model), device, placement)


def pictures(pipeline: Loaded, count: int = 1, side: int = 64) -> list[Any]:
    sampling = sampling_of(DrawingOptions(steps=2), family_of(pipeline.model.source))
    orders = [Order(pipeline.model, f"a dog, {seed}", seed, side, side, sampling) for seed in range(count)]
    return [np.asarray(it.image, int) for it in paint(pipeline, orders, lambda: False)]


def apart(one: Any, other: Any) -> float:
    return float(np.abs(one - other).mean())


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_seed_gives_the_picture_that_it_gives_on_the_cpu(family: str, tiny: Tiny) -> None:
    resident = Placement("resident", "fp32")
    on_cpu = pictures(loaded(tiny(family), resident, "cpu"))[0]
    assert apart(on_cpu, pictures(loaded(tiny(family), resident))[0]) < 2


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_batch_gives_what_each_order_alone_gives(family: str, tiny: Tiny) -> None:
    pipeline = loaded(tiny(family), Placement("resident", "bf16"))
    together = pictures(pipeline, 4)
    assert apart(together[0], pictures(pipeline)[0]) < 4
    assert apart(together[0], together[1]) > 4


@pytest.mark.parametrize("family", TINY_FAMILIES)
@pytest.mark.parametrize("cast", [False, True])
def test_parts_wait_in_the_machines_memory_for_their_turn(family: str, cast: bool, tiny: Tiny) -> None:
    resident = pictures(loaded(tiny(family), Placement("resident", "bf16")))[0]
    denoiser = "unet" if family.startswith("sd") else "transformer"
    placement = Placement("offload", "bf16", cast=frozenset({denoiser, "text_encoder"} if cast else ()))
    pipeline = loaded(tiny(family), placement)
    before = torch.cuda.memory_allocated()
    for _ in range(2):
        assert apart(resident, pictures(pipeline)[0]) < (24 if cast else 4)
    pipeline.rest()
    assert torch.cuda.memory_allocated() <= before + 1_000_000


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_parts_of_4_bits(tiny: Tiny) -> None:
    pipeline = loaded(tiny("z-image-turbo"), Placement("nf4", "bf16", quantized=frozenset({"transformer"})))
    assert type(pipeline.pipe.transformer.layers[0].attention.to_q).__name__ == "Linear4bit"
    assert pictures(pipeline)[0].std() > 1


def test_a_gguf_transformer_waits_too(tiny: Tiny, tmp_path: Path) -> None:
    file = write_gguf(tiny("z-image-turbo"), tmp_path / "t.gguf")
    resident = pictures(loaded(tiny("z-image-turbo"), Placement("resident", "bf16"), transformer=str(file)))[0]
    offloaded = pictures(loaded(tiny("z-image-turbo"), Placement("offload", "bf16"), transformer=str(file)))[0]
    assert apart(resident, offloaded) < 4


def test_compiled_blocks_draw_the_same(tiny: Tiny) -> None:
    plain = pictures(loaded(tiny("z-image-turbo"), Placement("resident", "fp32")))[0]
    assert apart(plain, pictures(loaded(tiny("z-image-turbo"), Placement("resident", "fp32"), compile=True))[0]) < 4


def test_the_most_free_device_is_found_and_read() -> None:
    device = find_device("auto")
    assert device.startswith("cuda:")
    memory = read_memory(device)
    assert 0 < memory.free <= memory.total


async def test_all_devices_draw(tiny: Tiny) -> None:
    devices = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    studio = LocalStudio(devices)
    try:
        model = LocalModel(str(tiny("sd-turbo")))
        await studio.ready(model)
        sampling = sampling_of(DrawingOptions(steps=2), family_of("sd-turbo"))
        orders = [Order(model, "a dog", seed, 64, 64, sampling) for seed in range(4 * len(devices))]
        drawn = await asyncio.gather(*map(studio.draw, orders))
        assert len({it.image.tobytes() for it in drawn}) == len(orders)
        assert set(studio.placements()) == set(devices)
    finally:
        studio.close()


async def test_resting_gives_the_memory_back_and_waking_draws_the_same(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if read_memory(DEVICE).free < 30 * GB:
        pytest.skip("the device has no room for Z-Image-Turbo in its real size")
    model = LocalModel(str(write_full_size(tmp_path_factory.mktemp("full"), device=DEVICE)))
    torch.cuda.empty_cache()
    order = Order(model, "a dog", 1, 1024, 1024, sampling_of(DrawingOptions(steps=2), family_of("z-image-turbo")))
    studio = LocalStudio([DEVICE])
    try:
        first = await studio.draw(order)
        assert studio.placements()[DEVICE][model.source] == "resident, bf16"
        held = torch.cuda.memory_allocated()
        assert 20 * GB < held < 22 * GB
        await studio.rest()
        assert torch.cuda.memory_allocated() < GB
        second = await studio.draw(order)
        assert apart(np.asarray(first.image, int), np.asarray(second.image, int)) == 0
    finally:
        studio.close()
    assert torch.cuda.memory_allocated() < GB


async def test_a_small_card_draws_the_real_size_in_8_bits(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As a card of 16 GB would: what it has is a stand-in, what it takes is measured."""
    if read_memory(DEVICE).free < 30 * GB:
        pytest.skip("the device has no room to write Z-Image-Turbo in its real size")
    model = LocalModel(str(write_full_size(tmp_path_factory.mktemp("full"), device=DEVICE)))
    torch.cuda.empty_cache()
    order = Order(model, "a dog", 1, 1024, 1024, sampling_of(DrawingOptions(steps=2), family_of("z-image-turbo")))
    card = int(15.2 * 1024**3)

    def memory(device: str) -> Any:
        return read_memory(device)._replace(free=card - torch.cuda.memory_allocated(device), total=card)

    studio = LocalStudio([DEVICE], memory=memory)
    try:
        torch.cuda.reset_peak_memory_stats()
        await studio.draw(order)
        assert studio.placements()[DEVICE][model.source] == "offload, fp8"
        assert torch.cuda.max_memory_allocated() < card
    finally:
        studio.close()
