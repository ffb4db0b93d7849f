"""Files of a model as they lie on the disk: what is wrong with one is said in one sentence, with the remedy."""

from __future__ import annotations

import errno
import json
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from gems.backends.local.gguf_header import read_gguf
from gems.backends.local.safetensors_header import read_safetensors
from gems.backends.local.tensors import DamagedWeights, Tensor
from gems.core.errors import GemsConfigError

SAFETENSORS: Final = ".safetensors"
GGUF: Final = ".gguf"
PICKLES: Final = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
"""Formats that may run code when they are read."""
_LFS: Final = b"version https://git-lfs"
_READERS: Final[Mapping[str, Callable[[BinaryIO, int], tuple[Tensor, ...]]]] = {
    SAFETENSORS: read_safetensors,
    GGUF: read_gguf,
}


class Stamp(NamedTuple):
    """What changes when a file does: its length in bytes, and the time of its last change in nanoseconds."""

    size: int
    changed: int


class WeightFile(NamedTuple):
    """A file of weights and what its header names."""

    path: Path
    size: int
    tensors: tuple[Tensor, ...]


def stamp_of(path: Path, remedy: str) -> Stamp:
    """The stamp of a file that must be there, be a file, and hold something.

    Raises:
        GemsConfigError: it is not so.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise _explained(error, path, remedy) from error
    if not stat.S_ISREG(found.st_mode):
        raise GemsConfigError(f"{path} is no file: {remedy}")
    if not found.st_size:
        raise GemsConfigError(f"{path} is empty: {remedy}")
    return Stamp(found.st_size, found.st_mtime_ns)


def names_in(folder: Path, remedy: str) -> frozenset[str]:
    """The names in a folder that must be there.

    Raises:
        GemsConfigError: there is no such folder, or it cannot be read.
    """
    try:
        return frozenset(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise _explained(error, folder, remedy) from error


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        GemsConfigError: the file is missing, cannot be read, or holds something else.
    """
    stamp_of(path, remedy)
    try:
        content = path.read_bytes()
        if content.startswith(_LFS):
            raise _pointer(path, remedy)
        value = json.loads(content)
    except OSError as error:
        raise _explained(error, path, remedy) from error
    except (ValueError, RecursionError) as error:
        raise GemsConfigError(f"{path} is not JSON: {remedy}") from error
    if not isinstance(value, dict):
        raise GemsConfigError(f"{path} holds no JSON object: {remedy}")
    return value


def check_format(name: str, shown: str) -> None:
    """Refuse a file that is never read, by its name; `shown` is what messages call it.

    Raises:
        GemsConfigError: it is a pickle, or no file of weights.
    """
    ending = Path(name).suffix.lower()
    if ending in PICKLES:
        raise GemsConfigError(
            f"{shown} is a pickle, which can run code when it is read, and is never read here: name a .safetensors file"
        )
    if ending not in _READERS:
        raise GemsConfigError(f"{shown} is neither a .safetensors nor a .gguf file: name one of these")


def read_weight_file(path: Path, remedy: str) -> WeightFile:
    """What a file of weights holds, by its header: not more than some megabytes are read.

    Raises:
        GemsConfigError: the file is missing, cannot be read, damaged, or of another format.
    """
    check_format(path.name, str(path))
    reader = _READERS[path.suffix.lower()]
    size = stamp_of(path, remedy).size
    try:
        with path.open("rb") as stream:
            if stream.read(len(_LFS)) == _LFS:
                raise _pointer(path, remedy)
            stream.seek(0)
            return WeightFile(path, size, reader(stream, size))
    except OSError as error:
        raise _explained(error, path, remedy) from error
    except DamagedWeights as error:
        # In the hub's cache the file is a link; what has to go is what it links to.
        raise GemsConfigError(f"{path.resolve()} {error}: delete it, then {remedy}") from error


def _pointer(path: Path, remedy: str) -> GemsConfigError:
    return GemsConfigError(
        f"{path} is a pointer of Git LFS, not the file itself: run `git lfs pull` there, or {remedy}"
    )


def _explained(error: OSError, path: Path, remedy: str) -> GemsConfigError:
    if error.errno == errno.ELOOP:
        return GemsConfigError(f"{path} links to itself, round and round: {remedy}")
    if isinstance(error, PermissionError):
        return GemsConfigError(f"{path} cannot be read for lack of permission: let your user read it")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return GemsConfigError(f"{path} is missing: {remedy}")
    return GemsConfigError(f"{path} cannot be read ({error.strerror or type(error).__name__}): {remedy}")
