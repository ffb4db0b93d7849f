"""The front desk: how many drawings are taken in, who is next, and who is told to come again later."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from gems.app.serve.refusals import Refusal, stopping
from gems.app.serve.served import ServedModel
from gems.app.serve.tally import Tally
from gems.app.serve.tickets import Finished, Standing, Ticket
from gems.backends.local.orders import Order
from gems.backends.local.studio import Studio
from gems.core.context import MAX_PROMPT

_REMEMBERED: Final = 32
"""Drawings that the time of the next is estimated from."""
_FIRST_GUESS: Final = 5.0
"""Seconds of a drawing while none was made."""
_PART: Final = 4
"""Of a queue, one in so many is waited for by who is turned away: not all come again at once, nor all for one place."""
_MOST_WAIT: Final = 60.0
"""Seconds that a client is asked to stay away at most: ours gives up on a server that asks for more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken in."""

    queue: int = 64
    """Drawings that wait or are made at one time."""
    seconds: float = 600.0
    """Of one drawing, without waiting for its turn."""
    prompt: int = MAX_PROMPT
    """Characters."""
    json_bytes: int = 1_000_000
    form_bytes: int = 64_000_000


class Desk:
    """Takes drawings in. It belongs to one event loop."""

    def __init__(
        self,
        studio: Studio,
        models: Sequence[ServedModel],
        limits: Limits,
        devices: Sequence[str],
    ) -> None:
        """Stand before a studio.

        Args:
            studio: Who draws.
            models: What is served; the first is meant where a request names none.
            limits: What is taken in.
            devices: What is drawn on, for people, and to estimate how long things take.
        """
        self.studio = studio
        self.models = tuple(models)
        self.limits = limits
        self.devices = tuple(devices)
        self.is_ready = False
        self.is_stopping = False
        self.tally = Tally()
        self._held = 0
        self._tickets: dict[Ticket, None] = {}
        """In the order they came."""
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def is_busy(self) -> bool:
        """Whether drawings wait or are made."""
        return bool(self._tickets)

    async def load(self) -> None:
        """Load the models on every device.

        Raises:
            GemsConfigError: the weights cannot be loaded.
        """
        for served in self.models:
            await self.studio.ready(served.model)
        self.is_ready = True

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Hold a place for one drawing while the request is read and answered.

        Raises:
            Refusal: the desk is full, or closes.
        """
        place = Place(self)
        place.widen(1)
        try:
            yield place
        finally:
            self._held -= place.drawings

    def standing(self, ticket: Ticket) -> Standing:
        """How far a drawing is."""
        if ticket.begun:
            return Standing(ticket.step, ticket.steps, None)
        waiting = [it for it in self._tickets if not it.begun]
        return Standing(0, None, waiting.index(ticket) if ticket in waiting else None)

    def stop(self) -> None:
        """Take nothing in any more, and send away what waits; what is drawn goes on."""
        self.is_stopping = True
        # A drawing that is at its first step has told of none yet: those are the oldest.
        begun = sum(ticket.begun for ticket in self._tickets)
        silent = max(0, self.studio.figures().drawing - begun)
        for ticket in [it for it in self._tickets if not it.begun][silent:]:
            self._cut_off(ticket)

    async def finish(self, seconds: float) -> None:
        """Give what is drawn some seconds, and then stop that too."""
        tasks = [ticket.task for ticket in self._tickets if ticket.task]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for ticket in list(self._tickets):
            self._cut_off(ticket)

    def seconds_to_wait(self, places: int = 1) -> float:
        """About how long it takes until so many places are free; of a long queue a part, as others are turned away too."""
        each = sum(self._recent) / len(self._recent) if self._recent else _FIRST_GUESS
        ahead = max(places, self._held // _PART)
        return min(max(1.0, each * ahead / max(1, len(self.devices))), _MOST_WAIT)

    def open_ticket(self, order: Order, changed: Callable[[], None]) -> Ticket:
        """Begin to wait; `changed` is called whenever the ticket's standing may have changed."""
        ticket = Ticket(order, changed)
        self._tickets[ticket] = None
        ticket.task = asyncio.create_task(self._draw(ticket))
        ticket.task.add_done_callback(partial(self._close_ticket, ticket))
        return ticket

    def hold(self, more: int) -> None:
        """Hold places for further drawings.

        Raises:
            Refusal: there are not so many, or the desk closes.
        """
        if self.is_stopping:
            raise stopping()
        if self._held + more > self.limits.queue:
            raise Refusal(
                429,
                f"{self._held} drawings wait already, and {self.limits.queue} is the most: come again later",
                code="rate_limit_exceeded",
                wait=self.seconds_to_wait(more),
            )
        self._held += more

    async def _draw(self, ticket: Ticket) -> Finished:
        loop, started = asyncio.get_running_loop(), time.monotonic()

        def report(step: int, steps: int) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(partial(self._advance, ticket, step, steps))

        painted = await self.studio.draw(replace(ticket.order, progress=report))
        ticket.step = ticket.steps or ticket.step  # what the last step told may still be on its way
        return Finished(painted, ticket.order.seed, max(0.0, time.monotonic() - started - painted.seconds))

    def _close_ticket(self, ticket: Ticket, task: asyncio.Task[Finished]) -> None:
        """Not the end of `_draw`: one that is cancelled before it was begun has none."""
        del self._tickets[ticket]
        if task.cancelled():
            self.tally.cancelled += 1
        elif task.exception() is not None:
            self.tally.failed += 1
        else:
            painted = task.result().painted
            self._recent.append(painted.seconds / painted.together)
            self.tally.count_drawn(painted.seconds)
        ticket.changed()
        self._tell_waiting()

    def _advance(self, ticket: Ticket, step: int, steps: int) -> None:
        begins = not ticket.begun
        ticket.begun, ticket.step, ticket.steps = True, step, steps
        ticket.changed()
        if begins:
            self._tell_waiting()

    def _tell_waiting(self) -> None:
        for ticket in self._tickets:
            if not ticket.begun:
                ticket.changed()

    def _cut_off(self, ticket: Ticket) -> None:
        if ticket.task:
            ticket.task.cancel()


class Place:
    """What a request holds of the desk's places."""

    def __init__(self, desk: Desk) -> None:
        """Hold none yet."""
        self.drawings = 0
        self._desk = desk

    def widen(self, drawings: int) -> None:
        """Hold places for so many drawings in all.

        Raises:
            Refusal: there are not so many.
        """
        most = self._desk.limits.queue
        if drawings > most:
            raise Refusal(400, f"n {drawings}: this server takes {most} drawings at one time", param="n")
        self._desk.hold(drawings - self.drawings)
        self.drawings = drawings
