"""What nobody needs any more: found first, and told; then removed, so that a kill in between leaves only more to find."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, NamedTuple

from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from gems.core.errors import GemsConfigError
from gems.core.ports import RunRecord
from gems.memory.artifacts import FileArtifacts, artifact_id
from gems.memory.database import BUSY_SECONDS
from gems.memory.holdings import SqlHoldings
from gems.memory.locks import FileLocks, ThreadTaken, hold_async, is_taken
from gems.memory.packing import STAGED, Home
from gems.memory.shared_artifacts import SharedArtifacts, is_image
from gems.memory.shelves import Entry
from gems.memory.stores import FileStores, others_keep_pictures
from gems.memory.threads import Names

Keep = Literal["all", "rounds", "last"]
"""Which checkpoints of a finished thread stay: all; those before each round and the person's own words; the latest."""

YOUNG: Final = 3600.0
"""Seconds for which a file may belong to a process that has not said so yet."""
DAY: Final = 86400.0
WORTH_A_VACUUM: Final = 2**20
"""Bytes that must be free in a database file before it is written anew without them."""
_ASIDE: Final = ".part-pruned-"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to be pruned, besides orphans."""

    older_than: float | None = None
    """Days since a thread was last touched, after which it is forgotten; None: never."""
    include_waiting: bool = False
    """Those, too, that wait for a person's answer."""
    keep: Keep = "all"


class OldThread(NamedTuple):
    """A thread that is to be forgotten."""

    id: str
    latest: str
    """Its latest checkpoint."""
    size: int
    """Bytes of its checkpoints."""


class ThinThread(NamedTuple):
    """A finished thread, and those of its checkpoints that go."""

    id: str
    latest: str
    checkpoints: tuple[str, ...]
    size: int
    """Bytes of these, about."""


@dataclass(slots=True)
class Plan:
    """What would be removed. Sizes are bytes."""

    threads: list[OldThread] = field(default_factory=list)
    thinned: list[ThinThread] = field(default_factory=list)
    staged: list[str] = field(default_factory=list)
    """Imports that were killed."""
    trajectories: list[str] = field(default_factory=list)
    """Trajectories of journal and ledger that no thread has."""
    images: list[Path] = field(default_factory=list)
    shared: list[Entry] = field(default_factory=list)
    """Images, and what was left of storing some, in the store that machines share."""
    parts: list[Path] = field(default_factory=list)
    """Files that were being written when their process died."""
    locks: list[Path] = field(default_factory=list)
    damaged: list[Path] = field(default_factory=list)
    """Images that nobody needs and that are not what their names say. They stay."""
    spared: list[str] = field(default_factory=list)
    """Old threads that stay, each with the reason."""
    image_bytes: int = 0
    checkpoint_bytes: int = 0

    @property
    def size(self) -> int:
        """Bytes in all, about."""
        return self.image_bytes + self.checkpoint_bytes

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not any(
            (
                self.threads,
                self.thinned,
                self.staged,
                self.trajectories,
                self.images,
                self.shared,
                self.parts,
                self.locks,
            )
        )


class _Thread(NamedTuple):
    """What must be known of a thread."""

    id: str
    names: Names
    latest: str
    """Its latest checkpoint."""
    touched: float
    """Seconds since the epoch."""
    is_waiting: bool
    is_finished: bool


async def plan(home: Home, wishes: Wishes, now: float | None = None) -> Plan:
    """Find what can go. Nothing is changed.

    Args:
        home: What this machine keeps.
        wishes: What is to go besides orphans.
        now: Seconds since the epoch; default: the clock's. Where it was set back, what seems to come from later stays.

    Raises:
        GemsConfigError: something cannot be read.
    """
    moment = time.time() if now is None else now
    found = Plan()
    # Before the threads are read: what comes in meanwhile belongs to one of them.
    known = await _known(home)
    runs = await home.runs.all() if home.stores.may_hold("runs") else []
    threads = await _threads(home, runs, found)
    for thread in threads:
        await _judge(home, thread, wishes, moment, found)
    gone = {thread.id for thread in found.threads}
    needed = await _needed(home, [it for it in threads if it.id not in gone], runs, gone)
    found.trajectories = [name for name in known if name not in needed.trajectories]
    needed.artifacts.update(await _received(home, found.trajectories))
    found.checkpoint_bytes = _bytes_of(found)
    await asyncio.to_thread(_find_files, home, needed.artifacts, moment, found)
    is_shared = await asyncio.to_thread(others_keep_pictures, home.settings)
    if is_shared and found.images:
        found.spared.append("pictures: another database keeps threads with pictures in this GEMS_HOME, too")
        found.images.clear()
        found.image_bytes = sum(map(_size, found.parts))
    if isinstance(home.artifacts, SharedArtifacts):
        await _find_shared(home.artifacts, needed.artifacts, found)
    kept = [it.id for it in threads if it.id not in gone] + [run.thread_id for run in runs if run.thread_id not in gone]
    if isinstance(home.stores.locks, FileLocks):
        found.locks = [it for it in home.stores.locks.leftovers(kept) if _is_old(it, moment) and not is_taken(it)]
    return found


