"""A thread put into an archive, and taken out of one again."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.types import Interrupt, Send

from gems.core.errors import ArtifactCorrupt, GemsConfigError
from gems.core.ports import RunRecord
from gems.core.settings import Settings
from gems.core.spending import Spend
from gems.memory.archive import Archive, ArchiveWriter, Facts, LedgerPart, Manifest, RunLine, Saved
from gems.memory.artifacts import ROOM, FileArtifacts
from gems.memory.journal import SqlJournal
from gems.memory.ledger import SqlLedger
from gems.memory.locks import hold_async
from gems.memory.migrations import up_to_date
from gems.memory.runs import SqlRuns
from gems.memory.shared_artifacts import SharedArtifacts
from gems.memory.stores import Stores, images_of, stores_of
from gems.memory.threads import Names

STAGED: Final = ".import-"
"""Begins the name of a thread that is being imported: no command takes such a name, and `gems prune` removes it."""
_PARAMETERS: Final = ("request", "options", "made_with", "versions", "usage", "status", "stop_reason")
_SECRET: Final = "[secret]"  # noqa: S105  # what stands in the place of one
_HOME: Final = "GEMS_HOME"
_ARTIFACTS: Final = "GEMS_ARTIFACTS_URL"


@dataclass(frozen=True, slots=True)
class Home:
    """All that this machine keeps."""

    settings: Settings
    stores: Stores
    artifacts: FileArtifacts | SharedArtifacts
    ledger: SqlLedger
    journal: SqlJournal
    runs: SqlRuns


def home_of(settings: Settings) -> Home:
    """The stores that the settings name. Nothing is opened yet."""
    stores = stores_of(settings)
    return Home(
        settings=settings,
        stores=stores,
        artifacts=images_of(settings, lambda: stores),
        ledger=SqlLedger(stores.database("ledger")),
        journal=SqlJournal(stores.database("journal")),
        runs=SqlRuns(stores.database("runs")),
    )


class Packed(NamedTuple):
    """An archive that was written."""

    manifest: Manifest
    size: int
    """Bytes of the file."""


async def pack(home: Home, thread_id: str, path: Path, *, only_last: bool = False) -> Packed:
    """Write a thread to one file. Nobody may run it meanwhile.

    An image that is lost or damaged is named as missing; the rest travels all the same.

    Raises:
        GemsConfigError: there is no such thread, it is being run, or the file cannot be written.
    """
    if not home.stores.may_hold("checkpoints"):
        raise _no_thread(thread_id)
    async with hold_async(home.stores.locks, thread_id):
        async with home.stores.checkpoints.open_async() as saver:
            with home.stores.checkpoints.explained():
                found = [it async for it in saver.alist(_config(thread_id), limit=1 if only_last else None)]
        if not found:
            raise _no_thread(thread_id)
        return await _write(home, thread_id, path, found, is_whole=not only_last)


async def _write(home: Home, thread_id: str, path: Path, found: list[CheckpointTuple], *, is_whole: bool) -> Packed:
    clean = _cleaner(home.settings)
    trajectories = _trajectories(found)
    names, wanted = Names(), _wanted(found[0].checkpoint["channel_values"])
    with ArchiveWriter(path) as writer:
        # The newest comes first; a saver takes them oldest first, parents before children.
        for it in reversed(found):
            saved = _saved(it, clean)
            names.read(await asyncio.to_thread(writer.add_checkpoint, saved))
        calls = {name: [clean(call) for call in await home.journal.calls(name)] for name in trajectories}
        parts = {
            name: LedgerPart(drawings=await home.ledger.drawings(name), spent=(await home.ledger.spent(name))._asdict())
            for name in trajectories
        }
        names.read(await asyncio.to_thread(writer.add_journal, calls))
        for part in parts.values():
            names.artifacts.update(part.drawings.values())
        run = await home.runs.find(thread_id)
        writer.add_ledger(parts)
        # Whose it was here says nothing elsewhere.
        told = {name: value for name, value in run._asdict().items() if name != "owner"} if run else None
        writer.add_run(RunLine(**clean(told)) if told else None)
        writer.add_parameters(clean(_parameters(found[0].checkpoint["channel_values"])))
        missing = set(wanted)
        for artifact in sorted(names.artifacts):
            try:
                content = await home.artifacts.get(artifact)
            except ArtifactCorrupt:
                continue  # drawn and never stored, or no image's id at all; if it is wanted, it is told
            missing.discard(artifact)
            await asyncio.to_thread(writer.add_image, artifact, content)
        version = found[0].checkpoint["channel_values"].get("schema", 1)
        facts = Facts(thread_id, trajectories, version, is_whole, sorted(missing))
        manifest = await asyncio.to_thread(writer.finish, facts)
    return Packed(manifest, (await asyncio.to_thread(path.stat)).st_size)


def _saved(found: CheckpointTuple, clean: Callable[[Any], Any]) -> Saved:
    place = found.config["configurable"]
    parent = (found.parent_config or {}).get("configurable", {}).get("checkpoint_id")
    return Saved(
        id=place["checkpoint_id"],
        parent=parent,
        namespace=place.get("checkpoint_ns", ""),
        checkpoint=clean(dict(found.checkpoint)),
        metadata=clean(dict(found.metadata)),
        writes=[(task, channel, clean(value)) for task, channel, value in found.pending_writes or []],
    )


def _trajectories(found: Sequence[CheckpointTuple]) -> list[str]:
    """The trajectories of a thread, the first one first; one that was just begun may be in a pending write alone."""
    names: dict[str, None] = {}
    for it in reversed(found):
        values = [it.checkpoint["channel_values"].get("trajectory_id")]
        values += [value for _, channel, value in it.pending_writes or [] if channel == "trajectory_id"]
        names |= dict.fromkeys(value for value in values if value)
    return list(names)


def _wanted(state: Mapping[str, Any]) -> list[str]:
    """Images that a thread cannot do without."""
    drawn = [it["artifact"] for it in state.get("attempts", []) if "artifact" in it]
    return [*drawn, *state.get("request", {}).get("references", [])]


def _parameters(state: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: state[name] for name in _PARAMETERS if name in state}
    return {**kept, "skills": state.get("plan", {}).get("skills", {})}


def _cleaner(settings: Settings) -> Callable[[Any], Any]:
    """What takes keys and this machine's folders out of a value. State holds none, but the text of an error may."""
    hidden = {secret.get_secret_value(): _SECRET for secret in settings.secrets.values()}
    if settings.database_url is not None:
        hidden[settings.database_url.get_secret_value()] = _SECRET
    hidden[str(settings.home)] = _HOME
    if settings.artifacts_url is not None:
        hidden[settings.artifacts_url.rstrip("/").removeprefix("file://")] = _ARTIFACTS
    pattern = re.compile("|".join(re.escape(text) for text in sorted(hidden, key=len, reverse=True) if text))

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda found: hidden[found[0]], value)
        if isinstance(value, dict):
            return {name: clean(it) for name, it in value.items()}
        if isinstance(value, list):
            return [clean(it) for it in value]
        if isinstance(value, tuple) and type(value) is tuple:
            return tuple(clean(it) for it in value)
        if isinstance(value, Send):
            return Send(value.node, clean(value.arg))
        if isinstance(value, Interrupt):
            return Interrupt(value=clean(value.value), id=value.id, response_schema=value.response_schema)
        return value

    return clean


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A thread that was taken in."""

    thread_id: str
    renamed: dict[str, str] = field(default_factory=dict)
    """New ids of trajectories that other threads here have."""


async def unpack(home: Home, archive: Archive, thread_id: str) -> Unpacked:
    """Take in a thread under a name that is free.

    The thread is there at one stroke, when all it needs is there; of what a kill leaves behind before, `gems prune` knows.

    Raises:
        GemsConfigError: the name is taken, somebody runs the thread, or there is no room.
    """
    _check_room(home.settings.home, archive.size)
    async with hold_async(home.stores.locks, thread_id):
        rows = await asyncio.to_thread(home.stores.checkpoints.rows)
        if (run := archive.run()) and (begun := await _begun(home, archive, thread_id)):
            await home.runs.restore(_line(run, thread_id, begun))
            return Unpacked(thread_id)
        renamed = await _renamed(home, archive, thread_id)
        for artifact in archive.images:
            await home.artifacts.put(await asyncio.to_thread(archive.image, artifact))
        parts, calls = await asyncio.to_thread(archive.ledger), await asyncio.to_thread(archive.calls)
        for name, part in parts.items():
            await home.ledger.restore(renamed.get(name, name), part.drawings, _spend(part))
        for name, told in calls.items():
            await home.journal.restore(renamed.get(name, name), told)
        staged = f"{STAGED}{thread_id}"
        await asyncio.to_thread(rows.remove, staged)
        async with home.stores.checkpoints.open_async() as saver:
            with home.stores.checkpoints.explained():
                for saved in archive.checkpoints(renamed):
                    await _put(saver, staged, saved)
        await asyncio.to_thread(rows.rename, staged, thread_id)
        if run:
            await home.runs.restore(_line(run, thread_id, renamed.get(run.trajectory_id, run.trajectory_id)))
    return Unpacked(thread_id, renamed)


def _spend(part: LedgerPart) -> Spend:
    known: dict[str, Any] = {name: value for name, value in part.spent.items() if name in Spend._fields}
    return Spend(**known)


async def _put(saver: BaseCheckpointSaver[Any], thread_id: str, saved: Saved) -> None:
    place: dict[str, Any] = {"thread_id": thread_id, "checkpoint_ns": saved.namespace}
    before: RunnableConfig = {"configurable": {**place, "checkpoint_id": saved.parent}}
    checkpoint: Any = saved.checkpoint
    metadata: Any = saved.metadata
    # All versions are new to this saver: it is to keep every value that the checkpoint names.
    await saver.aput(before, checkpoint, metadata, saved.checkpoint["channel_versions"])
    at: RunnableConfig = {"configurable": {**place, "checkpoint_id": saved.id}}
    for place_of_task, task in enumerate(dict.fromkeys(write[0] for write in saved.writes)):
        writes = [(channel, value) for name, channel, value in saved.writes if name == task]
        # Savers sort by the path, which they do not tell: a number keeps the order they gave.
        await saver.aput_writes(at, writes, task, f"{place_of_task:06}")


async def _begun(home: Home, archive: Archive, thread_id: str) -> str:
    """The trajectory of an import of this very thread that was killed just before its end; empty where there is nothing.

    Raises:
        GemsConfigError: the name is taken.
    """
    async with home.stores.checkpoints.open_async() as saver:
        with home.stores.checkpoints.explained():
            latest = await saver.aget_tuple({"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}})
    is_listed = await home.runs.find(thread_id) is not None
    if latest is None and not is_listed:
        return ""
    ours = [saved.id for saved in archive.checkpoints() if not saved.namespace]
    if latest is not None and not is_listed and latest.checkpoint["id"] == ours[-1]:
        return str(latest.checkpoint["channel_values"].get("trajectory_id", ""))
    raise GemsConfigError(f"thread {thread_id!r} is in use here: give the imported one another name with --thread")


async def _renamed(home: Home, archive: Archive, thread_id: str) -> dict[str, str]:
    """New ids for those trajectories that another thread has: two threads must not spend from one account."""
    wanted = set(archive.manifest.trajectories)
    taken = {run.trajectory_id for run in await home.runs.all() if run.thread_id != thread_id} & wanted
    if wanted & {*await home.ledger.trajectories(), *await home.journal.trajectories()}:
        rows = await asyncio.to_thread(home.stores.checkpoints.rows)
        for other in await asyncio.to_thread(rows.ids):
            if other != thread_id and not other.startswith(STAGED):
                taken |= (await asyncio.to_thread(rows.names, other)).trajectories & wanted
    return {name: uuid.uuid4().hex for name in sorted(taken)}


def _line(run: RunLine, thread_id: str, trajectory_id: str) -> RunRecord:
    """The line here: what came in now was touched now, so that its time to be forgotten begins anew."""
    fields = run.model_dump() | {"thread_id": thread_id, "trajectory_id": trajectory_id, "updated": time.time()}
    return RunRecord(**fields)


def _check_room(home: Path, needed: int) -> None:
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    # Twice: a database writes what it takes in to its log first.
    free, wanted = shutil.disk_usage(place).free, 2 * needed + ROOM
    if free < wanted:
        raise GemsConfigError(f"only {free // 2**20} MB free in {place}; the thread needs {wanted // 2**20} MB")


def _config(thread_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id}}


def _no_thread(thread_id: str) -> GemsConfigError:
    return GemsConfigError(f"there is no thread {thread_id!r} here; `gems runs` lists what there is")


def latest_state(archive: Archive) -> dict[str, Any]:
    """The state of the archive's latest checkpoint, as this version writes it."""
    state: Any = {}
    for saved in archive.checkpoints():
        if not saved.namespace:
            state = saved.checkpoint["channel_values"]
    return dict(up_to_date(state))
