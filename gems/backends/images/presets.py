"""Families of image models: the settings that suit them, the sizes they draw, and how they want to be asked.

Free of any server or library, so that whoever draws with a model can look here. Figures are those of the models' own
pipelines and documentation, named beside each; where a family is unknown, nothing is assumed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import product
from typing import Final, NamedTuple

from gems.core.context import MAX_SIDE, MIN_SIDE


class Dimensions(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class SizeRule:
    """Which sizes can be drawn. Lengths are in pixels."""

    multiple: int = 1
    """Both sides are multiples of it."""
    only: tuple[Dimensions, ...] = ()
    """When given, these and no others."""
    max_side: int = MAX_SIDE
    max_ratio: float = MAX_SIDE / MIN_SIDE
    """Long side by short side."""
    min_pixels: int = 1
    max_pixels: int = MAX_SIDE * MAX_SIDE

    def allows(self, size: Dimensions) -> bool:
        """Whether the size can be drawn."""
        if self.only:
            return size in self.only
        return (
            size.width % self.multiple == 0
            and size.height % self.multiple == 0
            and max(size) <= self.max_side
            and max(size) <= self.max_ratio * min(size)
            and self.min_pixels <= size.width * size.height <= self.max_pixels
        )

    def nearest(self, size: Dimensions) -> list[Dimensions]:
        """The allowed sizes to name instead: all of a short list, else the one that differs by the fewest pixels a side."""
        if self.only:
            return list(self.only)
        sides = range(self.multiple * -(-MIN_SIDE // self.multiple), self.max_side + 1, max(self.multiple, 8))
        allowed = filter(self.allows, (Dimensions(*pair) for pair in product(sides, sides)))
        return [min(allowed, key=lambda it: abs(it.width - size.width) + abs(it.height - size.height))]


_SQUARE: Final = Dimensions(1024, 1024)


@dataclass(frozen=True, slots=True)
class Family:
    """Image models that want the same settings. None means that the model has no such setting, or nobody says."""

    name: str
    pattern: str
    """A regular expression that finds the family in a model's name, in lower case with hyphens."""
    steps: int | None = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    negative_prompt: str | None = None
    size: Dimensions = _SQUARE
    """What it was made for."""
    sizes: SizeRule = SizeRule()
    inputs: int = 0
    """Most images that a drawing may start from or follow; 0 when it takes none, and so cannot edit."""
    prompt_tokens: int | None = None
    """Longest prompt in tokens of the model's text encoder; what lies beyond is cut off silently."""
    prompt_characters: int | None = None
    """Longest prompt where the limit is one of characters."""
    notes: str = ""
    """For the planner and refiner."""

    @property
    def edits(self) -> bool:
        """Whether it can change a given image."""
        return self.inputs > 0


_BY_16: Final = SizeRule(multiple=16)
_PROSE: Final = (
    "Describe the picture in full sentences, the main subject first; exact words to be written go in quotes."
)
_KEYWORDS: Final = (
    "The text encoder reads about 50 words and cuts off the rest: a short, plain description, the main subject first. "
    "Counts, places and written words are weak."
)
_INSTRUCTION: Final = "For an edit, say what to change and what must stay as it is."
_NO_NEGATIVE: Final = "It knows no negative prompt: say what is there, not what is not."

