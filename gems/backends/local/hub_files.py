"""Which files of a repository on the hub are needed, by the model's index and the files' names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from gems.backends.local.files import GGUF, PICKLES, SAFETENSORS, check_format
from gems.backends.local.model_index import INDEX, Component, Kind, ModelIndex, refuse_code_of
from gems.backends.local.weight_names import choose_variant, weight_names
from gems.core.errors import GemsConfigError

TRANSFORMER: Final = "transformer"
_TEXTS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "model": (".json",),
    "scheduler": (".json",),
    "tokenizer": (".json", ".txt", ".model", ".jinja", ".tiktoken"),
    "processor": (".json", ".txt", ".model", ".jinja", ".tiktoken"),
}
"""What is read of a component beside its weights."""
_SHARD_INDEX: Final = re.compile(r"\.index(\.\w+)?\.json$")
_CONFIG: Final = "config.json"
_NAMED: Final = 5
"""Files that are named where one does not exist."""


class RemoteFile(NamedTuple):
    """A file of a repository at one commit: its path there, its bytes, and the name of its blob.

    That name is the SHA-256 of a file in the hub's large-file storage, and git's SHA-1 of all others.
    """

    name: str
    size: int
    digest: str


class Selection(NamedTuple):
    """The files to take, by name, and the variant of the weights among them."""

    files: tuple[RemoteFile, ...]
    variant: str | None = None


def needed_files(
    where: str,
    files: Iterable[RemoteFile],
    index: ModelIndex,
    *,
    configs_only: bool = False,
    without_transformer: bool = False,
) -> Selection:
    """The files that a pipeline is loaded from: never pickles, code, other frameworks' weights, or second copies.

    Args:
        where: The repository, for messages.
        files: All that it has.
        index: Its index.
        configs_only: Leave all weights out.
        without_transformer: Leave the weights of the transformer out: a file of its own stands in for it.

    Raises:
        GemsConfigError: what is needed is not there, or is there only in a form that is never loaded.
    """
    listed = tuple(files)
    folders = {name: _folder(listed, name) for name in index.needed}
    models = [name for name, it in index.needed.items() if it.kind == "model"]
    if without_transformer and TRANSFORMER not in models:
        raise GemsConfigError(f"{where} has no transformer ({index.pipeline_class}): leave --without-transformer out")
    for name, component in index.needed.items():
        _check(where, name, component, folders[name])
    chosen = [it for it in listed if it.name == INDEX]
    for name, component in index.needed.items():
        chosen += [
            file
            for base, file in folders[name].items()
            if base.endswith(_TEXTS[component.kind]) and not _SHARD_INDEX.search(base) and not base.startswith(".")
        ]
    weighty = [] if configs_only else [name for name in models if not (without_transformer and name == TRANSFORMER)]
    variant = choose_variant((index.components[name].library, folders[name]) for name in weighty)
    for name in weighty:
        chosen += _weights(where, name, index.components[name], folders[name], variant)
    return Selection(tuple(sorted(chosen)), variant)


def single_file(where: str, files: Iterable[RemoteFile], name: str) -> Selection:
    """One file of weights: a transformer, a LoRA, or a whole model.

    Raises:
        GemsConfigError: there is no such file, or it is never loaded.
    """
    check_format(name, repr(name))
    listed = tuple(files)
    found = [it for it in listed if it.name == name]
    if not found:
        raise GemsConfigError(
            f"{where} has no file {name!r}: {single_files(listed) or 'it has no weights in one file'}"
        )
    return Selection(tuple(found))


def single_files(files: Iterable[RemoteFile]) -> str:
    """Some of the files that can be named one at a time, for messages; empty when there are none."""
    names = [it.name for it in files if it.name.lower().endswith((SAFETENSORS, GGUF))]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"it has {', '.join(names[:_NAMED])}{more}" if names else ""


def _folder(files: Sequence[RemoteFile], name: str) -> dict[str, RemoteFile]:
    """The files directly in a component's folder, by their names there."""
    inside = ((file.name.removeprefix(f"{name}/"), file) for file in files if file.name.startswith(f"{name}/"))
    return {base: file for base, file in inside if "/" not in base}


def _check(where: str, name: str, component: Component, folder: Mapping[str, RemoteFile]) -> None:
    if not folder:
        raise GemsConfigError(f"{where} has no folder {name!r}, which its {INDEX} names: choose another model")
    if any(base.endswith(".py") for base in folder):
        raise refuse_code_of(where, name)
    if component.kind == "model" and _CONFIG not in folder:
        raise GemsConfigError(
            f"{where} has no {name}/{_CONFIG}, without which {name!r} cannot be built: choose another model"
        )


def _weights(
    where: str, name: str, component: Component, folder: Mapping[str, RemoteFile], variant: str | None
) -> list[RemoteFile]:
    found = weight_names(folder, component.library, variant)
    if found is None and any(base.endswith(PICKLES) for base in folder):
        raise GemsConfigError(
            f"{where} has the weights of {name!r} as pickles only, which can run code when they are read: choose a model, "
            "or a revision of it, with .safetensors files"
        )
    if found is None:
        raise GemsConfigError(f"{where} has no weights of {name!r} that can be loaded: choose another model")
    if found.missing:
        raise GemsConfigError(f"{where} lacks of {name!r}: {', '.join(found.missing)}: choose another revision")
    return [folder[base] for base in (*found.files, *([found.index_file] if found.index_file else []))]
