"""One async node, callable from both worlds."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import cache
from typing import Any

from langchain_core.runnables import RunnableLambda

from gems.core.state import GemsState
from gems.nodes.asking import Node, Update


def as_node(node: Node, name: str) -> RunnableLambda[GemsState, Update]:
    """The node as a Runnable that `invoke` and `ainvoke` can both run, and that notes when it was at work."""

    async def at_work(state: GemsState) -> Update:
        started = time.time()
        update = await node(state)
        return {"spans": [[started, time.time()]], **update}

    def run_sync(state: GemsState) -> Update:
        return _submit(at_work(state)).result()

    return RunnableLambda(run_sync, at_work, name=name)


def _submit(coroutine: Coroutine[Any, Any, Update]) -> Future[Update]:
    """Run on the shared loop, in the caller's context: the stream writer and the run's config live there."""
    context = contextvars.copy_context()
    future: Future[Update] = Future()
    loop = _shared_loop()

    def start() -> None:
        task = loop.create_task(coroutine, context=context)
        task.add_done_callback(finish)

    def finish(task: asyncio.Task[Update]) -> None:
        if task.cancelled():
            future.cancel()
        elif (error := task.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(task.result())

    loop.call_soon_threadsafe(start)
    return future


@cache
def _shared_loop() -> asyncio.AbstractEventLoop:
    """One loop for all synchronous runs of the process: models keep connections that belong to their loop."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="gems-loop", daemon=True).start()
    return loop
