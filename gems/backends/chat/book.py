"""What is known of chat servers: in memory, and in a small file that outlives the process."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from gems.backends.chat.abilities import Abilities

MEMORY: Final = 30 * 24 * 3600.0
"""Seconds after which a server is tried anew: it may have learnt something."""


class _Entry(BaseModel):
    """What was learnt of one model at one server. Never a key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    url: str
    model: str
    learnt: float
    """Seconds since the epoch."""
    abilities: Abilities


_Entries = dict[tuple[str, str], _Entry]


class ServerBook:
    """Remembers what servers can do. For any thread; what other processes learn is found by the next one."""

    def __init__(self, path: Path | None = None, *, now: Callable[[], float] = time.time) -> None:
        """Open the book; this reads the file.

        Args:
            path: The file, e.g. `servers.json` in the settings' home; without one, memory alone. One that cannot be read, or
                holds something else, counts as empty.
            now: Seconds since the epoch.
        """
        self._path = path
        self._now = now
        self._lock = threading.Lock()
        self._entries = _read(path) if path else {}

    def find(self, url: str, model: str) -> Abilities | None:
        """What was learnt in the last 30 days, if anything was."""
        with self._lock:
            entry = self._entries.get((url, model))
        return entry.abilities if entry and self._now() - entry.learnt < MEMORY else None

    def learn(self, url: str, model: str, abilities: Abilities) -> None:
        """Remember. A file that cannot be written costs later processes a refused call, and nothing else."""
        with self._lock:
            entry = _Entry(url=url, model=model, learnt=self._now(), abilities=abilities)
            self._entries[url, model] = entry
            if self._path:
                with suppress(OSError):
                    _write(self._path, {**_read(self._path), (url, model): entry})


def _read(path: Path) -> _Entries:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["servers"]
        listed = list(found)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    entries: _Entries = {}
    for item in listed:
        with suppress(ValidationError):
            entry = _Entry.model_validate(item)
            entries[entry.url, entry.model] = entry
    return entries


def _write(path: Path, entries: _Entries) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"servers": [entry.model_dump() for entry in entries.values()]}, indent=1)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
