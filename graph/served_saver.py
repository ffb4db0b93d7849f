"""The machine's checkpoints as a LangGraph server needs them: it also takes back runs, and copies and deletes threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from gems.core.errors import GemsConfigError
from gems.core.state import GemsState
from gems.memory.locks import ThreadTaken, hold_async
from gems.memory.migrations import up_to_date
from gems.memory.runs import SqlRuns
from gems.memory.stores import Stores
from gems.nodes.intake import run_record

HOLD_TRIES: Final = 20
"""Times that a thread is asked for whose run was just cancelled: it lets go within a moment."""

_log = logging.getLogger(__name__)


class ServedSaver(BaseCheckpointSaver[str]):
    """A saver that keeps the index of runs in step with what the server does to threads.

    Images and records stay: they may be other threads', and `gems prune` finds those that are nobody's.
    """

    def __init__(self, inner: BaseCheckpointSaver[Any], stores: Stores, runs: SqlRuns) -> None:
        """Keep checkpoints in `inner`, a saver of `stores`, and lines in `runs`."""
        super().__init__(serde=inner.serde)
        self._inner = inner
        self._stores = stores
        self._runs = runs

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """As LangGraph's."""
        return await self._inner.aget_tuple(config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """As LangGraph's."""
        async for found in self._inner.alist(config, filter=filter, before=before, limit=limit):
            yield found

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """As LangGraph's."""
        return await self._inner.aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """As LangGraph's."""
        await self._inner.aput_writes(config, writes, task_id, task_path)

    def get_next_version(self, current: str | None, channel: None) -> str:
        """As LangGraph's."""
        return cast("str", self._inner.get_next_version(current, channel))

    async def adelete_thread(self, thread_id: str) -> None:
        """Forget a thread.

        Raises:
            ThreadTaken: it is being run.
        """
        async with self._hold(thread_id):
            # As `gems prune`: the checkpoints go last.
            await self._runs.remove(thread_id)
            await asyncio.to_thread(self._stores.stops.clear, thread_id)
            await self._inner.adelete_thread(thread_id)

    async def adelete_for_runs(self, run_ids: Iterable[str]) -> None:
        """Take runs back: their threads stand where they stood before. One that is run by another process is left alone."""
        gone: dict[str, list[str]] = {}
        for run_id in run_ids:
            async for found in self._inner.alist(None, filter={"run_id": run_id}):
                place = found.config["configurable"]
                gone.setdefault(place["thread_id"], []).append(place["checkpoint_id"])
        for thread_id, checkpoints in gone.items():
            try:
                await self._thin(thread_id, checkpoints)
            except ThreadTaken as error:
                # The server would never be done with a run that it cannot take back.
                _log.warning("a run was not taken back: %s", error)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Give a thread another one that has the same past."""
        found = [it async for it in self._inner.alist({"configurable": {"thread_id": source_thread_id}})]
        for it in sorted(found, key=lambda each: each.checkpoint["id"]):
            await self._put(it, target_thread_id)
        if (line := await self._runs.find(source_thread_id)) is not None:
            await self._runs.record(line._replace(thread_id=target_thread_id))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Forget threads, or all that came before the latest checkpoint of each.

        Args:
            thread_ids: Which.
            strategy: `keep_latest`, or `delete`.

        Raises:
            ThreadTaken: one is being run.
        """
        for thread_id in thread_ids:
            if strategy != "keep_latest":
                await self.adelete_thread(thread_id)
                continue
            config: RunnableConfig = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
            found = [it.checkpoint["id"] async for it in self._inner.alist(config)]
            await self._thin(thread_id, sorted(found)[:-1])

    async def _put(self, found: CheckpointTuple, thread_id: str) -> None:
        place: dict[str, Any] = {"thread_id": thread_id, "checkpoint_ns": found.config["configurable"]["checkpoint_ns"]}
        if found.parent_config is not None:
            place["checkpoint_id"] = found.parent_config["configurable"]["checkpoint_id"]
        metadata = cast("CheckpointMetadata", {**found.metadata, "thread_id": thread_id})
        versions = found.checkpoint["channel_versions"]
        at = await self._inner.aput({"configurable": place}, found.checkpoint, metadata, versions)
        # The writes of one task are given together: a saver counts them.
        writes: dict[str, list[tuple[str, Any]]] = {}
        for task, channel, value in found.pending_writes or []:
            writes.setdefault(task, []).append((channel, value))
        for number, (task, some) in enumerate(writes.items()):
            await self._inner.aput_writes(at, some, task, f"{number:06}")

    async def _thin(self, thread_id: str, checkpoints: Sequence[str]) -> None:
        async with self._hold(thread_id):
            rows = await asyncio.to_thread(self._stores.checkpoints.rows)
            await asyncio.to_thread(rows.thin, thread_id, checkpoints)
            await self._note(thread_id)

    async def _note(self, thread_id: str) -> None:
        """Bring the line of a thread in the index to where the thread stands."""
        line = await self._runs.find(thread_id)
        latest = await self._inner.aget_tuple({"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}})
        if line is None or latest is None:
            await self._runs.remove(thread_id)
            return
        try:
            state = up_to_date(cast("GemsState", dict(latest.checkpoint["channel_values"])))
        except GemsConfigError:
            return  # a newer version's: it keeps the line itself
        if "trajectory_id" in state:
            await self._runs.record(run_record(state, thread_id, line.owner))
        else:
            await self._runs.remove(thread_id)

    @asynccontextmanager
    async def _hold(self, thread_id: str) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for left in reversed(range(HOLD_TRIES)):
                try:
                    await stack.enter_async_context(hold_async(self._stores.locks, thread_id))
                    break
                except ThreadTaken:
                    if not left:
                        raise
                    await asyncio.sleep(0.1)
            yield
