"""How many runs of one owner may be under way at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from langgraph_sdk import Auth

AGAIN: Final = 10
"""Seconds after which a refused client may try again."""


class BusyThreads(Protocol):
    """Asks the server."""

    def __call__(self, owner: str, most: int) -> Awaitable[set[str]]:
        """The ids of threads of the owner's that have a run waiting or under way, `most` of them at most."""
        ...


@dataclass(slots=True)
class Starts:
    """Runs that one request has leave to start, and that the server may not show yet."""

    undo: list[Callable[[], None]] = field(default_factory=list)

    def are_shown(self) -> None:
        """The server has them by now, or never will."""
        while self.undo:
            self.undo.pop()()


_STARTS: ContextVar[Starts | None] = ContextVar("gems_starts", default=None)


@contextmanager
def starting() -> Iterator[Starts]:
    """Around a request: what it starts counts from the leave it gets, not from when the server shows it."""
    starts = Starts()
    token = _STARTS.set(starts)
    try:
        yield starts
    finally:
        _STARTS.reset(token)
        starts.are_shown()


class RunQuota:
    """Keeps each owner to `most` runs at once."""

    def __init__(self, most: int | None, busy: BusyThreads) -> None:
        """Allow `most` (None: as many as come), of which `busy` knows those that have started."""
        self._most = most
        self._busy = busy
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._granted: defaultdict[str, list[str]] = defaultdict(list)

    async def take(self, owner: str, thread: str | None) -> None:
        """Let a run of the owner's start, on that thread or on a new one.

        One that waits behind another run of its thread does not add to those at once.

        Raises:
            Auth.exceptions.HTTPException: 429, as many are under way as may be.
        """
        if self._most is None:
            return
        name = thread or ""
        async with self._turns[owner]:
            known = await self._busy(owner, self._most + 1) | {it for it in self._granted[owner] if it}
            unnamed = self._granted[owner].count("")
            if not (name and name in known) and len(known) + unnamed >= self._most:
                raise Auth.exceptions.HTTPException(
                    status_code=429,
                    detail=f"{self._most} runs of yours are under way, as many as may be at once (GEMS_RUNS_AT_ONCE): "
                    "wait for one, or stop it",
                    headers={"Retry-After": str(AGAIN)},
                )
            starts = _STARTS.get()
            if starts is not None:
                self._granted[owner].append(name)
                starts.undo.append(lambda: self._granted[owner].remove(name))


class ServerThreads:
    """The threads of the LangGraph server that this process is."""

    def __init__(self) -> None:
        """Ask when first needed."""
        self._client: Any = None

    async def __call__(self, owner: str, most: int) -> set[str]:
        """The ids of the owner's busy threads, `most` of them at most."""
        from langgraph_sdk import get_client

        if self._client is None:
            self._client = get_client(url=None)
        found = await self._client.threads.search(
            metadata={"owner": owner}, status="busy", limit=most, select=["thread_id"]
        )
        return {str(thread["thread_id"]) for thread in found}
