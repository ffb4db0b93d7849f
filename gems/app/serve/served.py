"""What is served: a model under a name, with its sizes and defaults."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from gems.backends.images.presets import Dimensions, SizeRule
from gems.backends.local.images import chosen_family, most_inputs, sampling_of, sizes_of
from gems.backends.local.orders import LocalModel, Sampling
from gems.backends.local.pipelines import PipelineFacts
from gems.core.context import MIN_SIDE, Size
from gems.core.profiles import Endpoint

_FILES: Final = (".safetensors", ".gguf", ".ckpt")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model, and what is drawn with where a request does not say."""

    name: str
    model: LocalModel
    size: Dimensions
    sizes: SizeRule
    inputs: int
    """Most pictures that an edit may take; 0 when it cannot edit."""
    redraws: bool
    """Whether an edit draws over the picture, with some of the steps only."""
    needs_image: bool
    defaults: Sampling

    def is_called(self, name: str) -> bool:
        """Whether a request that names a model means this one: by its whole name, or without the owner."""
        return name.lower() in (self.name.lower(), self.name.rpartition("/")[2].lower())

    def told(self, words: str) -> str:
        """What the studio says of the model, under its name: where the weights lie is nobody's business."""
        return words.replace(self.model.source, self.name)

    def problem_of(self, size: Dimensions) -> str:
        """Why a size cannot be drawn, with what can be; empty when it can."""
        if min(size) >= MIN_SIDE and self.sizes.allows(size):
            return ""
        return f"{size} is none of the sizes of {self.name}: {describe_sizes(self.sizes)}"

    def size_for(self, picture: Dimensions) -> Dimensions:
        """The size of an edit that names none: the picture's shape, with as many pixels as the model was made for."""
        step = self.sizes.multiple
        scale = math.sqrt(self.size.width * self.size.height / (picture.width * picture.height))
        fitted = Dimensions(*(max(1, round(side * scale / step)) * step for side in picture))
        return self.size if self.problem_of(fitted) else fitted

    def card(self, created: int) -> dict[str, Any]:
        """How the list of models tells of it: OpenAI's fields, and what a client needs to ask rightly."""
        rule = self.sizes
        sizes = (
            {"only": [str(size) for size in rule.only]}
            if rule.only
            else {
                "multiple": rule.multiple,
                "min_side": MIN_SIDE,
                "max_side": rule.max_side,
                "max_ratio": rule.max_ratio,
            }
            | {"min_pixels": rule.min_pixels, "max_pixels": rule.max_pixels}
        )
        drawing = self.defaults
        return {
            "id": self.name,
            "object": "model",
            "created": created,
            "owned_by": "gems",
            "max_input_images": self.inputs,
            "sizes": sizes,
            "defaults": {
                "size": str(self.size),
                "num_inference_steps": drawing.steps,
                "guidance_scale": drawing.guidance_scale,
                "true_cfg_scale": drawing.true_cfg_scale,
                "negative_prompt": drawing.negative_prompt,
                "strength": drawing.strength,
            },
        }


def serve_model(endpoint: Endpoint, facts: PipelineFacts, size: str | None = None) -> ServedModel:
    """The model of an endpoint, as it is served.

    Args:
        endpoint: Model, and how to draw and run it.
        facts: Of its pipeline.
        size: WIDTHxHEIGHT that is drawn when nobody says; left out, what the model's family was made for.
    """
    family = chosen_family(endpoint)
    return ServedModel(
        name=public_name(endpoint.model),
        model=LocalModel(endpoint.model, endpoint.local, endpoint.folder),
        size=Dimensions(*Size.parse(size)) if size else family.size if family else Dimensions(1024, 1024),
        sizes=sizes_of(facts, family),
        inputs=most_inputs(facts, family) if endpoint.drawing.edit is not False else 0,
        redraws=bool(facts.redraws_by),
        needs_image=facts.needs_image,
        defaults=sampling_of(endpoint.drawing, family),
    )


def public_name(source: str) -> str:
    """What a model is called outside: its id at the hub, or the last part of its path, which is nobody's business."""
    path = PurePath(source)
    is_id = len(path.parts) == 2 and not source.startswith((".", "~", "/")) and "\\" not in source
    name = source if is_id else path.name or source
    return name.removesuffix(path.suffix) if path.suffix.lower() in _FILES else name


def find_model(models: Sequence[ServedModel], name: str | None) -> ServedModel | None:
    """The model that a request means; the first when it names none."""
    return models[0] if not name else next((model for model in models if model.is_called(name)), None)


def describe_sizes(rule: SizeRule) -> str:
    """A rule in words."""
    if rule.only:
        return f"it draws {', '.join(map(str, rule.only))}"
    step = f"both sides are multiples of {rule.multiple} from" if rule.multiple > 1 else "both sides are"
    least = rule.multiple * -(-MIN_SIDE // rule.multiple)
    words = f"{step} {least} to {rule.max_side // rule.multiple * rule.multiple}"
    if rule.min_pixels > MIN_SIDE**2:
        words += f", with {rule.min_pixels} pixels or more"
    if rule.max_pixels < rule.max_side**2:
        words += f", with {rule.max_pixels} pixels or fewer"
    return words
