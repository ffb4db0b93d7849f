"""What is asked of the studio: a model, as it is to be loaded, and a drawing, as it is to be made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image

from gems.core.ports import Progress
from gems.core.profiles import LocalOptions


class Sampling(NamedTuple):
    """How a picture is sampled; None leaves it to the pipeline. `strength` is in (0, 1], of what a picture is redrawn by."""

    steps: int | None = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    negative_prompt: str | None = None
    strength: float = 0.6


AS_THE_PIPELINE: Final = Sampling()


@dataclass(frozen=True, slots=True)
class LocalModel:
    """Weights, and how they are to be run. Two that are equal are one pipeline.

    `source` is a hub id (`owner/name`), a folder of a pipeline, or a file; paths are seen from `folder`. `fingerprint` is
    that of the files that are meant, or empty where it does not matter.
    """

    source: str
    options: LocalOptions = field(default_factory=LocalOptions)
    folder: Path = Path()
    fingerprint: str = ""

    def __hash__(self) -> int:
        """By what can be hashed of it: options may hold a table."""
        return hash((self.source, self.folder, self.fingerprint, self.options.model_dump_json()))


@dataclass(frozen=True, slots=True)
class Order:
    """One drawing. Sizes are in pixels; `images` are those it starts from or follows, the one that is edited first."""

    model: LocalModel
    prompt: str
    seed: int
    width: int
    height: int
    sampling: Sampling = AS_THE_PIPELINE
    images: tuple[Image.Image, ...] = ()
    seconds: float = 600.0
    """Most seconds that the drawing itself may take, without waiting for its turn and for weights to be loaded."""
    progress: Progress | None = field(default=None, compare=False)


class Painted(NamedTuple):
    """A picture, the seconds its drawing took, the drawings that were made in one go with it, and what was lost."""

    image: Image.Image
    seconds: float
    together: int = 1
    warnings: tuple[str, ...] = ()
