"""What LangSmith is told of a run, through its own protocol or OpenTelemetry's: the state, without secrets and paths.

LangChain makes the tracer as soon as tracing is switched on. A graph of ours puts its own in that place, with the same
client and the same parents, which cleans what it sends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager, CallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.langchain import LangChainTracer
from langchain_core.tracers.schemas import Run
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StateUpdate

from gems.core.tracing import Cleaner, secrets_in
from gems.graph.collectors import keep_key_from


class CleanTracer(LangChainTracer):
    """Cleans each run before it is sent."""

    def _persist_run_single(self, run: Run) -> None:
        _clean(run)
        super()._persist_run_single(run)

    @staticmethod
    def _update_run_single(run: Run) -> None:
        _clean(run)
        LangChainTracer._update_run_single(run)

    @staticmethod
    def _get_stacktrace(error: BaseException) -> str:
        return Cleaner(secrets_in()).error(error)


class TracedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph that is traced with care."""

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002
        """As LangGraph's. `invoke` goes through here too."""
        return super().stream(input, traced_with_care(config), **kwargs)

    def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:  # noqa: A002
        """As LangGraph's. `ainvoke` goes through here too."""
        return super().astream(input, traced_with_care(config), **kwargs)

    def bulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]) -> RunnableConfig:
        """As LangGraph's. `update_state` goes through here too."""
        return super().bulk_update_state(traced_with_care(config) or config, supersteps)

    async def abulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        """As LangGraph's. `aupdate_state` goes through here too."""
        return await super().abulk_update_state(traced_with_care(config) or config, supersteps)


def traced_with_care(config: RunnableConfig | None) -> RunnableConfig | None:
    """The config with a clean tracer wherever there is, or would be, one of LangChain's.

    A graph that ours is a part of hands down its own; what it sent before is its own affair.
    """
    given = (config or {}).get("callbacks")
    handed_down = (var_child_runnable_config.get() or {}).get("callbacks")
    found = False
    for callbacks in (given, handed_down):
        if isinstance(callbacks, BaseCallbackManager):
            # In place, as what is handed down comes by two ways that would be merged; it was made for this node alone.
            for handlers in (callbacks.handlers, callbacks.inheritable_handlers):
                handlers[:] = map(_cleaning, handlers)
            found = found or _has_tracer(callbacks.handlers)
    if isinstance(given, list):
        given = [_cleaning(handler) for handler in given]
        found = found or _has_tracer(given)
        config = {**(config or {}), "callbacks": given}
    if found:
        return config
    made = [it for it in CallbackManager.configure().handlers if isinstance(it, LangChainTracer)]
    if not made:
        return config
    keep_key_from(made[0].client)
    tracer = _cleaning(made[0])
    if isinstance(given, BaseCallbackManager):
        given = given.copy()
        given.add_handler(tracer)
        return {**(config or {}), "callbacks": given}
    return {**(config or {}), "callbacks": [*(given or ()), tracer]}


def _has_tracer(handlers: list[BaseCallbackHandler]) -> bool:
    return any(isinstance(handler, LangChainTracer) for handler in handlers)


_CLEANING = "_gems_cleaning"
"""The attribute by which a tracer keeps its clean twin, so that it has one only."""


def _cleaning(handler: BaseCallbackHandler) -> BaseCallbackHandler:
    if not isinstance(handler, LangChainTracer) or isinstance(handler, CleanTracer):
        return handler
    twin: CleanTracer | None = handler.__dict__.get(_CLEANING)
    if twin is None:
        twin = CleanTracer(
            example_id=handler.example_id,
            project_name=handler.project_name,
            client=handler.client,
            tags=handler.tags,
            metadata=handler.tracing_metadata,
            address=handler.address,
            run_map=handler.run_map,
            order_map=handler.order_map,
            _external_run_ids=handler._external_run_ids,
        )
        handler.__dict__[_CLEANING] = twin
    return twin


def _clean(run: Run) -> None:
    cleaner = Cleaner(secrets_in())
    run.inputs = cleaner.value(run.inputs)
    run.outputs = cleaner.value(run.outputs)
    run.error = cleaner.error(run.error) if run.error else run.error
    run.serialized = None
    run.extra = cleaner.value(run.extra)
