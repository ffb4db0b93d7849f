"""Which files of a component's folder are its weights, by their names alone: so it holds for a listing of the hub too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

VARIANTS: Final = ("fp16", "bf16")
"""Weights of half the size, under names of their own; the first is preferred."""
_STEMS: Final[Mapping[str, tuple[str, ...]]] = {
    "diffusers": ("diffusion_pytorch_model",),
    "transformers": ("model",),
}
_ANY_STEM: Final = ("model", "diffusion_pytorch_model")
"""Of a component whose class is in a pipeline's own module: it may be built on either library."""


class WeightNames(NamedTuple):
    """A component's weights: one file, or shards and the index that says which of them holds what."""

    files: tuple[str, ...]
    index_file: str | None = None
    variant: str | None = None

    @property
    def is_sharded(self) -> bool:
        """Whether the weights are in several files."""
        return self.index_file is not None or any(_SHARD.search(name) for name in self.files)

    @property
    def missing(self) -> tuple[str, ...]:
        """What cannot be whole, as far as names tell: shards by their number, or the index."""
        if not self.is_sharded:
            return ()
        numbered = [match for name in self.files if (match := _SHARD.search(name))]
        wanted = int(numbered[0]["count"]) if numbered else 1
        have = {int(match["number"]) for match in numbered}
        lacking = [f"shard {number} of {wanted}" for number in range(1, wanted + 1) if number not in have]
        return tuple(lacking if self.index_file else [*lacking, "the index of the shards"])


_SHARD: Final = re.compile(r"-(?P<number>\d{5})-of-(?P<count>\d{5})")


def weight_names(names: Iterable[str], library: str, variant: str | None = None) -> WeightNames | None:
    """The weights that the library loads from a folder with these files; None when there are none.

    Args:
        names: The files of the component's folder.
        library: Of the component's class.
        variant: Preferred; where the folder has none of that variant, its plain weights are taken, as diffusers does.
    """
    here = frozenset(names)
    for stem in _STEMS.get(library, _ANY_STEM):
        for wanted in (variant, None) if variant else (None,):
            if found := _of(here, library, stem, wanted):
                return found
    return None


def choose_variant(folders: Iterable[tuple[str, Iterable[str]]]) -> str | None:
    """The variant to load a pipeline with.

    One is taken when a component has it, unless another has it as a pickle only: diffusers would look for it there.

    Args:
        folders: Of each component with weights, its library and the files of its folder.
    """
    listed = [(library, frozenset(names)) for library, names in folders]
    for variant in VARIANTS:
        found = [_has(library, names, variant) for library, names in listed]
        named = [
            any(name.split(".")[1:2] and name.split(".")[1].startswith(variant) for name in it) for _, it in listed
        ]
        if any(found) and found == [has or name for has, name in zip(found, named, strict=True)]:
            return variant
    return None


def _has(library: str, names: frozenset[str], variant: str) -> bool:
    found = weight_names(names, library, variant)
    return found is not None and found.variant == variant


def _of(names: frozenset[str], library: str, stem: str, variant: str | None) -> WeightNames | None:
    dotted = f".{variant}" if variant else ""
    single = f"{stem}{dotted}.safetensors"
    # Older files have the variant after the shard's number.
    shard = re.compile(
        rf"{stem}({re.escape(dotted)}-\d{{5}}-of-\d{{5}}|-\d{{5}}-of-\d{{5}}{re.escape(dotted)})\.safetensors"
    )
    indices = (f"{stem}.safetensors.index{dotted}.json", f"{stem}.safetensors{dotted}.index.json")
    index = next((name for name in indices if name in names), None)
    shards = tuple(sorted(name for name in names if shard.fullmatch(name)))
    # Where there are both, transformers takes the single file and diffusers the shards.
    if single in names and not (index and library == "diffusers"):
        return WeightNames((single,), None, variant)
    return WeightNames(shards, index, variant) if shards or index else None
