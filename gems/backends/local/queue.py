"""Orders in the order of their arrival, taken by workers in goes; and errands for one worker alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from gems.backends.local.orders import Order, Painted
from gems.backends.local.painting import can_share
from gems.core.errors import ModelOutage

WINDOW: Final = 0.006
"""Seconds from the last order's arrival in which one more may come to share its go: those of one round come together."""
_MOST_WINDOWS: Final = 5
"""How many of them an order is kept waiting at most, while others come."""


@dataclass(eq=False, slots=True)
class Job:
    """An order on its way."""

    order: Order
    result: Future[Painted] = field(default_factory=Future)
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set when nobody waits for it any more."""
    arrived: float = field(default_factory=time.monotonic)

    def begin(self) -> bool:
        """Note that it is under way; False where it was cancelled before."""
        return self.result.set_running_or_notify_cancel()

    def fail(self, error: BaseException) -> None:
        """End it, begun or not; what has an end keeps it."""
        if not self.result.done() and (self.result.running() or self.begin()):
            self.result.set_exception(error)


@dataclass(eq=False, slots=True)
class Errand:
    """Something that a worker is to do besides drawing."""

    do: Callable[[Any], None]
    """Takes the worker."""
    result: Future[None] = field(default_factory=Future)

    def run(self, worker: Any) -> None:
        """Do it; what it raises is the result's."""
        if not self._begin():
            return
        try:
            self.do(worker)
        except BaseException as error:
            self.result.set_exception(error)
        else:
            self.result.set_result(None)

    def refuse(self, error: Exception) -> None:
        """Have whoever waits for it hear why it is not done."""
        if self._begin():
            self.result.set_exception(error)

    def _begin(self) -> bool:
        return not self.result.done() and self.result.set_running_or_notify_cancel()


class OrderQueue:
    """What waits, for the workers of one studio."""

    def __init__(self, window: float = WINDOW) -> None:
        """Set the window in seconds."""
        self._window = window
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        self._errands: dict[object, list[Errand]] = {}
        self._idle: set[object] = set()
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is let in."""
        return self._closed

    @property
    def waiting(self) -> int:
        """Orders that nobody has taken up."""
        with self._changed:
            return sum(not job.result.cancelled() for job in self._jobs)

    def put(self, job: Job) -> None:
        """Add an order.

        Raises:
            ModelOutage: the queue is closed.
        """
        with self._changed:
            if self._closed:
                raise _ending()
            self._jobs.append(job)
            self._changed.notify_all()

    def put_back(self, jobs: list[Job]) -> None:
        """Give back what did not fit into a go; it is the next again.

        Raises:
            ModelOutage: the queue is closed.
        """
        with self._changed:
            if self._closed:
                raise _ending()
            self._jobs[:0] = jobs
            self._changed.notify_all()

    def send(self, worker: object, errand: Errand) -> None:
        """Ask one worker to do something, after the go it is at."""
        with self._changed:
            if self._closed:
                errand.refuse(_ending())
                return
            self._errands.setdefault(worker, []).append(errand)
            self._changed.notify_all()

    def close(self) -> list[Job]:
        """Let nothing more in; answers what waited."""
        with self._changed:
            self._closed = True
            left, self._jobs = self._jobs, []
            errands = [errand for waiting in self._errands.values() for errand in waiting]
            self._errands.clear()
            self._changed.notify_all()
        for errand in errands:
            errand.refuse(_ending())
        return left

    def take(self, worker: object, seconds: float | None) -> list[Job] | Errand | None:
        """What a worker is to do next; an empty list when there is nothing, and never will be.

        Args:
            worker: Who asks.
            seconds: How long it can wait; None: for ever. After that, the answer is None.
        """
        until = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            self._idle.add(worker)
            try:
                return self._take(worker, until)
            finally:
                self._idle.discard(worker)

    def _take(self, worker: object, until: float | None) -> list[Job] | Errand | None:
        while True:
            if self._closed:
                return []
            if errands := self._errands.get(worker):
                return errands.pop(0)
            self._jobs = [job for job in self._jobs if not job.result.done()]
            wake = until
            if self._jobs:
                go = self._go()
                if len(go) >= go[0].order.model.options.batch:
                    return self._taken(go)
                latest = max(job.arrived for job in go)
                closes = min(latest + self._window, go[0].arrived + _MOST_WINDOWS * self._window)
                if time.monotonic() >= closes:
                    return self._taken(go)
                wake = closes
            left = None if wake is None else wake - time.monotonic()
            if left is not None and left <= 0 and not self._jobs:
                return None
            self._changed.wait(left)

    def _go(self) -> list[Job]:
        """The oldest order and those that can share its go."""
        head = self._jobs[0]
        return [job for job in self._jobs if job is head or can_share(head.order, job.order)]

    def _taken(self, go: list[Job]) -> list[Job]:
        """A fair part of the go: others that are idle get theirs."""
        share = -(-len(go) // len(self._idle))
        mine = go[: min(share, go[0].order.model.options.batch)]
        self._jobs = [job for job in self._jobs if job not in mine]
        self._changed.notify_all()
        return mine


def _ending() -> ModelOutage:
    return ModelOutage("no more is drawn here: this process is ending")
