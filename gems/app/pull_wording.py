"""What `gems pull` tells: what it would take, from whom and under which licence, and what comes after."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from gems.app.wording import plural
from gems.backends.local.catalogue import known_model
from gems.backends.local.files import GGUF, read_weight_file
from gems.backends.local.hub_cache import MAIN
from gems.backends.local.hub_files import RemoteFile

_UNITS: Final = ((10**9, "GB", 2), (10**6, "MB", 1), (10**3, "kB", 0))
_SHARD: Final = re.compile(r"-\d{5}-of-(\d{5})")
_PROMPT: Final = '"three red apples to the left of a blue vase"'


class Offer(NamedTuple):
    """What is about to be downloaded. Sizes are in bytes."""

    repository: str
    page: str
    revision: str
    commit: str
    licence: str
    licence_link: str
    gated: bool
    files: tuple[RemoteFile, ...]
    lacking: tuple[RemoteFile, ...]
    to_come: int
    others: int
    """Of files that are left where they are."""
    variant: str | None
    cache: Path
    free: int


def size(count: int) -> str:
    """`12.31 GB`, `3.4 MB`, `12 kB`, `512 bytes`."""
    for unit, name, digits in _UNITS:
        if count >= unit:
            return f"{count / unit:,.{digits}f} {name}"
    return plural(count, "byte")


def offer_lines(offer: Offer) -> Iterator[str]:
    """The offer, a line each."""
    yield f"{offer.repository}  {offer.page}"
    yield f"  revision  {offer.revision} (commit {offer.commit[:8]})"
    yield f"  licence   {_licence(offer)}"
    if offer.gated:
        yield "  access    gated, and open to your token"
    variant = f", weights in {offer.variant}" if offer.variant else ""
    total = sum({it.digest: it.size for it in offer.files}.values())
    yield f"  takes     {plural(len(offer.files), 'file')}, {size(total)}{variant}"
    for folder, files in _by_folder(offer.files).items():
        held = f"{size(sum(it.size for it in files))}"
        yield f"    {folder or 'top':<18} {held:>10}  {', '.join(_names(files))}"
    if offer.others:
        yield f"  leaves    {size(offer.others)} that is not needed"
    if len(offer.lacking) < len(offer.files) or offer.to_come < sum(it.size for it in offer.lacking):
        yield f"  here      {size(total - offer.to_come)} is in the cache already"
    yield f"  cache     {offer.cache}: {size(offer.to_come)} needed, {size(offer.free)} free"


def next_lines(repository: str, revision: str, *, configs_only: bool, without_transformer: bool) -> Iterator[str]:
    """What to do with a pipeline."""
    known = known_model(repository)
    if configs_only:
        yield "Next: name a file of weights in gems.toml, and these configs as its base:"
        yield from _profile('images = "diffusers:PATH/TO/FILE.safetensors"', f'local.base = "{repository}"')
    elif without_transformer:
        yield "Next: name a file with its transformer in gems.toml; `gems pull OWNER/NAME FILE` downloads one:"
        lines = (f'images = "diffusers:{repository}"', 'local.transformer = "PATH/TO/FILE.gguf"')
        yield from _profile(*lines, *_pinned(revision))
    elif known and revision == MAIN:
        yield f"Next: gems run --profile {known.profile} {_PROMPT}"
    else:
        yield "Next: name it in gems.toml, beside the models that answer:"
        yield from _profile(f'images = "diffusers:{repository}"', *_pinned(revision))


def file_lines(path: Path) -> Iterator[str]:
    """What to do with a single file of weights.

    Raises:
        GemsConfigError: the file is damaged.
    """
    held = read_weight_file(path, "run `gems pull` again")
    yield f"It is at {path}"
    where = path.as_posix()
    if path.suffix.lower() == GGUF:
        yield "Next: name it in gems.toml beside the model that it is the transformer of:"
        yield from _profile('images = "diffusers:OWNER/NAME"', f'local.transformer = "{where}"')
    elif any("lora" in tensor.name.lower() for tensor in held.tensors):
        yield "Next: name it in gems.toml beside the model that it was made for:"
        yield from _profile('images = "diffusers:OWNER/NAME"', f'local.loras = [{{ path = "{where}", scale = 1.0 }}]')
    else:
        yield "Next: name it in gems.toml; as here if it is a whole model, as `local.transformer` if it is only that:"
        yield from _profile(f'images = "diffusers:{where}"')


def _profile(*lines: str) -> Iterator[str]:
    yield "  [profiles.mine]"
    yield from (f"  {line}" for line in lines)


def _pinned(revision: str) -> list[str]:
    return [] if revision == MAIN else [f'local.revision = "{revision}"']


def _licence(offer: Offer) -> str:
    known = known_model(offer.repository)
    name = offer.licence or (known.licence if known else "")
    if not name:
        return f"not stated: read {offer.page} before you use it"
    return f"{name}: {offer.licence_link or offer.page}"


def _by_folder(files: Iterable[RemoteFile]) -> dict[str, list[RemoteFile]]:
    folders: dict[str, list[RemoteFile]] = {}
    for file in files:
        folders.setdefault(file.name.rpartition("/")[0], []).append(file)
    return folders


def _names(files: Iterable[RemoteFile]) -> list[str]:
    """The files' own names, shards of the same weights as one."""
    counted: dict[str, int] = {}
    for file in files:
        name = _SHARD.sub(r"-*-of-\1", file.name.rpartition("/")[2])
        counted[name] = counted.get(name, 0) + 1
    return [name if count == 1 else f"{name} ({count} files)" for name, count in counted.items()]
