"""The workers: who draws what when, what is in memory, and what happens when it does not suffice."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gems.backends.local.components import Part
from gems.backends.local.loading import Loaded, load
from gems.backends.local.orders import LocalModel, Order, Painted, Sampling
from gems.backends.local.placement import GB, Memory, Placement
from gems.backends.local.studio import Figures
from gems.backends.local.weights import Weights, find_weights
from gems.backends.local.workers import LocalStudio
from gems.core.errors import GemsConfigError, ModelOutage
from gems.core.profiles import LocalOptions

PLENTY = Memory("cpu", 64 * GB, 64 * GB, 64 * GB, can_offload=False)
STEPS = Sampling(steps=2, guidance_scale=0.0)

Folder = Callable[[str], Path]


class Loader:
    """Loads really, on the CPU, and remembers what. `scripts` change pipelines of a source before anything is drawn."""

    def __init__(self, script: Callable[[Loaded], None] = lambda _: None) -> None:
        self.script = script
        self.loads: list[tuple[str, str, str]] = []
        self.loaded: list[Loaded] = []
        self.failures: list[Exception] = []

    def __call__(self, model: LocalModel, weights: Weights, device: str, placement: Placement) -> Loaded:
        self.loads.append((model.source, device, placement.label))
        if self.failures:
            raise self.failures.pop(0)
        made = load(model, weights, "cpu", Placement("resident", placement.dtype, spare=placement.spare))
        self.script(made)
        self.loaded.append(made)
        return made


@asynccontextmanager
async def studio(
    devices: tuple[str, ...] = ("cpu",),
    memory: Callable[[str], Memory] = lambda _: PLENTY,
    loader: Loader | None = None,
    window: float = 0.05,
) -> AsyncIterator[LocalStudio]:
    made = LocalStudio(devices, memory=memory, load_with=loader or Loader(), window=window)
    try:
        yield made
    finally:
        await asyncio.to_thread(made.close)
        assert not any(thread.is_alive() for thread in made._threads)


def order(folder: Path, seed: int = 0, prompt: str = "a red dog", **more: Any) -> Order:
    options = more.pop("options", LocalOptions())
    settings = {"width": 64, "height": 64, "sampling": STEPS} | more
    return Order(LocalModel(str(folder), options), prompt, seed, **settings)


def pixels(painted: Painted) -> Any:
    return np.asarray(painted.image, int)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what changes it is another thread
            await asyncio.sleep(0.005)


def once_before_a_call(pipe: Any, do: Callable[[], None]) -> None:
    """Has the denoiser do something before its next forward pass."""

    def hook(*_: Any) -> None:
        handle.remove()
        do()

    handle = pipe.unet.register_forward_pre_hook(hook)


def raise_out_of_memory() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


async def test_orders_of_one_moment_are_drawn_together_and_as_alone(tiny: Folder) -> None:
    loader = Loader()
    async with studio(loader=loader) as made:
        orders = [order(tiny("sd-turbo"), seed, f"dog number {seed % 3}") for seed in range(8)]
        together = await asyncio.gather(*map(made.draw, orders))
        assert [it.together for it in together] == [4] * 8
        alone = [await made.draw(it) for it in orders]
        assert [it.together for it in alone] == [1] * 8
        for one, other in zip(together, alone, strict=True):
            assert np.abs(pixels(one) - pixels(other)).max() <= 1
        figures = made.figures()
        assert (figures.drawn, figures.batches, figures.waiting, figures.drawing) == (16, 10, 0, 0)
        assert figures.busy_seconds > 0
        assert made.placements() == {"cpu": {str(tiny("sd-turbo")): "resident, fp32"}}
    assert len(loader.loads) == 1


async def test_every_order_hears_of_its_steps(tiny: Folder) -> None:
    heard: dict[int, list[tuple[int, int]]] = {0: [], 1: []}
    async with studio() as made:
        await asyncio.gather(
            *(
                made.draw(order(tiny("sd-turbo"), seed, progress=lambda *it, s=seed: heard[s].append(it)))
                for seed in heard
            )
        )
    assert heard == {0: [(0, 2), (1, 2), (2, 2)], 1: [(0, 2), (1, 2), (2, 2)]}


async def test_a_cancelled_drawing_stops_within_a_step(tiny: Folder) -> None:
    steps: list[int] = []
    async with studio() as made:
        await made.ready(LocalModel(str(tiny("sd-turbo"))))
        slow = order(
            tiny("sd-turbo"),
            sampling=Sampling(steps=900, guidance_scale=0.0),
            progress=lambda step, _: steps.append(step),
        )
        task = asyncio.create_task(made.draw(slow))
        await until(lambda: len(steps) >= 3)
        task.cancel()
        at = len(steps)
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: made.figures().drawing == 0)
        assert len(steps) <= at + 2
        assert made.figures().cancelled == 1
        assert (await made.draw(order(tiny("sd-turbo")))).image.size == (64, 64)


async def test_others_in_the_same_go_are_drawn_on(tiny: Folder) -> None:
    async with studio() as made:
        await made.ready(LocalModel(str(tiny("sd-turbo"))))
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        sampling = Sampling(steps=20, guidance_scale=0.0)
        first = asyncio.create_task(
            made.draw(
                order(
                    tiny("sd-turbo"),
                    1,
                    sampling=sampling,
                    progress=lambda *_: loop.call_soon_threadsafe(begun.set) and None,
                )
            )
        )
        second = asyncio.create_task(made.draw(order(tiny("sd-turbo"), 2, sampling=sampling)))
        await begun.wait()
        first.cancel()
        painted = await second
        assert painted.together == 2
        alone = await made.draw(order(tiny("sd-turbo"), 2, sampling=sampling))
        assert np.abs(pixels(painted) - pixels(alone)).max() <= 1


async def test_an_order_cancelled_while_it_waits_is_never_drawn(tiny: Folder) -> None:
    async with studio(window=1.0) as made:
        waiting = asyncio.create_task(made.draw(order(tiny("sd-turbo"))))
        await until(lambda: made.figures().waiting == 1)
        waiting.cancel()
        await asyncio.sleep(1.2)
        assert made.figures() == Figures(cancelled=1)


async def test_devices_share_the_work(tiny: Folder) -> None:
    loader = Loader()
    async with studio(("first", "second"), loader=loader) as made:
        await made.ready(LocalModel(str(tiny("sd-turbo"))))
        await until(lambda: len(made._queue._idle) == 2)
        orders = [order(tiny("sd-turbo"), seed) for seed in range(4)]
        shared = await asyncio.gather(*map(made.draw, orders))
        assert [it.together for it in shared] == [2, 2, 2, 2]
        alone = [await made.draw(it) for it in orders]
        assert max(np.abs(pixels(a) - pixels(b)).max() for a, b in zip(shared, alone, strict=True)) <= 1
    assert sorted(device for _, device, _ in loader.loads) == ["first", "second"]


async def test_after_running_out_of_memory_a_batch_is_drawn_one_by_one(tiny: Folder) -> None:
    loader = Loader(lambda it: once_before_a_call(it.pipe, raise_out_of_memory))
    async with studio(loader=loader) as made:
        orders = [order(tiny("sd-turbo"), seed) for seed in range(4)]
        painted = await asyncio.gather(*map(made.draw, orders))
        assert [it.together for it in painted] == [1] * 4
        # What was learned holds: half as many from now on.
        assert [it.together for it in await asyncio.gather(*map(made.draw, orders))] == [2] * 4
        assert (made.figures().drawn, made.figures().failed) == (8, 0)


async def test_after_running_out_of_memory_one_picture_is_tried_once_more_with_less(tiny: Folder) -> None:
    loader = Loader(lambda it: once_before_a_call(it.pipe, raise_out_of_memory))
    async with studio(loader=loader) as made:
        await made.draw(order(tiny("sd-turbo")))
        vae = loader.loaded[0].pipe.vae
        assert vae.use_tiling
        # There is nothing more to give back: the second time it is said.
        once_before_a_call(loader.loaded[0].pipe, raise_out_of_memory)
        with pytest.raises(ModelOutage, match=r"ran out of memory on cpu at 64x64.*take a smaller size"):
            await made.draw(order(tiny("sd-turbo")))
        assert (await made.draw(order(tiny("sd-turbo")))).image.size == (64, 64)
        assert (made.figures().drawn, made.figures().failed) == (2, 1)


async def test_of_a_batch_without_memory_each_gets_its_own_end(tiny: Folder) -> None:
    goes: list[str] = []

    def script(loaded: Loaded) -> None:
        def hook(*_: Any) -> None:
            goes.append("")
            # The batch fails, then the first single, and what the second is tried with after tiling.
            if len(goes) in (1, 2, 4, 6):
                raise_out_of_memory()

        loaded.pipe.unet.register_forward_pre_hook(hook)

    one_step = Sampling(steps=1, guidance_scale=0.0)
    async with studio(loader=Loader(script)) as made:
        orders = [order(tiny("sd-turbo"), seed, sampling=one_step) for seed in range(4)]
        first, second, third, fourth = await asyncio.gather(*map(made.draw, orders), return_exceptions=True)
        # 1 batch, 2 first, 3 first once more, 4 second (nothing is left to give back), 5 third, 6 fourth
        assert isinstance(first, Painted)
        assert isinstance(second, ModelOutage)
        assert isinstance(third, Painted)
        assert isinstance(fourth, ModelOutage)
        assert "ran out of memory" in str(second)
        assert (made.figures().drawn, made.figures().failed, made.figures().drawing) == (2, 2, 0)


async def test_of_a_batch_without_memory_the_cancelled_are_left_out(tiny: Folder) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        begun.set()
        go_on.wait(60)
        raise_out_of_memory()

    async with studio(loader=Loader(lambda it: once_before_a_call(it.pipe, pause))) as made:
        tasks = [asyncio.create_task(made.draw(order(tiny("sd-turbo"), seed))) for seed in range(3)]
        await until(begun.is_set)
        tasks[1].cancel()
        await asyncio.sleep(0.05)
        go_on.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(it) for it in done] == [Painted, asyncio.CancelledError, Painted]
        assert (made.figures().drawn, made.figures().cancelled) == (2, 1)


async def test_others_leave_the_device_before_a_picture_is_made_with_less(tiny: Folder) -> None:
    loader = Loader()
    async with studio(loader=loader) as made:
        await made.draw(order(tiny("sdxl")))
        await made.ready(LocalModel(str(tiny("sd-turbo"))))
        once_before_a_call(loader.loaded[1].pipe, raise_out_of_memory)
        await made.draw(order(tiny("sd-turbo")))
        assert list(made.placements()["cpu"]) == [str(tiny("sd-turbo"))]
        assert not loader.loaded[1].pipe.vae.use_tiling


async def test_an_error_holds_no_tensors(tiny: Folder) -> None:
    held: list[weakref.ref[Any]] = []

    def script(loaded: Loaded) -> None:
        def hook(_: Any, arguments: tuple[Any, ...]) -> None:
            held.append(weakref.ref(arguments[0]))
            raise RuntimeError("broken")

        loaded.pipe.unet.register_forward_pre_hook(hook)

    async with studio(loader=Loader(script)) as made:
        with pytest.raises(ModelOutage, match="broken") as caught:
            await made.draw(order(tiny("sd-turbo")))
        gc.collect()
        assert [it() for it in held] == [None]
        # Where it came from can be read all the same.
        assert "test_local_studio.py" in caught.value.__cause__.__notes__[0]  # type: ignore[union-attr]


async def test_a_worker_outlives_a_device_that_fails_at_everything(
    tiny: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    broken = threading.Event()

    def memory(_: str) -> Memory:
        if broken.is_set():
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return PLENTY

    async with studio(memory=memory) as made:
        await made.draw(order(tiny("sd-turbo")))
        broken.set()
        with pytest.raises(ModelOutage, match="illegal memory access"):
            await made.draw(order(tiny("sdxl")))
        broken.clear()
        assert (await made.draw(order(tiny("sd-turbo")))).image.size == (64, 64)


async def test_a_device_that_breaks_in_the_middle_spoils_nothing_of_others(
    tiny: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    broken = threading.Event()

    def memory(device: str) -> Memory:
        if broken.is_set() and device == "first":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return PLENTY

    loader = Loader()
    async with studio(("first", "second"), memory=memory, loader=loader) as made:
        await made.ready(LocalModel(str(tiny("sd-turbo"))))
        bad = next(it for it, (_, device, _) in zip(loader.loaded, loader.loads, strict=True) if device == "first")

        def hook(*_: Any) -> None:
            broken.set()
            raise_out_of_memory()

        bad.pipe.unet.register_forward_pre_hook(hook)
        orders = [order(tiny("sd-turbo"), seed) for seed in range(6)]
        done = await asyncio.gather(*map(made.draw, orders), return_exceptions=True)
        drawn = [it for it in done if isinstance(it, Painted)]
        failed = [it for it in done if isinstance(it, ModelOutage)]
        assert len(drawn) + len(failed) == 6
        assert len(drawn) >= 2
        assert failed
        assert (made.figures().drawn, made.figures().failed, made.figures().drawing) == (len(drawn), len(failed), 0)


async def test_too_little_memory_twice_while_loading_is_told(tiny: Folder) -> None:
    loader = Loader()
    loader.failures = [torch.OutOfMemoryError("CUDA out of memory") for _ in range(2)]
    async with studio(memory=lambda _: Memory("cuda:0", 12 * GB, 16 * GB, 64 * GB), loader=loader) as made:
        with pytest.raises(GemsConfigError, match=r"ran out of memory on cpu while it was loaded \(offload, bf16\)"):
            await made.ready(LocalModel(str(tiny("sd-turbo"))))


def test_who_waits_in_the_machines_memory_makes_room_for_a_better_layout() -> None:
    held: dict[LocalModel, Any] = {LocalModel("a"): SimpleNamespace(device_bytes=0, host_bytes=40 * GB)}
    parts = {"transformer": Part(12 * GB, 24 * GB, "bf16", "T"), "text_encoder": Part(5 * GB, 10 * GB, "bf16", "E")}
    weights = Weights(Path(), "X", parts, "")

    def memory(_: str) -> Memory:
        return Memory("cuda:0", 40 * GB, 40 * GB, 64 * GB - 40 * GB * len(held))

    worker = LocalStudio(["cuda:0"], memory=memory)._workers[0]
    worker._pipes = held
    # Beside the other it would have to be stored in 8 bits.
    assert worker._placement(LocalModel("b"), weights, 2 * 1024 * 1024).label == "offload, bf16"
    assert held == {}


async def test_any_other_failure_is_an_outage_that_names_the_model(tiny: Folder) -> None:
    def fail() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    async with studio(loader=Loader(lambda it: once_before_a_call(it.pipe, fail))) as made:
        with pytest.raises(ModelOutage, match=r"sd-turbo failed while drawing: RuntimeError: mat1 and mat2") as caught:
            await made.draw(order(tiny("sd-turbo")))
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert (await made.draw(order(tiny("sd-turbo")))).image.size == (64, 64)


async def test_too_little_memory_while_loading_takes_the_next_layout(tiny: Folder) -> None:
    card = Memory("cuda:0", 12 * GB, 16 * GB, 64 * GB)
    loader = Loader()
    loader.failures = [torch.OutOfMemoryError("CUDA out of memory")]
    async with studio(memory=lambda _: card, loader=loader) as made:
        await made.draw(order(tiny("sd-turbo")))
    assert [label for _, _, label in loader.loads] == ["resident, bf16", "offload, bf16"]


async def test_a_model_that_has_no_room_is_refused_before_it_is_loaded(tiny: Folder) -> None:
    loader = Loader()
    async with studio(memory=lambda _: Memory("cuda:0", GB, 2 * GB, GB), loader=loader) as made:
        with pytest.raises(GemsConfigError, match=r"needs 3\.\d GB of memory on cuda:0, and 1\.0 GB are free"):
            await made.draw(order(tiny("sd-turbo"), width=1024, height=1024))
    assert loader.loads == []


async def test_the_least_used_pipeline_makes_room_for_another(tiny: Folder) -> None:
    loader = Loader()

    def memory(_: str) -> Memory:
        # A picture takes 0.75 GB here, so there is room for two pipelines of which each holds 0.8 GB.
        return Memory("cuda:0", 2 * GB - len(made.placements()["cpu"]) * 800_000_000, 8 * GB, 64 * GB)

    async with studio(memory=memory, loader=loader) as made:
        models = [tiny("sd-turbo"), tiny("sdxl"), tiny("flux.1-schnell")]
        for model in (*models, models[2], models[0]):
            await made.draw(order(model))
            assert str(model) in made.placements()["cpu"]
            assert len(made.placements()["cpu"]) <= 2
        # The third had to have the first released, so the first was loaded again.
    assert len(loader.loads) == 4
    assert {label for _, _, label in loader.loads} == {"resident, bf16"}


async def test_a_layout_that_was_asked_for_makes_nobody_leave(tiny: Folder) -> None:
    card = Memory("card", 60 * GB, 80 * GB, 64 * GB)
    loader = Loader()
    offload = LocalOptions(placement="offload")
    async with studio(memory=lambda _: card, loader=loader) as made:
        for folder in (tiny("sd-turbo"), tiny("sdxl"), tiny("sd-turbo"), tiny("sdxl")):
            await made.draw(order(folder, options=offload))
    assert len(loader.loads) == 2


async def test_what_a_studio_holds_counts_as_free_for_who_asks_for_room(tiny: Folder) -> None:
    loader = Loader()
    async with studio(("card",), loader=loader) as made:
        model = LocalModel(str(tiny("sd-turbo")))
        assert not made.holds(model)
        assert made.room("card") == PLENTY
        await made.ready(model)
        assert made.holds(model)
        loader.loaded[0].device = "card"
        assert made.room("card").free == PLENTY.free + loader.loaded[0].stored_bytes
        await made.rest()
        assert (made.room("card").free, made.room("card").host_free) == (
            PLENTY.free,
            PLENTY.host_free + loader.loaded[0].stored_bytes,
        )


async def test_files_that_changed_meanwhile_are_not_drawn_with(tiny: Folder) -> None:
    async with studio() as made:
        model = LocalModel(str(tiny("sd-turbo")))
        right = replace(model, fingerprint=find_weights(model).fingerprint)
        assert (await made.draw(replace(order(tiny("sd-turbo")), model=right))).image.size == (64, 64)
        with pytest.raises(GemsConfigError, match="have changed meanwhile: start the run anew"):
            await made.draw(replace(order(tiny("sd-turbo")), model=replace(model, fingerprint="other")))


async def test_rest_goes_on_when_nobody_waits_for_it(tiny: Folder) -> None:
    loader = Loader()
    async with studio(loader=loader) as made:
        steps: list[int] = []
        slow = order(
            tiny("sd-turbo"),
            sampling=Sampling(steps=60, guidance_scale=0.0),
            progress=lambda step, _: steps.append(step),
        )
        drawing = asyncio.create_task(made.draw(slow))
        await until(lambda: len(steps) > 2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await made.rest()
        await drawing
        await until(lambda: loader.loaded[0]._is_resting)


async def test_a_pipeline_that_cannot_leave_in_whole_is_released(
    tiny: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    def script(loaded: Loaded) -> None:
        def fail(_: str) -> None:
            raise RuntimeError("half-way")

        loaded.pipe.to = fail

    loader = Loader(script)
    async with studio(loader=loader) as made:
        await made.ready(LocalModel(str(tiny("sd-turbo"))))
        await made.rest()
        assert made.placements() == {"cpu": {}}
    assert "could not leave cpu" in caplog.text


async def test_a_pipeline_that_is_idle_is_released(tiny: Folder) -> None:
    loader = Loader()
    async with studio(loader=loader) as made:
        brief = LocalOptions(idle_seconds=0.1)
        await made.draw(order(tiny("sd-turbo"), options=brief))
        await until(lambda: made.placements() == {"cpu": {}})
        await made.draw(order(tiny("sd-turbo"), options=brief))
    assert len(loader.loads) == 2


async def test_a_pipeline_rests_while_others_need_the_memory(tiny: Folder) -> None:
    loader = Loader()
    async with studio(loader=loader) as made:
        first = await made.draw(order(tiny("sd-turbo")))
        await made.rest()
        assert loader.loaded[0]._is_resting
        assert loader.loaded[0].embeddings is not None
        second = await made.draw(order(tiny("sd-turbo")))
        assert not loader.loaded[0]._is_resting
        assert np.abs(pixels(first) - pixels(second)).max() == 0
        assert loader.loaded[0].embeddings.encoded == 2  # what was kept of prompts was given back too
    assert len(loader.loads) == 1


async def test_where_the_machine_has_no_room_for_resting_weights_they_go(tiny: Folder) -> None:
    loader = Loader()
    async with studio(("card",), memory=lambda _: PLENTY._replace(host_free=0), loader=loader) as made:
        await made.draw(order(tiny("sd-turbo")))
        await made.rest()
        assert made.placements() == {"card": {}}
        await made.draw(order(tiny("sd-turbo")))
    assert len(loader.loads) == 2


async def test_a_pipeline_that_finds_its_memory_taken_is_laid_out_anew(tiny: Folder) -> None:
    class Evicted(Loaded):
        def wake(self) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    loader = Loader()
    async with studio(loader=loader) as made:
        await made.draw(order(tiny("sd-turbo")))
        worker = made._workers[0]
        for model, loaded in list(worker._pipes.items()):
            fields = (
                "model",
                "pipe",
                "facts",
                "device",
                "placement",
                "embeddings",
                "most_tokens",
                "stored_bytes",
                "used",
            )
            worker._pipes[model] = Evicted(**{name: getattr(loaded, name) for name in fields})
        await made.draw(order(tiny("sd-turbo")))
    assert len(loader.loads) == 2


async def test_resting_before_anything_was_drawn_starts_nothing() -> None:
    async with studio() as made:
        await made.rest()
        assert not made._threads


async def test_loading_begins_before_the_first_order(tiny: Folder) -> None:
    loader = Loader()
    async with studio(loader=loader) as made:
        made.expect(LocalModel(str(tiny("sd-turbo"))))
        await until(lambda: bool(loader.loaded))
        await made.draw(order(tiny("sd-turbo")))
        made.expect(LocalModel("no/such"))  # said when something is drawn
        with pytest.raises(GemsConfigError, match="no/such"):
            await made.draw(order(Path("no/such")))
    assert len(loader.loads) == 1


async def test_weights_that_cannot_be_loaded_are_told_by_ready(tmp_path: Path) -> None:
    async with studio() as made:
        with pytest.raises(GemsConfigError, match=r"model_index\.json"):
            await made.ready(LocalModel(str(tmp_path)))


async def test_a_studio_that_closes_stops_what_it_does(tiny: Folder) -> None:
    made = LocalStudio(["cpu"], memory=lambda _: PLENTY, load_with=Loader(), window=0.0)
    steps: list[int] = []
    slow = order(
        tiny("sd-turbo"), sampling=Sampling(steps=900, guidance_scale=0.0), progress=lambda step, _: steps.append(step)
    )
    drawn = asyncio.create_task(made.draw(slow))
    await until(lambda: len(steps) >= 2)
    waits = asyncio.create_task(made.draw(replace(slow, width=128)))
    await until(lambda: made.figures().waiting == 1)
    started = time.monotonic()
    await asyncio.to_thread(made.close)
    assert time.monotonic() - started < 5
    with pytest.raises(ModelOutage, match="this process is ending"):
        await drawn
    with pytest.raises(asyncio.CancelledError):
        await waits
    with pytest.raises(ModelOutage, match="this process is ending"):
        await made.draw(slow)
    with pytest.raises(ModelOutage, match="this process is ending"):
        await made.ready(slow.model)
    await made.rest()


async def test_several_event_loops_draw_on_one_studio(tiny: Folder) -> None:
    async with studio() as made:
        folder = tiny("sd-turbo")

        def run(seed: int) -> Painted:
            return asyncio.run(made.draw(order(folder, seed)))

        drawn = await asyncio.gather(*(asyncio.to_thread(run, seed) for seed in range(3)))
        for seed, painted in enumerate(drawn):
            assert np.abs(pixels(painted) - pixels(await made.draw(order(folder, seed)))).max() <= 1
