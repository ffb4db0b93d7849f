"""What the pipeline classes of diffusers take, as data: read in diffusers 0.42.1.

A class that is not here draws too: what it takes is then known by its signature alone, and it cannot edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Encoding:
    """How `encode_prompt` is asked, so that its results can be kept and given to a call in place of the prompt."""

    results: tuple[str, ...]
    """The call's arguments that the results are, in order; an empty name is passed by."""
    join: Literal["cat", "list", "pad"] = "cat"
    """How the results of several prompts become one batch: tensors of one shape, lists, or tensors to be padded."""
    negative: Literal["with", "apart", "none"] = "none"
    """Whether a negative prompt is encoded in the same call, in one of its own, or not at all."""


@dataclass(frozen=True, slots=True)
class PipelineFacts:
    """One pipeline class."""

    multiple: int = 16
    """Both sides of a picture are multiples of it."""
    instructed: bool = False
    """Whether it takes images beside the prompt, and follows what the prompt says of them."""
    needs_image: bool = False
    redraws_by: str = ""
    """The class that draws over a given picture with the same weights."""
    prompt_tokens: int | None = None
    """Longest prompt, in tokens of `counts_by`; what lies beyond is cut off."""
    counts_by: str = "tokenizer"
    frame_tokens: int = 0
    """Of the tokens that are read, the marks of beginning and end that are always kept."""
    before: str = ""
    """What a prompt is put behind, and is read too. What is put behind a prompt is lost first."""
    encoding: Encoding | None = None


_USER: Final = "<|im_start|>user\n"
_SD: Final = ("prompt_embeds", "negative_prompt_embeds")

PIPELINES: Final[Mapping[str, PipelineFacts]] = {
    "ZImagePipeline": PipelineFacts(
        redraws_by="ZImageImg2ImgPipeline",
        prompt_tokens=512,
        before=_USER,
        encoding=Encoding(_SD, "list", "with"),
    ),
    "QwenImagePipeline": PipelineFacts(
        redraws_by="QwenImageImg2ImgPipeline",
        prompt_tokens=512,
        encoding=Encoding(("prompt_embeds", "prompt_embeds_mask"), "pad", "apart"),
    ),
    "QwenImageEditPipeline": PipelineFacts(instructed=True, needs_image=True, prompt_tokens=512),
    "QwenImageEditPlusPipeline": PipelineFacts(instructed=True, needs_image=True, prompt_tokens=512),
    "FluxPipeline": PipelineFacts(
        redraws_by="FluxImg2ImgPipeline",
        prompt_tokens=512,
        counts_by="tokenizer_2",
        frame_tokens=1,
        encoding=Encoding(("prompt_embeds", "pooled_prompt_embeds", ""), "cat", "apart"),
    ),
    "FluxKontextPipeline": PipelineFacts(instructed=True, prompt_tokens=512, counts_by="tokenizer_2", frame_tokens=1),
    # Its guided call encodes an empty negative prompt for one picture, however many there are: left to itself.
    "Flux2KleinPipeline": PipelineFacts(
        instructed=True,
        prompt_tokens=512,
        before=_USER,
        encoding=Encoding(("prompt_embeds", "")),
    ),
    "Flux2Pipeline": PipelineFacts(instructed=True, prompt_tokens=512),
    "StableDiffusionXLPipeline": PipelineFacts(
        multiple=8,
        redraws_by="StableDiffusionXLImg2ImgPipeline",
        prompt_tokens=77,
        frame_tokens=2,
        encoding=Encoding((*_SD, "pooled_prompt_embeds", "negative_pooled_prompt_embeds"), "cat", "with"),
    ),
    "StableDiffusionPipeline": PipelineFacts(
        multiple=8,
        redraws_by="StableDiffusionImg2ImgPipeline",
        prompt_tokens=77,
        frame_tokens=2,
        encoding=Encoding(_SD, "cat", "with"),
    ),
    "StableDiffusion3Pipeline": PipelineFacts(
        redraws_by="StableDiffusion3Img2ImgPipeline", prompt_tokens=256, counts_by="tokenizer_3", frame_tokens=1
    ),
}
UNKNOWN: Final = PipelineFacts(multiple=8)


def facts_of(pipeline_class: str) -> PipelineFacts:
    """What is known of a class."""
    return PIPELINES.get(pipeline_class, UNKNOWN)
