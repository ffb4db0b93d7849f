"""The way to a server: so many calls at the same time, a time limit for each, and repeats only where they can help."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from email.utils import parsedate_to_datetime
from itertools import count
from time import time
from typing import Final, Protocol, TypeVar
from weakref import WeakKeyDictionary

from gems.core.errors import ModelOutage
from gems.core.spending import NOTHING, Spend, deadline, reserve

T = TypeVar("T")

FIRST_WAIT: Final = 0.5
"""Seconds before the first repeat; each further one waits twice as long, give or take a quarter."""
MOST_WAIT: Final = 60.0
"""Seconds that a server may ask to wait; if it wants more, the call fails now and says so."""


class Places(Protocol):
    """Where a call waits until it may be made."""

    def here(self) -> AbstractAsyncContextManager[object]:
        """A place for one attempt of the running event loop."""
        ...


class Turns:
    """The places at a server, for all who call it."""

    def __init__(self, concurrency: int) -> None:
        """Give so many places."""
        self._concurrency = concurrency
        # A semaphore belongs to the event loop that first waits on it.
        self._places: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    def here(self) -> asyncio.Semaphore:
        """The places for the running event loop's calls."""
        return self._places.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(self._concurrency))


class Gate:
    """Who wants to call a server goes through its gate."""

    def __init__(
        self,
        what: str,
        *,
        turns: Places,
        seconds: float | None,
        retries: int,
        paid_retries: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Set the rules.

        Args:
            what: Who is called, for messages: "the chat model", "the image server".
            turns: The places at the server.
            seconds: Time limit of one call, not counting the wait for its turn; None: whoever is called keeps one.
            retries: Repeats of a call on which the server did no work.
            paid_retries: Repeats of a call that it may have worked on, and charged.
            sleep: What waits between repeats.
        """
        self.what = what
        self._turns = turns
        self._seconds = seconds
        self._retries = retries
        self._paid_retries = paid_retries
        self._sleep = sleep

    async def call(
        self, attempt: Callable[[], Awaitable[T]], worst: Spend, paid: Callable[[T], Spend], beside: Spend = NOTHING
    ) -> T:
        """Make a call, and repeat it where that can help.

        Args:
            attempt: The call, made once.
            worst: What one attempt may cost at most; it is reserved before.
            paid: What it cost in the end, from its result.
            beside: What there must be room for besides.

        Raises:
            ModelOutage: no attempt was answered.
            BudgetSpent: the trajectory's limits leave no room for an attempt, or its time is over.
        """
        async with deadline(self.what):
            charged = 0
            for number in count():
                try:
                    async with self._turns.here(), reserve(worst, beside) as bill:
                        result = await self._in_time(attempt)
                        bill.pay(paid(result))
                        return result
                except ModelOutage as error:
                    charged += error.again == "paid"
                    if error.again == "never" or number >= self._retries or charged > self._paid_retries:
                        raise
                    wait = _wait(error, number)
                    if wait > MOST_WAIT:
                        raise ModelOutage(f"{error}; it asks to wait {wait:.0f} s") from error
                await self._sleep(wait)
        raise AssertionError("unreachable")

    async def _in_time(self, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._seconds) as limit:
                return await attempt()
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ModelOutage(f"{self.what} did not answer within {self._seconds or 0:g} s", again="paid") from error


def _wait(error: ModelOutage, number: int) -> float:
    if error.wait is not None:
        return error.wait
    return FIRST_WAIT * 2.0**number * random.uniform(0.75, 1.25)


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number of seconds or an HTTP date (RFC 9110, 10.2.3); None when it is neither."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return None
