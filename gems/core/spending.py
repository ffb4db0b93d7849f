"""What a trajectory may spend: every call reserves its worst case before it is made, so that no limit is ever passed.

A node opens its trajectory's purse; whoever makes a call to a model, however deep below, reserves from the purse that is
open in its context. Parallel calls share one purse.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from gems.core.errors import BudgetSpent, DrawingRefused, GemsConfigError, GemsRunError, ModelOutage
from gems.core.state import Usage

MOST_PURSES: Final = 1000
"""Trajectories remembered by one process; beyond that, the oldest start again from what was kept of them."""
ROUNDING: Final = 1e-9
"""Dollars by which a sum of prices may seem to pass a limit that it just reaches."""


class Spend(NamedTuple):
    """Calls to chat models, drawings, money (US dollars), seconds of work that came to nothing, and chat models' tokens."""

    calls: int = 0
    images: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    tokens: int = 0

    def plus(self, other: Spend) -> Spend:
        """The sum."""
        return Spend(
            self.calls + other.calls,
            self.images + other.images,
            self.cost + other.cost,
            self.seconds + other.seconds,
            self.tokens + other.tokens,
        )

    def at_least(self, other: Spend) -> Spend:
        """The larger of both, each by itself."""
        return Spend(
            max(self.calls, other.calls),
            max(self.images, other.images),
            max(self.cost, other.cost),
            max(self.seconds, other.seconds),
            max(self.tokens, other.tokens),
        )

    def minus(self, other: Spend) -> Spend:
        """The difference."""
        return self.plus(Spend(-other.calls, -other.images, -other.cost, -other.seconds, -other.tokens))


def tokens_of(usage: Usage) -> int:
    """Tokens read and written, those of calls that came to nothing among them."""
    return usage.get("input_tokens", 0) + usage.get("output_tokens", 0) + usage.get("lost_tokens", 0)


NOTHING: Final = Spend()


@dataclass(frozen=True, slots=True)
class Limits:
    """The most a trajectory may spend; None is no limit."""

    max_calls: int | None = None
    max_tokens: int | None = None
    max_images: int | None = None
    max_cost: float | None = None
    max_seconds: float | None = None


NO_LIMITS: Final = Limits()


class Accounts(Protocol):
    """What trajectories have spent, kept for the next process."""

    async def spent(self, trajectory_id: str) -> Spend:
        """All that was booked."""
        ...

    async def book(self, trajectory_id: str, spend: Spend) -> None:
        """Add to it; a negative amount gives back."""
        ...


class Account(NamedTuple):
    """One trajectory's part of the accounts; these are found in a thread, as they may have to read settings."""

    find: Callable[[], Accounts]
    trajectory_id: str

    async def spent(self) -> Spend:
        """All that was booked."""
        return await (await asyncio.to_thread(self.find)).spent(self.trajectory_id)

    async def book(self, spend: Spend) -> None:
        """Add to it; a negative amount gives back."""
        await (await asyncio.to_thread(self.find)).book(self.trajectory_id, spend)


class Bill:
    """One reservation. Until something is paid, its worst case stands."""

    def __init__(self, worst: Spend) -> None:
        self.spend = worst

    def pay(self, spend: Spend) -> None:
        """Say what the call cost in the end."""
        self.spend = spend


