"""From files to a pipeline: adapters, schedulers, quantized and cast parts, and libraries' errors in our words."""

from __future__ import annotations

import logging
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gems.backends.images.presets import family_of
from gems.backends.local.faults import explain_load, is_out_of_memory
from gems.backends.local.images import sampling_of
from gems.backends.local.loading import Loaded, choose_dtype, load
from gems.backends.local.orders import LocalModel, Order, Painted
from gems.backends.local.painting import paint
from gems.backends.local.placement import Placement
from gems.backends.local.quiet import WORKERS, hush
from gems.backends.local.requirements import check_requirements
from gems.backends.local.weights import find_weights
from gems.core.errors import GemsConfigError
from gems.core.profiles import DrawingOptions, LocalOptions, Lora
from gems.evals.tiny import TINY_FAMILIES, write_gguf, write_lora, write_single_file, write_transformer_file

Tiny = Callable[[str], Path]
RESIDENT = Placement("resident", "fp32")


def loaded(source: Path, placement: Placement = RESIDENT, **options: Any) -> Loaded:
    model = LocalModel(str(source), LocalOptions(**options))
    return load(model, find_weights(model), "cpu", placement)


def picture(pipeline: Loaded, seed: int = 1) -> Any:
    source = pipeline.model.options.base or pipeline.model.source
    sampling = sampling_of(DrawingOptions(steps=2), family_of(source))
    painted = paint(pipeline, [Order(pipeline.model, "a red dog", seed, 64, 64, sampling)], lambda: False)
    assert isinstance(painted[0], Painted)
    return np.asarray(painted[0].image, int)


def apart(one: Any, other: Any) -> int:
    return int(np.abs(one - other).max())


