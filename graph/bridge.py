"""One async node, callable from both worlds."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import fields
from typing import Any, Final

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import GraphBubbleUp

from gems.core.errors import GemsError
from gems.core.ports import Services
from gems.core.spending import Limits
from gems.core.state import GemsState, Span, add_usage, seconds_spent
from gems.memory.migrations import up_to_date
from gems.nodes.asking import Node, Update
from gems.nodes.given import options_in_force
from gems.nodes.guarding import check_state
from gems.nodes.journalled import begin_hearing


class NodeRunnable(Runnable[GemsState, Update]):
    """A node that `invoke` and `ainvoke` can both run, with its purse open, and that notes when it was at work."""

    def __init__(self, node: Node, name: str, services: Services) -> None:
        """Wrap a node under its name in the graph. What it spends comes out of its trajectory's purse."""
        self.name = name
        self._node = node
        self._services = services

    def invoke(self, input: GemsState, config: RunnableConfig | None = None, **kwargs: Any) -> Update:  # noqa: A002, ARG002
        """Run the node on the shared loop, and wait for it."""
        return _run(self._at_work(input))

    async def ainvoke(self, input: GemsState, config: RunnableConfig | None = None, **kwargs: Any) -> Update:  # noqa: A002, ARG002
        """Run the node here."""
        return await self._at_work(input)

    async def _at_work(self, state: GemsState) -> Update:
        started = time.time()
        begin_hearing()
        if "trajectory_id" not in state:
            return {"spans": [_span(started)], **await self._node(state)}
        state = up_to_date(state)
        await check_state(self._services, state)
        options = options_in_force(state["options"])
        state = {**state, "options": options}
        worked = seconds_spent(state["spans"])
        limits = Limits(**{field.name: options[field.name] for field in fields(Limits)})  # type: ignore[literal-required]
        purse = await self._services.purses.open(state["trajectory_id"], limits, state["usage"], worked)
        try:
            update = await self._node(state)
        except GraphBubbleUp:
            raise  # a person is asked: no time was lost
        except BaseException:
            # The state is not told of this; the limit of time is.
            with suppress(GemsError):
                await asyncio.shield(purse.waste(*_span(started)))
            raise
        usage = update.get("usage", {})
        if "__overwrite__" not in usage:
            update = {**update, "usage": add_usage(usage, purse.take_lost())}
        return {"spans": [_span(started)], **update}


def _span(started: float) -> Span:
    """From then to now; a clock that was set back meanwhile makes it empty, not negative."""
    return [started, max(started, time.time())]


def _run(coroutine: Coroutine[Any, Any, Update]) -> Update:
    """Run on the shared loop, in the caller's context: the stream writer and the run's config live there.

    Interrupted (Ctrl-C), the work is cancelled and waited for: it must not go on beside a resumed run.

    Raises:
        RuntimeError: called from the shared loop itself, which would wait for itself.
    """
    loop = _shared_loop(os.getpid())
    if _running_loop() is loop:
        coroutine.close()
        raise RuntimeError("a node of a synchronous run must not call invoke(); await ainvoke() instead")
    context = contextvars.copy_context()
    future: Future[Update] = Future()
    tasks: list[asyncio.Task[Update]] = []

    def start() -> None:
        task = loop.create_task(coroutine, context=context)
        task.add_done_callback(finish)
        tasks.append(task)

    def finish(task: asyncio.Task[Update]) -> None:
        if task.cancelled():
            future.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(task.result())

    loop.call_soon_threadsafe(start)
    try:
        return future.result()
    except BaseException:
        if not future.done():
            loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            wait([future])
        raise


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_making: Final = threading.Lock()
_loops: Final[dict[int, asyncio.AbstractEventLoop]] = {}


def _shared_loop(process: int) -> asyncio.AbstractEventLoop:
    """One loop for all synchronous runs of a process: models keep connections that belong to their loop."""
    with _making:
        if process not in _loops:
            # A forked child inherits the dictionary, but not the thread.
            _loops[process] = asyncio.new_event_loop()
            threading.Thread(target=_loops[process].run_forever, name="gems-loop", daemon=True).start()
        return _loops[process]
