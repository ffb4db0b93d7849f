"""What was found wrong with the pictures of each round. The state keeps the last of it alone, the journal all."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from gems.core.ports import Journal
from gems.core.state import GemsState
from gems.graph.services import MachineServices

_KEPT: Final = 256
"""Trajectories whose diagnoses are remembered."""


class Diagnoses:
    """Diagnoses by round. Those of the rounds behind it stay as they are, so a trajectory is read once a round."""

    def __init__(self, services: MachineServices) -> None:
        """Read the journal of `services`."""
        self._services = services
        self._known: OrderedDict[tuple[str, int], dict[str, str]] = OrderedDict()

    async def of(self, state: GemsState, owners: set[str] | None) -> dict[str, str]:
        """By the round's number, as JSON has it; without the rounds that were not followed by another.

        Args:
            state: A thread's. Its owner can write anything into it, so it may name a trajectory of somebody else.
            owners: Whose trajectories may be read; None: all.
        """
        trajectory_id, rounds = state.get("trajectory_id", ""), state.get("round", 0)
        if rounds < 2 or not await self._may_read(trajectory_id, owners):  # the first has none before it
            return {}
        key = (trajectory_id, rounds)
        if key not in self._known:
            self._known[key] = await self._read(trajectory_id)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return self._known[key]

    async def _may_read(self, trajectory_id: str, owners: set[str] | None) -> bool:
        if owners is None:
            return True
        index = await asyncio.to_thread(lambda: self._services.runs)
        theirs = await index.owners_of(trajectory_id)
        return bool(theirs) and set(theirs) <= owners

    async def _read(self, trajectory_id: str) -> dict[str, str]:
        journal = await asyncio.to_thread(self._journal)
        calls = await journal.calls(trajectory_id) if journal else []
        told = ((call["fields"].get("round"), call["reply"]) for call in calls if call["task"] == "refine")
        return {str(number): reply["diagnosis"] for number, reply in told if number and reply}

    def _journal(self) -> Journal | None:
        """None where nothing was ever kept: who only reads makes no file."""
        return self._services.journal if self._services.stores.may_hold("journal") else None