async def prune(home: Home, found: Plan) -> Plan:
    """Remove what was found, as far as it is still so; answers what was removed.

    Raises:
        GemsConfigError: something cannot be written.
    """
    done = Plan(damaged=found.damaged, spared=list(found.spared))
    if found.threads or found.thinned or found.staged:
        await _prune_threads(home, found, done)
    # Found anew: a thread that was spared keeps what it needs.
    again = await plan(home, Wishes())
    for name in sorted(set(found.trajectories) & set(again.trajectories)):
        await home.journal.forget(name)
        await home.ledger.forget(name)
        done.trajectories.append(name)
    for path in sorted(set(found.images) & set(again.images)):
        size = _size(path)
        if await _remove_image(home, path):
            done.images.append(path)
            done.image_bytes += size
    if isinstance(home.artifacts, SharedArtifacts):
        await _remove_shared(home, home.artifacts, found, again, done)
    for path in sorted(set(found.parts) & set(again.parts)):
        size = _size(path)
        with suppress(OSError):
            path.unlink()
            done.parts.append(path)
            done.image_bytes += size
    if isinstance(home.stores.locks, FileLocks):
        locks = sorted(set(found.locks) & set(again.locks))
        done.locks = [path for path in locks if home.stores.locks.remove_leftover(path)]
    await _forget_owners(home, done)
    done.checkpoint_bytes = _bytes_of(done)
    if isinstance(home.stores, FileStores):
        await asyncio.to_thread(_shrink, home.settings.home)
    return done


def _bytes_of(plan_: Plan) -> int:
    return sum(it.size for it in plan_.threads) + sum(it.size for it in plan_.thinned)


async def _prune_threads(home: Home, found: Plan, done: Plan) -> None:
    rows = await asyncio.to_thread(home.stores.checkpoints.rows)
    for old in found.threads:
        async with _alone(home, old.id, old.latest, done) as may:
            if may:
                # The checkpoints go last: as long as they are there, the thread is found again.
                await home.runs.remove(old.id)
                await asyncio.to_thread(home.stores.stops.clear, old.id)
                await asyncio.to_thread(rows.remove, old.id)
                done.threads.append(old)
    for thin in found.thinned:
        async with _alone(home, thin.id, thin.latest, done) as may:
            if may:
                await asyncio.to_thread(rows.thin, thin.id, thin.checkpoints)
                done.thinned.append(thin)
    for staged in found.staged:
        async with _alone(home, staged.removeprefix(STAGED), None, done) as may:
            if may:
                await asyncio.to_thread(rows.remove, staged)
                done.staged.append(staged)


@asynccontextmanager
async def _alone(home: Home, thread_id: str, latest: str | None, done: Plan) -> AsyncIterator[bool]:
    """Hold a thread; answers whether it could be held and its latest checkpoint (None: any) is still that."""
    try:
        async with hold_async(home.stores.locks, thread_id):
            if latest is not None and await _latest(home, thread_id) != latest:
                done.spared.append(f"{thread_id}: it went on meanwhile")
                yield False
                return
            yield True
            return
    except ThreadTaken:
        done.spared.append(f"{thread_id}: it is being run")
    yield False


