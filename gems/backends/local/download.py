"""Downloads files of a repository into the cache that Hugging Face's libraries share.

A file arrives beside its blob's place, goes on from where it was interrupted, and becomes the blob only when its digest is
right. Snapshots link to blobs, and a branch's name is moved to a new commit last of all: whoever reads the cache meanwhile
sees the old model or the new one, whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import httpx
from filelock import FileLock, Timeout

from gems.backends.local.hub import Hub, Listing
from gems.backends.local.hub_cache import COMMIT, Repository
from gems.backends.local.hub_faults import broken_off, disk_fault, misdelivered, no_room
from gems.backends.local.hub_files import RemoteFile
from gems.core.errors import GemsConfigError

Told = Callable[[RemoteFile, int], None]
"""Of a file, how many of its bytes are here; from any thread."""

_AT_ONCE: Final = 4
"""Files that arrive side by side."""
_CHUNK: Final = 1 << 20
_PAUSES: Final = (1.0, 2.0, 4.0, 8.0)
"""Seconds before a file is asked for again; it is given up when all of these brought nothing new."""
_UNFINISHED: Final = ".gems.incomplete"
"""Of a name of our own: what other programs leave unfinished need not be in order."""
_SHA256_LENGTH: Final = 64


class _Stopped(Exception):
    """Another file failed, or the person interrupted."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A repository's place in the cache, and what of a commit is there."""

    repository: Repository
    commit: str

    def blob(self, file: RemoteFile) -> Path:
        """Where a file's bytes lie."""
        return self.repository.blobs / file.digest

    def pointer(self, file: RemoteFile) -> Path:
        """Where a file lies by its name."""
        return self.repository.snapshot(self.commit).joinpath(*file.name.split("/"))

    def unfinished(self, file: RemoteFile) -> Path:
        """Where a file arrives."""
        return self.repository.blobs / f"{file.digest}{_UNFINISHED}"

    def has(self, file: RemoteFile) -> bool:
        """Whether all bytes of a file are here."""
        # Where links are not possible, others keep the file in the snapshot alone.
        return any(_size(path) == file.size for path in (self.blob(file), self.pointer(file)))

    def lacking(self, files: Iterable[RemoteFile]) -> tuple[RemoteFile, ...]:
        """Of the files, those to be downloaded: each content once."""
        return tuple({it.digest: it for it in files if not self.has(it)}.values())

    def begun(self, file: RemoteFile) -> int:
        """Bytes of an unfinished file that are here."""
        return min(file.size, _size(self.unfinished(file)) or 0)

    def bytes_to_come(self, files: Iterable[RemoteFile]) -> int:
        """Bytes of these files that are not here yet."""
        return sum(it.size - self.begun(it) for it in files)


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that a folder is on, or will be.

    Raises:
        GemsConfigError: there is no such disk.
    """
    there = next((it for it in (folder, *folder.absolute().parents) if it.is_dir()), Path("/"))
    try:
        return shutil.disk_usage(there).free
    except OSError as error:
        raise disk_fault(folder, error) from error


def check_room(shelf: Shelf, files: Sequence[RemoteFile]) -> None:
    """Whether the disk has room for what is to come.

    Raises:
        GemsConfigError: it has not.
    """
    needed, free = shelf.bytes_to_come(files), free_bytes(shelf.repository.cache)
    if needed > free:
        raise no_room(shelf.repository.cache, needed, free)


class Download:
    """Files of one listing on their way to a shelf."""

    def __init__(self, hub: Hub, listing: Listing, shelf: Shelf, told: Told, pauses: Sequence[float] = _PAUSES) -> None:
        """Set it up.

        Args:
            hub: Where the files are.
            listing: What they are of.
            shelf: Where they go.
            told: Hears of each file's progress.
            pauses: Seconds before a broken download is taken up again.
        """
        self._hub = hub
        self._listing = listing
        self._shelf = shelf
        self._told = told
        self._pauses = pauses
        self._asked = hub.asked(listing.id, listing.commit)
        self._stop = threading.Event()

    def run(self, files: Iterable[RemoteFile]) -> None:
        """Download them, several side by side. What has arrived stays, whatever happens.

        Raises:
            GemsConfigError: a file could not be had, or not be written.
        """
        with ThreadPoolExecutor(_AT_ONCE, "gems-pull") as workers:
            tasks = [workers.submit(self._keep, file) for file in files]
            try:
                for task in as_completed(tasks):
                    task.result()
            except BaseException:
                self._stop.set()
                for task in tasks:
                    task.cancel()
                raise

    def _keep(self, file: RemoteFile) -> None:
        cache = self._shelf.repository.cache
        # The place of the lock is that of Hugging Face's own downloads.
        lock = cache / ".locks" / self._shelf.repository.folder.name / f"{file.digest}.lock"
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            self._shelf.repository.blobs.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=0):
                if not self._shelf.has(file):
                    self._receive(file)
        except Timeout as error:
            raise GemsConfigError(
                f"another program is downloading {file.name} of {self._listing.id!r} now: wait for it, then run this again"
            ) from error
        except OSError as error:
            raise disk_fault(cache, error) from error

    def _receive(self, file: RemoteFile) -> None:
        path = self._shelf.unfinished(file)
        with path.open("r+b" if path.exists() else "w+b") as stream:
            if (_size(path) or 0) > file.size:
                stream.truncate(0)
            digest = _digest_of(file)
            while chunk := stream.read(_CHUNK):
                self._go_on()
                digest.update(chunk)
            self._told(file, stream.tell())
            digest = self._complete(file, stream, digest)
        if digest.hexdigest() != file.digest:
            path.unlink()
            raise misdelivered(self._asked, file.name, "with other bytes than the hub lists")
        path.replace(self._shelf.blob(file))

    def _complete(self, file: RemoteFile, stream: BinaryIO, digest: Any) -> Any:
        """Ask for what is missing until it is here; the digest of it all."""
        failures = 0
        while stream.tell() < file.size:
            before = stream.tell()
            try:
                digest = self._append(file, stream, digest)
                why = f"it ended after {stream.tell():,} of {file.size:,} bytes"
            except httpx.HTTPError as error:
                why = str(error) or type(error).__name__
            if stream.tell() >= file.size:
                break
            failures = 0 if stream.tell() > before else failures + 1
            if failures > len(self._pauses):
                raise broken_off(self._asked, file.name, why)
            if self._stop.wait(self._pauses[max(0, failures - 1)] if self._pauses else 0):
                raise _Stopped
        return digest

    def _append(self, file: RemoteFile, stream: BinaryIO, digest: Any) -> Any:
        """Write what one request brings."""
        start = stream.tell()
        with self._hub.opened(self._listing, file, start) as response:
            if start and not _is_rest(response, start):
                # It sends all of it again.
                stream.seek(0)
                stream.truncate()
                digest = _digest_of(file)
            # As they come: of a larger piece that is broken off, nothing would be handed on.
            for chunk in response.iter_bytes():
                self._go_on()
                stream.write(chunk)
                digest.update(chunk)
                if stream.tell() > file.size:
                    stream.truncate(0)
                    raise misdelivered(self._asked, file.name, "with more bytes than the hub lists")
                self._told(file, stream.tell())
        return digest

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise _Stopped


def link(shelf: Shelf, files: Iterable[RemoteFile]) -> None:
    """Give the files their names in the snapshot.

    Raises:
        GemsConfigError: the cache cannot be written to.
    """
    try:
        for file in files:
            pointer = shelf.pointer(file)
            if _size(pointer) == file.size:
                continue
            pointer.parent.mkdir(parents=True, exist_ok=True)
            pointer.unlink(missing_ok=True)
            _link(shelf.blob(file), pointer)
    except OSError as error:
        raise disk_fault(shelf.repository.cache, error) from error


def name_commit(shelf: Shelf, revision: str) -> None:
    """Remember that a branch or tag is this commit. A commit needs no name.

    Raises:
        GemsConfigError: the cache cannot be written to.
    """
    if COMMIT.fullmatch(revision):
        return
    ref = shelf.repository.ref(revision)
    fresh = ref.with_name(f"{ref.name}.{os.getpid()}.tmp")
    try:
        ref.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(shelf.commit, encoding="ascii")
        fresh.replace(ref)
    except OSError as error:
        raise disk_fault(shelf.repository.cache, error) from error


def _link(blob: Path, pointer: Path) -> None:
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:
        # On Windows links that are symbolic need a right of their own; the others do not, but not every disk has them.
        try:
            pointer.hardlink_to(blob)
        except OSError:
            shutil.copyfile(blob, pointer)


def _digest_of(file: RemoteFile) -> Any:
    """The beginning of a file's digest."""
    if len(file.digest) == _SHA256_LENGTH:
        return hashlib.sha256()
    # How git names a blob: no secret depends on it.
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def _is_rest(response: httpx.Response, start: int) -> bool:
    is_part = response.status_code == httpx.codes.PARTIAL_CONTENT
    return is_part and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
