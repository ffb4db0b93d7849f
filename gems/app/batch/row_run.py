"""One row's run on its thread, which can be stopped from outside."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl

from gems.app.batch.begun import MARK
from gems.app.runner import Call, follow
from gems.core.events import Event
from gems.graph import GemsGraph


class Ending(NamedTuple):
    """How a row's run ended; with neither, by itself."""

    stopped: bool = False
    error: Exception | None = None


class BatchCall(Call):
    """A call that says in its checkpoints that a batch made it."""

    @property
    def config(self) -> RunnableConfig:
        """As that of any call, marked."""
        config = super().config
        return {**config, "metadata": {**config["metadata"], MARK: True}}


class RowRun:
    """A call on a graph."""

    def __init__(self, graph: GemsGraph, call: BatchCall, watch: Callable[[Event], None], *, debug: bool) -> None:
        """Make the call on `graph`, and tell `watch` its events; with `debug`, errors are printed with their traceback."""
        self._graph = graph
        self._call = call
        self._watch = watch
        self._debug = debug
        self._control = RunControl()
        self._work: asyncio.Task[None] | None = None
        self._is_cancelled = False

    async def go(self) -> Ending:
        """Run until the graph ends, fails, or is stopped."""
        self._work = asyncio.create_task(follow(self._graph, self._call, self._control, self))
        try:
            await self._work
        except GraphDrained:
            return Ending(stopped=True)
        except asyncio.CancelledError:
            # Whoever cancels us, and not our work alone, means it.
            if not self._is_cancelled:
                raise
            return Ending(stopped=True)
        except Exception as error:
            if self._debug:
                traceback.print_exception(error)
            return Ending(error=error)
        return Ending()

    def drain(self) -> None:
        """Stop after the step that is being done."""
        self._control.request_drain("Ctrl-C")

    def cancel(self) -> None:
        """Stop now."""
        self._is_cancelled = True
        if self._work is not None:
            self._work.cancel()

    def show(self, event: Event) -> None:
        """Pass an event on."""
        self._watch(event)

    def say(self, text: str) -> None:
        """Nobody is told: the batch speaks for its rows."""
