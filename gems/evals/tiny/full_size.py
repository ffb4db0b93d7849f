"""Z-Image-Turbo in its real sizes with random weights: to measure time and memory where the real ones are not at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gems.backends.local.devices import torch_dtype
from gems.backends.local.placement import Dtype
from gems.evals.tiny.tokenizers import qwen_tokenizer
from gems.evals.tiny.weights import fill

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Model


class ZImageSizes(NamedTuple):
    """The arguments of the parts' classes and configs."""

    transformer: Mapping[str, Any]
    text_encoder: Mapping[str, Any]
    vae: Mapping[str, Any]


Z_IMAGE_TURBO: Final = ZImageSizes(
    transformer={
        "in_channels": 16,
        "dim": 3840,
        "n_layers": 30,
        "n_refiner_layers": 2,
        "n_heads": 30,
        "n_kv_heads": 30,
        "cap_feat_dim": 2560,
        "axes_dims": [32, 48, 48],
        "axes_lens": [1536, 512, 512],
    },
    # Qwen3-4B
    text_encoder={
        "vocab_size": 151936,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "tie_word_embeddings": True,
    },
    # FLUX.1's
    vae={
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "latent_channels": 16,
        "sample_size": 1024,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    },
)
"""6.15 billion parameters, 4.02 and 0.08."""


def build_full_size(
    device: str, dtype: Dtype = "bf16", sizes: ZImageSizes = Z_IMAGE_TURBO, seed: int = 0
) -> ZImagePipeline:
    """The pipeline, made where it is to run: nothing is read, and no second copy is ever in memory.

    Its tokenizer counts bytes, so the transformer reads about four times as many tokens of a prompt as the real one would,
    512 at most, beside the 4096 of a picture of 1024 x 1024 pixels.

    Args:
        device: Of torch, for instance `cuda:0`; on `meta` it has shapes but no weights.
        dtype: Of all weights; bf16 and fp16 take 20.5 GB.
        sizes: Of the parts.
        seed: Decides the weights.
    """
    with _defaults(device, dtype):
        parts = {"transformer": _transformer(sizes), "text_encoder": _text_encoder(sizes), "vae": _vae(sizes)}
    for part in parts.values():
        fill(part, seed)
    return _assembled(parts)


def write_full_size(
    folder: Path, dtype: Dtype = "bf16", sizes: ZImageSizes = Z_IMAGE_TURBO, device: str = "cpu", seed: int = 0
) -> Path:
    """Save the pipeline as a diffusers folder, part by part: 12.3 GB of memory, 20.5 GB of disk in bf16.

    Args:
        folder: Where to write; it is made.
        dtype: Of all weights.
        sizes: Of the parts.
        device: Of torch, where the weights are made: a CPU takes minutes.
        seed: Decides the weights.
    """
    pipeline = build_full_size("meta", dtype, sizes)
    pipeline.save_config(folder)
    pipeline.scheduler.save_pretrained(folder / "scheduler")
    pipeline.tokenizer.save_pretrained(folder / "tokenizer")
    for name, make in (("transformer", _transformer), ("text_encoder", _text_encoder), ("vae", _vae)):
        with _defaults(device, dtype):
            part = make(sizes)
        fill(part, seed)
        part.save_pretrained(folder / name, safe_serialization=True)
        # The next part is made only when this one is gone.
        del part
    return folder


def _transformer(sizes: ZImageSizes) -> ZImageTransformer2DModel:
    from diffusers import ZImageTransformer2DModel

    return ZImageTransformer2DModel(**sizes.transformer)


def _text_encoder(sizes: ZImageSizes) -> Qwen3Model:
    import torch
    from transformers import Qwen3Config, Qwen3Model

    return Qwen3Model(Qwen3Config(**sizes.text_encoder, dtype=torch.get_default_dtype()))


def _vae(sizes: ZImageSizes) -> AutoencoderKL:
    from diffusers import AutoencoderKL

    return AutoencoderKL(**sizes.vae)


def _assembled(parts: Mapping[str, Any]) -> ZImagePipeline:
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline

    return ZImagePipeline(scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), tokenizer=qwen_tokenizer(), **parts)


@contextmanager
def _defaults(device: str, dtype: Dtype) -> Iterator[None]:
    """New tensors are of this device and kind; the caller's random numbers are left alone on the CPU."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch_dtype(dtype))
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)
