"""Objects in this process' memory whose server can fail in every way: for whoever tests what lies above it."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]

from gems.memory.object_shelf import ObjectShelf

ROOT: Final = "/bucket/prefix"


def slow_down() -> OSError:
    """What a driver makes of the answer 503."""
    return OSError(errno.EBUSY, "Please reduce your request rate.")


def internal_error() -> OSError:
    """What a driver makes of the answer 500."""
    return OSError(getattr(errno, "EREMOTEIO", errno.EIO), "We encountered an internal error. Please try again.")


class UnsteadyFiles(MemoryFileSystem):  # type: ignore[misc]  # its package has no types
    """A file system that remembers what it was asked, and answers with the errors it was given."""

    cachable = False

    def __init__(self) -> None:
        """Be empty, and well."""
        super().__init__(global_store=False)
        self.asked: list[str] = []
        """Method and path of each request, with a blank between."""
        self.down: Exception | None = None
        """What every request meets; None: the server is well."""
        self._faults: list[Exception] = []

    def shelf(self, **options: Any) -> ObjectShelf:
        """A shelf on it that waits for nothing."""
        options = {"can_copy": True, "waits": (0.0, 0.0, 0.0), "sleep": _no_sleep, **options}
        return ObjectShelf(lambda: self, ROOT, "s3://bucket/prefix", **options)

    def fail(self, errors: Iterable[Exception]) -> None:
        """The next requests meet these errors, one each."""
        self._faults.extend(errors)

    def damage(self, name: str) -> None:
        """Turn a bit of an object."""
        path = f"{ROOT}/{name}"
        content = bytearray(super().cat_file(path))
        content[len(content) // 2] ^= 1
        super().pipe_file(path, bytes(content))

    def age(self, name: str, seconds: float) -> None:
        """As if an object had been written so long ago."""
        self.store[f"{ROOT}/{name}"].created -= timedelta(seconds=seconds)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """The content."""
        self._meet("read", path)
        return bytes(super().cat_file(path, start, end, **kwargs))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write."""
        self._meet("write", path)
        super().pipe_file(path, value, mode, **kwargs)

    def info(self, path: str, **kwargs: Any) -> Any:
        """What is known."""
        self._meet("look", path)
        return super().info(path, **kwargs)

    def find(self, path: str, *given: Any, **named: Any) -> Any:
        """All below a path."""
        self._meet("list", path)
        asked, found = list(self.asked), super().find(path, *given, **named)
        self.asked = asked  # how the parent goes about it is not a request
        return found

    def rm_file(self, path: str) -> None:
        """Remove."""
        self._meet("remove", path)
        super().rm_file(path)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        """Copy."""
        self._meet("copy", path1)
        super().cp_file(path1, path2, **kwargs)

    def _meet(self, method: str, path: str) -> None:
        self.asked.append(f"{method} {str(path).removeprefix(ROOT).strip('/')}")
        if self.down is not None:
            raise self.down
        if self._faults:
            raise self._faults.pop(0)


def _no_sleep(seconds: float) -> None:
    """Time is not what is tested."""
