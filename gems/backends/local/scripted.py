"""A studio that draws flat colours in its own event loop, for tests, examples and servers without weights."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from gems.backends.local.orders import LocalModel, Order, Painted
from gems.backends.local.studio import Figures
from gems.core.errors import GemsConfigError, ModelOutage


class Stopped(NamedTuple):
    """A drawing that was cancelled after so many steps; None where it was never begun."""

    order: Order
    steps: int | None


class ScriptedStudio:
    """Draws a colour that depends on prompt and seed, a fixed number of steps each, and remembers what became of it.

    Orders are taken up in turn, as many at a time as there are devices. `hold` makes drawings wait before each step
    until `allow` lets them go on.
    """

    def __init__(
        self,
        *,
        steps: int = 2,
        step_seconds: float = 0.0,
        devices: int = 1,
        together: int = 1,
        warnings: tuple[str, ...] = (),
        failures: Callable[[Order], Exception | None] = lambda _: None,
        broken: GemsConfigError | None = None,
    ) -> None:
        """Take how it should behave.

        Args:
            steps: Steps of an order that names none.
            step_seconds: Seconds that a step takes.
            devices: Drawings made at the same time.
            together: What it says of how many drawings were made in one go.
            warnings: What it says was lost of each drawing.
            failures: An exception to raise for an order in place of its last step, or None to draw it.
            broken: What loading the weights ends with.
        """
        self.orders: list[Order] = []
        self.begun: list[Order] = []
        self.drawn: list[Order] = []
        self.cancelled: list[Stopped] = []
        self.loaded: list[LocalModel] = []
        self.rests = 0
        self.closed = False
        self._steps = steps
        self._step_seconds = step_seconds
        self._free = devices
        self._together = together
        self._warnings = warnings
        self._failures = failures
        self._broken = broken
        self._failed = 0
        self._busy_seconds = 0.0
        self._turns: deque[asyncio.Future[None]] = deque()
        self._permits: asyncio.Semaphore | None = None

    def hold(self) -> None:
        """Let no drawing make a step from now on."""
        self._permits = asyncio.Semaphore(0)

    def allow(self, steps: int) -> None:
        """Let drawings make so many steps, together.

        Raises:
            RuntimeError: nothing holds them.
        """
        if self._permits is None:
            raise RuntimeError("allow() without hold(): drawings go on anyway")
        for _ in range(steps):
            self._permits.release()

    async def draw(self, order: Order) -> Painted:
        """Draw, once a device is free.

        Raises:
            GemsConfigError: the script says so.
            ModelOutage: the script says so, the drawing takes longer than it may, or the studio is closed.
        """
        if self.closed:
            raise ModelOutage("the studio is closed")
        self.orders.append(order)
        try:
            await self._wait_for_turn()
        except asyncio.CancelledError:
            self.cancelled.append(Stopped(order, None))
            raise
        self.begun.append(order)
        started = time.monotonic()
        try:
            await self._make(order)
        except Exception:
            self._failed += 1
            raise
        finally:
            seconds = time.monotonic() - started
            self._busy_seconds += seconds
            self._give_turn()
        self.drawn.append(order)
        colour = hashlib.sha256(f"{order.prompt}\0{order.seed}".encode()).digest()[:3]
        image = Image.new("RGB", (order.width, order.height), tuple(colour))
        return Painted(image, seconds, self._together, self._warnings)

    async def ready(self, model: LocalModel) -> None:
        """Remember that it was loaded.

        Raises:
            GemsConfigError: the script says so.
        """
        if self._broken is not None:
            raise self._broken
        self.loaded.append(model)

    def figures(self) -> Figures:
        """What was done so far, and what waits."""
        stopped = sum(it.steps is not None for it in self.cancelled)
        return Figures(
            waiting=len(self._turns),
            drawing=len(self.begun) - len(self.drawn) - self._failed - stopped,
            drawn=len(self.drawn),
            failed=self._failed,
            cancelled=len(self.cancelled),
            batches=len(self.drawn),
            busy_seconds=self._busy_seconds,
        )

    async def rest(self) -> None:
        """Count how often it was sent to rest."""
        self.rests += 1

    def close(self) -> None:
        """Cancel what waits; what is drawn goes on."""
        self.closed = True
        while self._turns:
            self._turns.popleft().cancel()

    async def _wait_for_turn(self) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._turns:
                self._turns.remove(turn)
            elif not turn.cancelled():  # it was this order's turn already
                self._give_turn()
            raise

    def _give_turn(self) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    async def _make(self, order: Order) -> None:
        steps = order.sampling.steps or self._steps
        made = 0
        try:
            async with asyncio.timeout(order.seconds):
                while made < steps:
                    if order.progress:
                        order.progress(made, steps)
                    await self._make_step()
                    made += 1
                    if made == steps and (error := self._failures(order)) is not None:
                        raise error
        except TimeoutError as error:
            raise ModelOutage(f"the drawing took more than {order.seconds:g} s") from error
        except asyncio.CancelledError:
            self.cancelled.append(Stopped(order, made))
            raise
        if order.progress:
            order.progress(steps, steps)

    async def _make_step(self) -> None:
        if self._permits is not None:
            await self._permits.acquire()
        await asyncio.sleep(self._step_seconds)
