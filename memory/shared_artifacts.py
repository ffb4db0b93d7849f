"""Images that several machines share: in a bucket, or a folder that all of them see."""

from __future__ import annotations

import asyncio
import re
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from gems.core.errors import ArtifactCorrupt, StoreOutage
from gems.memory.artifacts import FileArtifacts, artifact_id, artifact_name
from gems.memory.local_copies import LocalCopies
from gems.memory.shelves import PART, Entry, Shelf

CACHE: Final = Path("cache", "artifacts")
"""Under the home: copies of images that were stored or shown lately."""
CACHE_BYTES: Final = 512 * 2**20
UNSENT: Final = "unsent"
"""Under the home: images that were received and are not in the shared store yet."""
DATABASES: Final = "databases"
"""In the store: an object for each database whose threads name images of it."""
LEAVING: Final = "leaving"
"""In the store: an object for each image that is just being removed."""
_LEAVING_SECONDS: Final = 20.0
"""How long somebody who stores an image waits for its removal to end."""
_NAME: Final = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})\.png")
_NOTE: Final = b"""A database of GEMS names images that lie here, and `gems prune` of others leaves them alone.
Remove this when that database is gone.
"""


class Listing(NamedTuple):
    """All that lies in a shared store."""

    now: float
    """By the store's own clock: seconds since the epoch."""
    images: list[Entry]
    leftovers: list[Entry]
    """What somebody was doing when they died, or is doing just now."""
    others: int
    """Other databases than ours that name images of it."""


def is_image(name: str) -> bool:
    """Whether an object of that name is an image; others are there for those who work on them."""
    return _NAME.fullmatch(name) is not None


