"""Whether there is room for weights, and how they are to lie: what a worker decides, and what can be told before."""

from __future__ import annotations

from typing import Final

from gems.backends.local.catalogue import best_fitting
from gems.backends.local.devices import ReadMemory, read_memory
from gems.backends.local.loading import choose_dtype
from gems.backends.local.orders import LocalModel
from gems.backends.local.placement import BYTES, GB, Memory, Placement, TooLarge, place
from gems.backends.local.weights import Weights
from gems.core.errors import GemsConfigError

_SLOW_ON_CPU: Final = 500_000_000
"""Weights above which a CPU takes minutes for a picture."""


def choose_placement(model: LocalModel, weights: Weights, memory: Memory, pixels: int) -> Placement:
    """How the weights are laid out.

    Raises:
        TooLarge: in no way.
        GemsConfigError: not as the settings ask.
    """
    dtype = choose_dtype(weights, memory.device, model.options.dtype)
    fixed = frozenset(name for name, part in weights.parts.items() if part.is_quantized)
    # As they are stored, quantized parts are as large as so many weights of the type.
    sizes = {
        name: part.bytes // BYTES[dtype] if part.is_quantized else part.parameters
        for name, part in weights.parts.items()
    }
    if file := weights.single_file or weights.transformer_file:
        if model.options.placement == "nf4":
            raise GemsConfigError(
                f"local.placement = 'nf4' cannot be had with {file.name}: name a folder or hub id alone, or take 'fp8'"
            )
        memory = memory._replace(can_quantize=False)
    return place(sizes, memory, dtype, model.options, pixels, fixed)


def check_room(
    model: LocalModel,
    weights: Weights,
    device: str,
    pixels: int,
    *,
    shared: bool = False,
    memory: ReadMemory = read_memory,
    is_loaded: bool = False,
) -> str:
    """Refuse a model that a device has no room for; answers with a warning where it will be slow there.

    Args:
        model: The model.
        weights: What is known of its files.
        device: Where it is to draw.
        pixels: Of one picture.
        shared: Whether another takes turns with it, and leaves the device when it is this one's.
        memory: Tells what the device has.
        is_loaded: Whether it has its room already.

    Raises:
        GemsConfigError: there is no room.
    """
    read = memory(device)
    if shared:
        read = read._replace(free=read.total)
    try:
        if not is_loaded:
            choose_placement(model, weights, read, pixels)
    except TooLarge as error:
        raise refusal(model, weights, read, error) from error
    if device == "cpu" and weights.parameters > _SLOW_ON_CPU:
        return f"{model.source} draws on the CPU, where a picture may take many minutes: a GPU that torch can use is faster"
    return ""


def refusal(model: LocalModel, weights: Weights, memory: Memory, error: TooLarge) -> GemsConfigError:
    """The refusal of a model that fits in no layout; it names one that does."""
    smaller = best_fitting(memory, below=weights.parameters)
    instead = f"a smaller model, such as {smaller.repository}" if smaller else "an image server elsewhere"
    free, where = (memory.host_free, "this machine") if error.of_host else (memory.free, memory.device)
    if not error.needed:
        return GemsConfigError(
            f"{model.source} cannot be laid out as local.placement = {model.options.placement!r} asks for on "
            f"{memory.device}: take 'auto', or {instead}"
        )
    return GemsConfigError(
        f"{model.source} needs {error.needed / GB:.1f} GB of memory on {where}, and {free / GB:.1f} GB are free: close what "
        f"else uses it, or take {instead}"
    )
