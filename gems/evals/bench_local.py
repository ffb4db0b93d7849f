"""Weights in this process beside a bare diffusers loop: the same pipeline, called directly.

On a CUDA device with room for it, the model is Z-Image-Turbo in its real sizes with random weights, 1024 px, 8 steps;
elsewhere a tiny one on the CPU, with as many steps as make a drawing of about a second. What is compared is the way from a
prompt to the bytes of a PNG. Each drawing has a prompt of its own, so that none is spared its encoding.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from gems.backends.local.images import LocalImages, encode
from gems.backends.local.loading import Loaded, load
from gems.backends.local.orders import LocalModel
from gems.backends.local.placement import GB, Placement
from gems.backends.local.weights import Weights
from gems.backends.local.workers import LocalStudio
from gems.core.ports import DrawRequest
from gems.core.profiles import DrawingOptions, Endpoint, LocalOptions
from gems.evals.figures import Figure, Target

SPEED: Final = 0.97
SPEED_ON_CPU: Final = 1 / 1.05
"""A drawing of a second may take 5% longer."""
TOGETHER: Final = 8
REPEATS: Final = 5
ROUNDING: Final = 1.0
_FULL_SIZE_BYTES: Final = 30 * GB
_SECOND: Final = 1.0


@dataclass(frozen=True, slots=True)
class Stand:
    """What is drawn on what. `side` is in pixels."""

    device: str
    side: int
    steps: int
    full_size: bool = False

    def write(self, folder: Path) -> Path:
        """The model's files."""
        from gems.evals.tiny import build_tiny
        from gems.evals.tiny.full_size import write_full_size

        name = folder / "z-image-turbo"
        return write_full_size(name, device=self.device) if self.full_size else build_tiny("z-image-turbo", name)


class Bare(NamedTuple):
    """Calls the pipeline as a script would."""

    pipe: Any
    stand: Stand

    def draw(self, request: DrawRequest, steps: int | None = None) -> bytes:
        """One picture."""
        import torch

        with torch.inference_mode():
            output = self.pipe(
                prompt=request.prompt,
                width=request.width,
                height=request.height,
                num_inference_steps=steps or self.stand.steps,
                guidance_scale=0.0,
                generator=torch.Generator().manual_seed(request.seed),
            )
        return encode(output.images[0])


class _KeepingLoader:
    """Loads, and lends the pipeline out: the studio's thread has it only while something is drawn there."""

    def __init__(self) -> None:
        self.pipe: Any = None

    def __call__(self, model: LocalModel, weights: Weights, device: str, placement: Placement) -> Loaded:
        loaded = load(model, weights, device, placement)
        self.pipe = loaded.pipe
        return loaded


def choose_stand() -> Stand:
    """The largest that this machine has room for."""
    from gems.backends.local.devices import find_device, read_memory

    device = find_device("auto")
    if device.startswith("cuda") and read_memory(device).free >= _FULL_SIZE_BYTES:
        return Stand(device, 1024, 8, full_size=True)
    return Stand("cpu", 256, 1)


def measure_local(stand: Stand | None = None, repeats: int = REPEATS, together: int = TOGETHER) -> list[Figure]:
    """Speed, memory and the time until a model is ready."""
    chosen = stand or choose_stand()
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(chosen, chosen.write(Path(folder)), repeats, together))


async def _measure(stand: Stand, folder: Path, repeats: int, together: int) -> list[Figure]:
    loader = _KeepingLoader()
    studio = LocalStudio([stand.device], load_with=loader)
    try:
        local = LocalOptions(device=stand.device, placement="resident", dtype="bf16" if stand.full_size else "auto")
        started = time.perf_counter()
        await studio.ready(LocalModel(str(folder), local))
        ready = time.perf_counter() - started
        bare = Bare(loader.pipe, stand)
        if not stand.full_size:
            stand = replace(stand, steps=_steps_of_a_second(bare))
            bare = Bare(loader.pipe, stand)
        endpoint = Endpoint(
            provider="diffusers",
            model=str(folder),
            drawing=DrawingOptions(steps=stand.steps, guidance_scale=0.0),
            local=local,
        )
        return await _compare(stand, bare, LocalImages(endpoint, studio=studio), ready, repeats, together)
    finally:
        studio.close()


