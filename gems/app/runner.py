"""Drives the graph through one run: streams it to a view, and ends it at Ctrl-C or when another process asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final, NamedTuple, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command, StateSnapshot

from gems.app.stopping import CtrlC
from gems.core.events import Event
from gems.graph import GemsGraph
from gems.graph.holding import STOP

OPTIONS: Final = "gems_options"
"""The metadata field that keeps a call's options as JSON."""


ENTRY: Final = frozenset({"__start__", "intake"})
"""Steps at which a run has spent nothing: one that waits there was refused, or killed before it began."""


class View(Protocol):
    """Who watches a run."""

    def show(self, event: Event) -> None:
        """Show a progress event."""

    def say(self, text: str) -> None:
        """Tell the person something."""


class Call(NamedTuple):
    """One invocation. Without `given`, the thread's pending steps go on; `context` holds the options that were set."""

    thread_id: str
    given: Mapping[str, Any] | Command[Any] | None
    """An input, or the answer to the question that the thread waits with."""
    context: Mapping[str, Any]

    @property
    def config(self) -> RunnableConfig:
        """The thread, and beside each checkpoint the options: until the first step is done, the state has none."""
        return {**thread_config(self.thread_id), "metadata": {OPTIONS: json.dumps(dict(self.context))}}


def is_pending(snapshot: StateSnapshot) -> bool:
    """Whether a run has begun and not ended."""
    # Not `next`: it leaves out tasks that have written when the process died before their step was closed.
    return any(task.name not in ENTRY for task in snapshot.tasks)


def thread_config(thread_id: str) -> RunnableConfig:
    """The configuration that names a thread."""
    return {"configurable": {"thread_id": thread_id}}


async def drive(graph: GemsGraph, call: Call, view: View) -> bool:
    """Run until the graph ends or is stopped.

    Every step is on disk before the next begins, so whatever happens, the thread can be resumed.

    Returns:
        Whether it was stopped: Ctrl-C once, or `gems stop`, lets the current step end; Ctrl-C twice cancels it.

    Raises:
        GemsError: what the graph raised.
    """
    control = RunControl()
    work = asyncio.create_task(follow(graph, call, control, view))

    def stop_after_step() -> None:
        control.request_drain("Ctrl-C")
        view.say("Stopping after this step. Press Ctrl-C again to stop now.")

    def stop_now() -> None:
        work.cancel()

    with CtrlC(stop_after_step, stop_now) as keys:
        try:
            await work
        except GraphDrained as drained:
            if drained.reason == STOP:
                view.say("Stopped, as another process asked.")
            return True
        except asyncio.CancelledError:
            if keys.presses < 2:
                raise
            return True
    return False


async def follow(graph: GemsGraph, call: Call, control: RunControl, view: View) -> None:
    """One invocation, its events shown to `view`; every step is on disk before the next begins."""
    untyped: Any = graph  # LangGraph's types ask for the models' instances; the graph reads plain mappings too.
    stream = untyped.astream(
        dict(call.given) if isinstance(call.given, Mapping) else call.given,
        call.config,
        context=dict(call.context),
        stream_mode="custom",
        durability="sync",
        control=control,
    )
    # Closed by name, so that the thread is given free before this returns, even when cancelled.
    async with aclosing(stream) as events:
        async for event in events:
            view.show(event)
