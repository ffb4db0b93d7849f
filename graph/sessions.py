"""A graph with memory on this machine's disk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph

from gems.core.ports import Services
from gems.core.settings import Settings, load_settings
from gems.graph.build import GemsGraph, build_graph
from gems.graph.services import MachineServices
from gems.memory.checkpoints import open_async_saver, open_saver, thread_lock


class ExclusiveGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph whose threads are run by one process at a time.

    Raises (when it runs):
        GemsConfigError: another process is running the thread.
    """

    locks: Path | None = None

    def copy(self, update: dict[str, Any] | None = None) -> Self:
        """As LangGraph's; a copy holds threads just so."""
        fields = {name: value for name, value in self.__dict__.items() if name != "locks"} | (update or {})
        twin = self.__class__(**fields)
        twin.locks = self.locks
        return twin

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002
        """As LangGraph's, holding the thread meanwhile. `invoke` goes through here too."""
        with self._held(config):
            yield from super().stream(input, config, **kwargs)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:  # noqa: A002
        """As LangGraph's, holding the thread meanwhile. `ainvoke` goes through here too."""
        with self._held(config):
            # Closed with us: a stream that is left early must not run on without its lock.
            inner = cast("AsyncGenerator[Any]", super().astream(input, config, **kwargs))
            async with aclosing(inner) as parts:
                async for part in parts:
                    yield part

    @contextmanager
    def _held(self, config: RunnableConfig | None) -> Iterator[None]:
        thread_id = merge_configs(self.config, config).get("configurable", {}).get("thread_id")
        if self.locks is None or thread_id is None:
            yield
            return
        with thread_lock(self.locks, str(thread_id)):
            yield


class open_graph:  # noqa: N801
    """A graph that remembers: checkpoints, images and runs under GEMS_HOME.

    `async with open_graph() as graph` for `ainvoke` and `astream`; `with open_graph() as graph` for `invoke` and `stream`.
    Every run needs `config={"configurable": {"thread_id": ...}}`.

    Raises (on entering):
        GemsConfigError: the settings or the home folder cannot be used.
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
        return self._graph(settings, self._exit.enter_context(open_saver(settings.home / "checkpoints.sqlite")))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the checkpoint file."""
        self._exit.__exit__(kind, error, trace)

    async def __aenter__(self) -> GemsGraph:
        """Open for asynchronous use."""
        settings = self._settings or load_settings()
        path = settings.home / "checkpoints.sqlite"
        return self._graph(settings, await self._async_exit.enter_async_context(open_async_saver(path)))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the checkpoint file, and connections to models."""
        if isinstance(self._opened, MachineServices):
            await self._opened.aclose()
        await self._async_exit.__aexit__(kind, error, trace)

    def _graph(self, settings: Settings, saver: BaseCheckpointSaver[str]) -> GemsGraph:
        self._opened = self._services or MachineServices(settings)
        graph = ExclusiveGraph(**build_graph(self._opened, checkpointer=saver).__dict__)
        graph.locks = settings.home / "locks"
        return graph
