"""Where files of several machines lie together, by their names: what must be known of such a place."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from gems.core.errors import GemsConfigError, StoreOutage
from gems.memory.artifacts import write_atomically

PART: Final = ".part-"
"""Begins the name of a file that is being written."""
_TO_MEND: Final = {
    getattr(errno, "EDQUOT", errno.ENOSPC),
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
}


class Entry(NamedTuple):
    """A file, or an object."""

    name: str
    """With `/` between its parts, below the shelf's own place."""
    size: int
    """In bytes."""
    moment: float
    """When it was last written, by the clock of the shelf: seconds since the epoch. Infinite where nobody can tell."""


class Shelf(Protocol):
    """Files by name. Its methods block: call them in a thread. Each may raise `GemsConfigError` or `StoreOutage`."""

    @property
    def place(self) -> str:
        """Where it is, for people: a folder or a URL, without anything secret."""
        ...

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a file; nobody sees half of it."""
        ...

    def look(self, name: str) -> Entry | None:
        """What is known of a file; None: there is none."""
        ...

    def refresh(self, name: str) -> bool:
        """Let a file count as new without sending it; False: it is not there, or this place cannot do that."""
        ...

    def entries(self) -> Iterator[Entry]:
        """All that lies there."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file. One that is gone is no error."""
        ...


class FolderShelf:
    """A folder of a file share. It must be there: a share that is not mounted is not to be written beside."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`."""
        self._folder = folder

    @property
    def place(self) -> str:
        """The folder."""
        return str(self._folder)

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        with self._explained():
            return (self._folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write beside the file, then rename."""
        path = self._folder / name
        try:
            with self._explained():
                if not path.parent.is_dir():
                    self._check()
                    path.parent.mkdir(exist_ok=True)
                write_atomically(path, content)
        except FileNotFoundError as error:  # its folder was taken away meanwhile
            raise StoreOutage(f"{self.place} cannot be written just now: {error.strerror}") from error

    def look(self, name: str) -> Entry | None:
        """What is known of a file."""
        try:
            with self._explained():
                found = (self._folder / name).stat()
        except FileNotFoundError:
            return None
        return Entry(name, found.st_size, found.st_mtime)

    def refresh(self, name: str) -> bool:
        """Set the file's time to now."""
        try:
            with self._explained():
                os.utime(self._folder / name)
        except (FileNotFoundError, GemsConfigError):  # gone, or somebody else's file
            return False
        return True

    def entries(self) -> Iterator[Entry]:
        """All files in the folder and one level below: more it has not."""
        with self._explained():
            self._check()
            paths = sorted(path for pattern in ("*", "*/*") for path in self._folder.glob(pattern))
        for path in paths:
            name = path.relative_to(self._folder).as_posix()
            if (entry := self.look(name)) is not None and not path.is_dir():
                yield entry

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self._explained():
            (self._folder / name).unlink(missing_ok=True)

    def _check(self) -> None:
        if not self._folder.is_dir():
            raise GemsConfigError(
                f"the folder {self.place} of GEMS_ARTIFACTS_URL is not there: mount the share, or make the folder"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            self._check()
            raise
        except OSError as error:
            said = error.strerror or str(error)
            if error.errno in _TO_MEND:
                raise GemsConfigError(f"{self.place} cannot be used: {said}; check its rights and its room") from error
            raise StoreOutage(f"{self.place} does not answer: {said}; what was begun can be resumed later") from error


def folder_of(url: str) -> Path | None:
    """The folder that a URL means; None where it means something else.

    Raises:
        GemsConfigError: the folder is not written in full.
    """
    if "://" in url and not url.startswith("file://"):
        return None
    path = Path(_path_of(url) if url.startswith("file://") else url).expanduser()
    if not path.is_absolute():
        raise GemsConfigError(f"GEMS_ARTIFACTS_URL {url!r} is part of a path: write the folder in full, from / on")
    return path


def _path_of(url: str) -> str:
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") and sys.platform != "win32":
        raise GemsConfigError(f"GEMS_ARTIFACTS_URL {url!r} names a machine: mount its share, and write file:///FOLDER")
    return url2pathname(f"//{parts.netloc}{parts.path}" if parts.netloc not in ("", "localhost") else parts.path)
