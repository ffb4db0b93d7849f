"""Families of image models: which name is which, which sizes they draw, which prompts are too long."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gems.backends.images.presets import (
    FAMILIES,
    Dimensions,
    SizeRule,
    about_tokens,
    as_in_paper,
    family_of,
    length_warning,
)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Tongyi-MAI/Z-Image-Turbo", "z-image-turbo"),
        ("/models/z_image_turbo", "z-image-turbo"),
        ("Tongyi-MAI/Z-Image", None),
        ("Qwen/Qwen-Image", "qwen-image"),
        ("Qwen/Qwen-Image-2512", "qwen-image"),
        ("Qwen/Qwen-Image-Edit", "qwen-image-edit"),
        ("Qwen/Qwen-Image-Edit-2511", "qwen-image-edit-plus"),
        ("Qwen/Qwen-Image-Layered", None),
        ("lightx2v/Qwen-Image-Lightning", None),
        ("lightx2v/Qwen-Image-2512-Lightning", None),
        ("lightx2v/Qwen-Image-Edit-2511-Lightning", None),
        ("Qwen/Qwen-Image-2.1", None),
        ("black-forest-labs/FLUX.2-klein-4B", "flux.2-klein"),
        ("black-forest-labs/FLUX.2-klein-base-4B", "flux.2-klein-base"),
        ("black-forest-labs/FLUX.2-dev", None),
        ("black-forest-labs/FLUX.1-dev", "flux.1-dev"),
        ("flux-dev", "flux.1-dev"),
        ("black-forest-labs/FLUX.1-schnell", "flux.1-schnell"),
        ("black-forest-labs/FLUX.1-Kontext-dev", "flux.1-kontext"),
        ("stabilityai/sd-turbo", "sd-turbo"),
        ("stabilityai/sdxl-turbo", "sd-turbo"),
        ("stabilityai/stable-diffusion-xl-base-1.0", "sdxl"),
        ("ByteDance/SDXL-Lightning", None),
        ("gpt-image-1-mini", "gpt-image-1"),
        ("gpt-image-1.5", "gpt-image-1"),
        ("gpt-image-2", "gpt-image-2"),
        ("gpt-image-2-2026-04-21", "gpt-image-2"),
        ("gpt-image-2.5-flare", "gpt-image-2"),
        ("gpt-image-2.6-sunburst", "gpt-image"),
        ("my-own-model", None),
    ],
)
def test_a_name_tells_its_family(model: str, name: str | None) -> None:
    family = family_of(model)
    assert (family.name if family else None) == name


@pytest.mark.parametrize(
    ("model", "steps", "guidance", "true_cfg", "inputs"),
    [
        ("Z-Image-Turbo", 8, 0.0, None, 0),
        ("Qwen-Image-2512", 50, None, 4.0, 0),
        ("Qwen-Image-Edit-2509", 40, None, 4.0, 4),
        ("FLUX.2-klein-4B", 4, 1.0, None, 4),
        ("FLUX.1-dev", 28, 3.5, None, 0),
        ("FLUX.1-Kontext-dev", 28, 2.5, None, 1),
        ("sd-turbo", 4, 0.0, None, 0),
        ("gpt-image-2", None, None, None, 16),
    ],
)
def test_settings_of_a_family(
    model: str, steps: int | None, guidance: float | None, true_cfg: float | None, inputs: int
) -> None:
    family = family_of(model)
    assert family is not None
    assert (family.steps, family.guidance_scale, family.true_cfg_scale) == (steps, guidance, true_cfg)
    assert (family.inputs, family.edits) == (inputs, inputs > 0)


def test_true_cfg_is_on_only_with_a_negative_prompt_and_off_in_the_paper() -> None:
    for family in FAMILIES:
        assert (family.true_cfg_scale is not None) == (family.negative_prompt is not None)
    qwen, turbo = family_of("Qwen-Image-2512"), family_of("Z-Image-Turbo")
    assert qwen is not None
    assert turbo is not None
    assert (as_in_paper(qwen).true_cfg_scale, as_in_paper(qwen).negative_prompt) == (1.0, None)
    assert as_in_paper(qwen).steps == qwen.steps
    assert as_in_paper(turbo) is turbo


def test_every_family_draws_its_own_size_and_says_how_it_wants_to_be_asked() -> None:
    for family in FAMILIES:
        assert family.sizes.allows(family.size)
        assert family.notes


@pytest.mark.parametrize(
    ("size", "allowed"),
    [
        ((1024, 1024), True),
        ((1536, 864), True),
        ((3840, 2160), True),
        ((1000, 1024), False),
        ((3856, 1600), False),
        ((2048, 640), False),
        ((640, 640), False),
        ((3840, 3840), False),
    ],
)
def test_every_part_of_a_size_rule_counts(size: tuple[int, int], allowed: bool) -> None:
    family = family_of("gpt-image-2")
    assert family is not None
    assert family.sizes.allows(Dimensions(*size)) is allowed


def test_the_nearest_size_is_allowed_and_near() -> None:
    rule = SizeRule(multiple=16)
    assert rule.nearest(Dimensions(1000, 1024)) in ([Dimensions(992, 1024)], [Dimensions(1008, 1024)])
    gpt = family_of("gpt-image-2")
    assert gpt is not None
    assert gpt.sizes.nearest(Dimensions(3840, 3840))[0].width % 16 == 0
    assert all(gpt.sizes.allows(near) for near in gpt.sizes.nearest(Dimensions(64, 64)))
    only = SizeRule(only=(Dimensions(10, 10), Dimensions(10, 20)))
    assert only.nearest(Dimensions(3, 3)) == [Dimensions(10, 10), Dimensions(10, 20)]


def test_long_prompts_are_told() -> None:
    sdxl, gpt = family_of("sdxl"), family_of("gpt-image-2")
    assert sdxl is not None
    assert gpt is not None
    assert length_warning("a cat", sdxl) == ""
    assert "reads 77" in length_warning("a cat sits " * 60, sdxl)
    assert length_warning("a cat sits " * 60, gpt) == ""
    assert "takes 32000" in length_warning("x" * 32_001, gpt)


def test_other_scripts_make_more_tokens() -> None:
    assert about_tokens("abcdefgh") == 2
    assert about_tokens("红苹果") == 3


def test_the_table_needs_no_library() -> None:
    code = (
        "import sys, gems.backends.images.presets; print([n for n in ('httpx', 'openai', 'torch') if n in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
