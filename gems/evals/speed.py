"""How long the embedded engine takes for a drawing and for a look, on one core."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Timing(NamedTuple):
    """One step's times in seconds: this process's own computing, and the clock (`wall`), which other processes stretch."""

    step: str
    median: float
    longest: float
    wall: float


class _Lap(NamedTuple):
    wall: float
    cpu: float


class Stopwatch:
    """Times of named steps, over many calls."""

    def __init__(self) -> None:
        self._laps: dict[str, list[_Lap]] = {}

    def time(self, step: str, call: Callable[[], T]) -> T:
        """Call, and note how long it took."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        lap = _Lap(time.perf_counter() - wall, time.process_time() - cpu)
        self._laps.setdefault(step, []).append(lap)
        return result

    def timings(self) -> list[Timing]:
        """Each step's times."""
        return [
            Timing(
                step,
                statistics.median(lap.cpu for lap in laps),
                max(lap.cpu for lap in laps),
                statistics.median(lap.wall for lap in laps),
            )
            for step, laps in self._laps.items()
        ]


DRAWING = "drawing (sampling and rendering)"
LOOKING = "looking"


def time_engine(prompts: Sequence[str], seed: int, side: int = 1024) -> list[Timing]:
    """Time drawing and looking, one picture a prompt; the first picture warms up and is not counted.

    Args:
        prompts: What to draw; at least one.
        seed: Of the first picture; the next ones count on.
        side: Of the pictures, in pixels.
    """
    import torch
    from PIL import Image

    from gems.backends.sketch.images import COMPRESSION, load_pipeline
    from gems.backends.sketch.vision import look

    torch.set_num_threads(1)
    pipeline = load_pipeline()

    def time_one(watch: Stopwatch, prompt: str, picture_seed: int) -> None:
        generator = torch.Generator().manual_seed(picture_seed)
        image = watch.time(DRAWING, lambda: pipeline(prompt, height=side, width=side, generator=generator).images[0])
        buffer = io.BytesIO()
        watch.time("encoding the PNG", lambda: image.save(buffer, "PNG", compress_level=COMPRESSION))
        pixels = watch.time("decoding the PNG", lambda: Image.open(buffer).convert("RGB"))
        watch.time(LOOKING, lambda: look(pixels))

    time_one(Stopwatch(), prompts[0], seed)
    watch = Stopwatch()
    for number, prompt in enumerate(prompts):
        time_one(watch, prompt, seed + number)
    return watch.timings()