@pytest.mark.parametrize("family", ["z-image-turbo", "sdxl"])
def test_loras_are_laid_over_the_weights_by_their_scale(family: str, tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny(family)
    one = str(write_lora(folder, tmp_path / "one.safetensors"))
    two = str(write_lora(folder, tmp_path / "two.safetensors", seed=1))
    plain = picture(loaded(folder))
    assert apart(plain, picture(loaded(folder, loras=[Lora(path=one, scale=0.0)]))) <= 1
    with_one = picture(loaded(folder, loras=[Lora(path=one)]))
    assert apart(plain, with_one) > 10
    assert apart(with_one, picture(loaded(folder, loras=[Lora(path=one, scale=0.3)]))) > 1
    both = loaded(folder, loras=[Lora(path=one), Lora(path=two)])
    assert apart(with_one, picture(both)) > 1
    # Melted in: nothing of them is computed at each step.
    denoiser = both.pipe.transformer if family == "z-image-turbo" else both.pipe.unet
    assert not [name for name, _ in denoiser.named_modules() if "lora" in name]


def test_a_lora_of_a_text_encoder_is_laid_over_it_too(tiny: Tiny, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder, rank = tiny("flux.1-schnell"), 2
    generator = torch.Generator().manual_seed(0)
    encoder = loaded(folder).pipe.text_encoder
    lora = {}
    for name, module in encoder.named_modules():
        if name.endswith(("q_proj", "v_proj")):
            outputs, inputs = module.weight.shape
            lora[f"text_encoder.{name}.lora_A.weight"] = torch.randn(rank, inputs, generator=generator)
            lora[f"text_encoder.{name}.lora_B.weight"] = torch.randn(outputs, rank, generator=generator)
    save_file(lora, tmp_path / "lora.safetensors", metadata={"format": "pt"})
    adapted = loaded(folder, loras=[Lora(path=str(tmp_path / "lora.safetensors"))])
    assert apart(picture(loaded(folder)), picture(adapted)) > 1


def test_a_lora_over_a_quantized_transformer_stays_beside_it(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("z-image-turbo")
    gguf = str(write_gguf(folder, tmp_path / "t.gguf"))
    lora = str(write_lora(folder, tmp_path / "lora.safetensors"))
    plain, adapted = loaded(folder, transformer=gguf), loaded(folder, transformer=gguf, loras=[Lora(path=lora)])
    assert [name for name, _ in adapted.pipe.transformer.named_modules() if "lora" in name]
    assert apart(picture(plain), picture(adapted)) > 10


def test_a_transformer_of_ones_own_is_loaded(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("z-image-turbo")
    plain = picture(loaded(folder))
    same = write_transformer_file(folder, tmp_path / "t.safetensors")
    assert apart(plain, picture(loaded(folder, transformer=str(same)))) == 0
    nearly = loaded(folder, transformer=str(write_gguf(folder, tmp_path / "t.gguf")))
    assert 0 < apart(plain, picture(nearly)) < 40
    assert type(nearly.pipe.transformer.layers[0].attention.to_q).__name__ == "GGUFLinear"
    assert nearly.stored_bytes < loaded(folder).stored_bytes / 2


def test_a_whole_model_in_one_file_is_loaded(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("sdxl")
    file = write_single_file(folder, tmp_path / "one.safetensors")
    assert apart(picture(loaded(folder)), picture(loaded(file, base=str(folder)))) <= 1


def test_schedulers_are_changed_if_they_fit(tiny: Tiny) -> None:
    folder = tiny("sdxl")
    plain = loaded(folder)
    other = loaded(folder, scheduler="DPMSolverMultistepScheduler", scheduler_options={"use_karras_sigmas": True})
    assert type(other.pipe.scheduler).__name__ == "DPMSolverMultistepScheduler"
    assert other.pipe.scheduler.config.use_karras_sigmas
    assert apart(picture(plain), picture(other)) > 1
    shifted = loaded(tiny("z-image-turbo"), scheduler_options={"shift": 7.0})
    assert shifted.pipe.scheduler.config.shift == 7.0
    for name in ("FlowMatchEulerDiscreteScheduler", "os"):
        with pytest.raises(GemsConfigError, match=rf"local\.scheduler '{name}' does not fit .*DDIMScheduler"):
            loaded(folder, scheduler=name)
    with pytest.raises(
        GemsConfigError, match=r"has 'foo', which EulerDiscreteScheduler does not know; it knows .*beta_start"
    ):
        loaded(folder, scheduler_options={"use_karras_sigmas": True, "foo": 3})


def test_what_the_settings_need_is_told_before_anything_is_loaded(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny("z-image-turbo")
    gguf, lora = write_gguf(folder, tmp_path / "t.gguf"), write_lora(folder, tmp_path / "lora.safetensors")

    def check(missing: str, **options: Any) -> None:
        model = LocalModel(str(folder), LocalOptions(**options))
        check_requirements(model, find_weights(model), lambda package: None if package == missing else package)

    check("peft", transformer=str(gguf))
    check("gguf", loras=[Lora(path=str(lora))])
    with pytest.raises(GemsConfigError, match=r"t\.gguf needs the package gguf: pip install gguf"):
        check("gguf", transformer=str(gguf))
    with pytest.raises(GemsConfigError, match=r"local\.loras needs the package peft: pip install peft"):
        check("peft", loras=[Lora(path=str(lora))])
    with pytest.raises(GemsConfigError, match=r"local\.scheduler 'os' does not fit"):
        check("", scheduler="os")


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_parts_are_stored_in_8_bits(family: str, tiny: Tiny) -> None:
    folder = tiny(family)
    plain = loaded(folder)
    large = frozenset(
        name for name in plain.pipe.components if name.startswith(("transformer", "unet", "text_encoder"))
    )
    cast = loaded(folder, Placement("resident", "fp32", cast=large))
    for name in large:
        assert torch.float8_e4m3fn in {weight.dtype for weight in getattr(cast.pipe, name).parameters()}
    assert {weight.dtype for weight in cast.pipe.vae.parameters()} == {torch.float32}
    assert cast.stored_bytes < plain.stored_bytes
    exact = picture(plain)
    assert 0 < np.abs(exact - picture(cast)).mean() < np.abs(exact - picture(plain, seed=2)).mean()


def test_16_bits(tiny: Tiny) -> None:
    half = loaded(tiny("z-image-turbo"), Placement("resident", "bf16"))
    assert {weight.dtype for weight in half.pipe.transformer.parameters()} == {torch.bfloat16}
    assert apart(picture(loaded(tiny("z-image-turbo"))), picture(half)) < 60


def test_the_variant_of_half_the_size_is_loaded(tiny: Tiny, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    folder = tmp_path / "sd-turbo"
    StableDiffusionPipeline.from_pretrained(tiny("sd-turbo"), dtype=torch.float16).save_pretrained(
        folder, variant="fp16"
    )
    weights = find_weights(LocalModel(str(folder)))
    assert (weights.variant, weights.parts["unet"].dtype) == ("fp16", "fp16")
    assert choose_dtype(weights, "cuda:0", "auto") == "fp16"
    assert picture(loaded(folder)).std() > 1


def test_what_to_compute_in(tiny: Tiny) -> None:
    weights = find_weights(LocalModel(str(tiny("sdxl"))))
    assert [choose_dtype(weights, device, "auto") for device in ("cpu", "cuda:0", "mps")] == ["fp32", "bf16", "bf16"]
    assert choose_dtype(weights, "cpu", "bf16") == "bf16"


def test_weights_of_another_model_are_told(tiny: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("sd-turbo"), tmp_path / "sd")
    file = "unet/diffusion_pytorch_model.safetensors"
    shutil.copy(tiny("sdxl") / file, folder / file)
    with pytest.raises(GemsConfigError, match="the weights do not fit the configuration"):
        loaded(folder)


def test_a_lora_of_another_model_is_told(tiny: Tiny, tmp_path: Path) -> None:
    lora = write_lora(tiny("sdxl"), tmp_path / "lora.safetensors")
    with pytest.raises(GemsConfigError, match=r"the LoRA lora\.safetensors does not fit ZImagePipeline: is it another"):
        loaded(tiny("z-image-turbo"), loras=[Lora(path=str(lora))])


def test_a_lora_that_fits_in_part_is_laid_over_with_a_warning(tiny: Tiny, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    lora = write_lora(tiny("z-image-turbo"), tmp_path / "lora.safetensors")
    halves = {name.replace("layers.1.", "layers.9."): tensor for name, tensor in load_file(lora).items()}
    save_file(halves, lora)
    pipeline = loaded(tiny("z-image-turbo"), loras=[Lora(path=str(lora))])
    assert pipeline.warnings == (
        "only a part of the LoRA lora.safetensors fits ZImagePipeline: is it another model's?",
    )
    sampling = sampling_of(DrawingOptions(steps=1), family_of("z-image-turbo"))
    painted = paint(pipeline, [Order(pipeline.model, "a dog", 1, 64, 64, sampling)], lambda: False)[0]
    assert isinstance(painted, Painted)
    assert painted.warnings == pipeline.warnings


@pytest.mark.parametrize("name", ["Kandinsky9Pipeline", "utils", "AutoencoderKL"])
def test_a_class_that_diffusers_has_not_is_told(name: str, tiny: Tiny, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny("sd-turbo"), tmp_path / "sd")
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", name))
    with pytest.raises(
        GemsConfigError, match=rf"is a '{name}', which diffusers [\d.]+ does not have: install a newer one"
    ):
        loaded(folder)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "does not fit into this machine's memory"),
        (ImportError("This needs ftfy: `pip install ftfy`"), r"needs the package ftfy: pip install ftfy"),
        (ModuleNotFoundError("No module named 'sentencepiece'"), "needs the package sentencepiece"),
        (NotImplementedError("Cannot copy out of meta tensor; no data!"), "the weights do not fit the configuration"),
        (ValueError("Cannot load because conv_in.weight expected shape [4] but got [9]"), "the weights do not fit"),
        (
            OSError("something odd\nover two lines"),
            "a/b cannot be loaded: OSError: something odd over two lines; run `gems pull",
        ),
    ],
)
def test_what_libraries_raise_becomes_a_sentence(error: Exception, words: str) -> None:
    with pytest.raises(GemsConfigError, match=words) as caught, explain_load(LocalModel("a/b")):
        raise error
    assert caught.value.__cause__ is error


def test_running_out_of_memory_passes_and_so_do_our_own_words() -> None:
    for error in (torch.OutOfMemoryError("x"), RuntimeError("MPS backend out of memory"), GemsConfigError("ours")):
        with pytest.raises(type(error)) as caught, explain_load(LocalModel("a/b")):
            raise error
        assert caught.value is error
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes")
    )
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))


def test_only_the_workers_are_hushed() -> None:
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    logger, ear = logging.getLogger("diffusers"), Ear()
    level = logger.level
    logger.setLevel(logging.WARNING)
    logger.addHandler(ear)
    try:
        with warnings.catch_warnings():
            hush()
            for say in (lambda: logger.warning("of a worker"), lambda: logger.error("an error of a worker")):
                thread = threading.Thread(target=say, name=f"{WORKERS}cpu")
                thread.start()
                thread.join()
            logger.warning("of the program")
    finally:
        logger.removeHandler(ear)
        logger.setLevel(level)
    assert heard == ["an error of a worker", "of the program"]