async def _latest(home: Home, thread_id: str) -> str:
    async with home.stores.checkpoints.open_async() as saver:
        with home.stores.checkpoints.explained():
            found = await saver.aget_tuple({"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}})
    return found.checkpoint["id"] if found else ""


async def _known(home: Home) -> list[str]:
    """Trajectories of ledger and journal; none while a thread begins, whose trajectory no checkpoint may name yet."""
    known: set[str] = set()
    if home.stores.may_hold("ledger"):
        known.update(await home.ledger.trajectories())
    if home.stores.may_hold("journal"):
        known.update(await home.journal.trajectories())
    ids: list[str] = []
    if known and home.stores.may_hold("checkpoints"):
        ids = await asyncio.to_thread((await asyncio.to_thread(home.stores.checkpoints.rows)).ids)
    begins = await asyncio.to_thread(home.stores.locks.holds_others, ids)
    return [] if begins else sorted(known)


async def _threads(home: Home, runs: Sequence[RunRecord], found: Plan) -> list[_Thread]:
    if not home.stores.may_hold("checkpoints"):
        return []
    rows = await asyncio.to_thread(home.stores.checkpoints.rows)
    listed = {run.thread_id: run.updated for run in runs}
    threads = []
    async with home.stores.checkpoints.open_async() as saver:
        for thread_id in await asyncio.to_thread(rows.ids):
            if thread_id.startswith(STAGED):
                if not await asyncio.to_thread(home.stores.locks.is_held, thread_id.removeprefix(STAGED)):
                    found.staged.append(thread_id)
                continue
            names = await asyncio.to_thread(rows.names, thread_id)
            with home.stores.checkpoints.explained():
                latest = await saver.aget_tuple({"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}})
            threads.append(_thread(thread_id, names, latest, listed.get(thread_id, 0.0)))
    return threads


def _thread(thread_id: str, names: Names, latest: CheckpointTuple | None, listed: float) -> _Thread:
    if latest is None:
        # Only parts of one: nothing says how old it is.
        return _Thread(thread_id, names, "", math.inf, is_waiting=False, is_finished=False)
    written = datetime.fromisoformat(latest.checkpoint["ts"]).timestamp()
    values, pending = latest.checkpoint["channel_values"], latest.pending_writes or []
    is_waiting = any(channel == "__interrupt__" for _, channel, _ in pending)
    is_finished = values.get("status") in ("done", "stopped", "failed") and not pending and "__start__" not in values
    return _Thread(thread_id, names, latest.checkpoint["id"], max(listed, written), is_waiting, is_finished)


async def _judge(home: Home, thread: _Thread, wishes: Wishes, now: float, found: Plan) -> None:
    """Whether a thread is to be forgotten, thinned, or left alone."""
    is_old = wishes.older_than is not None and now - thread.touched > wishes.older_than * DAY
    if not is_old and (wishes.keep == "all" or not thread.is_finished):
        return
    if await asyncio.to_thread(home.stores.locks.is_held, thread.id):
        found.spared.append(f"{thread.id}: it is being run")
    elif is_old and thread.is_waiting and not wishes.include_waiting:
        found.spared.append(f"{thread.id}: it waits for an answer")
    elif is_old:
        rows = await asyncio.to_thread(home.stores.checkpoints.rows)
        size = await asyncio.to_thread(rows.size, thread.id)
        found.threads.append(OldThread(thread.id, thread.latest, size))
    elif thread.is_finished:
        async with home.stores.checkpoints.open_async() as saver:
            gone = await _to_thin(saver, thread.id, wishes.keep)
        if gone:
            rows = await asyncio.to_thread(home.stores.checkpoints.rows)
            size = await asyncio.to_thread(rows.size, thread.id, gone)
            found.thinned.append(ThinThread(thread.id, thread.latest, gone, size))


async def _to_thin(saver: BaseCheckpointSaver[Any], thread_id: str, keep: Keep) -> tuple[str, ...]:
    """Which checkpoints of a thread go."""
    parents: dict[str, str] = {}
    kept: set[str] = set()
    async for it in saver.alist({"configurable": {"thread_id": thread_id}}):
        place = it.config["configurable"]
        if place.get("checkpoint_ns"):
            kept.add(place["checkpoint_id"])  # a subgraph's: not ours to judge
        first = not parents
        parents[place["checkpoint_id"]] = (it.parent_config or {}).get("configurable", {}).get("checkpoint_id", "")
        if first or (keep == "rounds" and _is_a_place_to_begin(it)):
            kept.add(place["checkpoint_id"])
            if keep == "rounds":
                # A branch can be told from where it begins only by the step before.
                kept.add(parents[place["checkpoint_id"]])
    return tuple(sorted(parents.keys() - kept))


def _is_a_place_to_begin(it: CheckpointTuple) -> bool:
    """Whether a round is about to be drawn there, or a person has said something."""
    sends = it.checkpoint["channel_values"].get("__pregel_tasks") or []
    is_round = any(getattr(send, "node", "") == "generator" for send in sends)
    answered = any(channel == "__resume__" for _, channel, _ in it.pending_writes or [])
    return is_round or answered or it.metadata.get("source") == "input"


async def _needed(home: Home, threads: Iterable[_Thread], runs: Iterable[RunRecord], gone: Collection[str]) -> Names:
    """The ids that threads name, and runs that are kept elsewhere: by a server, or a checkpointer of the caller's own."""
    needed = Names()
    for thread in threads:
        needed.add(thread.names)
    ours = set(needed.trajectories)
    for run in runs:
        if run.thread_id in gone:
            continue
        needed.trajectories.add(run.trajectory_id)
        if run.best:
            needed.artifacts.add(run.best)
        if run.trajectory_id not in ours and home.stores.may_hold("journal"):
            # Their checkpoints are not ours to read; what the models were shown is in the journal.
            for call in await home.journal.calls(run.trajectory_id):
                needed.artifacts.update(str(image["artifact"]) for image in call.get("images", []))
    return needed


async def _received(home: Home, but: Collection[str]) -> set[str]:
    """All that the ledger names, but for what these trajectories received alone."""
    if not home.stores.may_hold("ledger"):
        return set()
    named: set[str] = set()
    for name in await home.ledger.trajectories():
        if name not in but:
            named.update((await home.ledger.drawings(name)).values())
    return named


async def _find_shared(artifacts: SharedArtifacts, needed: Collection[str], found: Plan) -> None:
    """What nobody needs of the shared store, by its own clock. Whether images there are damaged is not looked at."""
    listing = await artifacts.listing()
    old = [it for it in listing.leftovers if listing.now - it.moment > YOUNG]
    if listing.others:
        found.spared.append(f"pictures: {listing.others} more databases name pictures of {artifacts.shelf.place}")
    else:
        images = (it for it in listing.images if listing.now - it.moment > YOUNG)
        old += [it for it in images if PurePosixPath(it.name).stem not in needed]
    found.shared = old
    found.image_bytes += sum(it.size for it in old)


async def _remove_shared(home: Home, artifacts: SharedArtifacts, found: Plan, again: Plan, done: Plan) -> None:
    names = {it.name for it in found.shared}
    for entry in again.shared:
        if entry.name not in names:
            continue
        artifact = PurePosixPath(entry.name).stem
        if not is_image(entry.name):
            await asyncio.to_thread(artifacts.shelf.remove, entry.name)
        elif not await artifacts.remove(artifact, YOUNG, partial(home.ledger.names, artifact)):
            continue
        done.shared.append(entry)
        done.image_bytes += entry.size


async def _forget_owners(home: Home, done: Plan) -> None:
    gone = [path.stem for path in (*done.images, *(PurePosixPath(it.name) for it in done.shared if is_image(it.name)))]
    if gone and home.stores.may_hold("holdings"):
        await SqlHoldings(home.stores.database("holdings")).forget(gone)


def _files_of(home: Home) -> FileArtifacts:
    """Images on this machine; where machines share a store, those that could not be sent to it."""
    own = home.artifacts
    return own if isinstance(own, FileArtifacts) else FileArtifacts(own.unsent.folder)


def _find_files(home: Home, needed: Collection[str], now: float, found: Plan) -> None:
    folder = _files_of(home).folder
    for path in sorted(folder.glob("*/*")):
        if not _is_old(path, now):
            continue
        if path.name.startswith(".part-"):
            found.parts.append(path)
            found.image_bytes += _size(path)
        elif path.suffix == ".png" and _is_stored_at(home, path) and path.stem not in needed:
            if artifact_id(path.read_bytes()) == path.stem:
                found.images.append(path)
                found.image_bytes += _size(path)
            else:
                found.damaged.append(path)


def _is_stored_at(home: Home, path: Path) -> bool:
    """Whether the store would look there for what the name says; other files are not ours."""
    try:
        return _files_of(home).path(path.stem) == path
    except GemsConfigError:
        return False


def _is_old(path: Path, now: float) -> bool:
    try:
        return now - path.stat().st_mtime > YOUNG
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


async def _remove_image(home: Home, path: Path) -> bool:
    """Remove an image, unless somebody has just received it again.

    It is laid aside first: who stores it from then on writes it anew, and who did before has said so in the ledger, or has
    touched the file.
    """
    aside = await asyncio.to_thread(_lay_aside, path)
    if aside is None:
        return False
    is_free = _is_old(aside, time.time()) and not await home.ledger.names(path.stem)
    await asyncio.to_thread(aside.unlink) if is_free else await asyncio.to_thread(aside.replace, path)
    return is_free


def _lay_aside(path: Path) -> Path | None:
    aside = path.with_name(f"{_ASIDE}{path.name}")
    try:
        return path.rename(aside)
    except OSError:
        return None


def _shrink(folder: Path) -> None:
    """Write database files anew where much of them is free. One that is in use is left for another time."""
    for path in sorted(folder.glob("*.sqlite")):
        with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            free = connection.execute("PRAGMA freelist_count").fetchone()[0]
            page = connection.execute("PRAGMA page_size").fetchone()[0]
            if free * page > WORTH_A_VACUUM:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
