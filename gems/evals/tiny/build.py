"""Writes a tiny pipeline as the folder that a real model would be."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gems.backends.local.devices import torch_dtype
from gems.backends.local.placement import Dtype
from gems.evals.tiny.families import ASSEMBLERS
from gems.evals.tiny.weights import fill


def build_tiny(
    family: str,
    folder: Path,
    seed: int = 0,
    *,
    dtype: Dtype = "fp32",
    variant: Literal["bf16", "fp16"] | None = None,
    max_shard_size: str | None = None,
) -> Path:
    """A complete diffusers folder of a family: below 2 MB of random weights, which the seed alone decides.

    Args:
        family: One of `TINY_FAMILIES`.
        folder: Where to write; it is made. What it holds of the same name is overwritten.
        seed: Decides the weights, which are drawn in fp32 and then rounded.
        dtype: Of all weights, under their plain names.
        variant: Save this type instead, under the names of a variant (`model.fp16.safetensors`). In a folder that has the
            plain weights, both lie side by side.
        max_shard_size: Split larger weights of a part into several files and an index, for instance `"100KB"`.

    Raises:
        ValueError: there is no such family.
    """
    if family not in ASSEMBLERS:
        raise ValueError(f"no tiny pipeline for {family!r}: choose one of {', '.join(ASSEMBLERS)}")
    import torch

    # The classes draw their own first weights from the global generator, which is the caller's.
    with torch.random.fork_rng(devices=[]):
        pipeline = ASSEMBLERS[family]()
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            fill(part, seed)
            # Not the part's own `to`, which warns of layers that must stay in fp32 even where there are none.
            torch.nn.Module.to(part, dtype=torch_dtype(variant or dtype))
    pipeline.save_pretrained(folder, safe_serialization=True, variant=variant, max_shard_size=max_shard_size)
    return folder
