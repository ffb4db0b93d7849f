"""Where drawings are made: one queue, and one worker thread for each device."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from gems.backends.local.orders import LocalModel, Order, Painted


class Figures(NamedTuple):
    """What a studio has done so far, and what it has before it."""

    waiting: int = 0
    """Orders that no worker has taken up."""
    drawing: int = 0
    """Orders under way."""
    drawn: int = 0
    failed: int = 0
    cancelled: int = 0
    batches: int = 0
    busy_seconds: float = 0.0
    """Seconds of drawing, summed over the devices."""


class Studio(Protocol):
    """Draws on the devices of this machine."""

    async def draw(self, order: Order) -> Painted:
        """Draw, once it is this order's turn. Cancelling the task stops the drawing within a step.

        Raises:
            GemsConfigError: the weights cannot be loaded, or the model cannot draw this.
            ModelOutage: the drawing failed.
        """
        ...

    async def ready(self, model: LocalModel) -> None:
        """Load a model on every device now.

        Raises:
            GemsConfigError: the weights cannot be loaded.
        """
        ...

    def figures(self) -> Figures:
        """What was done so far, and what waits."""
        ...

    async def rest(self) -> None:
        """Leave the devices' memory to others until the next drawing."""
        ...

    def close(self) -> None:
        """Stop the workers; what waits is cancelled."""
        ...
