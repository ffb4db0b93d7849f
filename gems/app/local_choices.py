"""Weights of one's own that could draw on this machine: those in the cache first, then those that could be downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from gems.app.choice import Choice
from gems.app.held_weights import Held
from gems.app.local_servers import OLLAMA
from gems.app.machine import WEIGHTS_PACKAGES, Machine
from gems.app.pull_wording import size
from gems.backends.images.presets import family_of
from gems.backends.local.catalogue import KNOWN, KnownModel, known_model
from gems.backends.local.catalogue import fitting as known_fitting
from gems.backends.local.orders import LocalModel
from gems.backends.local.pipelines import PIPELINES
from gems.backends.local.placement import BYTES, GB, Memory, Placement, TooLarge
from gems.backends.local.rooms import choose_placement
from gems.backends.local.weights import Weights
from gems.core.context import Size
from gems.core.errors import GemsConfigError
from gems.core.profiles import BUILT_IN, Profile

_OFFERED: Final = 4
"""Models that are offered."""
_SMALL: Final = 2 * GB
"""Weights up to which a CPU draws a picture in about a minute."""
_USUAL_SIZE: Final = Profile.model_fields["size"].default
_SIZES: Final = {"StableDiffusionPipeline": "512x512"}
"""Of classes whose models were made for another size than a square of a megapixel."""


class _Fit(NamedTuple):
    """A model that the device has room for."""

    repository: str
    placement: Placement
    known: KnownModel | None
    held: Held | None
    """None where it is not here."""
    drawn_size: str


def gpu_choices(machine: Machine) -> list[Choice]:
    """Models that a GPU of this machine has room for: those that are here, then the others, each by quality."""
    memory = gpu_memory(machine)
    if memory is None:
        return []
    here = list(_held_fits(machine, memory))
    known = [it for it in here if it.known]
    others = [it for it in here if not it.known]
    lacking = [it for it in fitting(memory) if it.repository not in {fit.repository for fit in here}]
    ordered = [*sorted(known, key=lambda it: _rank(it.repository)), *others, *lacking]
    best = min((it for it in ordered if it.known), key=lambda it: _rank(it.repository), default=None)
    return [_choice(it, memory, is_best=it is best) for it in ordered[:_OFFERED]]


def cpu_choices(machine: Machine) -> list[Choice]:
    """Small models that are here already, where there is no GPU: to download one for a CPU is not for us to advise."""
    if machine.devices or not _has_packages(machine):
        return []
    memory = Memory("cpu", machine.host_free, machine.host_free, machine.host_free, can_offload=False)
    small = [
        it for it in _held_fits(machine, memory) if it.held and it.held.weights and it.held.weights.parameters <= _SMALL
    ]
    return [_choice(it, memory) for it in small[:_OFFERED] if it.known]


def gpu_memory(machine: Machine) -> Memory | None:
    """What weights may take of the largest GPU: all of it, since who draws and who answers take turns.

    A server that keeps its memory for good takes no turns: where one runs, only what is free now counts.
    """
    if not _has_packages(machine):
        return None
    keeps = any(server.name != OLLAMA.name for server in machine.servers)
    rooms = [it.memory if keeps else it.memory._replace(free=it.memory.total) for it in machine.devices]
    return max(rooms, key=lambda it: it.free, default=None)


def fitting(memory: Memory) -> list[_Fit]:
    """The known models that a device has room for, the best first; each at the size that its profile draws."""
    return [
        _Fit(model.repository, placement, model, None, BUILT_IN[model.profile].size)
        for model, placement in known_fitting(memory)
    ]


def gpu_sentences(machine: Machine) -> Iterator[str]:
    """What keeps a GPU from drawing, or from drawing with more."""
    torch = machine.packages.get("torch")
    if machine.torch_problem:
        yield f"No GPU can be used: {machine.torch_problem}."
    elif machine.gpu and not machine.devices and torch:
        yield (
            f"There is a GPU here, but the torch that is installed, {torch}, cannot use it: to draw with weights of your "
            "own, install the torch that https://pytorch.org/get-started/locally names for it, and run `gems init --force`."
        )
    memory = gpu_memory(machine)
    if memory is None:
        return
    now = fitting(memory)
    with_all = fitting(
        memory._replace(can_offload=memory.device != "mps", can_quantize=memory.device.startswith("cuda"))
    )
    if len(with_all) > len(now):
        names = {it.repository for it in now}
        more = ", ".join(it.repository for it in with_all if it.repository not in names)
        yield f"With more packages {more} would fit, too: pip install accelerate bitsandbytes, and run `gems init --force`."
    elif not now:
        yield f"Of the image models that are known here none fits into the {size(memory.free)} of {memory.device}."


def _held_fits(machine: Machine, memory: Memory) -> Iterator[_Fit]:
    for held in machine.held:
        if held.weights is None:
            continue
        known = known_model(held.repository)
        facts = PIPELINES.get(held.weights.pipeline_class)
        if not known and (facts is None or facts.needs_image):
            continue
        drawn_size = BUILT_IN[known.profile].size if known else _made_for(held.repository, held.weights)
        try:
            placement = choose_placement(LocalModel(held.repository), held.weights, memory, _pixels(drawn_size))
        except (TooLarge, GemsConfigError):
            continue
        yield _Fit(held.repository, placement, known, held, drawn_size)


def _choice(fit: _Fit, memory: Memory, *, is_best: bool = False) -> Choice:
    licence = fit.known.licence if fit.known else f"licence: https://huggingface.co/{fit.repository}"
    taken = size(fit.held.size if fit.held else _count_known(fit) * BYTES["bf16"])
    where = f"in the Hugging Face cache already ({taken})" if fit.held else f"to be downloaded ({taken})"
    slowly = "; slow, about a minute a picture" if memory.device == "cpu" else ""
    best = "; the best that fits" if is_best else ""
    like = f", as in the built-in profile {fit.known.profile}" if fit.known else ""
    return Choice(
        f"{fit.repository} on {memory.device}: {where}, {licence}; {fit.placement.label}{slowly}{best}",
        f"diffusers:{fit.repository}",
        comment=f"weights of your own{like}; {licence}",
        size=None if fit.drawn_size == _USUAL_SIZE else fit.drawn_size,
        fetch="" if fit.held else f"gems pull {fit.repository}",
        fetched="" if fit.held else f"{taken}, {licence}",
    )


def _has_packages(machine: Machine) -> bool:
    return all(package in machine.packages for package in WEIGHTS_PACKAGES)


def _rank(repository: str) -> int:
    return next(number for number, model in enumerate(KNOWN) if model.repository == repository)


def _made_for(repository: str, weights: Weights) -> str:
    family = family_of(repository)
    return str(family.size if family else _SIZES.get(weights.pipeline_class, _USUAL_SIZE))


def _count_known(fit: _Fit) -> int:
    return sum(fit.known.weights.values()) if fit.known else 0


def _pixels(drawn_size: str) -> int:
    width, height = Size.parse(drawn_size)
    return width * height