class SharedArtifacts:
    """The artifact store on a shelf.

    An image lies on this machine before it is sent: what was received and cannot be sent is sent when it is next asked for.
    A digest is checked on every reading, of copies too.
    """

    def __init__(
        self, shelf: Shelf, home: Path, database: Callable[[], str], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Keep images on `shelf`.

        Args:
            shelf: Where they lie.
            home: A folder of this machine, for copies.
            database: Tells the identity of the database whose threads will name the images. It may block.
            sleep: Waits so many seconds.
        """
        self.shelf = shelf
        self.copies = LocalCopies(home / CACHE, CACHE_BYTES)
        self.unsent = LocalCopies(home / UNSENT)
        self._database = database
        self._sleep = sleep
        self._is_introduced = False
        self._introducing = threading.Lock()

    async def put(self, content: bytes) -> str:
        """Store the bytes and answer their id. An image that is there already is not sent again, but counts as new.

        Raises:
            GemsConfigError: the store cannot be used.
            StoreOutage: it does not answer. The image is kept on this machine, and is sent when it is next asked for.
        """
        return await asyncio.to_thread(self._put, content)

    async def get(self, artifact: str) -> bytes:
        """The bytes of an artifact.

        Raises:
            ArtifactCorrupt: it is missing, or its bytes do not match its name.
            GemsConfigError: no id of an artifact; or the store cannot be used.
            StoreOutage: the store does not answer, and there is no copy on this machine.
        """
        return await asyncio.to_thread(self._get, artifact)

    async def has(self, artifact: str) -> bool:
        """Whether the artifact is stored; one that waits on this machine is sent now.

        Raises:
            GemsConfigError: no id of an artifact; or the store cannot be used.
            StoreOutage: the store does not answer.
        """
        return await asyncio.to_thread(self._has, artifact)

    def place(self, artifact: str) -> str:
        """Where it lies: a copy on this machine, if there is one; else in the store."""
        copy = self.copies.find(artifact) or self.unsent.find(artifact)
        return str(copy) if copy else f"{self.shelf.place}/{artifact_name(artifact)}"

    async def check(self) -> None:
        """Make sure that an image can be stored, here and there.

        Raises:
            GemsConfigError: this machine's disk is full or cannot be written, or the store cannot be used.
            StoreOutage: the store does not answer.
        """
        await FileArtifacts(self.unsent.folder).check()
        await asyncio.to_thread(self._introduce, again=True)

    async def probe(self) -> None:
        """Write, read and remove something that nobody needs.

        Raises:
            GemsConfigError: the store cannot be used.
            StoreOutage: the store does not answer, or not with what was written.
        """
        await asyncio.to_thread(self._probe)

    async def listing(self) -> Listing:
        """All that lies in the store.

        Raises:
            GemsConfigError: the store cannot be used.
            StoreOutage: the store does not answer.
        """
        return await asyncio.to_thread(self._listing)

    async def remove(self, artifact: str, least_age: float, is_needed: Callable[[], Awaitable[bool]]) -> bool:
        """Remove an image, unless somebody has just stored it again; answers whether it is gone.

        It is announced first. Whoever stores the image before that has made it new, which is seen here; whoever does so
        after it sees the announcement, waits for the end of it, and sends the image again.

        Args:
            artifact: Its id.
            least_age: Seconds that must have gone by since it was stored, by the store's clock.
            is_needed: Whether somebody names it after all. Asked last.

        Raises:
            GemsConfigError: the store cannot be used.
            StoreOutage: the store does not answer.
        """
        name, announced = artifact_name(artifact), f"{LEAVING}/{artifact}"
        await asyncio.to_thread(self.shelf.write, announced, b"")
        try:
            now = await asyncio.to_thread(self.shelf.look, announced)
            found = await asyncio.to_thread(self.shelf.look, name)
            if now is None or found is None or not now.moment - found.moment > least_age or await is_needed():
                return False
            await asyncio.to_thread(self.shelf.remove, name)
            await asyncio.to_thread(self.copies.remove, artifact)
        finally:
            await asyncio.to_thread(self.shelf.remove, announced)
        return True

    def _put(self, content: bytes) -> str:
        artifact = artifact_id(content)
        self.unsent.add(artifact, content)
        self._send(artifact, content)
        return artifact

    def _send(self, artifact: str, content: bytes) -> None:
        self._introduce()
        name = artifact_name(artifact)
        found = self.shelf.look(name)
        if found is None or found.size != len(content):
            self.shelf.write(name, content)
        else:
            if not self.shelf.refresh(name):
                self.shelf.write(name, content)
            self._outwait_removal(artifact, content)
        self.copies.add(artifact, content)
        self.unsent.remove(artifact)

    def _outwait_removal(self, artifact: str, content: bytes) -> None:
        """Somebody may have found the image unneeded before it was stored again."""
        waited, pause = 0.0, 0.25
        while waited < _LEAVING_SECONDS and self.shelf.look(f"{LEAVING}/{artifact}") is not None:
            self._sleep(pause)
            waited += pause
        if waited and self.shelf.look(artifact_name(artifact)) is None:
            self.shelf.write(artifact_name(artifact), content)

    def _get(self, artifact: str) -> bytes:
        name = artifact_name(artifact)
        known = self.copies.read(artifact)
        if known is not None:
            return known
        try:
            content = self.shelf.read(name)
        except FileNotFoundError as error:
            waiting = self.unsent.read(artifact)
            if waiting is not None:
                return waiting
            raise ArtifactCorrupt(
                f"image {artifact[:12]} cannot be read: there is no {self.shelf.place}/{name}"
            ) from error
        if artifact_id(content) != artifact:
            raise ArtifactCorrupt(
                f"image {artifact[:12]} is damaged: restore {self.shelf.place}/{name} from a copy, or give the prompt anew"
            )
        self.copies.add(artifact, content)
        return content

    def _has(self, artifact: str) -> bool:
        if self.shelf.look(artifact_name(artifact)) is not None:
            return True
        waiting = self.unsent.read(artifact)
        if waiting is None:
            return False
        self._send(artifact, waiting)
        return True

    def _introduce(self, *, again: bool = False) -> None:
        """Say that our database names images of this store, before it does: others' images are not to be removed."""
        with self._introducing:
            if again or not self._is_introduced:
                self.shelf.write(self._note, _NOTE)
                self._is_introduced = True

    @property
    def _note(self) -> str:
        return f"{DATABASES}/{self._database()}"

    def _probe(self) -> None:
        name, content = f"{LEAVING}/{PART}{uuid.uuid4().hex}", uuid.uuid4().bytes
        self.shelf.write(name, content)
        try:
            read = self.shelf.read(name)
        except FileNotFoundError as error:
            raise StoreOutage(f"{self.shelf.place} has taken an object, and does not have it") from error
        finally:
            self.shelf.remove(name)
        if read != content:
            raise StoreOutage(f"{self.shelf.place} has answered with other bytes than were written")

    def _listing(self) -> Listing:
        self._introduce(again=True)
        own = self.shelf.look(self._note)
        now = own.moment if own else 0.0
        images, leftovers, others = [], [], 0
        for entry in self.shelf.entries():
            folder, _, last = entry.name.rpartition("/")
            if is_image(entry.name):
                images.append(entry)
            elif folder == LEAVING or last.startswith(PART):
                leftovers.append(entry)
            elif folder == DATABASES and entry.name != self._note:
                others += 1
        return Listing(now, images, leftovers, others)
