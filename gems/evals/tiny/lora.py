"""Writes a small random LoRA (Hu et al. 2021) for a pipeline's folder, in the format of peft."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gems.evals.tiny.stored import load_part

_RANK: Final = 2
_LAYERS: Final = ("to_q.weight", "to_v.weight", "to_out.0.weight")


def write_lora(folder: Path, path: Path, seed: int = 0) -> Path:
    """Write a LoRA over the attention of the folder's denoiser, as strong as the weights it is laid over.

    Args:
        folder: A pipeline folder.
        path: The safetensors file to write.
        seed: Decides the LoRA's weights.

    Raises:
        ValueError: the folder has neither a transformer nor a unet.
    """
    import torch
    from safetensors.torch import save_file

    part = "unet" if (folder / "unet").is_dir() else "transformer"
    generator = torch.Generator().manual_seed(seed)
    lora = {}
    for name, weight in sorted(load_part(folder, part).items()):
        if name.endswith(_LAYERS):
            module = f"{part}.{name.removesuffix('.weight')}"
            outputs, inputs = weight.shape
            # Each of the matrices has the variance that keeps the size of what passes through it.
            lora[f"{module}.lora_A.weight"] = torch.randn(_RANK, inputs, generator=generator) / inputs**0.5
            lora[f"{module}.lora_B.weight"] = torch.randn(outputs, _RANK, generator=generator) / _RANK**0.5
    save_file(lora, path, metadata={"format": "pt"})
    return path
