"""What `gems doctor` looks at where a profile draws with weights of one's own, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from gems.app.accelerators import Device, Devices
from gems.app.endpoint_checks import Finding, Part, is_ollama
from gems.app.held_weights import held_pipelines
from gems.app.packages import Version
from gems.app.pull_wording import size
from gems.backends.chat.unloading import KEEPS_MEMORY
from gems.backends.hosts import on_one_machine
from gems.backends.images.presets import Dimensions
from gems.backends.local.files import GGUF
from gems.backends.local.hub_cache import COMMIT, hub_cache
from gems.backends.local.images import chosen_family, sizes_of
from gems.backends.local.orders import LocalModel
from gems.backends.local.pipelines import facts_of
from gems.backends.local.placement import Memory, TooLarge
from gems.backends.local.rooms import check_room, choose_placement
from gems.backends.local.weights import Weights, find_weights
from gems.core.context import Size
from gems.core.errors import GemsConfigError
from gems.core.profiles import LocalOptions, Profile

_EXTRAS: Final = "pip install accelerate bitsandbytes"
_NEW_TORCH: Final = "https://pytorch.org/get-started/locally"
_SMALL: Final = Dimensions(256, 256)
"""What is drawn where a picture of the profile's size would take minutes."""


def check_packages(needed: Mapping[str, str], version: Version) -> Iterator[Finding]:
    """Whether packages are installed; `needed` says by name what to do where one is not."""
    found = {name: version(name) for name in needed}
    if any(found.values()):
        yield Finding("packages", "ok", ", ".join(f"{name} {it}" for name, it in found.items() if it))
    for name, it in found.items():
        if it is None:
            yield Finding(name, "bad", "not installed", needed[name])


