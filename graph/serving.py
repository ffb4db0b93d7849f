"""The graph as a LangGraph server runs it: with this machine's checkpoints, so that the command line sees its threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import StateSnapshot

from gems.graph.build import GemsGraph, build_graph
from gems.graph.served_saver import ServedSaver
from gems.graph.services import MachineServices
from gems.graph.sessions import ExclusiveGraph, open_graph
from gems.memory.runs import SqlRuns

services: Final = MachineServices()
"""Of this process. Settings are read when first needed."""


class ServedGraph(ExclusiveGraph):
    """Given a checkpointer, as the server does for each run, it holds its threads against other processes."""

    def copy(self, update: dict[str, Any] | None = None) -> Self:
        """As LangGraph's."""
        twin = super().copy(update)
        if isinstance(twin.checkpointer, BaseCheckpointSaver):
            twin.stores = services.stores
        return twin

    async def _due(self, input: Any, thread_id: str, config: RunnableConfig | None) -> Any:  # noqa: A002
        """Nothing, where it was put in before.

        A server that was killed begins its runs again with their input. Where nobody else has gone on with the thread,
        LangGraph knows it by the run's id; where the command line has, the same words would be a second request.
        """
        run_id = ((config or {}).get("configurable") or {}).get("run_id")
        saver = self.checkpointer
        if input is None or run_id is None or not isinstance(saver, BaseCheckpointSaver):
            return input
        thread: RunnableConfig = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
        latest = await saver.aget_tuple(thread)
        if latest is None or latest.metadata.get("run_id") == run_id:
            return input
        async for _ in saver.alist(thread, filter={"run_id": run_id}, limit=1):
            return None
        return input


graph: GemsGraph = ServedGraph(**build_graph(services).__dict__)


@asynccontextmanager
async def checkpointer() -> AsyncIterator[BaseCheckpointSaver[Any]]:
    """The saver that langgraph.json names."""
    stores = await asyncio.to_thread(lambda: services.stores)
    async with stores.checkpoints.open_async() as saver:
        yield ServedSaver(saver, stores, SqlRuns(stores.database("runs")))


class Threads:
    """The threads of this machine, to be read: those of the server, and those of the command line."""

    def __init__(self, machine: MachineServices = services) -> None:
        """Read what the settings of `machine` name, once entered."""
        self._machine = machine
        self._exit = AsyncExitStack()
        self._graph: GemsGraph | None = None

    async def __aenter__(self) -> Self:
        """Open the checkpoints."""
        settings = await asyncio.to_thread(lambda: self._machine.settings)
        self._graph = await self._exit.enter_async_context(open_graph(settings, services=self._machine))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close them."""
        await self._exit.__aexit__(kind, error, trace)

    async def read(self, thread_id: str) -> StateSnapshot:
        """Where a thread stands. Of one that is not known, the values are empty.

        Raises:
            RuntimeError: it is not open.
        """
        if self._graph is None:
            raise RuntimeError("threads are read between entering and leaving")
        return await self._graph.aget_state({"configurable": {"thread_id": thread_id}})
