"""Which files a model is made of, whether they are whole, and how large: all that can be known before they are loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gems.backends.images.presets import family_of
from gems.backends.local.catalogue import KNOWN
from gems.backends.local.components import Part, Survey, part_of, transformer_of
from gems.backends.local.files import GGUF, PICKLES, SAFETENSORS, read_json, read_weight_file, stamp_of
from gems.backends.local.hub_cache import Place, find_snapshot, is_hub_id
from gems.backends.local.model_index import INDEX, ModelIndex, parse_index
from gems.backends.local.orders import LocalModel
from gems.core.errors import GemsConfigError

_TRANSFORMER: Final = "transformer"
_CHECK_PATH: Final = "check the path, which is seen from the folder of gems.toml"
_OF_ONE_FILE: Final = (
    ("model.diffusion_model.", ""),
    ("first_stage_model.", "vae"),
    ("vae.", "vae"),
    ("cond_stage_model.", "text_encoder"),
    ("conditioner.embedders.0.", "text_encoder"),
    ("conditioner.embedders.1.", "text_encoder_2"),
    ("text_encoders.clip_l.", "text_encoder"),
    ("text_encoders.clip_g.", "text_encoder_2"),
    ("text_encoders.t5xxl.", "text_encoder_3"),
    ("text_encoders.", "text_encoder"),
)
"""How tensors of a whole model in one file are called, by part; an empty part is the denoiser."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's files."""

    folder: Path
    """Of the pipeline; for a single file, of the pipeline that has its configs."""
    pipeline_class: str
    parts: Mapping[str, Part]
    """By their names in the pipeline."""
    fingerprint: str
    """Changes when any file does."""
    scheduler: str = ""
    """The class of its own."""
    variant: str | None = None
    unneeded: tuple[str, ...] = ()
    """Components that have no weights here, and are drawn without."""
    single_file: Path | None = None
    transformer_file: Path | None = None

    @property
    def parameters(self) -> int:
        """Of all parts."""
        return sum(part.parameters for part in self.parts.values())


def find_weights(model: LocalModel) -> Weights:
    """Survey a model's files. Nothing is downloaded, no weights are read, and no torch is loaded.

    Raises:
        GemsConfigError: something is missing, damaged, or cannot be drawn with.
    """
    if Path(model.source).suffix.lower() in (SAFETENSORS, GGUF, *PICKLES) and not path_of(model, model.source).is_dir():
        return _of_single_file(model)
    if model.options.base:
        raise GemsConfigError(
            f"local.base is set, but {model.source} is no single file, and has all that a base would have: leave it out"
        )
    place = _place_of(model, model.source, model.options.revision)
    index = _index_of(model.source, place)
    survey = Survey(model.source, place, index)
    file = path_of(model, model.options.transformer) if model.options.transformer else None
    if file and _TRANSFORMER not in index.components:
        raise GemsConfigError(
            f"local.transformer is set, but {model.source} has no transformer ({index.pipeline_class}): leave it out"
        )
    survey.check_configs()
    parts, variant, unneeded = survey.parts(without=[_TRANSFORMER] if file else [])
    if file:
        parts[_TRANSFORMER] = transformer_of(file, _CHECK_PATH, index.components[_TRANSFORMER])
    return Weights(
        place.folder,
        index.pipeline_class,
        parts,
        _fingerprint(place, survey.files, [*([file] if file else []), *_loras(model)]),
        _scheduler_of(index),
        variant,
        unneeded,
        transformer_file=file,
    )


def path_of(model: LocalModel, path: str) -> Path:
    """A path of the settings, seen from their folder."""
    return model.folder / Path(path).expanduser()


