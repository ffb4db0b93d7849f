"""A graph with memory, on this machine's disk or in a database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, contextmanager
from types import TracebackType
from typing import Any, Self, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl

from gems.core.errors import GemsRunError
from gems.core.ports import Services
from gems.core.settings import Settings, load_settings
from gems.graph.build import GemsGraph, build_graph
from gems.graph.holding import LOST, STOP, held, held_async
from gems.graph.services import MachineServices
from gems.graph.tracing import TracedGraph
from gems.memory.owned import USER
from gems.memory.runs import SqlRuns
from gems.memory.stores import Stores, stores_of


class ExclusiveGraph(TracedGraph):
    """A compiled graph whose threads are run by one process at a time, and can be stopped by another.

    A run that is asked to stop ends after its current step. With a `control` of the caller's, LangGraph's GraphDrained
    says so; without one the run just ends, and the thread can be resumed: `get_state` names its next steps.

    Raises (when it runs):
        GemsConfigError: another process is running the thread, or its checkpoints cannot be written.
        GemsRunError: the thread could not be held to the end.
    """

    stores: Stores | None = None

    def copy(self, update: dict[str, Any] | None = None) -> Self:
        """As LangGraph's; a copy holds threads just so."""
        fields = {name: value for name, value in self.__dict__.items() if name != "stores"} | (update or {})
        twin = self.__class__(**fields)
        twin.stores = self.stores
        return twin

    def stream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        control: RunControl | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """As LangGraph's, holding the thread meanwhile. `invoke` goes through here too."""
        thread_id = self._thread_id(config)
        if self.stores is None or thread_id is None:
            yield from super().stream(input, config, control=control, **kwargs)
            return
        own = control or RunControl()
        with held(self.stores, thread_id, own), _explained(self.stores), _quiet(control):
            yield from super().stream(input, _for_owner(self.stores, thread_id, config), control=own, **kwargs)

    async def astream(
        self,
        input: Any,  # noqa: A002
        config: RunnableConfig | None = None,
        *,
        control: RunControl | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """As LangGraph's, holding the thread meanwhile. `ainvoke` goes through here too."""
        thread_id = self._thread_id(config)
        async with AsyncExitStack() as stack:
            own = control
            if self.stores is not None and thread_id is not None:
                own = control or RunControl()
                await stack.enter_async_context(held_async(self.stores, thread_id, own))
                stack.enter_context(_explained(self.stores))
                stack.enter_context(_quiet(control))
                config = await asyncio.to_thread(_for_owner, self.stores, thread_id, config)
                input = await self._due(input, thread_id, config)  # noqa: A001
            # Closed with us: a stream that is left early must not run on without its lock.
            inner = cast("AsyncGenerator[Any]", super().astream(input, config, control=own, **kwargs))
            async with aclosing(inner) as parts:
                async for part in parts:
                    yield part

    async def _due(self, input: Any, thread_id: str, config: RunnableConfig | None) -> Any:  # noqa: A002, ARG002
        """What is to be put into a thread that is held by now, where it was to be `input`."""
        return input

    @contextmanager
    def held(self, config: RunnableConfig) -> Iterator[None]:
        """Hold a thread without running it, for whoever reads it in order to write. Blocks: call it in a thread.

        Raises:
            GemsConfigError: another process holds it.
        """
        thread_id = self._thread_id(config)
        if self.stores is None or thread_id is None:
            yield
            return
        with self.stores.locks.hold(thread_id):
            yield

    def _thread_id(self, config: RunnableConfig | None) -> str | None:
        thread_id = merge_configs(self.config, config).get("configurable", {}).get("thread_id")
        return None if thread_id is None else str(thread_id)


def _for_owner(stores: Stores, thread_id: str, config: RunnableConfig | None) -> RunnableConfig | None:
    """The config of a run on a thread of a server's user, who is to have what it draws, whoever runs it. Blocks."""
    given = (config or {}).get("configurable", {})
    if given.get(USER) or not stores.may_hold("runs"):
        return config
    owner = SqlRuns(stores.database("runs")).owner_of(thread_id)
    return merge_configs(config, {"configurable": {USER: owner}}) if owner else config


@contextmanager
def _quiet(control: RunControl | None) -> Iterator[None]:
    """Who gave a control wants to hear of its end; who did not knows of none, and sees the run end."""
    try:
        yield
    except GraphDrained as drained:
        if drained.reason == LOST:
            raise GemsRunError(f"{LOST}, and another process may have taken it: resume it") from drained
        if control is not None or drained.reason != STOP:
            raise


@contextmanager
def _explained(stores: Stores) -> Iterator[None]:
    """Explain what the saver raises; an error of a node is left alone: LangGraph has noted on it whose it is."""
    try:
        yield
    except Exception as error:
        if not hasattr(error, "__notes__"):
            with stores.checkpoints.explained():
                raise
        raise


class open_graph:  # noqa: N801
    """A graph that remembers: checkpoints, images and runs under GEMS_HOME, or all but the images in GEMS_DATABASE_URL.

    `async with open_graph() as graph` for `ainvoke` and `astream`; `with open_graph() as graph` for `invoke` and `stream`.
    Every run needs `config={"configurable": {"thread_id": ...}}`.

    Raises (on entering):
        GemsConfigError: the settings, the home folder or the database cannot be used.
    """

    def __init__(self, settings: Settings | None = None, *, services: Services | None = None) -> None:
        """Use these settings (default: the current folder's), and these services instead of the machine's."""
        self._settings = settings
        self._services = services
        self._exit = ExitStack()
        self._async_exit = AsyncExitStack()

    def __enter__(self) -> GemsGraph:
        """Open for synchronous use."""
        settings = self._settings or load_settings()
        stores = stores_of(settings)
        return self._graph(settings, stores, self._exit.enter_context(stores.checkpoints.open()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the checkpoints."""
        self._exit.__exit__(kind, error, trace)

    async def __aenter__(self) -> GemsGraph:
        """Open for asynchronous use."""
        # Both may make folders and read files, which a server's event loop is not to wait for.
        settings = self._settings
        if settings is None:
            settings = await asyncio.to_thread(load_settings)
        stores = await asyncio.to_thread(stores_of, settings)
        return self._graph(
            settings, stores, await self._async_exit.enter_async_context(stores.checkpoints.open_async())
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the checkpoints, and connections to models."""
        if isinstance(self._opened, MachineServices):
            await self._opened.aclose()
        await self._async_exit.__aexit__(kind, error, trace)

    def _graph(self, settings: Settings, stores: Stores, saver: BaseCheckpointSaver[Any]) -> GemsGraph:
        self._opened = self._services or MachineServices(settings)
        graph = ExclusiveGraph(**build_graph(self._opened, checkpointer=saver).__dict__)
        graph.stores = stores
        return graph
