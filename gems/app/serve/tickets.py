"""A drawing from the moment it is taken in until it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from gems.app.serve.refusals import stopping
from gems.backends.local.orders import Order, Painted


class Standing(NamedTuple):
    """How far a drawing is: `position` counts those before it while it waits, and is None once it is begun."""

    step: int
    steps: int | None
    position: int | None


class Finished(NamedTuple):
    """A drawing that is done, and the seconds it waited for its turn."""

    painted: Painted
    seed: int
    queued: float


@dataclass(eq=False, slots=True)
class Ticket:
    """One drawing at the desk."""

    order: Order
    changed: Callable[[], None]
    task: asyncio.Task[Finished] | None = None
    step: int = 0
    steps: int | None = None
    begun: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.task is not None and self.task.done()

    @property
    def is_lost(self) -> bool:
        """Whether it is over without a picture."""
        return self.task is not None and self.is_over and (self.task.cancelled() or self.task.exception() is not None)

    def result(self) -> Finished:
        """What became of it, once it is over.

        Raises:
            Refusal: it was cut off.
            Exception: the drawing failed.
        """
        if self.task is None or self.task.cancelled():
            raise stopping()
        return self.task.result()
