"""Pipelines of the real diffusers classes with random weights, small enough to build and draw with on any CPU.

`python -m gems.evals.tiny sdxl FOLDER` writes one, which `diffusers:FOLDER` then names. In Python, `build_tiny` does; the
other writers turn such a folder's weights into a LoRA, a single file, or a transformer of its own.
"""

from gems.evals.tiny.build import build_tiny
from gems.evals.tiny.families import TINY_FAMILIES
from gems.evals.tiny.lora import write_lora
from gems.evals.tiny.single_file import write_single_file
from gems.evals.tiny.transformer_file import write_gguf, write_transformer_file

__all__ = [
    "TINY_FAMILIES",
    "build_tiny",
    "write_gguf",
    "write_lora",
    "write_single_file",
    "write_transformer_file",
]
