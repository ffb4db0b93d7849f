"""The servers that are asked: chat and images over real HTTP, slow by chance, and never killed. Their log is the judge.

A life carries its name as the key that it sends along, so that what a dead one has asked is told from what the next one
asks, also when its last request is read after its death.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from PIL import Image

from gems.core.messages import TaskInput
from gems.evals.loopback import ChatServer, Entry, ImageServer, Loopback, seeing
from gems.evals.loopback.brains import Brain
from gems.evals.loopback.pictures import Wish
from gems.evals.loopback.wire import Reply, Request
from gems.memory import export_png

WISH_FIELD: Final = "loopback:wish"
"""The text field of a drawn PNG that says what was wished for."""
MET: Final = 0.45
"""How often a requirement is met: some trajectories end satisfied, most run through all rounds."""
CHAT_SECONDS: Final = (0.03, 0.15)
LONG_SECONDS: Final = (1.2, 1.8)
"""What some answers take: those beside them are there long before."""
LONG: Final = 1 / 20
DRAWING_SECONDS: Final = (0.03, 0.12)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a life. Two with the same `digest` ask for the same."""

    life: str
    digest: str
    entry: Entry

    @property
    def is_drawing(self) -> bool:
        """Whether a picture was asked for."""
        return self.entry.kind == "images"

    def answered_before(self, moment: float) -> float | None:
        """Seconds from the end of the answer to a moment; None where it was not answered by then."""
        end = self.entry.end
        return None if end is None or end > moment else moment - end


class Aim(NamedTuple):
    """What is aimed at: the moments after an answer is sent. The file tells who kills that it is."""

    what: str
    """A kind of request, or one task."""
    file: Path


def wish_digest(prompt: str, seed: int | None) -> str:
    """What a drawing is known by."""
    return hashlib.sha256(f"{prompt}\0{seed}".encode()).hexdigest()


def paint(wish: Wish) -> bytes:
    """Noise that the wish decides, as large as a real picture's file, with the wish's digest in it."""
    digest = wish_digest(wish.prompt, wish.seed)
    noise = random.Random(digest).randbytes(3 * wish.width * wish.height)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (wish.width, wish.height), noise).save(buffer, "PNG", compress_level=0)
    return export_png(buffer.getvalue(), {WISH_FIELD: digest})


def deciding() -> Brain:
    """Sees as `seeing` does, but with two degrees of certainty, so that pictures tie and have to be compared.

    From what failed and was mended it always learns the same.
    """
    look = seeing(MET)

    def brain(task: TaskInput) -> dict[str, Any]:
        if task.task == "distil":
            return {"lessons": [_lesson(item) for item in task.fields["evidence"]][:2]}
        if task.task == "compare":
            first, second = (hashlib.sha256(picture).digest() for picture in task.images)
            return {"reason": "it is nicer", "better": "first" if first > second else "second"}
        reply = look(task)
        for verdict in reply.get("verdicts", []):
            verdict["confidence"] = 0.55 if verdict["confidence"] < 0.6 else 0.9
        return reply

    return brain


def _lesson(evidence: dict[str, Any]) -> dict[str, str]:
    question = evidence["question"]
    return {"kind": evidence["kind"], "when": f"Asked is: {question}", "advice": f"Begin with this: {question}"}


class SlowServers:
    """Both servers at one URL, for as long as they are entered."""

    def __init__(self, seed: int) -> None:
        """Their delays follow from the seed."""
        self.hurry = False
        """Whether they answer at once: what they answer is the same."""
        self._chance = random.Random(seed)
        self._chat = ChatServer(deciding())
        self._images = ImageServer(paint=self._paint)
        self._aim: Aim | None = None
        self._asked: list[Asked] = []
        self._lock = threading.Lock()
        self._loopback = Loopback(self)

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._loopback.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._loopback.__exit__(kind, error, trace)

    @property
    def url(self) -> str:
        """The base URL of both APIs."""
        return f"{self._loopback.url}/v1"

    def asked(self, lives: Sequence[str]) -> list[Asked]:
        """What these lives have asked, in order of arrival."""
        wanted = frozenset(lives)
        with self._lock:
            return [it for it in self._asked if it.life in wanted]

    def aim(self, aim: Aim | None) -> None:
        """Make its file when such an answer is about to be sent; with None, never."""
        self._aim = aim

    def settle(self) -> None:
        """Wait until everything that was asked is answered, whether or not anybody still listens.

        Raises:
            RuntimeError: it takes half a minute.
        """
        until = time.monotonic() + 30
        while any(it.entry.end is None for it in list(self._asked)):
            if time.monotonic() > until:
                raise RuntimeError("the loopback servers do not come to an end")
            time.sleep(0.005)

    def answer(self, request: Request, entry: Entry) -> Reply | None:
        """The reply of one of both, late; as `Part.answer`."""
        if request.method == "GET":
            return self._images.answer(request, entry)
        self._note(request, entry)
        reply = self._images.answer(request, entry) or self._chat.answer(request, entry)
        if entry.kind == "chat":
            self._delay(LONG_SECONDS if self._draw_lots() < LONG else CHAT_SECONDS)
        if (aim := self._aim) is not None and aim.what in (entry.kind, entry.task):
            aim.file.touch()
        return reply

    def _note(self, request: Request, entry: Entry) -> None:
        body = json.loads(request.body)
        if "messages" in body:
            entry.kind = "chat"
            digest = hashlib.sha256(json.dumps(body["messages"], sort_keys=True).encode()).hexdigest()
        else:
            entry.kind = "images"
            digest = wish_digest(body["prompt"], body["seed"])
        with self._lock:
            self._asked.append(Asked(request.key, digest, entry))

    def _paint(self, wish: Wish) -> bytes:
        self._delay(DRAWING_SECONDS)
        return paint(wish)

    def _delay(self, between: tuple[float, float]) -> None:
        least, most = between
        seconds = least + (most - least) * self._draw_lots()
        if not self.hurry:
            time.sleep(seconds)

    def _draw_lots(self) -> float:
        with self._lock:
            return self._chance.random()
