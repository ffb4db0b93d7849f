"""The pipelines that lie in the Hugging Face cache: how large each is, and whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from gems.app.pull_wording import size
from gems.backends.local.catalogue import known_model
from gems.backends.local.hub_cache import MAIN, Repository, hub_cache, is_hub_id
from gems.backends.local.model_index import INDEX
from gems.backends.local.orders import LocalModel
from gems.backends.local.weights import Weights, find_weights
from gems.core.errors import GemsConfigError

_MODELS: Final = "models--"
_MOST: Final = 50
"""Pipelines that are looked at."""


class Held(NamedTuple):
    """A pipeline of the cache."""

    repository: str
    size: int = 0
    """Bytes on the disk."""
    weights: Weights | None = None
    """None where it is not whole."""

    @property
    def in_words(self) -> str:
        """`acme/model (2.58 GB)`."""
        return f"{self.repository} ({size(self.size) if self.weights else 'not whole'})"


def held_pipelines() -> list[Held]:
    """What the cache has on main branches, by name. Of weights the headers are read, nothing else."""
    cache = hub_cache()
    try:
        names = sorted(it.name for it in cache.glob(f"{_MODELS}*") if it.is_dir())
    except OSError:
        return []
    ids = [name.removeprefix(_MODELS).replace("--", "/", 1) for name in names]
    found = (_held(Repository(it, cache)) for it in ids if is_hub_id(it))
    return [it for it in found if it is not None][:_MOST]


def _held(repository: Repository) -> Held | None:
    commit = repository.commit(MAIN)
    if commit is None or not (repository.snapshot(commit) / INDEX).is_file():
        # Of what has just begun to be downloaded only its name tells that it is a pipeline.
        return Held(repository.id) if known_model(repository.id) and repository.is_downloading else None
    try:
        weights = find_weights(LocalModel(repository.id))
    except GemsConfigError:
        return Held(repository.id)
    return Held(repository.id, _bytes_in(repository.snapshot(commit)), weights)


def _bytes_in(folder: Path) -> int:
    return sum(it.stat().st_size for it in folder.rglob("*") if it.is_file())
