"""The embedded engine behind the image port: one worker thread owns the pipeline."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gems.backends.sketch.check import check_prompt
from gems.backends.sketch.vocabulary import MAX_LETTERS, MAX_OBJECTS
from gems.core.errors import GemsConfigError
from gems.core.ports import Capabilities, Drawing, DrawRequest, Progress

if TYPE_CHECKING:
    from gems.backends.sketch.pipeline import SketchPipeline

WEIGHTS: Final = Path(__file__).parent / "weights"
READABLE: Final = 384
"""Shorter side, in pixels, under which crowded pictures are misread: of 20 things at 256 px a third are missed."""
COMPRESSION: Final = 3
"""zlib level of the PNGs: a level more costs more time than it saves bytes."""


class _Cancelled(Exception):
    """Stops a drawing at the next step."""


@cache
def worker() -> ThreadPoolExecutor:
    """The thread that owns the pipeline of this process: a pipeline is not safe in two threads at once."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="gems-sketch")


@cache
def load_pipeline(folder: Path = WEIGHTS) -> SketchPipeline:
    """The pipeline with its weights, loaded once a process.

    Raises:
        GemsConfigError: the weights are missing or damaged.
    """
    try:
        from diffusers.utils import logging

        from gems.backends.sketch.pipeline import SketchPipeline

        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        # Without `accelerate`, any other value only makes diffusers warn that it is missing.
        pipeline: SketchPipeline = SketchPipeline.from_pretrained(
            str(folder), local_files_only=True, low_cpu_mem_usage=False
        )
        if bars:
            logging.enable_progress_bar()
    except (OSError, ValueError, KeyError) as error:
        raise GemsConfigError(
            f"the embedded engine's weights in {folder} cannot be loaded ({type(error).__name__}): install GEMS again"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class SketchImages:
    """Draws scenes of icons on this machine, without a key, a download or a GPU."""

    name = "sketch"
    capabilities = Capabilities(
        notes=(
            "Draws flat scenes of simple coloured icons. Say exact counts, one colour or material a group, and where each "
            f"group stands. At most {MAX_OBJECTS} things and {MAX_LETTERS} letters on one sign. No styles, no poses."
        )
    )

    def __init__(self, weights: Path = WEIGHTS) -> None:
        """Draw with the weights of a folder; nothing is loaded before the first drawing."""
        self._weights = weights

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """The engine and a digest of its weights."""
        digest = hashlib.sha256()
        for path in sorted(self._weights.rglob("*.safetensors")):
            digest.update(path.read_bytes())
        return {"model": self.name, "weights": digest.hexdigest()[:16]}

    def check(self, prompt: str, width: int, height: int) -> list[str]:
        """Refuse what lies outside the vocabulary, and missing weights; every size can be drawn.

        Raises:
            OutOfVocabulary: the prompt asks for things the engine cannot draw.
            GemsConfigError: the weights are missing.
        """
        if not any(self._weights.rglob("*.safetensors")):
            raise GemsConfigError(f"the embedded engine's weights are missing from {self._weights}: install GEMS again")
        warnings = check_prompt(prompt)
        if min(width, height) < READABLE:
            warnings.append(f"the critic may not be able to read pictures under {READABLE} pixels a side")
        return warnings

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        """Draw in the worker thread. Cancelling the task stops the drawing within a step."""
        cancelled = threading.Event()
        drawing = worker().submit(_draw, self._weights, request, progress, cancelled)
        try:
            # Cancelled while it waits for its turn, a drawing is never begun; while it is drawn, it stops at the next step.
            return await asyncio.wrap_future(drawing)
        except asyncio.CancelledError:
            cancelled.set()
            raise


def _draw(weights: Path, request: DrawRequest, progress: Progress | None, cancelled: threading.Event) -> Drawing:
    pipeline = load_pipeline(weights)
    import torch

    started = time.monotonic()

    def on_step_end(owner: SketchPipeline, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if cancelled.is_set():
            raise _Cancelled
        if progress:
            progress(step + 1, len(owner.scheduler.timesteps))
        return tensors

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a model only loses time to more
    try:
        output = pipeline(
            prompt=request.prompt,
            height=request.height,
            width=request.width,
            generator=torch.Generator().manual_seed(request.seed),
            callback_on_step_end=on_step_end,
        )
    finally:
        torch.set_num_threads(threads)
    buffer = io.BytesIO()
    output.images[0].save(buffer, "PNG", compress_level=COMPRESSION)
    return Drawing(buffer.getvalue(), time.monotonic() - started)
