"""Where lives work: a folder with `gems.toml`, a home, and what can be seen of a thread from outside."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from gems.app.runner import thread_config
from gems.core.settings import Settings, load_settings
from gems.core.state import GemsState
from gems.evals.crash.servers import WISH_FIELD
from gems.graph import make_services, open_graph
from gems.memory import read_png_text

KEY_VARIABLE: Final = "GEMS_CRASH_LIFE"
"""The environment variable whose value is sent to the servers as a key: the life's name."""
PART: Final = ".part-"
"""How files begin that were being written."""
SIDE: Final = 256
"""Pixels of a picture's side; as noise it has 190 kB."""
_PROFILE: Final = """\
profile = "crash"
[profiles.crash]
mllm = "openai:loopback"
mllm_base_url = "{url}"
images = "openai:loopback-image"
images_base_url = "{url}"
api_key_env = "{key}"
size = "{side}x{side}"
# Limits out of reach: they forbid nothing, but every call is booked before it is made.
max_images = 1000
max_calls = 5000
[profiles.crash.drawing]
server = "vllm-omni"
"""


class Glimpse(NamedTuple):
    """A thread as another process finds it."""

    state: GemsState
    """Empty before the first step."""
    pending: tuple[str, ...]
    """Nodes that were sent their work and have not handed in their result."""
    exists: bool
    """Whether anything was written at all."""
    fault: str = ""
    """Why it cannot be read, if so."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What lies among the artifacts. `wishes` are the digests of what was wished for; `faults` say what must not be."""

    wishes: frozenset[str]
    artifacts: frozenset[str]
    parts: int
    faults: tuple[str, ...]


class Ending(NamedTuple):
    """What a trajectory came to. Calls and images are those booked against its limits; `files` are those exported."""

    state: GemsState
    calls: int
    images: int
    listed: str
    """What the index of runs says of it."""
    files: frozenset[str]
    litter: frozenset[str]
    """Files in the folder of results that were being written when a life ended."""


@dataclass(slots=True)
class Place:
    """A working folder and its home. `database` is a Postgres URL, or empty for SQLite files in the home."""

    folder: Path
    url: str
    database: str = ""
    _known: dict[str, _Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        profile = _PROFILE.format(url=self.url, key=KEY_VARIABLE, side=SIDE)
        (self.folder / "gems.toml").write_text(profile, encoding="utf-8")

    @property
    def home(self) -> Path:
        """GEMS_HOME."""
        return self.folder / "home"

    def environment(self, life: str) -> dict[str, str]:
        """What is set for a life of that name."""
        return {"GEMS_HOME": str(self.home), "GEMS_DATABASE_URL": self.database, KEY_VARIABLE: life}

    def output(self, life: str) -> Path:
        """The file of what a life writes."""
        return self.folder / f"{life}.txt"

    def out(self, thread: str) -> Path:
        """The folder that a thread's results are exported to."""
        return self.folder / "gems-out" / thread

    def glimpse(self, thread: str) -> Glimpse:
        """A thread, and that every table can be read.

        It looks at a copy of the SQLite files: whoever opens such a file repairs it, and the next life is to meet it as the
        kill left it.

        Raises:
            GemsConfigError: the checkpoints cannot be opened.
            RuntimeError: a SQLite file is damaged.
        """
        with self._copied_home() as home, open_graph(self._settings(home)) as graph:
            snapshot = graph.get_state(thread_config(thread))
        state: GemsState = snapshot.values or {}  # type: ignore[assignment]
        return Glimpse(state, tuple(snapshot.next), exists=bool(snapshot.tasks or snapshot.values))

    def ending(self, thread: str) -> Ending:
        """What a thread has come to.

        Raises:
            GemsConfigError: the stores cannot be opened.
        """
        state = self.glimpse(thread).state
        services = make_services(self._settings(self.home))
        spent = asyncio.run(services.ledger.spent(state["trajectory_id"]))
        runs = asyncio.run(services.runs.recent(1000))
        listed = next((f"{run.status}, {run.stop_reason}" for run in runs if run.thread_id == thread), "nothing")
        names = {path.name for path in self.out(thread).glob("*")} if self.out(thread).exists() else set()
        litter = {name for name in names if name.startswith(".")}
        return Ending(state, spent.calls, spent.images, listed, frozenset(names - litter), frozenset(litter))

    def lessons(self) -> list[str]:
        """All lessons with what is counted of them, in an order that their ids do not decide."""
        services = make_services(self._settings(self.home))
        known = asyncio.run(services.lessons.all(services.owner))
        return sorted(
            f"{it.when} {it.advice} ({it.kind}; uses {it.uses}, successes {it.successes}, support {it.support})"
            for it in known
        )

    def age(self) -> None:
        """Make half-written files look old: a younger one might be somebody's who is writing it now."""
        yesterday = time.time() - 86_400
        for path in (self.home / "artifacts").glob(f"*/{PART}*"):
            os.utime(path, (yesterday, yesterday))

    def stored(self) -> Stored:
        """Everything that lies among the artifacts. A file is read again only when it has changed."""
        wishes, artifacts, faults, parts = set[str](), set[str](), list[str](), 0
        for path in sorted((self.home / "artifacts").glob("*/*")):
            if path.name.startswith(PART):
                parts += 1
                continue
            known = self._read(path)
            if known.fault:
                faults.append(known.fault)
            else:
                artifacts.add(path.stem)
                wishes.add(known.wish)
        return Stored(frozenset(wishes), frozenset(artifacts), parts, tuple(faults))

    def _read(self, path: Path) -> _Known:
        status = path.stat()
        key = (status.st_ino, status.st_size, status.st_mtime_ns)
        known = self._known.get(path.name)
        if known is None or known.key != key:
            known = self._known[path.name] = _look(path, key)
        return known

    def _settings(self, home: Path) -> Settings:
        return load_settings(self.folder, {**os.environ, **self.environment("observer"), "GEMS_HOME": str(home)})

    @contextmanager
    def _copied_home(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="gems-crash-") as name:
            copy = Path(name)
            for path in self.home.glob("*.sqlite*"):
                shutil.copy2(path, copy)
            for path in copy.glob("*.sqlite"):
                check_sqlite(path)
            yield copy


class _Known(NamedTuple):
    """A file among the artifacts, as it was when it was read."""

    key: tuple[int, int, int]
    wish: str
    fault: str


def _look(path: Path, key: tuple[int, int, int]) -> _Known:
    content = path.read_bytes()
    if path.name != f"{hashlib.sha256(content).hexdigest()}.png":
        return _Known(key, "", f"{path.name} holds other bytes than its name says ({len(content)} of them)")
    return _Known(key, read_png_text(content).get(WISH_FIELD, ""), "")


def check_sqlite(path: Path) -> None:
    """Have SQLite look at a whole file.

    Raises:
        RuntimeError: it found something.
    """
    with closing(sqlite3.connect(path)) as connection:
        try:
            found = connection.execute("PRAGMA integrity_check").fetchall()
        except sqlite3.DatabaseError as error:
            raise RuntimeError(f"{path.name} is damaged: {error}") from error
    if found != [("ok",)]:
        raise RuntimeError(f"{path.name} is damaged: {found[:3]}")