FAMILIES: Final[tuple[Family, ...]] = (
    # diffusers' ZImagePipeline: 8 steps since the redundant last one is gone, guidance 0, sides by 16, 512 tokens.
    Family(
        "z-image-turbo",
        r"z-image-turbo",
        steps=8,
        guidance_scale=0.0,
        sizes=_BY_16,
        prompt_tokens=512,
        notes=f"{_PROSE} English and Chinese. {_NO_NEGATIVE}",
    ),
    # diffusers' QwenImageEditPlusPipeline, its model cards (40 steps, true CFG 4) and vLLM-Omni's limit of 4 images.
    Family(
        "qwen-image-edit-plus",
        r"qwen-image-edit-(plus|25\d\d)(?!.*(lightning|turbo))",
        steps=40,
        true_cfg_scale=4.0,
        negative_prompt=" ",
        sizes=_BY_16,
        inputs=4,
        prompt_tokens=512,
        notes=f"{_PROSE} English and Chinese. {_INSTRUCTION}",
    ),
    # diffusers' QwenImageEditPipeline: 50 steps, true CFG 4, one image.
    Family(
        "qwen-image-edit",
        r"qwen-image-edit(?!.*(lightning|turbo))",
        steps=50,
        true_cfg_scale=4.0,
        negative_prompt=" ",
        sizes=_BY_16,
        inputs=1,
        prompt_tokens=512,
        notes=f"{_PROSE} English and Chinese. {_INSTRUCTION}",
    ),
    # The model card of Qwen-Image-2512 (50 steps, true CFG 4, 1328x1328); without a negative prompt CFG stays off.
    Family(
        "qwen-image",
        r"qwen-image(-2512)?(?!-?2)(?!.*(lightning|turbo|layered|controlnet))",
        steps=50,
        true_cfg_scale=4.0,
        negative_prompt=" ",
        size=Dimensions(1328, 1328),
        sizes=_BY_16,
        prompt_tokens=512,
        notes=f"{_PROSE} English and Chinese; strong at long written text.",
    ),
    # diffusers' Flux2KleinPipeline example of the base model.
    Family(
        "flux.2-klein-base",
        r"flux\.?-?2-klein-base",
        steps=50,
        guidance_scale=4.0,
        sizes=_BY_16,
        inputs=4,
        prompt_tokens=512,
        notes=f"{_PROSE} {_NO_NEGATIVE} {_INSTRUCTION}",
    ),
    # The model card of FLUX.2-klein-4B (4 steps, guidance 1), docs.bfl.ai (prose, up to 4 images).
    Family(
        "flux.2-klein",
        r"flux\.?-?2-klein",
        steps=4,
        guidance_scale=1.0,
        sizes=_BY_16,
        inputs=4,
        prompt_tokens=512,
        notes=f"{_PROSE} Name light and mood. {_NO_NEGATIVE} {_INSTRUCTION}",
    ),
    # diffusers' FluxKontextPipeline example: guidance 2.5, 28 steps by default.
    Family(
        "flux.1-kontext",
        r"flux\.?-?1?-kontext",
        steps=28,
        guidance_scale=2.5,
        sizes=_BY_16,
        inputs=1,
        prompt_tokens=512,
        notes=f"{_PROSE} {_NO_NEGATIVE} {_INSTRUCTION}",
    ),
    # diffusers' documentation of Flux: the time-step distilled model takes guidance 0 and at most 256 tokens.
    Family(
        "flux.1-schnell",
        r"flux\.?-?1?-schnell",
        steps=4,
        guidance_scale=0.0,
        sizes=_BY_16,
        prompt_tokens=256,
        notes=f"{_PROSE} {_NO_NEGATIVE}",
    ),
    # diffusers' FluxPipeline: 28 steps, guidance 3.5.
    Family(
        "flux.1-dev",
        r"flux\.?-?1?-dev",
        steps=28,
        guidance_scale=3.5,
        sizes=_BY_16,
        prompt_tokens=512,
        notes=f"{_PROSE} {_NO_NEGATIVE}",
    ),
    # diffusers' documentation of SDXL Turbo: guidance 0, 1 to 4 steps, made for 512x512.
    Family(
        "sd-turbo",
        r"sd(xl)?-turbo",
        steps=4,
        guidance_scale=0.0,
        size=Dimensions(512, 512),
        sizes=SizeRule(multiple=8),
        prompt_tokens=77,
        notes=f"{_KEYWORDS} {_NO_NEGATIVE}",
    ),
    # diffusers' StableDiffusionXLPipeline: 50 steps, guidance 5.
    Family(
        "sdxl",
        r"(sdxl|stable-diffusion-xl)(?!.*(lightning|lcm|hyper))",
        steps=50,
        guidance_scale=5.0,
        sizes=SizeRule(multiple=8),
        prompt_tokens=77,
        notes=_KEYWORDS,
    ),
    # The openai package 3.54, image_generate_params.py and image_edit_params.py; the edge and pixel limits of
    # gpt-image-2 are those of OpenAI's image generation guide.
    Family(
        "gpt-image-2",
        r"gpt-image-2(\.5)?(?![.\d])",
        sizes=SizeRule(multiple=16, max_side=3840, max_ratio=3.0, min_pixels=655_360, max_pixels=8_294_400),
        inputs=16,
        prompt_characters=32_000,
        notes=f"{_PROSE} Follows long instructions. {_NO_NEGATIVE} {_INSTRUCTION}",
    ),
    Family(
        "gpt-image-1",
        r"gpt-image-1(?!\d)",
        sizes=SizeRule(only=(Dimensions(1024, 1024), Dimensions(1536, 1024), Dimensions(1024, 1536))),
        inputs=16,
        prompt_characters=32_000,
        notes=f"{_PROSE} Follows long instructions. {_NO_NEGATIVE} {_INSTRUCTION}",
    ),
    # Newer ones: their sizes are not known here, so none is refused.
    Family(
        "gpt-image",
        r"gpt-image-",
        inputs=16,
        prompt_characters=32_000,
        notes=f"{_PROSE} Follows long instructions. {_NO_NEGATIVE} {_INSTRUCTION}",
    ),
)


def family_of(model: str) -> Family | None:
    """The family that a model's name, repository or folder tells of; None when it tells of none."""
    name = re.sub(r"[\s_]+", "-", model.lower())
    # The last part of a path says more than the folders it lies in.
    names = dict.fromkeys((name.rstrip("/").rpartition("/")[2], name))
    return next((family for it in names for family in FAMILIES if re.search(family.pattern, it)), None)


def as_in_paper(family: Family) -> Family:
    """The settings that the paper's figures were made with.

    Its Qwen-Image server passes `guidance_scale` and no negative prompt, which leaves true CFG off.
    """
    return family if family.true_cfg_scale is None else replace(family, true_cfg_scale=1.0, negative_prompt=None)


def about_tokens(prompt: str) -> int:
    """Roughly how many tokens a text encoder makes of a prompt: four Latin letters each, or one character of others."""
    latin = sum(character.isascii() for character in prompt)
    return latin // 4 + len(prompt) - latin


def length_warning(prompt: str, family: Family) -> str:
    """What will be lost of a prompt that is too long for the family; empty when nothing is."""
    if family.prompt_characters is not None and len(prompt) > family.prompt_characters:
        return f"the prompt has {len(prompt)} characters; {family.name} takes {family.prompt_characters}"
    if family.prompt_tokens is not None and (tokens := about_tokens(prompt)) > family.prompt_tokens:
        return f"the prompt has about {tokens} tokens; {family.name} reads {family.prompt_tokens} and cuts off the rest"
    return ""
