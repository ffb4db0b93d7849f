"""Images on disk, by the SHA-256 of their bytes: `artifacts/ab/<sha256>.png`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

from gems.core.errors import ArtifactCorrupt, GemsConfigError

_ID: Final = re.compile(r"[0-9a-f]{64}")
ROOM: Final = 32 * 2**20
"""Bytes that must be free before a run starts: a few images and their checkpoints."""


def artifact_id(content: bytes) -> str:
    """The id under which bytes are stored: their SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def artifact_name(artifact: str) -> str:
    """The name of an artifact's file below the folder of all: `ab/<sha256>.png`.

    Raises:
        GemsConfigError: not an artifact id, so that no other text ever becomes a path.
    """
    if not _ID.fullmatch(artifact):
        raise GemsConfigError(f"{artifact!r} is not an artifact id (64 hexadecimal digits)")
    return f"{artifact[:2]}/{artifact}.png"


class FileArtifacts:
    """The artifact store of one folder. Writes are atomic, and a digest is checked on every reading."""

    def __init__(self, folder: Path, room: int = ROOM) -> None:
        """Use `folder`, which is made when the first image is stored; `room` bytes must be free before a run."""
        self.folder = folder
        self._room = room

    def path(self, artifact: str) -> Path:
        """Where the file of an artifact lies.

        Raises:
            GemsConfigError: not an artifact id, so that no other text ever becomes a path.
        """
        return self.folder / artifact_name(artifact)

    def place(self, artifact: str) -> str:
        """Where the file lies, as people write it."""
        return str(self.path(artifact))

    async def put(self, content: bytes) -> str:
        """Store the bytes and answer their id. An image that is there already is not written again.

        Raises:
            GemsConfigError: the folder cannot be written.
        """
        return await asyncio.to_thread(self._put, content)

    async def get(self, artifact: str) -> bytes:
        """The bytes of an artifact.

        Raises:
            ArtifactCorrupt: the file is missing or its bytes do not match its name.
        """
        return await asyncio.to_thread(self._get, artifact)

    async def has(self, artifact: str) -> bool:
        """Whether the artifact is stored."""
        return await asyncio.to_thread(self.path(artifact).exists)

    async def check(self) -> None:
        """Make sure that an image can be stored.

        Raises:
            GemsConfigError: the folder cannot be written, or the disk is full.
        """
        await asyncio.to_thread(self._check)

    def _put(self, content: bytes) -> str:
        artifact = artifact_id(content)
        path = self.path(artifact)
        if not _is_here(path, content):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, content)
            except OSError as error:
                raise GemsConfigError(f"cannot store an image in {self.folder}: {error.strerror or error}") from error
        return artifact

    def _get(self, artifact: str) -> bytes:
        path = self.path(artifact)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ArtifactCorrupt(f"image {artifact[:12]} cannot be read: {error.strerror or error}: {path}") from error
        if artifact_id(content) != artifact:
            raise ArtifactCorrupt(
                f"image {artifact[:12]} is damaged: restore {path} from a copy, or give the prompt anew"
            )
        return content

    def _check(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise GemsConfigError(
                f"cannot write to {self.folder}: {error.strerror or error}; set GEMS_HOME to a folder you may write to"
            ) from error
        if free < self._room:
            raise GemsConfigError(
                f"only {free // 2**20} MB free in {self.folder}; free {self._room // 2**20} MB or set GEMS_HOME elsewhere"
            )


def _is_here(path: Path, content: bytes) -> bool:
    """Whether the file holds these bytes. It counts as new from then on, and `gems prune` leaves what is new."""
    try:
        if path.read_bytes() != content:
            return False
    except OSError:
        return False
    try:
        os.utime(path)
    except FileNotFoundError:
        return False  # just removed
    except OSError:
        pass  # somebody else's file, which nobody here removes
    return True


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, sees all of it or nothing."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
