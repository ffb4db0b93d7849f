"""The weights of one part of a pipeline's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def load_part(folder: Path, part: str) -> dict[str, Tensor]:
    """All tensors of a part, by their names in diffusers or transformers.

    Raises:
        ValueError: the folder has no such part, or not in one file of safetensors.
    """
    from safetensors.torch import load_file

    files = sorted((folder / part).glob("*.safetensors"))
    if len(files) != 1:
        raise ValueError(f"{str(folder / part)!r} must hold one .safetensors file, not {len(files)}")
    return load_file(files[0])
