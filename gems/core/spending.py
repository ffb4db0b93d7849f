"""What a trajectory may spend: every call reserves its worst case before it is made, so that no limit is ever passed.

A node opens its trajectory's purse; whoever makes a call to a model, however deep below, reserves from the purse that is
open in its context. Parallel calls share one purse.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, NamedTuple

from gems.core.errors import BudgetSpent, DrawingRefused, GemsConfigError, ModelOutage
from gems.core.state import Options, Usage

MOST_PURSES: Final = 1000
"""Trajectories remembered by one process; beyond that, the oldest start again from what their state says."""


class Spend(NamedTuple):
    """Calls to chat models, drawings, and money (US dollars)."""

    calls: int = 0
    images: int = 0
    cost: float = 0.0

    def plus(self, other: Spend) -> Spend:
        """The sum."""
        return Spend(self.calls + other.calls, self.images + other.images, self.cost + other.cost)


@dataclass(frozen=True, slots=True)
class Limits:
    """The most a trajectory may spend; None is no limit."""

    max_calls: int | None = None
    max_images: int | None = None
    max_cost: float | None = None
    max_seconds: float | None = None


class Bill:
    """One reservation. Until something is paid, its worst case stands."""

    def __init__(self, worst: Spend) -> None:
        self.spend = worst

    def pay(self, spend: Spend) -> None:
        """Say what the call cost in the end."""
        self.spend = spend


class Purse:
    """What one trajectory has spent and reserved, against its limits. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits = Limits()
        self._spent = Spend()
        self._reserved = Spend()
        self._deadline: float | None = None
        self._waiting: list[Future[None]] = []
        self.exhausted: str = ""
        """The limit that stopped a call since the purse was last opened with other limits; empty when none did."""

    def open(self, limits: Limits, spent: Spend, seconds: float = 0.0) -> None:
        """Take the limits in force, and what the state says was spent: another process may have spent it."""
        with self._lock:
            if limits != self._limits:
                self.exhausted = ""
            self._limits = limits
            left = None if limits.max_seconds is None else limits.max_seconds - seconds
            self._deadline = None if left is None else time.monotonic() + left
            done = self._spent
            self._spent = Spend(
                max(done.calls, spent.calls), max(done.images, spent.images), max(done.cost, spent.cost)
            )

    @asynccontextmanager
    async def reserve(self, worst: Spend) -> AsyncIterator[Bill]:
        """Hold the worst case of a call while it is made, then book what it cost.

        Where only what others have reserved stands in the way, this waits until they have booked theirs. A call that a
        server did not work on costs nothing; one that failed in another way costs its worst case.

        Raises:
            BudgetSpent: the worst case lies beyond a limit; the call must not be made.
        """
        while (others := self._hold(worst)) is not None:
            await asyncio.wrap_future(others)
        bill = Bill(worst)
        try:
            yield bill
        except (GemsConfigError, DrawingRefused):
            bill.pay(Spend())
            raise
        except ModelOutage as error:
            if error.again == "free":
                bill.pay(Spend())
            raise
        finally:
            with self._lock:
                self._reserved = self._reserved.plus(Spend(-worst.calls, -worst.images, -worst.cost))
                self._spent = self._spent.plus(bill.spend)
                waiting, self._waiting = self._waiting, []
            for turn in waiting:
                if turn.set_running_or_notify_cancel():
                    turn.set_result(None)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline, if there is one; never below zero."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def refuse(self, limit: str, message: str) -> BudgetSpent:
        """Note the limit that was met, and make the error that says so."""
        self.exhausted = limit
        return BudgetSpent(message, limit)

    def _hold(self, worst: Spend) -> Future[None] | None:
        """Reserve, or answer what to wait for: that another reservation is booked."""
        with self._lock:
            if self.seconds_left == 0:
                raise self.refuse("max_seconds", "max_seconds is over")
            if passed := self._passed(worst, self._spent):
                limit = getattr(self._limits, passed)
                asked = getattr(worst, passed.removeprefix("max_"))
                raise self.refuse(passed, f"{passed} {limit:g} leaves no room for a call that may take {asked:g}")
            if self._passed(worst, self._spent.plus(self._reserved)):
                self._waiting.append(Future())
                return self._waiting[-1]
            self._reserved = self._reserved.plus(worst)
            return None

    def _passed(self, worst: Spend, before: Spend) -> str:
        """The limit that a call would pass; a limit that the call does not touch is none."""
        limits = self._limits
        for name, spent, asked, limit in (
            ("max_calls", before.calls, worst.calls, limits.max_calls),
            ("max_images", before.images, worst.images, limits.max_images),
            ("max_cost", before.cost, worst.cost, limits.max_cost),
        ):
            if limit is not None and asked and spent + asked > limit:
                return name
        return ""


class Purses:
    """The purses of a process, by trajectory."""

    def __init__(self) -> None:
        self._purses: OrderedDict[str, Purse] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, trajectory_id: str) -> Purse:
        """The trajectory's purse."""
        with self._lock:
            purse = self._purses.pop(trajectory_id, None) or Purse()
            self._purses[trajectory_id] = purse
            while len(self._purses) > MOST_PURSES:
                self._purses.popitem(last=False)
            return purse

    def open(self, trajectory_id: str, options: Options, usage: Usage, seconds: float) -> Purse:
        """The trajectory's purse, with the limits of its options, opened for the current context.

        Args:
            trajectory_id: Whose purse.
            options: The trajectory's options.
            usage: What its state says was spent. What the ledger gave back counts as drawn: it was paid for.
            seconds: Seconds in which it was being worked on.
        """
        purse = self.of(trajectory_id)
        limits = Limits(options["max_calls"], options["max_images"], options["max_cost"], options["max_seconds"])
        images = usage.get("images", 0) + usage.get("reused", 0)
        purse.open(limits, Spend(usage.get("mllm_calls", 0), images, usage.get("cost", 0.0)), seconds)
        _open.set(purse)
        return purse


_open: ContextVar[Purse | None] = ContextVar("gems_purse", default=None)


@asynccontextmanager
async def reserve(worst: Spend) -> AsyncIterator[Bill]:
    """Reserve from the purse that is open here; where none is (a check of the machine), nothing is limited.

    Raises:
        BudgetSpent: the worst case lies beyond a limit.
    """
    purse = _open.get()
    if purse is None:
        yield Bill(worst)
        return
    async with purse.reserve(worst) as bill:
        yield bill


@asynccontextmanager
async def deadline(what: str) -> AsyncIterator[None]:
    """Stop what is done here, waiting too, when the trajectory's time is over.

    Raises:
        BudgetSpent: it is.
    """
    purse = _open.get()
    try:
        async with asyncio.timeout(purse.seconds_left if purse else None) as limit:
            yield
    except TimeoutError as error:
        if purse is None or not limit.expired():
            raise
        raise purse.refuse("max_seconds", f"max_seconds was over before {what} was done") from error
