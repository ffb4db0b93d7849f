"""Pictures of every family: what a batch gives, what a bare pipeline gives, what is edited, and what is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gems.backends.images.presets import family_of
from gems.backends.local.images import sampling_of
from gems.backends.local.loading import Loaded, load
from gems.backends.local.orders import LocalModel, Order, Painted, Sampling
from gems.backends.local.painting import Stopped, paint
from gems.backends.local.placement import Placement
from gems.backends.local.quiet import one_load
from gems.backends.local.weights import find_weights
from gems.core.errors import DrawingRefused, GemsConfigError, ModelOutage
from gems.core.profiles import DrawingOptions
from gems.evals.tiny import TINY_FAMILIES

ROUNDING = 1
"""Of 255: a batch is computed in another order than its pictures one by one."""
EXACT = ("flux.1-schnell",)
"""Families that read fewer tokens than their pipeline class would, so a bare call gives another picture."""

Load = Callable[[str], Loaded]


@pytest.fixture(scope="module")
def loaded(tiny: Callable[[str], Path]) -> Load:
    kept: dict[str, Loaded] = {}

    def find(family: str) -> Loaded:
        if family not in kept:
            model = LocalModel(str(tiny(family)))
            kept[family] = load(model, find_weights(model), "cpu", Placement("resident", "fp32"))
        return kept[family]

    return find


def order(pipeline: Loaded, prompt: str = "a red dog", seed: int = 1, **more: Any) -> Order:
    sampling = sampling_of(DrawingOptions(steps=2), family_of(pipeline.model.source))
    return Order(pipeline.model, prompt, seed, 64, 64, **{"sampling": sampling} | more)


def draw(pipeline: Loaded, orders: Sequence[Order]) -> list[Image.Image]:
    return [it.image for it in painted(pipeline, orders)]


def painted(pipeline: Loaded, orders: Sequence[Order]) -> list[Painted]:
    found = paint(pipeline, orders, lambda: False)
    assert all(isinstance(it, Painted) for it in found)
    return found  # type: ignore[return-value]


def apart(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_batch_gives_what_each_order_alone_gives(family: str, loaded: Load) -> None:
    pipeline = loaded(family)
    orders = [
        order(pipeline, "a red dog", 1),
        order(pipeline, "two blue cats on a mat, far away", 2),
        order(pipeline, "a red dog", 3),
    ]
    together = draw(pipeline, orders)
    alone = [draw(pipeline, [it])[0] for it in orders]
    assert max(map(apart, together, alone)) <= ROUNDING
    assert min(apart(alone[0], alone[1]), apart(alone[0], alone[2])) > 20
    assert alone[0].size == (64, 64)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_guided_batch_too(family: str, loaded: Load) -> None:
    pipeline = loaded(family)
    plain = order(pipeline).sampling
    guided = plain._replace(
        guidance_scale=None if plain.guidance_scale is None else 4.0, true_cfg_scale=4.0, negative_prompt="ugly"
    )
    orders = [order(pipeline, prompt, 1, sampling=guided) for prompt in ("a red dog", "two blue cats, far away")]
    together = draw(pipeline, orders)
    alone = [draw(pipeline, [it])[0] for it in orders]
    assert max(map(apart, together, alone)) <= ROUNDING
    # One that was distilled to few steps is not guided at all.
    assert (apart(alone[0], draw(pipeline, [order(pipeline)])[0]) > 0) == (family != "flux.2-klein")


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_bare_pipeline_gives_the_same_picture(family: str, loaded: Load) -> None:
    import diffusers
    import torch

    pipeline = loaded(family)
    wanted = order(pipeline, "two blue cats", 7)
    with one_load():
        bare = diffusers.DiffusionPipeline.from_pretrained(wanted.model.source, local_files_only=True)
    bare.set_progress_bar_config(disable=True)
    settings = {name: value for name, value in wanted.sampling._asdict().items() if value is not None}
    settings["num_inference_steps"] = settings.pop("steps")
    del settings["strength"]
    if family in EXACT:
        settings["max_sequence_length"] = 256
    generator = torch.Generator().manual_seed(7)
    picture = bare(prompt="two blue cats", width=64, height=64, generator=generator, **settings).images[0]
    assert apart(picture, draw(pipeline, [wanted])[0]) == 0


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_a_picture_is_drawn_over_or_followed(family: str, loaded: Load) -> None:
    pipeline = loaded(family)
    start = Image.effect_mandelbrot((96, 80), (-2, -1.5, 1, 1.5), 40).convert("RGB")
    edited = draw(pipeline, [order(pipeline, "make it blue", 5, images=(start,))])[0]
    assert edited.size == (64, 64)
    from_scratch = draw(pipeline, [order(pipeline, "make it blue", 5)])[0]
    assert apart(edited, from_scratch) > 20
    assert apart(edited, draw(pipeline, [order(pipeline, "make it blue", 5, images=(start,))])[0]) == 0
    # And afterwards the pipeline draws as before.
    assert apart(from_scratch, draw(pipeline, [order(pipeline, "make it blue", 5)])[0]) == 0


def test_a_picture_is_redrawn_in_one_step_at_least(loaded: Load) -> None:
    pipeline = loaded("sd-turbo")
    start = Image.new("RGB", (64, 64), "teal")
    for steps in (1, 3, 49):
        weak = Sampling(steps, 0.0, strength=0.001)
        assert draw(pipeline, [order(pipeline, sampling=weak, images=(start,))])[0].size == (64, 64)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_the_lost_end_of_a_long_prompt_is_told(family: str, loaded: Load) -> None:
    pipeline = loaded(family)
    fits = painted(pipeline, [order(pipeline, "a dog at sea")])[0]
    assert fits.warnings == ()
    long = painted(pipeline, [order(pipeline, "word " * 400 + "THE END")])[0]
    assert len(long.warnings) == 1
    assert "of the prompt's" in long.warnings[0]
    assert "lost is" in long.warnings[0]


# Qwen-Image passes by the 34 tokens that its real tokenizer makes of its instructions; the tiny one makes more.
@pytest.mark.parametrize("family", [family for family in TINY_FAMILIES if family != "qwen-image"])
def test_what_is_lost_is_exactly_what_changes_nothing(family: str, loaded: Load) -> None:
    pipeline = loaded(family)
    text = "a " * 600 + "a"
    cut = pipeline.cut_off(text)
    assert cut is not None
    assert text.endswith(cut.lost)
    read = text.removesuffix(cut.lost)
    assert embedded(pipeline, read + cut.lost) == embedded(pipeline, f"{read}b{cut.lost[1:]}")
    # The last letter that is said to be read, is.
    assert embedded(pipeline, read + cut.lost) != embedded(pipeline, f"{read.rstrip()[:-1]}b {cut.lost}")


def embedded(pipeline: Loaded, prompt: str) -> list[Any]:
    assert pipeline.embeddings is not None
    found = pipeline.embeddings.arguments([prompt], order(pipeline).sampling)["prompt_embeds"]
    # Some pipelines have a list of one in place of a batch of one.
    return next(iter(found)).tolist()  # type: ignore[no-any-return]


def test_prompts_are_encoded_once(loaded: Load) -> None:
    pipeline = loaded("sdxl")
    assert pipeline.embeddings is not None
    pipeline.forget()
    before = pipeline.embeddings.encoded
    draw(pipeline, [order(pipeline, "one", 1), order(pipeline, "one", 2), order(pipeline, "two", 3)])
    draw(pipeline, [order(pipeline, "one", 4)])
    assert pipeline.embeddings.encoded - before == 2
    # Another negative prompt is another embedding.
    other = order(pipeline).sampling._replace(negative_prompt="blur")
    draw(pipeline, [order(pipeline, "one", 5, sampling=other)])
    assert pipeline.embeddings.encoded - before == 3


def test_a_drawing_ends_at_the_step_after_nobody_waits(loaded: Load) -> None:
    pipeline = loaded("sd-turbo")
    steps: list[tuple[int, int]] = []
    wanted = order(pipeline, sampling=Sampling(steps=6, guidance_scale=0.0), progress=lambda *it: steps.append(it))
    with pytest.raises(Stopped):
        paint(pipeline, [wanted], lambda: len(steps) >= 2)
    assert steps == [(0, 6), (1, 6)]
    paint(pipeline, [wanted], lambda: False)
    assert steps[2:] == [(step, 6) for step in range(7)]


def test_a_drawing_that_takes_too_long_ends(loaded: Load) -> None:
    pipeline = loaded("sd-turbo")
    with pytest.raises(ModelOutage, match=r"was not done within 1e-06 s \(drawing\.seconds\)") as caught:
        paint(pipeline, [replace(order(pipeline), seconds=1e-6)], lambda: False)
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_a_listener_that_fails_does_not_spoil_the_picture(loaded: Load, caplog: pytest.LogCaptureFixture) -> None:
    def fail(step: int, steps: int) -> None:
        raise RuntimeError(f"no {step} of {steps}")

    pipeline = loaded("sd-turbo")
    heard: list[int] = []
    orders = [order(pipeline, progress=fail), order(pipeline, seed=2, progress=lambda step, _: heard.append(step))]
    assert len(draw(pipeline, orders)) == 2
    assert heard == [0, 1, 2]
    assert "a listener to the progress of a drawing failed" in caplog.text


class Fake:
    """A pipeline that answers a call with what it is told to."""

    def __init__(self, answer: Callable[[int, int], dict[str, Any]], **parts: Any) -> None:
        self.answer = answer
        self.freed = 0
        vars(self).update(parts)

    def maybe_free_model_hooks(self) -> None:
        self.freed += 1

    def __call__(self, width: int, height: int, **more: Any) -> Any:
        return SimpleNamespace(**self.answer(width, height))


def faked(pipeline: Loaded, pipe: Fake) -> Loaded:
    return replace(pipeline, pipe=pipe, embeddings=None, most_tokens=None)


def test_a_flat_picture_is_suspected_and_another_size_told(loaded: Load) -> None:
    pipeline = loaded("sd-turbo")
    flat = faked(pipeline, Fake(lambda width, height: {"images": [Image.new("RGB", (width, 2 * height))]}))
    size, colour = painted(flat, [order(pipeline)])[0].warnings
    assert "drew 64x128 in place of 64x64" in size
    assert "one flat colour" in colour


def test_the_models_own_checker_refuses_one_picture_and_not_its_company(loaded: Load) -> None:
    pipeline = loaded("sd-turbo")

    def answer(width: int, height: int) -> dict[str, Any]:
        return {"images": [Image.new("RGB", (width, height))] * 3, "nsfw_content_detected": [False, True, False]}

    pipe = Fake(answer)
    first, second, third = paint(faked(pipeline, pipe), [order(pipeline)] * 3, lambda: False)
    assert isinstance(first, Painted)
    assert isinstance(third, Painted)
    assert isinstance(second, DrawingRefused)
    assert "unsafe" in str(second)
    assert pipe.freed == 1


def test_a_failure_leaves_the_pipeline_as_it_was(loaded: Load) -> None:
    import torch

    vae = torch.nn.Linear(2, 2, dtype=torch.float16)
    vae.dtype = torch.float16  # type: ignore[assignment]  # as diffusers' models have it

    def fail(width: int, height: int) -> dict[str, Any]:
        vae.float()
        vae.dtype = torch.float32  # type: ignore[assignment]
        raise torch.OutOfMemoryError("while decoding")

    pipeline, pipe = loaded("sd-turbo"), Fake(fail, vae=vae)
    with pytest.raises(torch.OutOfMemoryError):
        paint(faked(pipeline, pipe), [order(pipeline)], lambda: False)
    assert vae.weight.dtype == torch.float16
    assert pipe.freed == 1


def test_a_processor_in_the_tokenizers_place_never_takes_a_prompt_for_an_address(loaded: Load) -> None:
    pipeline = loaded("sd-turbo")
    inner = pipeline.pipe.tokenizer

    class Processor:
        tokenizer = inner

        def __call__(self, images: str, **more: Any) -> Any:
            raise AssertionError(f"it would open {images!r}")

    def with_tokenizer(tokenizer: object) -> Loaded:
        return replace(pipeline, pipe=SimpleNamespace(tokenizer=tokenizer))

    assert with_tokenizer(Processor()).cut_off("http://localhost/x.png") is None
    assert with_tokenizer(Processor()).cut_off("a " * 100) == pipeline.cut_off("a " * 100)
    assert with_tokenizer(object()).cut_off("a " * 100) is None


def test_a_class_that_cannot_start_from_a_picture_says_so(loaded: Load) -> None:
    pipeline = loaded("sd-turbo")
    unknown = replace(pipeline, facts=replace(pipeline.facts, redraws_by=""))
    with pytest.raises(GemsConfigError, match="cannot start from a picture"):
        paint(unknown, [order(pipeline, images=(Image.new("RGB", (64, 64)),))], lambda: False)
    assert painted(pipeline, [order(pipeline)])
    only_edits = replace(pipeline, facts=replace(pipeline.facts, needs_image=True))
    with pytest.raises(GemsConfigError, match="only changes pictures: give it one"):
        paint(only_edits, [order(pipeline)], lambda: False)
