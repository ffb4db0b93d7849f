"""One go of a pipeline: equal orders in, a picture for each out."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from gems.backends.local.orders import Order, Painted
from gems.backends.local.quiet import hush
from gems.core.errors import DrawingRefused, GemsConfigError, ModelOutage

if TYPE_CHECKING:
    from gems.backends.local.loading import Loaded

SHOWN: Final = 60
"""Characters of a prompt's lost end that are shown."""

logger = logging.getLogger(__name__)


class Stopped(Exception):
    """Nobody waits for the drawing any more."""


def can_share(one: Order, other: Order) -> bool:
    """Whether two orders can be drawn in one go: all but prompt and seed is the same, and nothing is given to start from."""
    return (
        not one.images
        and not other.images
        and one.model == other.model
        and (one.width, one.height, one.sampling, one.seconds)
        == (other.width, other.height, other.sampling, other.seconds)
    )


def paint(loaded: Loaded, orders: Sequence[Order], stop: Callable[[], bool]) -> list[Painted | DrawingRefused]:
    """Draw orders that can share a go. Seeds are drawn on the CPU, so that they hold on every device and in any batch.

    A picture that the model's own checker blacked out is a refusal, for itself alone.

    Args:
        loaded: The pipeline with its weights.
        orders: What to draw.
        stop: Asked after each step; when it says so, the drawing ends there.

    Raises:
        Stopped: `stop` said so.
        ModelOutage: it took longer than the orders allow.
        GemsConfigError: the model cannot start from pictures.
    """
    import torch

    hush()
    first = orders[0]
    pipe = loaded.pipe_for(first)
    parameters = inspect.signature(pipe.__call__).parameters
    started = time.monotonic()
    with _tidied(loaded), torch.inference_mode():
        wanted = {
            **loaded.texts([order.prompt for order in orders], first),
            **_inputs(loaded, first, parameters),
            "width": first.width,
            "height": first.height,
            # FLUX.1 Kontext would draw a megapixel whatever it is asked for.
            "max_area": first.width * first.height,
            "_auto_resize": False,
            "num_inference_steps": first.sampling.steps,
            "guidance_scale": first.sampling.guidance_scale,
            "true_cfg_scale": first.sampling.true_cfg_scale,
            "generator": [torch.Generator().manual_seed(order.seed) for order in orders],
            "callback_on_step_end": _on_step_end(orders, stop),
        }
        for order in orders:
            _tell(order, 0, first.sampling.steps or 0)
        output = pipe(**{name: value for name, value in wanted.items() if name in parameters and value is not None})
    seconds = time.monotonic() - started
    unsafe = getattr(output, "nsfw_content_detected", None) or [False] * len(orders)
    return [
        DrawingRefused(f"{first.model.source} holds the picture for unsafe and shows none: reword the prompt")
        if is_unsafe
        else Painted(image, seconds, len(orders), _losses(loaded, order, image))
        for order, image, is_unsafe in zip(orders, output.images, unsafe, strict=True)
    ]


@contextmanager
def _tidied(loaded: Loaded) -> Iterator[None]:
    """Leaves the pipeline as it was. Parts that were brought to the device for their turn go, also after a failure."""
    vae = getattr(loaded.pipe, "vae", None)
    dtype = vae.dtype if vae is not None else None
    try:
        yield
    finally:
        if vae is not None and vae.dtype != dtype:
            # Some pipelines have it compute in 32 bits, and forget it there when they fail.
            vae.to(dtype)
        loaded.pipe.maybe_free_model_hooks()


def _inputs(loaded: Loaded, order: Order, parameters: Any) -> dict[str, Any]:
    """The pictures to start from. One that redraws starts from the first alone, in the size of what it draws."""
    if not order.images:
        if loaded.facts.needs_image:
            raise GemsConfigError(f"{order.model.source} only changes pictures: give it one to start from")
        return {}
    if loaded.facts.instructed:
        pictures = list(order.images)
        return {"image": pictures if len(pictures) > 1 else pictures[0]}
    if "image" not in parameters:
        raise GemsConfigError(f"{order.model.source} cannot start from a picture")
    start = order.images[0].convert("RGB").resize((order.width, order.height), Image.Resampling.LANCZOS)
    # Less than a step is none at all. A little more than needed: it is multiplied by the steps, and rounded down.
    least = 1.001 / order.sampling.steps if order.sampling.steps else 0.0
    return {"image": start, "strength": min(1.0, max(order.sampling.strength, least))}


def _on_step_end(orders: Sequence[Order], stop: Callable[[], bool]) -> Callable[..., dict[str, Any]]:
    started, patience = time.monotonic(), orders[0].seconds * len(orders)

    def on_step_end(pipe: Any, step: int, _: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        if stop():
            raise Stopped
        if time.monotonic() - started > patience:
            raise ModelOutage(
                f"{orders[0].model.source} was not done within {patience:g} s (drawing.seconds): take fewer steps, a "
                "smaller size, or a smaller model"
            ) from TimeoutError()
        steps = getattr(pipe, "num_timesteps", None) or len(pipe.scheduler.timesteps)
        for order in orders:
            _tell(order, step + 1, steps)
        return tensors

    return on_step_end


def _tell(order: Order, step: int, steps: int) -> None:
    """Report a step; the first is that it begins. A listener that fails is its own affair: others draw in the same go."""
    try:
        if order.progress:
            order.progress(step, steps)
    except Exception:
        logger.exception("a listener to the progress of a drawing failed")


def _losses(loaded: Loaded, order: Order, image: Image.Image) -> tuple[str, ...]:
    found = list(loaded.warnings)
    if cut := loaded.cut_off(order.prompt):
        end = cut.lost if len(cut.lost) <= SHOWN else f"{cut.lost[:SHOWN]}..."
        found.append(f"{order.model.source} read {cut.read} of the prompt's {cut.tokens} tokens; lost is {end!r}")
    if image.size != (order.width, order.height):
        size = "x".join(map(str, image.size))
        found.append(f"{order.model.source} drew {size} in place of {order.width}x{order.height}")
    low_high = image.getextrema()
    if all(low == high for low, high in (low_high if isinstance(low_high[0], tuple) else [low_high])):
        found.append(
            f"{order.model.source} drew one flat colour; if that happens again, its numbers overflow: set local.dtype to "
            "'bf16' or 'fp32'"
        )
    return tuple(found)