class LocalChecks:
    """Looks at the weights of one profile, and at the device that they are to lie on."""

    def __init__(self, profile: Profile, parts: Sequence[Part], devices: Devices, version: Version) -> None:
        """Take what is looked at.

        Args:
            profile: The profile.
            parts: Its models; the last one draws.
            devices: Looks for GPUs.
            version: Tells which packages are installed.
        """
        *chats, drawer = parts
        self._profile = profile
        self._endpoint = drawer.endpoint
        self._model = LocalModel(self._endpoint.model, self._endpoint.local, self._endpoint.folder)
        self._beside = [it for it in chats if it.endpoint.base_url and on_one_machine(it.endpoint.base_url, None)]
        self._devices = devices
        self._version = version
        self._accelerators: list[Device] = []
        self._device: Device | None = None
        self.trial = Size.parse(profile.size)
        """The size to draw at when it is tried."""

    def findings(self) -> Iterator[Finding]:
        """All but what takes asking a server."""
        yield from check_packages(_needed(self._profile), self._version)
        yield _cache()
        weights: Weights | None = None
        try:
            weights = find_weights(self._model)
            yield Finding("weights", "ok", self._whole(weights))
        except GemsConfigError as error:
            yield Finding("weights", "bad", str(error))
        if self._version("torch") is None:
            return
        yield from self._look_for_devices()
        if weights and self._device:
            yield self._room(weights, self._device)

    async def turns(self, client: httpx.AsyncClient, answered: Sequence[Part]) -> list[Finding]:
        """How who answers and who draws share this machine. Chat servers among `answered` are asked what they are."""
        if not self._beside:
            return [] if self._profile.overlap else [_nobody_beside()]
        asked = [part for part in self._beside if part in answered]
        found = [self._turn(part, ollama=await is_ollama(client, part)) for part in asked]
        return [it for it in found if it is not None]

    def _whole(self, weights: Weights) -> str:
        stored = size(sum(part.bytes for part in weights.parts.values()))
        types = " and ".join(dict.fromkeys(part.dtype for part in weights.parts.values() if part.dtype))
        commit = f", commit {weights.fingerprint[:8]}" if COMMIT.fullmatch(weights.fingerprint) else ""
        return f"{self._model.source} is whole: {stored} in {types}{commit}"

    def _look_for_devices(self) -> Iterator[Finding]:
        try:
            self._accelerators = self._devices.usable()
            if self._accelerators:
                yield Finding("devices", "ok", "; ".join(it.described for it in self._accelerators))
            elif seen := self._devices.seen():
                yield Finding(
                    "devices",
                    "warn",
                    f"the driver shows {seen}, which torch {self._version('torch')} cannot use",
                    f"install the torch that {_NEW_TORCH} names for it",
                )
            else:
                yield Finding("devices", "ok", "no GPU, so pictures are drawn on the CPU")
            self._device = self._devices.find(self._endpoint.local.device)
        except GemsConfigError as error:
            yield Finding("device", "bad", str(error))

    def _room(self, weights: Weights, device: Device) -> Finding:
        shared = bool(self._beside) and not self._profile.overlap
        memory = device.memory
        width, height = self.trial
        try:
            slow = check_room(
                self._model, weights, memory.device, width * height, shared=shared, memory=lambda _: memory
            )
            seen = memory._replace(free=memory.total) if shared else memory
            placement = choose_placement(self._model, weights, seen, width * height)
        except GemsConfigError as error:
            return Finding("memory", "bad", str(error), self._with_extras(weights, memory, shared=shared))
        found = f"{placement.label} on {device.described}"
        if slow:
            self._try_small(weights)
            return Finding("memory", "warn", f"{found}; {slow}", "take a small model, such as stabilityai/sd-turbo")
        if shared:
            found += "; all of it counts, as who answers and who draws take turns"
        return Finding("memory", "ok", found)

    def _with_extras(self, weights: Weights, memory: Memory, *, shared: bool) -> str:
        """What to install, where that makes room."""
        kind = memory.device.partition(":")[0]
        if kind not in ("cuda", "xpu") or (memory.can_offload and memory.can_quantize):
            return ""
        free = memory.total if shared else memory.free
        try:
            width, height = self.trial
            roomy = memory._replace(free=free, can_offload=True, can_quantize=True)
            label = choose_placement(self._model, weights, roomy, width * height).label
        except (TooLarge, GemsConfigError):
            return ""
        return f"{_EXTRAS}, and there is room: {label}"

    def _try_small(self, weights: Weights) -> None:
        if sizes_of(facts_of(weights.pipeline_class), chosen_family(self._endpoint)).allows(_SMALL):
            self.trial = Size(_SMALL)

    def _turn(self, part: Part, *, ollama: bool) -> Finding | None:
        on_gpu = self._device is not None and self._device.memory.device != "cpu"
        url, model = part.endpoint.base_url, part.endpoint.model
        if self._profile.overlap:
            if not (ollama and on_gpu and len(self._accelerators) == 1):
                return None
            found = f"the Ollama at {url} and the weights here are on one GPU at the same time (overlap = true)"
            return Finding("turns", "warn", found, f"set overlap = false in the profile {self._profile.name!r}")
        if ollama:
            return Finding(
                "turns", "ok", f"with {model} at {url}, an Ollama, which unloads it before pictures are drawn"
            )
        found = f"with {model} at {url}, which is no Ollama, and keeps its memory while pictures are drawn"
        return Finding("turns", "warn", found, KEEPS_MEMORY) if on_gpu else Finding("turns", "ok", found)


def _needed(profile: Profile) -> dict[str, str]:
    """The packages that a profile's weights take, and what to do where one is not installed."""
    local = profile.local
    draws = {
        name: f"pip install {name}; the profile {profile.name!r} draws with it"
        for name in ("torch", "diffusers", "transformers")
    }
    return draws | {name: f"pip install {name}; {setting} needs it" for name, setting in _extras(local)}


def _extras(local: LocalOptions) -> Iterator[tuple[str, str]]:
    if local.placement in ("offload", "fp8", "nf4"):
        yield "accelerate", f"local.placement = {local.placement!r}"
    if local.placement == "nf4":
        yield "bitsandbytes", "local.placement = 'nf4'"
    if local.loras:
        yield "peft", "local.loras"
    if Path(local.transformer).suffix.lower() == GGUF:
        yield "gguf", f"local.transformer = {local.transformer!r}"


def _cache() -> Finding:
    names = [it.in_words for it in held_pipelines()]
    return Finding("cache", "ok", f"{hub_cache()}: {', '.join(names) or 'no pipelines'}")


def _nobody_beside() -> Finding:
    return Finding(
        "turns", "ok", "overlap = false, though no chat server is on this machine: overlap = true would save time"
    )
