"""Copies of images on this machine, by their ids: those that lie elsewhere, or are still to be sent there."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from gems.memory.artifacts import artifact_id, artifact_name, write_atomically

_LEFT: Final = 0.8
"""Which part of the limit stays when copies are removed."""


class _Copy(NamedTuple):
    used: float
    size: int
    path: Path


class LocalCopies:
    """A folder of copies. Its methods block: call them in a thread.

    A copy that cannot be written is none: an error of this folder is never an error of the image.
    """

    def __init__(self, folder: Path, most_bytes: int | None = None) -> None:
        """Use `folder`; beyond `most_bytes` (None: no limit), those go that were not used for longest."""
        self.folder = folder
        self._most_bytes = most_bytes
        self._counting = threading.Lock()
        self._bytes: int | None = None
        """In all, as far as this process knows."""

    def find(self, artifact: str) -> Path | None:
        """Where the copy lies, if there is one."""
        path = self.folder / artifact_name(artifact)
        return path if path.exists() else None

    def read(self, artifact: str) -> bytes | None:
        """The copy's bytes; None: there is none, or it was damaged, and is gone now."""
        path = self.folder / artifact_name(artifact)
        try:
            content = path.read_bytes()
            if artifact_id(content) != artifact:
                path.unlink()
                return None
            os.utime(path)
        except OSError:
            return None
        return content

    def add(self, artifact: str, content: bytes) -> None:
        """Keep a copy, if there is room."""
        if self._most_bytes is not None and len(content) > self._most_bytes:
            return
        path = self.folder / artifact_name(artifact)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
        except OSError:
            return
        if self._most_bytes is not None:
            self._count(len(content), self._most_bytes)

    def remove(self, artifact: str) -> None:
        """Remove the copy."""
        with suppress(OSError):
            (self.folder / artifact_name(artifact)).unlink(missing_ok=True)

    def _count(self, added: int, most_bytes: int) -> None:
        with self._counting:
            self._bytes = sum(it.size for it in self._copies()) if self._bytes is None else self._bytes + added
            if self._bytes > most_bytes:
                self._bytes = self._shrink(int(most_bytes * _LEFT))

    def _shrink(self, wanted: int) -> int:
        """Remove what was not used for longest until `wanted` bytes are left; answers how many are."""
        copies = sorted(self._copies())
        size = sum(it.size for it in copies)
        for copy in copies:
            if size <= wanted:
                break
            with suppress(OSError):
                copy.path.unlink()
                size -= copy.size
        return size

    def _copies(self) -> Iterator[_Copy]:
        for path in self.folder.glob("*/*.png"):
            with suppress(OSError):
                found = path.stat()
                yield _Copy(found.st_mtime, found.st_size, path)
