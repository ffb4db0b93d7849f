"""Weights on this machine behind the image port."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from gems.backends.images.dialects import picture_settings
from gems.backends.images.presets import Dimensions, Family, SizeRule, as_in_paper, family_of, length_warning
from gems.backends.local.orders import LocalModel, Order, Sampling
from gems.backends.local.pipelines import PipelineFacts, facts_of
from gems.backends.local.requirements import check_requirements
from gems.backends.local.weights import Weights, find_weights
from gems.core.errors import DrawingRefused, GemsConfigError
from gems.core.ports import Capabilities, Drawing, DrawRequest, Progress
from gems.core.profiles import DrawingOptions, Endpoint

if TYPE_CHECKING:
    from gems.backends.local.workers import LocalStudio

COMPRESSION: Final = 1
"""zlib level of the PNGs: a level more costs more time than it saves bytes, and photographs hardly shrink."""
REFERENCE_STRENGTH: Final = 0.8
"""Of a picture that is only to be followed: it gives the composition, the prompt the rest."""
_FEWER_BITS: Final = ("fp8", "nf4")
_REDRAWN: Final = (
    "An edit draws the whole picture again over the old one: describe the picture as it should be, not the change."
)


_STUDIOS: Final[dict[str, LocalStudio]] = {}
_one_by_one: Final = threading.Lock()


def studio_of(device: str) -> LocalStudio:
    """The studio of a device: all models of this process that run there share it. One that was closed is replaced."""
    from gems.backends.local.workers import LocalStudio

    with _one_by_one:
        if device not in _STUDIOS or _STUDIOS[device].is_closed:
            _STUDIOS[device] = LocalStudio([device])
        return _STUDIOS[device]


class LocalImages:
    """Draws with a diffusers pipeline in this process."""

    def __init__(self, endpoint: Endpoint, *, shares_device: bool = False, studio: LocalStudio | None = None) -> None:
        """Take the model. Nothing is read before it is asked for.

        Args:
            endpoint: The model, and how to draw.
            shares_device: Whether a chat model takes turns with it on the device, so that what is free now does not count.
            studio: Where to draw; default: that of the device which the settings name.

        Raises:
            GemsConfigError: no model is named, or torch is not installed.
        """
        if not endpoint.model:
            raise GemsConfigError("diffusers names no model: write diffusers:OWNER/NAME, a folder, or a file")
        if missing := [package for package in ("torch", "diffusers", "transformers") if find_spec(package) is None]:
            raise GemsConfigError(
                f"{endpoint.name} draws with {' and '.join(missing)}, not installed here: pip install them"
            )
        self._endpoint = endpoint
        self._shares_device = shares_device
        self._given_studio = studio
        self._named = LocalModel(endpoint.model, endpoint.local, endpoint.folder)
        self._surveyed: Weights | None = None
        self._family = chosen_family(endpoint)

    @property
    def name(self) -> str:
        """`diffusers:MODEL`."""
        return self._endpoint.name

    @property
    def identity(self) -> Mapping[str, Any]:
        """The weights, and every setting that decides a picture.

        How they are laid out in memory is not among them, so that a run may go on on another device; unless it is asked for.
        """
        options = self._endpoint.local
        return {
            "model": self.name,
            "weights": self._weights.fingerprint,
            **picture_settings(self._endpoint.drawing, self._family),
            "strength": self._endpoint.drawing.strength,
            "dtype": options.dtype,
            "bits": options.placement if options.placement in _FEWER_BITS else "",
            "loras": [lora.model_dump() for lora in options.loras],
            "scheduler": [options.scheduler, options.scheduler_options],
        }

    @property
    def capabilities(self) -> Capabilities:
        """By the pipeline's class.

        Raises:
            GemsConfigError: the weights are not here, or not whole.
        """
        facts, drawing, family = self._facts, self._endpoint.drawing, self._family
        can = most_inputs(facts, family) if drawing.edit is not False else 0
        notes = drawing.notes or (family.notes if family else "")
        if facts.redraws_by and can:
            notes = f"{notes} {_REDRAWN}".strip()
        return Capabilities(edit=can > 0, references=can, notes=notes)

    def check(self, prompt: str, width: int, height: int) -> list[str]:
        """Refuse sizes that the model cannot draw, weights that are not whole, and a device that is too small.

        The weights begin to be loaded while the plan is made, unless a chat model needs the device for that.

        Raises:
            GemsConfigError: any of these.
        """
        self._surveyed = find_weights(self._named)  # a new run takes the files as they are now
        check_size(self.name, sizes_of(self._facts, self._family), width, height)
        device = self._studio.devices[0]
        warnings = [length_warning(prompt, self._family)] if self._family else []
        if self._facts.needs_image:
            raise GemsConfigError(
                f"{self.name} only changes pictures, and draws none from a prompt: choose another model"
            )
        check_requirements(self._named, self._weights)
        warnings.append(self._check_room(device, width * height))
        if not self._shares_device:
            self._studio.expect(self._model)
        return [warning for warning in warnings if warning]

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        """Draw one image; with `source` an edit. Pictures beyond what the model takes are left out, the last first.

        Raises:
            ModelOutage: the drawing failed.
            DrawingRefused: the model shows no picture, or cannot edit.
            GemsConfigError: the weights cannot be loaded.
        """
        studio, order, warnings = await asyncio.to_thread(lambda: (self._studio, *self._order(request, progress)))
        painted = await studio.draw(order)
        content = await asyncio.to_thread(encode, painted.image)
        # Of what was drawn in one go each has its part.
        return Drawing(content, painted.seconds / painted.together, warnings=(*warnings, *painted.warnings))

    async def rest(self) -> None:
        """Leave the device's memory to others until the next drawing."""
        await (await asyncio.to_thread(lambda: self._studio)).rest()

    @property
    def _weights(self) -> Weights:
        surveyed = self._surveyed
        if surveyed is None:
            surveyed = self._surveyed = find_weights(self._named)
        return surveyed

    @property
    def _model(self) -> LocalModel:
        """With the files that a picture's identity speaks of: they are drawn with, or nothing is."""
        return replace(self._named, fingerprint=self._weights.fingerprint)

    @property
    def _facts(self) -> PipelineFacts:
        return facts_of(self._weights.pipeline_class)

    @property
    def _studio(self) -> LocalStudio:
        if self._given_studio is not None:
            return self._given_studio
        return studio_of(self._device)

    @cached_property
    def _device(self) -> str:
        from gems.backends.local.devices import find_device

        return find_device(self._endpoint.local.device)

    def _check_room(self, device: str, pixels: int) -> str:
        """A warning, where drawing will be slow.

        Raises:
            GemsConfigError: there is no way to lay out the weights.
        """
        from gems.backends.local.rooms import check_room

        studio = self._studio
        return check_room(
            self._model,
            self._weights,
            device,
            pixels,
            shared=self._shares_device,
            memory=studio.room,
            is_loaded=studio.holds(self._model),
        )

    def _order(self, request: DrawRequest, progress: Progress | None) -> tuple[Order, list[str]]:
        """The order, and what of the request it leaves out."""
        facts, drawing = self._facts, self._endpoint.drawing
        most = most_inputs(facts, self._family) if drawing.edit is not False else 0
        if request.source is not None and not most:
            raise DrawingRefused(f"{self.name} cannot edit images")
        given = [*([] if request.source is None else [request.source]), *request.references]
        sampling = sampling_of(drawing, self._family)
        if request.source is None:
            sampling = sampling._replace(strength=max(sampling.strength, REFERENCE_STRENGTH))
        left_out = len(given) - most
        warnings = (
            [f"{self.name} starts from {most or 'no'} pictures: {left_out} were left out"] if left_out > 0 else []
        )
        order = Order(
            model=self._model,
            prompt=request.prompt,
            seed=request.seed,
            width=request.width,
            height=request.height,
            sampling=sampling,
            images=tuple(Image.open(io.BytesIO(content)).convert("RGB") for content in given[:most]),
            seconds=drawing.seconds,
            progress=progress,
        )
        return order, warnings


