"""A thread held while it runs, and watched for a request to stop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Final

from langgraph.runtime import RunControl

from gems.core.errors import GemsConfigError
from gems.memory.locks import Hold
from gems.memory.stores import Stores

POLL_SECONDS: Final = 0.5
STOP: Final = "stop"
"""The reason that a drained run gives when another process asked it to stop."""
LOST: Final = "the connection that held the thread was cut"
"""The reason of one that may not go on, since another process may have taken the thread."""

_log = logging.getLogger(__name__)


@contextmanager
def held(stores: Stores, thread_id: str, control: RunControl) -> Iterator[None]:
    """Hold a thread; meanwhile, a request to stop drains `control`, and so does the loss of the hold.

    Earlier requests are forgotten.

    Raises:
        GemsConfigError: another process runs the thread, or it cannot be held.
    """
    with stores.locks.hold(thread_id) as hold:
        stores.stops.clear(thread_id)
        done = threading.Event()
        watcher = threading.Thread(
            target=_watch, args=(stores, thread_id, hold, control, done), name=f"gems stop {thread_id}", daemon=True
        )
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


@asynccontextmanager
async def held_async(stores: Stores, thread_id: str, control: RunControl) -> AsyncIterator[None]:
    """As `held`, and the event loop does not wait for a lock or a database."""
    async with _in_thread(held(stores, thread_id, control)):
        yield


def _watch(stores: Stores, thread_id: str, hold: Hold, control: RunControl, done: threading.Event) -> None:
    while not done.wait(POLL_SECONDS):
        if not hold.is_ours():
            control.request_drain(LOST)
            return
        try:
            if stores.stops.asked(thread_id):
                control.request_drain(STOP)
                return
        except GemsConfigError as error:
            # Whether to stop is not worth ending a run for.
            _log.warning("cannot see whether thread %r is to stop: %s", thread_id, error)


@asynccontextmanager
async def _in_thread(work: AbstractContextManager[None]) -> AsyncIterator[None]:
    """Enter and leave in a thread. Cancelled on entering, it is left again."""
    entering = asyncio.ensure_future(asyncio.to_thread(work.__enter__))
    try:
        await asyncio.shield(entering)
    except asyncio.CancelledError:
        await asyncio.wait([entering])
        if entering.exception() is None:
            await asyncio.to_thread(work.__exit__, None, None, None)
        raise
    try:
        yield
    finally:
        await asyncio.shield(asyncio.to_thread(work.__exit__, None, None, None))
