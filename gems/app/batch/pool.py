"""Some rows at a time: the first alone until it has begun, then as many as are allowed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from gems.nodes.asking import together

Item = TypeVar("Item")


class Pool(Generic[Item]):
    """Works through items in order, with bounded concurrency.

    What is wrong for every item (a size that the model cannot draw, say) is found at the first. So until one has begun, they
    are tried one by one.
    """

    def __init__(self, jobs: int) -> None:
        """Work on at most `jobs` items at the same time."""
        self._jobs = jobs
        self._opened = asyncio.Event()
        self._is_closed = False

    @property
    def has_begun(self) -> bool:
        """Whether an item has got as far as to begin."""
        return self._opened.is_set()

    @property
    def is_closed(self) -> bool:
        """Whether no further item is to be taken."""
        return self._is_closed

    def begin(self) -> None:
        """An item has begun: the others may follow."""
        self._opened.set()

    def close(self) -> None:
        """Take no further item."""
        self._is_closed = True

    async def run(self, items: Iterable[Item], work: Callable[[Item], Awaitable[None]]) -> None:
        """Work through the items. An error of `work` ends all, and is raised."""
        waiting = deque(items)
        first_through = asyncio.Event()

        async def worker() -> None:
            while waiting and not self._is_closed:
                await work(waiting.popleft())

        async def first() -> None:
            try:
                await worker()
            finally:
                first_through.set()

        async def follower() -> None:
            await _either(self._opened, first_through)
            await worker()

        await together([first(), *(follower() for _ in range(min(self._jobs, len(waiting)) - 1))])


async def _either(one: asyncio.Event, other: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in (one, other)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
