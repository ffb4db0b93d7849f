"""The tiny models are real ones: what they draw depends on all that it should, and what is written of them is read by diffusers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from diffusers import (
    DiffusionPipeline,
    GGUFQuantizationConfig,
    StableDiffusionXLPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from safetensors import safe_open

from gems.backends.local.placement import Dtype
from gems.evals.tiny import (
    TINY_FAMILIES,
    build_tiny,
    write_gguf,
    write_lora,
    write_single_file,
    write_transformer_file,
)
from gems.evals.tiny.__main__ import main
from gems.evals.tiny.full_size import Z_IMAGE_TURBO, ZImageSizes, build_full_size, write_full_size
from gems.evals.tiny.stored import load_part

# diffusers' Euler scheduler copies tensors in a way that numpy 2 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")

Tiny = Callable[[str], Path]
Pixels = np.ndarray[Any, Any]

LARGEST = 2_000_000
"""Bytes of a folder."""
VISIBLE = 0.01
"""Of 1, the mean over all pixels."""
NARROW = ZImageSizes(
    transformer={
        **Z_IMAGE_TURBO.transformer,
        "dim": 64,
        "n_heads": 2,
        "n_kv_heads": 2,
        "cap_feat_dim": 32,
        "axes_dims": [8, 12, 12],
    },
    text_encoder={
        **Z_IMAGE_TURBO.text_encoder,
        "vocab_size": 262,
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 8,
    },
    vae={**Z_IMAGE_TURBO.vae, "block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4},
)
"""As deep as Z-Image-Turbo."""
SHALLOW = NARROW._replace(
    transformer={**NARROW.transformer, "n_layers": 1, "n_refiner_layers": 1},
    text_encoder={**NARROW.text_encoder, "num_hidden_layers": 2},
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load(folder: Path, **options: Any) -> Any:
    return DiffusionPipeline.from_pretrained(folder, use_safetensors=True, local_files_only=True, **options)


def draw(pipe: Any, prompt: str = "a red cat", seed: int = 0, steps: int = 2, **options: Any) -> Pixels:
    """A picture of 64 pixels, without CFG, from 0 to 1."""
    pipe.set_progress_bar_config(disable=True)
    guidance = {"true_cfg_scale": 1.0} if "QwenImage" in type(pipe).__name__ else {"guidance_scale": 0.0}
    (picture,) = pipe(
        prompt=prompt,
        width=64,
        height=64,
        num_inference_steps=steps,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
        **guidance,
        **options,
    ).images
    return np.asarray(picture)


def apart(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one - other).mean())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def weight_files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*/*.safetensors")}


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def aligned(pipe: Any) -> Any:
    """Weights of two files lie at different offsets, which changes how sums are rounded; copies all begin alike."""
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            for weight in part.parameters():
                weight.data = weight.data.clone()
    return pipe


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_seed_decides_every_byte_of_a_family(family: str, tiny: Tiny, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    again = contents(build_tiny(family, tmp_path / "again"))
    assert torch.equal(torch.get_rng_state(), before)

    first = contents(tiny(family))
    assert again == first
    assert sum(map(len, first.values())) < LARGEST


def test_another_seed_changes_all_weights_and_nothing_else(tiny: Tiny, tmp_path: Path) -> None:
    first = contents(tiny("sdxl"))
    other = contents(build_tiny("sdxl", tmp_path, seed=1))
    changed = {name for name in first if first[name] != other[name]}
    assert other.keys() == first.keys()
    assert changed == {name for name in first if name.endswith(".safetensors")}


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_prompt_and_seed_decide_the_picture(family: str, tiny: Tiny) -> None:
    """Though the prompt's few tokens stand among hundreds of padding."""
    pipe = load(tiny(family))
    picture = draw(pipe)
    assert picture.shape == (64, 64, 3)
    assert picture.std() > 10 * VISIBLE
    assert np.array_equal(draw(pipe), picture)
    assert apart(draw(pipe, "a blue dog"), picture) > VISIBLE
    assert apart(draw(pipe, seed=1), picture) > VISIBLE


