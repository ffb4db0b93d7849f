"""What a loopback server was asked and what it did, request by request."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["chat", "images", "unload", "other"]


@dataclass(slots=True)
class Entry:
    """One request. Times are readings of `time.monotonic()`, which all processes of a machine share; sizes are in bytes."""

    number: int
    kind: Kind
    path: str
    start: float
    end: float | None = None
    status: int = 0
    received: int = 0
    sent: int = 0
    fault: str = ""
    """What was done wrong on purpose; empty when nothing was."""

    task: str = ""
    repair: bool = False
    """Whether the request shows the model an earlier reply of its own."""
    output: str = ""
    """How JSON was asked for: json_schema, json_object, or text."""
    asked: list[str] = field(default_factory=list)
    """The questions of a `judge` request."""
    picture: str = ""
    """A digest of the pictures sent along."""
    said: dict[str, Any] = field(default_factory=dict)
    """What the brain answered, before any fault."""
    images: int = 0
    image_tokens: int = 0
    text_tokens: int = 0
    output_tokens: int = 0

    prompt: str = ""
    seed: int | None = None
    draw_start: float | None = None
    draw_end: float | None = None


class Log:
    """The entries of one server, for any thread."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self._entries = list(entries)
        self._lock = threading.Lock()

    def open(self, kind: Kind, path: str, received: int) -> Entry:
        """A new entry, begun now."""
        with self._lock:
            entry = Entry(len(self._entries), kind, path, time.monotonic(), received=received)
            self._entries.append(entry)
            return entry

    @property
    def entries(self) -> list[Entry]:
        """All entries, in order of their arrival."""
        with self._lock:
            return list(self._entries)

    def of(self, kind: Kind) -> list[Entry]:
        """The entries of one kind, in order of their arrival."""
        return [entry for entry in self.entries if entry.kind == kind]

    @property
    def chat(self) -> list[Entry]:
        """Chat requests."""
        return self.of("chat")

    @property
    def drawn(self) -> list[Entry]:
        """Requests for which a picture was drawn, whatever became of the reply."""
        return [entry for entry in self.of("images") if entry.draw_end is not None]

    @property
    def drawing_seconds(self) -> float:
        """Seconds from the first drawing's start to the last one's end."""
        drawn = self.drawn
        return max(it.draw_end or 0.0 for it in drawn) - min(it.draw_start or 0.0 for it in drawn) if drawn else 0.0

    @property
    def busy_share(self) -> float:
        """The part of those seconds in which something was being drawn, in [0, 1]; drawings one at a time."""
        busy = sum((it.draw_end or 0.0) - (it.draw_start or 0.0) for it in self.drawn)
        return busy / self.drawing_seconds if self.drawing_seconds else 0.0

    def dump(self) -> bytes:
        """All entries as JSON."""
        return json.dumps([asdict(entry) for entry in self.entries], ensure_ascii=False).encode()

    @classmethod
    def load(cls, content: bytes) -> Log:
        """What `dump` wrote."""
        return cls([Entry(**fields) for fields in json.loads(content)])
