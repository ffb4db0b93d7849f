"""Image models that are known to run on one's own devices: where they are, their licence, and how large they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gems.backends.local.placement import Memory, Placement, TooLarge, place
from gems.core.context import Size
from gems.core.profiles import BUILT_IN, LocalOptions

_BILLION: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model of the hub. `parts` are weights by the pipeline's part, in billions, as its configs give them."""

    profile: str
    """The built-in profile that draws with it."""
    repository: str
    licence: str
    parts: Mapping[str, float]

    @property
    def weights(self) -> dict[str, int]:
        """Weights by part."""
        return {name: int(count * _BILLION) for name, count in self.parts.items()}

    @property
    def pixels(self) -> int:
        """Of the pictures that its profile draws."""
        width, height = Size.parse(BUILT_IN[self.profile].size)
        return width * height


# By quality, the best first, as far as there is a common opinion.
KNOWN: Final = (
    KnownModel(
        "qwen-image",
        "Qwen/Qwen-Image-2512",
        "Apache-2.0",
        {"transformer": 20.43, "text_encoder": 8.29, "vae": 0.13},
    ),
    KnownModel(
        "z-image-turbo",
        "Tongyi-MAI/Z-Image-Turbo",
        "Apache-2.0",
        {"transformer": 6.15, "text_encoder": 4.02, "vae": 0.08},
    ),
    KnownModel(
        "flux2-klein",
        "black-forest-labs/FLUX.2-klein-4B",
        "Apache-2.0",
        {"transformer": 3.88, "text_encoder": 4.02, "vae": 0.08},
    ),
    KnownModel(
        "flux1-schnell",
        "black-forest-labs/FLUX.1-schnell",
        "Apache-2.0",
        {"transformer": 11.90, "text_encoder": 0.12, "text_encoder_2": 4.76, "vae": 0.08},
    ),
    KnownModel(
        "sdxl",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "CreativeML Open RAIL++-M",
        {"unet": 2.57, "text_encoder": 0.12, "text_encoder_2": 0.69, "vae": 0.08},
    ),
    KnownModel(
        "sd-turbo",
        "stabilityai/sd-turbo",
        "Stability AI Community",
        {"unet": 0.87, "text_encoder": 0.34, "vae": 0.08},
    ),
)


def known_model(name: str) -> KnownModel | None:
    """The model of that repository or profile, if it is known."""
    wanted = name.lower()
    return next((it for it in KNOWN if wanted in (it.repository.lower(), it.profile)), None)


def fitting(memory: Memory) -> Iterator[tuple[KnownModel, Placement]]:
    """The known models that a device has room for, the best first; each at the size that its profile draws."""
    for model in KNOWN:
        try:
            yield model, place(model.weights, memory, "bf16", LocalOptions(), model.pixels)
        except TooLarge:
            continue


def best_fitting(memory: Memory, below: int | None = None) -> KnownModel | None:
    """The best known model that a device has room for; `below` is more weights than it may have."""
    fits = (model for model, _ in fitting(memory))
    return next((it for it in fits if below is None or sum(it.weights.values()) < below), None)