class Purse:
    """What one trajectory has spent and reserved, against its limits. For any thread."""

    def __init__(self, account: Account | None = None) -> None:
        """Start empty; `account` keeps what is spent for the next process."""
        self._account = account
        self._lock = threading.Lock()
        self._limits = NO_LIMITS
        self._spent = Spend()
        self._reserved: dict[Bill, Spend] = {}
        self._lost = Spend()
        self._deadline: float | None = None
        self._levelled: Future[None] | None = None
        self._wasted_until = 0.0
        self._waiting: list[Future[None]] = []
        self.exhausted: str = ""
        """The limit that stopped a call since the purse was last opened with other limits; empty when none did."""

    def open(self, limits: Limits, spent: Spend, seconds: float = 0.0) -> None:
        """Take the limits in force, and what was spent as far as others know: another process may have spent it.

        Args:
            limits: The limits.
            spent: What was spent at least; `seconds` of it in vain.
            seconds: Seconds of work that came to something.
        """
        with self._lock:
            if limits != self._limits:
                self.exhausted = ""
            if limits == NO_LIMITS:
                self._levelled = None
            self._limits = limits
            self._spent = self._spent.at_least(spent)
            worked = seconds + self._spent.seconds
            left = None if limits.max_seconds is None else limits.max_seconds - worked
            self._deadline = None if left is None else time.monotonic() + left

    @asynccontextmanager
    async def reserve(self, worst: Spend, beside: Spend = NOTHING) -> AsyncIterator[Bill]:
        """Hold the worst case of a call while it is made, then book what it cost. There must be room for `beside`, too.

        Where only what others have reserved stands in the way, this waits until they have booked theirs. A call that a
        server did not work on costs nothing; one that failed in another way costs its worst case, and counts as lost.

        Raises:
            BudgetSpent: the worst case lies beyond a limit; the call must not be made.
        """
        bill = Bill(worst)
        while (others := self._hold(bill, beside)) is not None:
            await asyncio.wrap_future(others)
        answered, kept = False, NOTHING
        try:
            # Cancelled meanwhile, it is booked all the same.
            kept = worst if self._is_limited else NOTHING
            await self._keep(kept)
            yield bill
            answered = True
        except Exception as error:
            if isinstance(error, _NotKept):
                kept = NOTHING
            if _costs_nothing(error):
                bill.pay(NOTHING)
            raise
        finally:
            self._settle(bill, answered=answered)
            if self._is_limited or kept != NOTHING:
                await asyncio.shield(self._keep(bill.spend.minus(kept)))

    async def waste(self, start: float, end: float) -> None:
        """Note a span of work that came to nothing, in seconds since the epoch; parallel work counts once."""
        with self._lock:
            lost = Spend(seconds=max(0.0, end - max(start, self._wasted_until)))
            self._wasted_until = max(self._wasted_until, end)
            self._spent = self._spent.plus(lost)
        if self._is_limited:
            await self._keep(lost)

    async def level(self, told: Spend) -> None:
        """Bring the purse and its account to the same, once: whoever comes first does it, and the others wait.

        Without limits nothing is kept, so that either may know of more than the other, and `told` of more than both.
        """
        if self._account is None:
            return
        with self._lock:
            is_first = self._levelled is None
            done = self._levelled = self._levelled or Future()
        if not is_first:
            await asyncio.shield(asyncio.wrap_future(done))
            return
        try:
            kept = await self._account.spent()
            with self._lock:
                self._spent = self._spent.at_least(told).at_least(kept)
                missing = self._spent.minus(kept)
            await self._account.book(missing)
        except BaseException:
            with self._lock:
                self._levelled = None
            done.set_exception(GemsRunError("what was spent so far could not be read"))
            raise
        done.set_result(None)

    def take_lost(self) -> Usage:
        """What failed calls cost since this was last asked: nobody else reports it."""
        with self._lock:
            lost, self._lost = self._lost, Spend()
        usage = Usage()
        if lost.calls:
            usage["mllm_calls"] = lost.calls
        if lost.images:
            usage["images"] = lost.images
        if lost.cost:
            usage["cost"] = lost.cost
        if lost.tokens:
            usage["lost_tokens"] = lost.tokens
        return usage

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the deadline, if there is one; never below zero."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def refuse(self, limit: str, message: str) -> BudgetSpent:
        """Note the limit that was met, and make the error that says so."""
        self.exhausted = limit
        return BudgetSpent(message, limit)

    @property
    def _is_limited(self) -> bool:
        """Only what is limited needs to outlive the process."""
        return self._limits != NO_LIMITS

    async def _keep(self, spend: Spend) -> None:
        if self._account and any(spend):
            try:
                await self._account.book(spend)
            except GemsConfigError as error:
                raise _NotKept(str(error)) from error

    def _hold(self, bill: Bill, beside: Spend) -> Future[None] | None:
        """Reserve, or answer what to wait for: that another reservation is booked."""
        worst = bill.spend.plus(beside)
        with self._lock:
            if self.seconds_left == 0:
                raise self.refuse("max_seconds", "max_seconds is over")
            if passed := self._passed(worst, self._spent):
                limit = getattr(self._limits, passed)
                asked = getattr(worst, passed.removeprefix("max_"))
                raise self.refuse(passed, f"{passed} {limit:g} leaves no room for a call that may take {asked:g}")
            reserved = self._spent
            for other in self._reserved.values():
                reserved = reserved.plus(other)
            if self._passed(worst, reserved):
                self._waiting.append(Future())
                return self._waiting[-1]
            self._reserved[bill] = worst
            return None

    def _settle(self, bill: Bill, *, answered: bool) -> None:
        with self._lock:
            del self._reserved[bill]
            self._spent = self._spent.plus(bill.spend)
            if not answered:
                self._lost = self._lost.plus(bill.spend)
            waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if turn.set_running_or_notify_cancel():
                turn.set_result(None)

    def _passed(self, worst: Spend, before: Spend) -> str:
        """The limit that a call would pass; a limit that the call does not touch is none."""
        limits = self._limits
        for name, spent, asked, limit in (
            ("max_calls", before.calls, worst.calls, limits.max_calls),
            ("max_tokens", before.tokens, worst.tokens, limits.max_tokens),
            ("max_images", before.images, worst.images, limits.max_images),
            ("max_cost", before.cost, worst.cost, limits.max_cost),
        ):
            if limit is not None and asked and spent + asked > limit + ROUNDING:
                return name
        return ""


