"""Whether the embedded engine's layouts hold up in phrasings that its training never used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from gems.backends.sketch.captions import (
    DENSE_FRAMES,
    HELD_OUT_DENSE_FRAMES,
    HELD_OUT_TERSE_FRAMES,
    TERSE_FRAMES,
)
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.specs import dense, terse
from gems.core.intervals import Share, share
from gems.evals.tasks import LayoutTask

if TYPE_CHECKING:
    from gems.backends.sketch.pipeline import SketchPipeline

_BATCH: Final = 32


class Phrasing(NamedTuple):
    """Right layouts of the same requests in frames of the training captions and in frames held out of them."""

    kind: str
    seen: Share
    held_out: Share

    @property
    def kept(self) -> float:
        """The held-out share as a part of the seen one."""
        return self.held_out.value / self.seen.value


def compare_phrasings(pipeline: SketchPipeline, tasks: Sequence[LayoutTask], seed: int) -> list[Phrasing]:
    """Draw every task's request in a seen and in a held-out frame, tersely and explicitly, one layout each."""
    specs = [read_prompt(task.prompt).spec for task in tasks]
    found = []
    for kind, bodies, seen, held_out in (
        ("terse", [terse(spec) for spec in specs], TERSE_FRAMES, HELD_OUT_TERSE_FRAMES),
        ("explicit", [dense(spec, style) for style, spec in enumerate(specs)], DENSE_FRAMES, HELD_OUT_DENSE_FRAMES),
    ):
        rates = [_rate(pipeline, tasks, _framed(bodies, frames), seed) for frames in (seen, held_out)]
        found.append(Phrasing(kind, *rates))
    return found


def _framed(bodies: Sequence[str], frames: Sequence[str]) -> list[str]:
    return [frames[place % len(frames)].replace("{}", body) for place, body in enumerate(bodies)]


def _rate(pipeline: SketchPipeline, tasks: Sequence[LayoutTask], prompts: Sequence[str], seed: int) -> Share:
    import torch

    right = 0
    for start in range(0, len(prompts), _BATCH):
        batch = prompts[start : start + _BATCH]
        generators = [torch.Generator().manual_seed(seed + start + place) for place in range(len(batch))]
        scenes = pipeline.layouts(batch, generators)
        right += sum(task.holds(scene) for task, scene in zip(tasks[start : start + _BATCH], scenes, strict=True))
    return share(right, len(prompts))
