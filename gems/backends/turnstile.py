"""A turnstile with two sides: many of one side may be in at once, never of both. For any thread and any event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Final, Literal

Side = Literal["chat", "drawing"]
Leave = Callable[[], Awaitable[None]]
"""Gives back what a side holds. What is equal is called once."""

PATIENCE: Final = 20.0
"""Seconds for which others of the side that is in may still come in, while the other side waits."""
LEAVE_SECONDS: Final = 60.0
"""Time limit of giving back: the weights of a large model are moved in less."""

logger = logging.getLogger(__name__)


class _Visitor:
    """Somebody who wants in."""

    def __init__(self, side: Side, leave: Leave | None, came: float) -> None:
        self.side = side
        self.leave = leave
        self.came = came
        self.is_in = False
        self.called: Future[None] = Future()

    def call(self) -> None:
        # Cancelled meanwhile, it comes all the same, and finds out what it was called for.
        if self.called.set_running_or_notify_cancel():
            self.called.set_result(None)


class Turnstile:
    """Lets one side in at a time.

    Nothing happens when the last of a side leaves. When the other side is asked for, what the old side holds is given
    back, then everybody who waits for the new side comes in.
    """

    def __init__(
        self,
        patience: float = PATIENCE,
        leave_seconds: float = LEAVE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the rules; nobody is in.

        Args:
            patience: Seconds from when the other side began to wait, or this side began if that was later, for which
                newcomers of this side still come in. More of it is fewer changes of side, and longer waits.
            leave_seconds: Time limit of one `leave`.
            clock: Seconds, from any beginning.
        """
        self._patience = patience
        self._leave_seconds = leave_seconds
        self._clock = clock
        self._lock = threading.Lock()
        # What a drawing holds is in this process, which has drawn nothing yet; a chat server may be older.
        self._side: Side = "chat"
        self._since = clock()
        self._inside = 0
        self._swaps = 0
        self._swapper: _Visitor | None = None
        self._waiting: dict[Side, list[_Visitor]] = {"chat": [], "drawing": []}
        self._owed: dict[Side, dict[Leave, None]] = {"chat": {}, "drawing": {}}

    @property
    def swaps(self) -> int:
        """How often the side has changed."""
        return self._swaps

    def owe(self, side: Side, leave: Leave) -> None:
        """Say what a side may hold before anybody of it was in."""
        with self._lock:
            self._owed[side][leave] = None

    @asynccontextmanager
    async def turn(self, side: Side, leave: Leave | None = None) -> AsyncIterator[None]:
        """Be in, on this side, once the other side is out and has given back what it holds.

        Args:
            side: Which one.
            leave: Gives back what is held from now on. It is called once, and only when the other side is asked for. If
                it fails, that is logged, and the other side comes in all the same.
        """
        visitor = _Visitor(side, leave, self._clock())
        with self._lock:
            self._waiting[side].append(visitor)
            self._go_on()
        try:
            await asyncio.wrap_future(visitor.called)
            if not visitor.is_in:
                await self._swap(visitor)
            yield
        finally:
            with self._lock:
                self._remove(visitor)
                self._go_on()

    def _go_on(self) -> None:
        """After every change: let in whoever may come in, or call the one who changes the side."""
        if self._swapper:
            return
        ours, others = self._waiting[self._side], self._waiting[_other(self._side)]
        if ours and (not others or self._clock() < max(others[0].came, self._since) + self._patience):
            self._let_in(ours)
        if others and not self._inside:
            self._swapper = others.pop(0)
            self._swapper.call()

    async def _swap(self, swapper: _Visitor) -> None:
        """Change the side. Cancelled in the middle, the next one who waits begins again."""
        old = _other(swapper.side)
        with self._lock:
            owed = list(self._owed[old])
        # Cancelled, a group waits until all of it has stopped.
        async with asyncio.TaskGroup() as group:
            for leave in owed:
                group.create_task(self._give_back(old, leave))
        with self._lock:
            for leave in owed:
                self._owed[old].pop(leave, None)
            self._side, self._since, self._swapper = swapper.side, self._clock(), None
            self._swaps += 1
            self._enter(swapper)
            # All at once, or each would wait for a turn of its own.
            self._let_in(self._waiting[swapper.side])

    async def _give_back(self, side: Side, leave: Leave) -> None:
        try:
            async with asyncio.timeout(self._leave_seconds):
                await leave()
        except Exception as error:
            # The others may still find room; if not, their own error says so.
            said = str(error) or type(error).__name__
            logger.warning(
                "what the %s side holds of the GPU was not given back: %s",
                side,
                said,
                extra={"side": side, "error": said},
            )

    def _let_in(self, visitors: list[_Visitor]) -> None:
        for visitor in visitors:
            self._enter(visitor)
            visitor.call()
        visitors.clear()

    def _enter(self, visitor: _Visitor) -> None:
        visitor.is_in = True
        self._inside += 1
        if visitor.leave:
            self._owed[visitor.side][visitor.leave] = None

    def _remove(self, visitor: _Visitor) -> None:
        if visitor.is_in:
            self._inside -= 1
        elif visitor is self._swapper:
            self._swapper = None
        else:
            self._waiting[visitor.side].remove(visitor)


def _other(side: Side) -> Side:
    return "drawing" if side == "chat" else "chat"
