"""`SketchPipeline`: a prompt in, a picture of icons out, by diffusion over layouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from gems.backends.sketch import layout
from gems.backends.sketch.model import Prediction, SketchDenoiser, SketchTextEncoder, TextBatch, TextStates
from gems.backends.sketch.scene import Scene
from gems.backends.sketch.tokenizer import Encoded, SketchTokenizer

STEPS: Final = 12
"""Denoising steps the released weights are meant for."""
GUIDANCE_SCALE: Final = 1.2
"""The frozen guidance scale: how far the engine follows the text beyond what web captions support."""

StepCallback = Callable[["SketchPipeline", int, Tensor, dict[str, Tensor]], dict[str, Tensor]]
Generators = torch.Generator | Sequence[torch.Generator] | None


@dataclass
class SketchOutput(BaseOutput):  # type: ignore[misc]
    """What a call returns: one entry a prompt. `images` is empty for `output_type="layout"`."""

    images: list[Image.Image] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=list)


def pad(encoded: Sequence[Encoded], device: torch.device | str = "cpu") -> TextBatch:
    """Encoded texts as one batch, padded at the end."""
    longest = max(len(text.ids) for text in encoded)

    def table(rows: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)

    lengths = torch.tensor([len(text.ids) for text in encoded], device=device)
    mask = torch.arange(longest, device=device) < lengths[:, None]
    ids, plurals, letters = (table(column) for column in zip(*(text[:3] for text in encoded), strict=True))
    return TextBatch(ids, plurals, letters, mask)


def guide(conditional: Prediction, free: Prediction, scale: float) -> Prediction:
    """Classifier-free guidance (Ho & Salimans 2022) on the logits; boxes stay as predicted: they would leave the canvas."""
    guided = {
        name: other + scale * (own - other)
        for name, own, other in zip(conditional._fields, conditional, free, strict=True)
        if name != "boxes"
    }
    return conditional._replace(**guided)


class SketchPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Text to a layout of coloured icons, and its drawing.

    Args:
        text_encoder: reads the prompt.
        denoiser: guesses the clean scene.
        scheduler: a flow-matching Euler scheduler.
    """

    model_cpu_offload_seq = "text_encoder->denoiser"
    _callback_tensor_inputs: Final = ["latents"]

    def __init__(
        self, text_encoder: SketchTextEncoder, denoiser: SketchDenoiser, scheduler: FlowMatchEulerDiscreteScheduler
    ) -> None:
        super().__init__()
        self.register_modules(text_encoder=text_encoder, denoiser=denoiser, scheduler=scheduler)
        self.tokenizer = SketchTokenizer(text_encoder.config.tokens)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        height: int = 1024,
        width: int = 1024,
        num_inference_steps: int = STEPS,
        guidance_scale: float = GUIDANCE_SCALE,
        generator: Generators = None,
        callback_on_step_end: StepCallback | None = None,
        output_type: Literal["pil", "layout"] = "pil",
    ) -> SketchOutput:
        """Draw one picture a prompt.

        Args:
            prompt: one text or several.
            height: of the picture, in pixels.
            width: of the picture, in pixels.
            num_inference_steps: denoising steps.
            guidance_scale: 1 is no guidance.
            generator: on the CPU, so that seeds hold on every device; one, or one a prompt.
            callback_on_step_end: called as `callback(pipeline, step, timestep, {"latents": ...})` after each step of each
                prompt, `step` counting on over the prompts; what it returns replaces the latents.
            output_type: "pil" draws; "layout" returns scenes only.

        Raises:
            ValueError: no prompt, as many generators as there are prompts, or an unknown output type.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts:
            raise ValueError("prompt is empty; pass at least one text")
        if output_type not in ("pil", "layout"):
            raise ValueError(f"output_type {output_type!r} is unknown; use 'pil' or 'layout'")
        if isinstance(generator, Sequence) and len(generator) != len(prompts):
            raise ValueError(f"{len(generator)} generators for {len(prompts)} prompts; pass one each, or a single one")
        scenes: list[Scene] = []
        with self.progress_bar(total=num_inference_steps * len(prompts)) as progress:
            # One at a time: what a prompt and seed give must not depend on the batch, to the last bit.
            for place, text in enumerate(prompts):
                own = generator[place] if isinstance(generator, Sequence) else generator
                latents = self._noise(1, own)
                latents = self._denoise(
                    [text], latents, num_inference_steps, guidance_scale, callback_on_step_end, place, progress.update
                )
                scenes += layout.decode(self.denoiser.read_latents(latents))
        self.maybe_free_model_hooks()
        if output_type == "layout":
            return SketchOutput([], scenes)
        from gems.backends.sketch.render import render

        return SketchOutput([render(scene, width, height) for scene in scenes], scenes)

    def layouts(
        self,
        prompts: Sequence[str],
        generator: Generators = None,
        num_inference_steps: int = STEPS,
        guidance_scale: float = GUIDANCE_SCALE,
    ) -> list[Scene]:
        """Scenes only, all prompts in one batch: faster for many, equal to a call but for rounding."""
        with torch.no_grad():
            latents = self._noise(len(prompts), generator)
            latents = self._denoise(list(prompts), latents, num_inference_steps, guidance_scale)
            return layout.decode(self.denoiser.read_latents(latents))

    def _noise(self, batch: int, generator: Generators) -> Tensor:
        owned = list(generator) if isinstance(generator, Sequence) else generator
        shape = (batch, layout.LATENT_DIM)
        noise: Tensor = randn_tensor(shape, generator=owned, device=self._execution_device, dtype=torch.float32)
        return noise

    def _read(self, prompts: list[str]) -> tuple[TextStates, TextStates, bool]:
        device = self._execution_device
        encoded = [self.tokenizer(prompt) for prompt in prompts]
        nothing = [self.tokenizer("")] * len(prompts)
        spelled = any(any(text.letters) for text in encoded)
        return self.text_encoder(pad(encoded, device)), self.text_encoder(pad(nothing, device)), spelled

    def _denoise(
        self,
        prompts: list[str],
        latents: Tensor,
        steps: int,
        guidance_scale: float,
        callback: StepCallback | None = None,
        call: int = 0,
        tick: Callable[[], Any] | None = None,
    ) -> Tensor:
        text, nothing, spelled = self._read(prompts)
        condition, free_condition = self.denoiser.condition(text), self.denoiser.condition(nothing)
        self.scheduler.set_timesteps(steps, device=latents.device)
        for step, timestep in enumerate(self.scheduler.timesteps):
            sigma = self.scheduler.sigmas[step].to(latents).expand(len(latents))
            prediction = self.denoiser(latents, sigma, condition, spelled)
            if guidance_scale != 1:
                free = self.denoiser(latents, sigma, free_condition, spelled)
                prediction = guide(prediction, free, guidance_scale)
            velocity = (latents - self.denoiser.clean_latents(prediction)) / sigma[:, None]
            latents = self.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
            if callback:
                replaced = callback(self, call * steps + step, timestep, {"latents": latents})
                latents = replaced.get("latents", latents)
            if tick:
                tick()
        return latents