def chosen_family(endpoint: Endpoint) -> Family | None:
    """The model's family with the settings that the profile's preset gives it."""
    family = family_of(endpoint.model) or family_of(endpoint.local.base)
    return as_in_paper(family) if family and endpoint.drawing.preset == "paper" else family


def sampling_of(drawing: DrawingOptions, family: Family | None) -> Sampling:
    """How pictures are sampled: the settings, and what they leave out by the family."""
    settings = picture_settings(drawing, family)
    return Sampling(
        settings.get("num_inference_steps"),
        settings.get("guidance_scale"),
        settings.get("true_cfg_scale"),
        settings.get("negative_prompt"),
        drawing.strength,
    )


def most_inputs(facts: PipelineFacts, family: Family | None) -> int:
    """Most pictures that a drawing may start from or follow."""
    if facts.instructed:
        return max(1, family.inputs if family else 0)
    return 1 if facts.redraws_by else 0


def sizes_of(facts: PipelineFacts, family: Family | None) -> SizeRule:
    """Which sizes can be drawn."""
    return family.sizes if family else SizeRule(multiple=facts.multiple)


def check_size(name: str, sizes: SizeRule, width: int, height: int) -> None:
    """Refuse a size before anything is loaded.

    Raises:
        GemsConfigError: the model cannot draw it.
    """
    size = Dimensions(width, height)
    if not sizes.allows(size):
        raise GemsConfigError(f"{name} cannot draw {size}; it can draw {', '.join(map(str, sizes.nearest(size)))}")


def encode(image: Image.Image) -> bytes:
    """The picture as a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=COMPRESSION)
    return buffer.getvalue()
