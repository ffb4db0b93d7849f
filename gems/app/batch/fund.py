"""What a whole batch may cost: a row begins only where its own limit fits into what is left."""

from __future__ import annotations

import asyncio

from gems.core.ports import Ledger
from gems.core.spending import ROUNDING
from gems.core.state import GemsState


class Fund:
    """Money for all rows, in US dollars. Each that runs holds its own limit, which it cannot pass; then what it cost."""

    def __init__(self, most: float | None, ledger: Ledger) -> None:
        """Never hold more than `most`; None: there is no limit. `ledger` knows what trajectories have spent."""
        self._most = most
        self._ledger = ledger
        self._held: dict[int, float] = {}
        self._total = 0.0
        self._running: set[int] = set()
        self._changed = asyncio.Event()
        self.has_run_out = False
        """Whether a row could not begin."""

    async def count(self, number: int, state: GemsState) -> None:
        """Take in what the row with this number has cost up to now; it does not run, or no more."""
        if self._most is None:
            return
        cost = 0.0
        if "trajectory_id" in state:
            # What a kill interrupted stands in the ledger alone, by its worst case.
            booked = await self._ledger.spent(state["trajectory_id"])
            cost = max(booked.cost, state.get("usage", {}).get("cost", 0.0))
        self._running.discard(number)
        self._hold(number, cost)
        self._changed.set()

    async def admit(self, number: int, limit: float) -> bool:
        """Hold a row's own limit while it runs, and answer whether there is room; `count` ends that.

        Where only what others hold stands in the way, this waits for what they come to.
        """
        if self._most is None:
            return True
        needed = max(limit, self._held.get(number, 0.0))
        while self._total - self._held.get(number, 0.0) + needed > self._most + ROUNDING:
            if not self._running:
                self.has_run_out = True
                return False
            self._changed.clear()
            await self._changed.wait()
        self._hold(number, needed)
        self._running.add(number)
        return True

    def _hold(self, number: int, amount: float) -> None:
        self._total += amount - self._held.get(number, 0.0)
        self._held[number] = amount