def _of_single_file(model: LocalModel) -> Weights:
    path = path_of(model, model.source)
    if path.suffix.lower() == GGUF:
        raise GemsConfigError(
            f"{model.source} holds a transformer alone: name the model it belongs to as the image model, and this file as "
            "local.transformer"
        )
    if model.options.transformer:
        raise GemsConfigError(
            f"local.transformer is set, but {model.source} is a whole model in one file: name a folder or hub id beside it"
        )
    file = read_weight_file(path, _CHECK_PATH)
    base = model.options.base or _usual_base(path)
    place = _place_of(model, base, model.options.revision, configs_only=True)
    index = _index_of(base, place)
    survey = Survey(base, place, index)
    survey.check_configs()
    denoiser = index.denoiser or _TRANSFORMER
    sorted_out: dict[str, list[int]] = {}
    for number, tensor in enumerate(file.tensors):
        for prefix, part in _OF_ONE_FILE:
            if tensor.name.startswith(prefix):
                sorted_out.setdefault(part or denoiser, []).append(number)
                break
    if denoiser not in sorted_out or "vae" not in sorted_out:
        raise GemsConfigError(
            f"{model.source} is no whole model in one file: it lacks a {'vae' if denoiser in sorted_out else denoiser}. If "
            f"it is a transformer alone, name the model it belongs to, and this file as local.transformer"
        )
    counted = sum(tensor.parameters for tensor in file.tensors) or 1
    parts = {}
    for name, numbers in sorted_out.items():
        tensors = [file.tensors[number] for number in numbers]
        stored = file.size * sum(tensor.parameters for tensor in tensors) // counted
        component = index.components.get(name)
        parts[name] = part_of(tensors, stored, component.class_name if component else "")
    return Weights(
        place.folder,
        index.pipeline_class,
        parts,
        _fingerprint(place, survey.files, [path, *_loras(model)]),
        _scheduler_of(index),
        single_file=path,
    )


def _usual_base(path: Path) -> str:
    """The repository whose configs fit a single file, by the file's name."""
    family = family_of(path.name)
    found = next((it.repository for it in KNOWN if family and family_of(it.repository) == family), None)
    if found is None:
        raise GemsConfigError(
            f"nothing tells which pipeline {path.name!r} belongs to: set local.base to its hub id or folder, such as "
            "'stabilityai/stable-diffusion-xl-base-1.0'"
        )
    return found


def _place_of(model: LocalModel, source: str, revision: str | None, *, configs_only: bool = False) -> Place:
    folder = path_of(model, source)
    if folder.is_dir():
        if revision:
            raise GemsConfigError(f"local.revision is set, but {source} is a folder, not a hub id: leave it out")
        return Place(folder, configs_only=configs_only)
    if is_hub_id(source):
        return find_snapshot(source, revision, configs_only=configs_only)
    if folder.exists():
        raise GemsConfigError(f"{source} is neither a folder nor a .safetensors file: name one of these, or a hub id")
    raise GemsConfigError(f"there is no {str(folder)!r}: {_CHECK_PATH}, or name a hub id as OWNER/NAME")


def _index_of(where: str, place: Place) -> ModelIndex:
    path = place.folder / INDEX
    if not path.exists():
        files = sorted(it.name for it in place.folder.glob(f"*{SAFETENSORS}"))
        instead = place.remedy if place.repository else "name the folder of a diffusers pipeline"
        if files and not place.repository:
            instead += f", or one of its files ({files[0]})"
        raise GemsConfigError(f"{where} has no {INDEX}, which every diffusers pipeline has: {instead}")
    return parse_index(read_json(path, place.remedy), where)


def _scheduler_of(index: ModelIndex) -> str:
    return next((it.class_name for it in index.components.values() if it.kind == "scheduler"), "")


def _loras(model: LocalModel) -> list[Path]:
    """The files of the LoRAs, looked at."""
    paths = [path_of(model, lora.path) for lora in model.options.loras]
    for path in paths:
        if path.suffix.lower() == GGUF:
            raise GemsConfigError(f"{path} is no LoRA that diffusers reads: name a .safetensors file")
        read_weight_file(path, f"{_CHECK_PATH} (local.loras)")
    return paths


def _fingerprint(place: Place, files: Sequence[Path], own: Iterable[Path]) -> str:
    """A commit names its files; others are told by their names, lengths and times, and by what small ones hold."""
    own = list(own)
    if place.commit and not own:
        return place.commit
    digest = hashlib.sha256(place.commit.encode())
    for path in own if place.commit else [place.folder / INDEX, *sorted(files), *own]:
        stamp = stamp_of(path, place.remedy)
        name = path.relative_to(place.folder) if path.is_relative_to(place.folder) else Path(path.name)
        digest.update(f"\0{name}\0{stamp.size}\0".encode())
        digest.update(path.read_bytes() if path.suffix == ".json" else str(stamp.changed).encode())
    return digest.hexdigest()
