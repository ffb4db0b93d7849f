"""The components of a pipeline's folder: whether each is whole, and how large its weights are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gems.backends.local.files import GGUF, PICKLES, WeightFile, names_in, read_json, read_weight_file, stamp_of
from gems.backends.local.hub_cache import Place
from gems.backends.local.model_index import UNNEEDED, Component, ModelIndex, refuse_code_of
from gems.backends.local.tensors import Tensor, main_dtype
from gems.backends.local.weight_names import WeightNames, choose_variant, weight_names
from gems.core.errors import GemsConfigError

CONFIG: Final = "config.json"
_SCHEDULER_CONFIG: Final = "scheduler_config.json"
_ADAPTER: Final = "adapter_config.json"
_QUANTIZED: Final = "quantization_config"


@dataclass(frozen=True, slots=True)
class Part:
    """A component with weights."""

    parameters: int
    bytes: int
    """As they are stored."""
    dtype: str
    """What most of them are stored in: `bf16`, `fp16`, `fp32`, `q4_k`."""
    class_name: str
    is_quantized: bool = False
    """Whether they stay as they are stored: they cannot be stored smaller once more."""


class Survey:
    """Looks at a pipeline's folder. Of weights it reads the headers alone."""

    def __init__(self, where: str, place: Place, index: ModelIndex) -> None:
        """Take a folder, and what it is called in messages."""
        self._where = where
        self._place = place
        self._index = index
        self._names: dict[str, frozenset[str]] = {}
        self.files: list[Path] = []
        """All that was looked at."""

    def check_configs(self, without: Iterable[str] = ()) -> None:
        """Whether all but the weights is there; components that are in `without` are not looked for.

        Raises:
            GemsConfigError: something is missing or damaged, or would run code.
        """
        for name, component in self._index.needed.items():
            if name in without:
                continue
            names = self._names_of(name)
            if any(it.endswith(".py") for it in names):
                raise refuse_code_of(self._where, name)
            if _ADAPTER in names:
                raise GemsConfigError(
                    f"{self._folder(name) / _ADAPTER} would lay other weights over those of {name} unasked: take it away, "
                    "and name a LoRA in local.loras"
                )
            if component.kind == "scheduler":
                self._read(name, _SCHEDULER_CONFIG)
            elif component.kind == "model":
                self._read(name, CONFIG)
            elif not names:
                raise GemsConfigError(f"{self._folder(name)} is empty: {self._place.remedy}")
            else:
                self._look_at(self._folder(name) / it for it in sorted(names) if not it.startswith("."))

    def parts(self, without: Iterable[str] = ()) -> tuple[dict[str, Part], str | None, tuple[str, ...]]:
        """The components with weights, the variant that they are loaded in, and those that are left out.

        Raises:
            GemsConfigError: weights are missing, damaged, or pickles only.
        """
        models = {name: it for name, it in self._index.components.items() if it.kind == "model" and name not in without}
        unneeded = tuple(name for name, it in models.items() if name in UNNEEDED and not self._has_weights(name, it))
        wanted = {name: it for name, it in models.items() if name not in unneeded}
        variant = choose_variant((it.library, self._names_of(name)) for name, it in wanted.items())
        return {name: self._part(name, it, variant) for name, it in wanted.items()}, variant, unneeded

    def _part(self, name: str, component: Component, variant: str | None) -> Part:
        found = weight_names(self._names_of(name), component.library, variant)
        if found is None:
            raise self._no_weights(name)
        if found.missing:
            raise GemsConfigError(
                f"{self._where}: of {name} is missing {', '.join(found.missing)}: {self._place.remedy}"
            )
        files = [self._weight_file(self._folder(name) / it) for it in found.files]
        if found.index_file:
            self._check_index(name, found, files)
        config = self._read(name, CONFIG)
        return part_of(_tensors(files), sum(file.size for file in files), component.class_name, _QUANTIZED in config)

    def _check_index(self, name: str, found: WeightNames, files: list[WeightFile]) -> None:
        """Whether each tensor is where the index says: a shard of another model has names of its own."""
        content = self._read(name, found.index_file or "")
        places = content.get("weight_map")
        if not isinstance(places, dict):
            raise GemsConfigError(
                f"{self._folder(name) / (found.index_file or '')} has no weight_map: {self._place.remedy}"
            )
        held = {file.path.name: {tensor.name for tensor in file.tensors} for file in files}
        for tensor, shard in places.items():
            if tensor not in held.get(str(shard), ()):
                raise GemsConfigError(
                    f"{self._where}: the index of {name} looks for {tensor!r} in {shard!r}, where it is not: "
                    f"{self._place.remedy}"
                )

    def _no_weights(self, name: str) -> GemsConfigError:
        names = self._names_of(name)
        if any(it.endswith(PICKLES) for it in names):
            return GemsConfigError(
                f"{self._where} has the weights of {name} as pickles only, which can run code when they are read: choose a "
                "model, or a revision of it, with .safetensors files"
            )
        return GemsConfigError(f"{self._where}: the weights of {name} are missing: {self._place.remedy}")

    def _has_weights(self, name: str, component: Component) -> bool:
        folder = self._folder(name)
        return folder.is_dir() and weight_names(self._names_of(name), component.library) is not None

    def _names_of(self, name: str) -> frozenset[str]:
        if name not in self._names:
            self._names[name] = names_in(self._folder(name), self._place.remedy)
        return self._names[name]

    def _weight_file(self, path: Path) -> WeightFile:
        self._look_at([path])
        return read_weight_file(path, self._place.remedy)

    def _read(self, name: str, file: str) -> Mapping[str, object]:
        path = self._folder(name) / file
        self._look_at([path])
        return read_json(path, self._place.remedy)

    def _look_at(self, paths: Iterable[Path]) -> None:
        for path in paths:
            if path not in self.files and not path.is_dir():
                stamp_of(path, self._place.remedy)
                self.files.append(path)

    def _folder(self, name: str) -> Path:
        return self._place.folder / name


def part_of(tensors: Iterable[Tensor], stored: int, class_name: str, is_quantized: bool = False) -> Part:
    """The part that these tensors of so many bytes make."""
    listed = tuple(tensors)
    return Part(sum(it.parameters for it in listed), stored, main_dtype(listed), class_name, is_quantized)


def transformer_of(path: Path, remedy: str, component: Component) -> Part:
    """The part that a file holds which stands in for a pipeline's transformer.

    Raises:
        GemsConfigError: the file is missing, damaged, or no such file.
    """
    file = read_weight_file(path, remedy)
    return part_of(file.tensors, file.size, component.class_name, path.suffix.lower() == GGUF)


def _tensors(files: Iterable[WeightFile]) -> Iterator[Tensor]:
    return (tensor for file in files for tensor in file.tensors)