def test_there_is_no_tiny_pipeline_of_another_family(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no tiny pipeline for 'sora': choose one of z-image-turbo, qwen-image"):
        build_tiny("sora", tmp_path / "sora")
    assert not list(tmp_path.iterdir())


def test_a_variant_lies_beside_the_plain_weights(tmp_path: Path) -> None:
    folder = build_tiny("sd-turbo", tmp_path)
    build_tiny("sd-turbo", folder, variant="fp16")
    stems = {"diffusion_pytorch_model", "model"}
    assert weight_files(folder) == {f"{stem}{dotted}.safetensors" for stem in stems for dotted in ("", ".fp16")}

    plain = load(folder)
    half = load(folder, variant="fp16", dtype=torch.float16)
    assert {weight.dtype for weight in plain.unet.parameters()} == {torch.float32}
    assert same_weights(plain.unet.to(torch.float16), half.unet)
    assert same_weights(plain.text_encoder.to(torch.float16), half.text_encoder)


def test_weights_can_have_another_type_under_their_plain_names(tmp_path: Path) -> None:
    folder = build_tiny("z-image-turbo", tmp_path, dtype="bf16")
    assert weight_files(folder) == {"diffusion_pytorch_model.safetensors", "model.safetensors"}
    for part in ("transformer", "text_encoder", "vae"):
        assert {weight.dtype for weight in load_part(folder, part).values()} == {torch.bfloat16}
    assert draw(load(folder, dtype=torch.bfloat16), steps=1).std() > 10 * VISIBLE


def test_weights_can_be_split(tiny: Tiny, tmp_path: Path) -> None:
    folder = build_tiny("z-image-turbo", tmp_path, max_shard_size="500KB")
    index = json.loads((folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json").read_text())
    shards = {path.name for path in (folder / "transformer").glob("*.safetensors")}
    assert set(index["weight_map"].values()) == shards
    assert len(shards) > 1
    assert same_weights(load(folder).transformer, load(tiny("z-image-turbo")).transformer)
    with pytest.raises(ValueError, match=rf"transformer' must hold one \.safetensors file, not {len(shards)}"):
        load_part(folder, "transformer")


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_lora_changes_the_picture_by_its_scale(family: str, tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny(family)
    lora = write_lora(folder, tmp_path / "lora.safetensors")
    pipe = load(folder)
    short = {} if hasattr(pipe, "unet") else {"max_sequence_length": 64}
    bare = draw(pipe, **short)
    pipe.load_lora_weights(str(tmp_path), weight_name=lora.name, adapter_name="mine", local_files_only=True)
    pipe.set_adapters(["mine"], [0.0])
    assert np.array_equal(draw(pipe, **short), bare)

    pipe.set_adapters(["mine"], [1.0])
    adapted = draw(pipe, **short)
    assert apart(adapted, bare) > VISIBLE
    pipe.fuse_lora(adapter_names=["mine"])
    pipe.unload_lora_weights()
    assert draw(pipe, **short) == pytest.approx(adapted, abs=1e-3)


def test_a_seed_decides_every_byte_of_a_lora(tiny: Tiny, tmp_path: Path) -> None:
    one, again, other = (
        write_lora(tiny("sdxl"), tmp_path / f"{number}", seed=seed) for number, seed in enumerate((0, 0, 1))
    )
    assert one.read_bytes() == again.read_bytes() != other.read_bytes()


def test_a_single_file_is_the_model_of_the_folder(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("sdxl")
    path = write_single_file(folder, tmp_path / "sdxl.safetensors")
    whole = StableDiffusionXLPipeline.from_single_file(
        str(path), config=str(folder), local_files_only=True, dtype=torch.float32
    )
    parts = load(folder)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        assert same_weights(getattr(whole, name), getattr(parts, name)), name
    assert np.array_equal(draw(aligned(whole)), draw(aligned(parts)))


def test_a_single_file_has_the_makers_names(tiny: Tiny, tmp_path: Path) -> None:
    """Those by which SDXL is told from other models."""
    path = write_single_file(tiny("sdxl"), tmp_path / "sdxl.safetensors")
    with safe_open(path, "pt") as file:
        names = set(file.keys())
    assert names > {
        "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
        "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias",
        "first_stage_model.decoder.mid.attn_1.proj_out.weight",
        "model.diffusion_model.output_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
    }


@pytest.mark.parametrize("family", sorted({*TINY_FAMILIES} - {"sdxl"}))
def test_only_sdxl_is_written_as_a_single_file(family: str, tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"only SDXL can be written as one file: .* has no unet or no text_encoder_2"):
        write_single_file(tiny(family), tmp_path / "model.safetensors")


def test_a_transformer_file_is_the_folders_transformer(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("z-image-turbo")
    path = write_transformer_file(folder, tmp_path / "z.safetensors")
    alone = ZImageTransformer2DModel.from_single_file(
        str(path), config=str(folder), subfolder="transformer", local_files_only=True, dtype=torch.float32
    )
    pipe = load(folder)
    assert same_weights(alone, pipe.transformer)
    assert np.array_equal(draw(aligned(load(folder, transformer=alone))), draw(aligned(pipe)))


def test_a_gguf_file_is_the_folders_transformer_but_for_its_rounding(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("z-image-turbo")
    path = write_gguf(folder, tmp_path / "z.gguf")
    quantized = ZImageTransformer2DModel.from_single_file(
        str(path),
        config=str(folder),
        subfolder="transformer",
        local_files_only=True,
        quantization_config=GGUFQuantizationConfig(compute_dtype=torch.float32),
        dtype=torch.float32,
    )
    plain = load(folder)
    kinds = {weight.quant_type.name for weight in quantized.parameters() if hasattr(weight, "quant_type")}
    assert kinds == {"Q8_0"}
    # 8 bits instead of 32, and a scale for each 32 weights.
    assert path.stat().st_size < write_transformer_file(folder, tmp_path / "z.safetensors").stat().st_size / 3
    rounding = apart(draw(load(folder, transformer=quantized)), draw(plain))
    assert 0 < rounding < VISIBLE


@pytest.mark.parametrize("write", [write_transformer_file, write_gguf])
def test_only_the_transformer_of_z_image_is_written_as_a_file(
    write: Callable[[Path, Path], Path], tiny: Tiny, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="only a Z-Image transformer can be written"):
        write(tiny("qwen-image"), tmp_path / "file")
    with pytest.raises(ValueError, match=r"transformer' must hold one \.safetensors file, not 0"):
        write(tiny("sdxl"), tmp_path / "file")


def test_full_size_has_the_real_sizes() -> None:
    """Nothing is allocated: 20.5 GB would be."""
    pipe = build_full_size("meta")
    parts = (pipe.transformer, pipe.text_encoder, pipe.vae)
    counts = [sum(weight.numel() for weight in part.parameters()) for part in parts]
    assert counts == [6_154_908_736, 4_022_468_096, 83_819_683]
    assert {(weight.dtype, weight.device.type) for part in parts for weight in part.parameters()} == {
        (torch.bfloat16, "meta")
    }
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(("dtype", "steps"), [("bf16", 8), ("fp16", 2)])
def test_full_depth_neither_overflows_nor_fades(dtype: Dtype, steps: int) -> None:
    """fp16 ends at 65504, and pictures of NaN are drawn as black ones."""
    pipe = build_full_size("cpu", dtype, NARROW)
    largest = 0.0

    def look(_module: torch.nn.Module, _inputs: Any, outputs: Any) -> None:
        nonlocal largest
        if isinstance(outputs, torch.Tensor):
            assert outputs.isfinite().all()
            largest = max(largest, float(outputs.abs().max()))

    blocks = [
        block
        for part in (pipe.transformer, pipe.text_encoder, pipe.vae)
        for row in part.modules()
        if isinstance(row, torch.nn.ModuleList)
        for block in row
    ]
    for block in blocks:
        block.register_forward_hook(look)
    picture = draw(pipe, steps=steps, max_sequence_length=64)
    assert np.isfinite(picture).all()
    assert picture.std(axis=(0, 1)).min() > 10 * VISIBLE
    assert 1 < largest < 1000


def test_full_size_is_saved_part_by_part_and_loaded_again(tmp_path: Path) -> None:
    built = build_full_size("cpu", "fp32", SHALLOW, seed=3)
    state = torch.get_rng_state()
    pipe = load(write_full_size(tmp_path, "fp32", SHALLOW, seed=3))
    assert torch.equal(torch.get_rng_state(), state)
    assert type(pipe) is ZImagePipeline
    for name in ("transformer", "text_encoder", "vae"):
        assert same_weights(getattr(pipe, name), getattr(built, name)), name
    assert np.array_equal(draw(aligned(pipe), max_sequence_length=64), draw(aligned(built), max_sequence_length=64))


def test_the_command_writes_the_same_folder(tiny: Tiny, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["sd-turbo", "mine"])
    assert (done.exit_code, done.output) == (0, "mine\n")
    assert contents(tmp_path / "mine") == contents(tiny("sd-turbo"))
    refused = CliRunner().invoke(main, ["sora", "mine"])
    assert refused.exit_code == 2
    assert "'sora' is not one of 'z-image-turbo'" in refused.output
