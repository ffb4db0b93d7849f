"""What a request asks for, as orders to the studio; refused here before anything is queued."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from gems.app.serve.desk import Desk
from gems.app.serve.fields import MOST_SEED, PictureFields
from gems.app.serve.refusals import Refusal
from gems.app.serve.served import ServedModel, find_model
from gems.backends.images.dialects import NO_EDITS
from gems.backends.images.presets import Dimensions
from gems.backends.local.orders import Order, Sampling
from gems.core.context import Size
from gems.core.errors import GemsConfigError


@dataclass(frozen=True, slots=True)
class Wanted:
    """The orders of one request; they differ in their seeds alone."""

    served: ServedModel
    orders: tuple[Order, ...]

    @property
    def size(self) -> Dimensions:
        """What is drawn."""
        return Dimensions(self.orders[0].width, self.orders[0].height)


def chosen_model(desk: Desk, fields: PictureFields, *, edits: bool) -> ServedModel:
    """The model that a request means.

    Raises:
        Refusal: there is none of that name, or it cannot do this.
    """
    served = find_model(desk.models, fields.model)
    if served is None:
        names = ", ".join(model.name for model in desk.models)
        raise Refusal(
            404, f"the model {str(fields.model)[:80]!r} is not served; there are: {names}",
            param="model", code="model_not_found",
        )  # fmt: skip
    if edits and not served.inputs:
        raise Refusal(400, f"{served.name} cannot start from pictures", param="image", code=NO_EDITS)
    if served.needs_image and not edits:
        raise Refusal(
            400,
            f"{served.name} only changes pictures: send one to /v1/images/edits",
            param="model",
            code="invalid_value",
        )
    return served


def make_wanted(
    desk: Desk, served: ServedModel, fields: PictureFields, images: Sequence[Image.Image] = (), n: int = 1
) -> Wanted:
    """The orders. The first picture takes the seed that is given, or a random one; each further picture the next.

    Args:
        desk: Whose limits hold.
        served: The model.
        fields: What was asked for.
        images: What an edit starts from.
        n: Pictures.

    Raises:
        Refusal: a field is wrong, or does not go with another.
    """
    _check_texts(fields, desk.limits.prompt)
    size = _size(served, fields, images)
    sampling = _sampling(served.defaults, fields)
    if len(images) > served.inputs:
        raise Refusal(400, f"{served.name} takes {served.inputs} at most, not {len(images)} pictures", param="image")
    if images and served.redraws and sampling.steps and int(sampling.steps * sampling.strength) < 1:
        raise Refusal(
            400,
            f"strength {sampling.strength:g} leaves none of {sampling.steps} steps to redraw with: raise one of them",
            param="strength",
            code="invalid_value",
        )
    seed = secrets.randbelow(2**32) if fields.seed is None else fields.seed
    if seed + n - 1 > MOST_SEED:
        raise Refusal(400, f"seed {seed}: the last of {n} pictures would have one above {MOST_SEED}", param="seed")
    orders = [
        Order(
            served.model,
            fields.prompt,
            seed + number,
            size.width,
            size.height,
            sampling,
            tuple(images),
            desk.limits.seconds,
        )
        for number in range(n)
    ]
    return Wanted(served, tuple(orders))


def _check_texts(fields: PictureFields, most: int) -> None:
    if not fields.prompt.strip():
        raise Refusal(400, "the prompt is blank: say what to draw", param="prompt", code="invalid_value")
    if len(fields.prompt) > most:
        words = f"the prompt has {len(fields.prompt)} characters; the limit is {most}"
        raise Refusal(400, words, param="prompt", code="string_above_max_length")
    if len(fields.negative_prompt or "") > most:
        words = f"negative_prompt has more than {most} characters: shorten it"
        raise Refusal(400, words, param="negative_prompt", code="invalid_value")


def _size(served: ServedModel, fields: PictureFields, images: Sequence[Image.Image]) -> Dimensions:
    sides = (fields.width, fields.height)
    named = None if fields.size in (None, "auto") else _parsed(str(fields.size))
    if None in sides and sides != (None, None):
        raise Refusal(400, "width and height go together: send both, or size", param="width", code="invalid_value")
    given = None if fields.width is None or fields.height is None else Dimensions(fields.width, fields.height)
    if named and given and named != given:
        raise Refusal(
            400, f"size {named} is not width and height, {given}: send one of them", param="size", code="invalid_value"
        )
    size = named or given
    if size is None:
        return served.size_for(Dimensions(*images[0].size)) if images else served.size
    if problem := served.problem_of(size):
        param, what = ("size", "size") if named else ("width", "width and height")
        raise Refusal(400, f"{what} {problem}", param=param, code="invalid_value")
    return size


def _parsed(text: str) -> Dimensions:
    try:
        return Dimensions(*Size.parse(text[:40]))
    except GemsConfigError as error:
        raise Refusal(400, str(error), param="size", code="invalid_value") from None


def _sampling(defaults: Sampling, fields: PictureFields) -> Sampling:
    if fields.steps and fields.num_inference_steps and fields.steps != fields.num_inference_steps:
        raise Refusal(
            400,
            f"steps {fields.steps} and num_inference_steps {fields.num_inference_steps} mean the same: send one of them",
            param="steps",
            code="invalid_value",
        )
    asked: dict[str, Any] = {
        "steps": fields.steps or fields.num_inference_steps,
        "guidance_scale": fields.guidance_scale,
        "true_cfg_scale": fields.true_cfg_scale,
        "negative_prompt": fields.negative_prompt,
        "strength": fields.strength,
    }
    return defaults._replace(**{name: value for name, value in asked.items() if value is not None})