class _NotKept(GemsConfigError):
    """A reservation could not be booked; the call is not made."""


def _costs_nothing(error: Exception) -> bool:
    """Whether a call failed before a server worked on it."""
    if isinstance(error, ModelOutage):
        return error.again == "free"
    return isinstance(error, GemsConfigError | DrawingRefused)


class Purses:
    """The purses of a process, by trajectory."""

    def __init__(self, accounts: Callable[[], Accounts] | None = None) -> None:
        """Keep what is spent in these accounts; without any, only for this process."""
        self._accounts = accounts
        self._purses: OrderedDict[str, Purse] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, trajectory_id: str) -> Purse:
        """The trajectory's purse."""
        with self._lock:
            purse = self._purses.pop(trajectory_id, None) or Purse(self._account(trajectory_id))
            self._purses[trajectory_id] = purse
            while len(self._purses) > MOST_PURSES:
                self._purses.popitem(last=False)
            return purse

    async def open(self, trajectory_id: str, limits: Limits, usage: Usage, seconds: float) -> Purse:
        """The trajectory's purse, opened for the current context.

        Args:
            trajectory_id: Whose purse.
            limits: The limits in force.
            usage: What its state says was spent. What the ledger gave back counts as drawn: it was paid for.
            seconds: Seconds in which it was being worked on.
        """
        purse = self.of(trajectory_id)
        images = usage.get("images", 0) + usage.get("reused", 0)
        told = Spend(usage.get("mllm_calls", 0), images, usage.get("cost", 0.0), tokens=tokens_of(usage))
        if limits != NO_LIMITS:
            await purse.level(told)
        purse.open(limits, told, seconds)
        _open.set(purse)
        return purse

    def _account(self, trajectory_id: str) -> Account | None:
        return Account(self._accounts, trajectory_id) if self._accounts else None


_open: ContextVar[Purse | None] = ContextVar("gems_purse", default=None)


@asynccontextmanager
async def reserve(worst: Spend, beside: Spend = NOTHING) -> AsyncIterator[Bill]:
    """Reserve from the purse that is open here; where none is (a check of the machine), nothing is limited.

    Raises:
        BudgetSpent: the worst case lies beyond a limit.
    """
    purse = _open.get()
    if purse is None:
        yield Bill(worst)
        return
    async with purse.reserve(worst, beside) as bill:
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


def refuse_again(limit: str, message: str) -> BudgetSpent:
    """The error of a call that was refused when it was recorded."""
    purse = _open.get()
    return purse.refuse(limit, message) if purse else BudgetSpent(message, limit)


@contextmanager
def reserved_already() -> Iterator[None]:
    """Nothing is reserved here once more: whoever called has reserved for all that is done."""
    token = _open.set(None)
    try:
        yield
    finally:
        _open.reset(token)
