"""The drawings of one request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gems.app.serve.desk import Desk
from gems.app.serve.tickets import Finished, Ticket
from gems.backends.local.orders import Order


@dataclass(slots=True)
class Job:
    """The drawings of one request, for as long as it is entered: whatever is not done by then is cancelled."""

    desk: Desk
    orders: Sequence[Order]
    tickets: list[Ticket] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        """Begin to wait."""
        self.tickets = [self.desk.open_ticket(order, self._changed.set) for order in self.orders]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what is not done, and wait until it has stopped."""
        tasks = self._tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _tasks(self) -> list[asyncio.Task[Finished]]:
        return [ticket.task for ticket in self.tickets if ticket.task]

    async def all(self) -> list[Finished]:
        """The drawings, in the order they were asked for.

        Raises:
            Refusal: one of them was cut off.
            Exception: one of them failed.
        """
        left = set(self._tasks)
        while left:
            # Not FIRST_EXCEPTION: one that was cancelled is none.
            _, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for lost in [ticket for ticket in self.tickets if ticket.is_lost]:
                lost.result()
        return [ticket.result() for ticket in self.tickets]

    async def change(self, seconds: float) -> bool:
        """Wait until some drawing's standing may have changed since the last call; False when none has in so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True
