"""Writes the transformer of a Z-Image folder as one file, under the names that its makers gave the weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gems.evals.tiny.stored import load_part

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK: Final = 32
"""Weights that share one scale in Q8_0: rows must be a multiple of it."""
_ARCHITECTURE: Final = "lumina2"
"""What the Z-Image files in circulation call themselves."""
_NAMES: Final = (
    ("all_final_layer.2-1.", "final_layer."),
    ("all_x_embedder.2-1.", "x_embedder."),
    (".attention.to_out.0.", ".attention.out."),
    (".attention.norm_q.", ".attention.q_norm."),
    (".attention.norm_k.", ".attention.k_norm."),
)
_QUERY: Final = re.compile(r"(.*\.attention)\.to_q\.weight")


def write_transformer_file(folder: Path, path: Path) -> Path:
    """Write one safetensors file, as fp32.

    Args:
        folder: A pipeline folder of Z-Image.
        path: The file to write.

    Raises:
        ValueError: the folder is not that of a Z-Image model.
    """
    from safetensors.torch import save_file

    save_file(_original(load_part(folder, "transformer")), path)
    return path


def write_gguf(folder: Path, path: Path) -> Path:
    """Write one GGUF file: Q8_0 for matrices whose rows are whole blocks, F16 for the rest of them, F32 for vectors.

    Args:
        folder: A pipeline folder of Z-Image.
        path: The file to write.

    Raises:
        ValueError: the folder is not that of a Z-Image model.
    """
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize

    writer = GGUFWriter(path, _ARCHITECTURE)
    for name, tensor in _original(load_part(folder, "transformer")).items():
        # The pad tokens have two dimensions, but nothing multiplies by them.
        if not name.endswith(".weight") or tensor.ndim < 2:
            kind = GGMLQuantizationType.F32
        elif tensor.shape[-1] % _BLOCK:
            kind = GGMLQuantizationType.F16
        else:
            kind = GGMLQuantizationType.Q8_0
        writer.add_tensor(name, quantize(tensor.float().numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _original(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The makers' names, with queries, keys and values in one matrix."""
    import torch

    if "cap_pad_token" not in weights:
        raise ValueError("only a Z-Image transformer can be written: there is no cap_pad_token among the weights")
    weights = dict(weights)
    for name in list(weights):
        if match := _QUERY.fullmatch(name):
            parts = [weights.pop(f"{match[1]}.to_{letter}.weight") for letter in "qkv"]
            weights[f"{match[1]}.qkv.weight"] = torch.cat(parts)
    return {_renamed(name): tensor for name, tensor in weights.items()}


def _renamed(name: str) -> str:
    for ours, theirs in _NAMES:
        name = name.replace(ours, theirs)
    return name