async def _compare(
    stand: Stand, bare: Bare, images: LocalImages, ready: float, repeats: int, together: int
) -> list[Figure]:
    async def draw_bare(request: DrawRequest) -> bytes:
        return await asyncio.to_thread(bare.draw, request)

    async def draw_ours(request: DrawRequest) -> bytes:
        return (await images.generate(request)).png

    first = _requests(stand, 1, "first")[0]
    apart = _apart(await draw_bare(first), await draw_ours(first))
    _forget_peak(stand)
    alone: dict[str, list[float]] = {"bare": [], "ours": []}
    # Turn and turn about, so that what else the machine does meets both.
    for number in range(repeats):
        request = _requests(stand, 1, f"alone {number}")[0]
        alone["bare"].append(await _seconds(lambda request=request: draw_bare(request)))  # type: ignore[misc]
        alone["ours"].append(await _seconds(lambda request=request: draw_ours(request)))  # type: ignore[misc]
    peak = _peak(stand)

    async def one_at_a_time() -> None:
        for request in _requests(stand, together, "one at a time"):
            await draw_bare(request)

    async def at_once() -> None:
        await asyncio.gather(*map(draw_ours, _requests(stand, together, "at once")))

    await at_once()  # the first go of a size is slower: memory is asked for, and kernels are chosen
    queued, batched = await _seconds(one_at_a_time), await _seconds(at_once)
    seconds = statistics.median(alone["bare"])
    what = "Z-Image-Turbo, random weights, bf16" if stand.full_size else "a tiny Z-Image"
    note = f"{what}, {stand.device}, {stand.side} px, {stand.steps} steps: {seconds:.2f} s a drawing"
    ratios = [one / other for one, other in zip(alone["bare"], alone["ours"], strict=True)]
    figures = [
        Figure(
            "one drawing, of a bare loop's speed",
            statistics.median(ratios),
            "",
            Target("at least", SPEED if stand.full_size else SPEED_ON_CPU),
            note,
        ),
        Figure(
            f"{together} at once, of the speed of a server that draws one at a time",
            queued / batched,
            "",
            Target("at least", 1.0),
            f"{batched / together:.2f} s a drawing",
        ),
        Figure("largest difference to the bare loop's picture", apart, "of 255", Target("at most", ROUNDING)),
        Figure("from files to a pipeline that is ready", ready, "s"),
    ]
    if peak is not None:
        figures.append(Figure("most memory, the weights and one drawing", peak / GB, "GB"))
    return figures


def _requests(stand: Stand, count: int, prompt: str) -> list[DrawRequest]:
    return [DrawRequest(f"a red dog, {prompt}, {number}", number, stand.side, stand.side) for number in range(count)]


async def _seconds(call: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await call()
    return time.perf_counter() - started


def _steps_of_a_second(bare: Bare) -> int:
    request = _requests(bare.stand, 1, "how long")[0]
    bare.draw(request, 20)
    started = time.perf_counter()
    bare.draw(request, 20)
    return max(1, round(20 * _SECOND / (time.perf_counter() - started)))


def _apart(one: bytes, other: bytes) -> float:
    import io

    from PIL import Image, ImageChops

    pictures = [Image.open(io.BytesIO(content)) for content in (one, other)]
    extrema: Any = ImageChops.difference(*pictures).getextrema()
    return float(max(high for _, high in extrema))


def _forget_peak(stand: Stand) -> None:
    if stand.device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(stand.device)


def _peak(stand: Stand) -> int | None:
    if not stand.device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.max_memory_allocated(stand.device)
