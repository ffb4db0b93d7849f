"""Writes an SDXL folder as one checkpoint in the layout of its makers' own code, the inverse of what diffusers reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gems.evals.tiny.stored import load_part

if TYPE_CHECKING:
    from torch import Tensor

_UNET: Final = (
    (r"^conv_in\.", "input_blocks.0.0."),
    (r"^conv_norm_out\.", "out.0."),
    (r"^conv_out\.", "out.2."),
    (r"^time_embedding\.linear_1\.", "time_embed.0."),
    (r"^time_embedding\.linear_2\.", "time_embed.2."),
    (r"^add_embedding\.linear_1\.", "label_emb.0.0."),
    (r"^add_embedding\.linear_2\.", "label_emb.0.2."),
    (r"^mid_block\.resnets\.0\.", "middle_block.0."),
    (r"^mid_block\.attentions\.0\.", "middle_block.1."),
    (r"^mid_block\.resnets\.1\.", "middle_block.2."),
)
_UNET_RESNET: Final = (
    (r"\.norm1\.", ".in_layers.0."),
    (r"\.conv1\.", ".in_layers.2."),
    (r"\.time_emb_proj\.", ".emb_layers.1."),
    (r"\.norm2\.", ".out_layers.0."),
    (r"\.conv2\.", ".out_layers.3."),
    (r"\.conv_shortcut\.", ".skip_connection."),
)
_VAE: Final = (
    (r"\.conv_norm_out\.", ".norm_out."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
    (r"\.attn_1\.group_norm\.", ".attn_1.norm."),
    (r"\.attn_1\.to_([qkv])\.", r".attn_1.\1."),
    (r"\.attn_1\.to_out\.0\.", ".attn_1.proj_out."),
    (r"\.down_blocks\.(\d+)\.resnets\.", r".down.\1.block."),
    (r"\.down_blocks\.(\d+)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
)
_OPEN_CLIP: Final = (
    (r"^text_model\.", ""),
    (r"^encoder\.layers\.", "transformer.resblocks."),
    (r"^embeddings\.token_embedding\.", "token_embedding."),
    (r"^embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^final_layer_norm\.", "ln_final."),
    (r"\.layer_norm(\d)\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"\.self_attn\.", ".attn."),
)
_BLOCK: Final = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)")
_UP: Final = re.compile(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.(.*)")
_QUERY: Final = re.compile(r"(.*\.attn)\.q_proj\.(weight|bias)")


def write_single_file(folder: Path, path: Path) -> Path:
    """Write one safetensors checkpoint of the whole model but its tokenizers and scheduler.

    Args:
        folder: A pipeline folder of SDXL with its two encoders.
        path: The file to write.

    Raises:
        ValueError: the folder is not that of an SDXL model.
    """
    from safetensors.torch import save_file

    if not (folder / "unet").is_dir() or not (folder / "text_encoder_2").is_dir():
        raise ValueError(f"only SDXL can be written as one file: {str(folder)!r} has no unet or no text_encoder_2")
    config = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    up_blocks = len(json.loads((folder / "vae" / "config.json").read_text(encoding="utf-8"))["up_block_types"])
    parts = {
        "model.diffusion_model.": _unet(load_part(folder, "unet"), config["layers_per_block"]),
        "first_stage_model.": _vae(load_part(folder, "vae"), up_blocks),
        "conditioner.embedders.0.transformer.text_model.": _clip(load_part(folder, "text_encoder")),
        "conditioner.embedders.1.model.": _open_clip(load_part(folder, "text_encoder_2")),
    }
    checkpoint = {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.items()}
    save_file(checkpoint, path)
    return path


def _unet(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    attended = {match[2] for name in weights if (match := re.match(r"(up_blocks)\.(\d+)\.attentions", name))}
    return {_unet_name(name, layers, attended): tensor for name, tensor in weights.items()}


def _unet_name(name: str, layers: int, attended: set[str]) -> str:
    if "resnets" in name:
        name = _substituted(name, _UNET_RESNET)
    match = _BLOCK.fullmatch(name)
    if not match:
        return _substituted(name, _UNET)
    side, block, kind, layer, rest = match.groups()
    # Both sides count their layers through all blocks: down those of a block and its halving, up one layer more.
    first = int(block) * (layers + 1)
    if side == "down":
        number = first + 1 + (layers if kind == "downsamplers" else int(layer))
        place = "0.op" if kind == "downsamplers" else "0" if kind == "resnets" else "1"
        return f"input_blocks.{number}.{place}.{rest.removeprefix('conv.') if kind == 'downsamplers' else rest}"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers}.{2 if block in attended else 1}.{rest}"
    return f"output_blocks.{first + int(layer)}.{0 if kind == 'resnets' else 1}.{rest}"


def _vae(weights: dict[str, Tensor], up_blocks: int) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in weights.items():
        if match := _UP.fullmatch(name):
            # Upwards, the makers count from the picture.
            level = up_blocks - 1 - int(match[1])
            place = f"block.{match[3]}" if match[2] == "resnets" else "upsample"
            name = f"decoder.up.{level}.{place}.{match[4]}"
        name = _substituted(name, _VAE)
        # Their attention is made of convolutions.
        is_kernel = ".attn_1." in name and tensor.ndim == 2
        renamed[name] = tensor[:, :, None, None] if is_kernel else tensor
    return renamed


def _clip(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}


def _open_clip(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    import torch

    renamed = {_substituted(name, _OPEN_CLIP): tensor for name, tensor in weights.items()}
    for name in list(renamed):
        if match := _QUERY.fullmatch(name):
            parts = [renamed.pop(f"{match[1]}.{letter}_proj.{match[2]}") for letter in "qkv"]
            renamed[f"{match[1]}.in_proj_{match[2]}"] = torch.cat(parts)
    renamed["text_projection"] = renamed.pop("text_projection.weight").T.contiguous()
    return renamed


def _substituted(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
