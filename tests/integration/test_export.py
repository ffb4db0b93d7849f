"""Threads that move between homes, between SQLite and Postgres, and out of the hands of killed processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from gems.app import commands
from gems.app.cli import main
from gems.app.fork_command import Place, fork
from gems.app.replaying import read_record, replay_record
from gems.app.session import Target
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings
from gems.graph import OwnServices, open_graph
from gems.memory.archive import open_archive
from gems.memory.packing import STAGED, Home, home_of, pack, unpack
from gems.memory.pruning import Wishes, plan, prune

CONFIG: Any = {"configurable": {"thread_id": "t"}}
# Models that load nothing; the drawing whose seed stands in the file `hold` waits until the file is gone.
WORKER = """
import asyncio, sys
from pathlib import Path
from gems.app import commands
from gems.app.session import Target
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.graph import OwnServices

class Held(ScriptedImages):
    async def generate(self, request, progress=None):
        Path(f"begun-{request.seed}").touch()
        while Path("hold").exists() and Path("hold").read_text() == str(request.seed):
            await asyncio.sleep(0.02)
        return await super().generate(request)

options = {"size": "64x64", "seed": 7, "candidates": 3, "max_rounds": 2, "lessons": False}
services = OwnServices(chat=rehearse(["+--"]), images=Held())
sys.exit(commands.start("two red dogs", options, Target("t"), services))
"""
# Takes in a file, and waits for a word before each image and checkpoint; whoever gives it kills at any of them.
IMPORTER = """
import asyncio, sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from gems.core.settings import load_settings
from gems.memory import FileArtifacts
from gems.memory.archive import open_archive
from gems.memory.checkpoints import SqliteCheckpoints
from gems.memory.packing import home_of, unpack

def step():
    print("step", flush=True)
    sys.stdin.readline()

class Artifacts(FileArtifacts):
    async def put(self, content):
        step()
        return await super().put(content)

class Saver:
    def __init__(self, saver):
        self.saver = saver
    def __getattr__(self, name):
        return getattr(self.saver, name)
    async def aput(self, *given):
        step()
        return await self.saver.aput(*given)

class Checkpoints(SqliteCheckpoints):
    @asynccontextmanager
    async def open_async(self):
        async with super().open_async() as saver:
            yield Saver(saver)

home = home_of(load_settings())
home.stores.checkpoints = Checkpoints(home.settings.home / "checkpoints.sqlite")
with open_archive(Path(sys.argv[1])) as archive:
    asyncio.run(unpack(replace(home, artifacts=Artifacts(home.artifacts.folder)), archive, "t"))
"""


def wait_until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def machine(tmp_path: Path, name: str, url: str | None = None) -> Home:
    settings = Settings(
        home=tmp_path / name, profiles=dict(BUILT_IN), database_url=SecretStr(url) if url is not None else None
    )
    return home_of(settings)


def make(home: Home, *marks: str, images: ScriptedImages | None = None) -> OwnServices:
    return OwnServices(home.settings, chat=rehearse(list(marks)), images=images or ScriptedImages())


def invoke(home: Home, services: OwnServices, given: Any, **context: Any) -> dict[str, Any]:
    with open_graph(home.settings, services=services) as graph:
        untyped: Any = graph
        untyped.invoke(given, CONFIG, context=context, durability="sync")
        return graph.get_state(CONFIG).values


def state_of(home: Home) -> dict[str, Any]:
    with open_graph(home.settings) as graph:
        return graph.get_state(CONFIG).values


def history(home: Home) -> list[Any]:
    with open_graph(home.settings) as graph:
        return [
            (it.config["configurable"]["checkpoint_id"], it.values, it.next) for it in graph.get_state_history(CONFIG)
        ]


def move(source: Home, target: Home, path: Path) -> None:
    asyncio.run(pack(source, "t", path))
    with open_archive(path) as archive:
        asyncio.run(unpack(target, archive, "t"))


def start(home: Home, **context: Any) -> dict[str, Any]:
    given = {"size": "64x64", "seed": 7, "lessons": False, "candidates": 2, **context}
    return invoke(home, make(home, "+--", "++-", "+--", "++-"), {"prompt": "two red dogs"}, **given)


def test_a_thread_goes_on_in_another_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = machine(tmp_path, "here"), machine(tmp_path, "there")
    start(here, max_rounds=2)
    move(here, there, tmp_path / "t.gems")
    assert history(there) == history(here)
    monkeypatch.setenv("GEMS_HOME", str(there.settings.home))
    assert commands.show(Target("t")) == 0
    assert commands.report(Target("t")) == 0
    images = ScriptedImages()
    services = OwnServices(there.settings, chat=rehearse(["+++"]), images=images)
    assert commands.resume({"max_rounds": 4}, Target("t"), services) == 0
    assert fork(Place("t", 2), "a pair of dogs", {}, Target("b"), make(there, "+++")) == 0
    capsys.readouterr()
    state = state_of(there)
    assert (state["stop_reason"], state["round"]) == ("satisfied", 3)
    assert sorted(it.seed for it in images.history) == [11, 12]


def test_a_run_that_was_killed_goes_on_after_the_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had received, also in the step that was killed, comes along and is not drawn again."""
    here, there = machine(tmp_path, "home"), machine(tmp_path, "there")
    Path("hold").write_text("12")
    worker = subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    artifacts = here.artifacts.folder
    wait_until(lambda: Path("begun-12").exists() and len(list(artifacts.rglob("*.png"))) == 5)
    worker.kill()
    worker.wait()
    move(here, there, tmp_path / "t.gems")
    images = ScriptedImages()
    monkeypatch.setenv("GEMS_HOME", str(there.settings.home))
    services = OwnServices(there.settings, chat=rehearse(["+--"]), images=images)
    assert commands.resume({}, Target("t"), services) == 0
    assert [it.seed for it in images.history] == [12]
    state = state_of(there)
    assert [it["seed"] for it in state["attempts"]] == [7, 8, 9, 10, 11, 12]
    assert state["usage"]["images"] + state["usage"].get("reused", 0) == 6


def test_a_question_to_a_person_travels(tmp_path: Path) -> None:
    from langgraph.types import Command

    here, there = machine(tmp_path, "here"), machine(tmp_path, "there")
    start(here, review="plan")
    move(here, there, tmp_path / "t.gems")
    with open_graph(there.settings) as graph:
        (question,) = graph.get_state(CONFIG).interrupts
    assert question.value["kind"] == "plan"
    state = invoke(there, make(there, "+++"), Command(resume={"action": "approve"}))
    assert state["stop_reason"] == "satisfied"


def test_between_sqlite_and_postgres_and_back(tmp_path: Path, database_url: str) -> None:
    files, server, back = machine(tmp_path, "a"), machine(tmp_path, "b", database_url), machine(tmp_path, "c")
    start(files, max_rounds=2, review="none")
    move(files, server, tmp_path / "1.gems")
    assert history(server) == history(files)
    move(server, back, tmp_path / "2.gems")
    assert history(back) == history(files)
    (name,) = asyncio.run(files.ledger.trajectories())
    for home in (server, back):
        assert asyncio.run(home.journal.calls(name)) == asyncio.run(files.journal.calls(name))
        assert asyncio.run(home.ledger.drawings(name)) == asyncio.run(files.ledger.drawings(name))
    images = ScriptedImages()
    state = invoke(server, make(server, "+++", images=images), {"prompt": ""}, max_rounds=3)
    assert (state["stop_reason"], len(images.history)) == ("satisfied", 2)
    path = tmp_path / "3.gems"
    asyncio.run(pack(server, "t", path))
    with open_archive(path) as archive:
        assert asyncio.run(replay_record(read_record(archive), archive)).parted is None


def test_pruning_in_postgres(tmp_path: Path, database_url: str) -> None:
    home = machine(tmp_path, "home", database_url)
    state = start(home)
    path = tmp_path / "t.gems"
    asyncio.run(pack(home, "t", path))
    with open_archive(path) as archive:
        asyncio.run(unpack(home, archive, "copy"))
    rows = home.stores.checkpoints.rows()
    before = rows.size("t")
    found = asyncio.run(plan(home, Wishes(keep="last")))
    assert [it.id for it in found.thinned] == ["copy", "t"]
    with home.stores.locks.hold("copy"):
        assert [it.id for it in asyncio.run(prune(home, found)).thinned] == ["t"]
    assert rows.size("t") < before / 2
    assert state_of(home) == state
    later = asyncio.run(plan(home, Wishes(older_than=1), time.time() + 3 * 86400))
    assert [it.id for it in later.threads] == ["copy", "t"]
    done = asyncio.run(prune(home, later))
    assert [it.id for it in done.threads] == ["copy", "t"]
    assert rows.ids() == []
    assert asyncio.run(home.ledger.trajectories()) == asyncio.run(home.journal.trajectories()) == []
    assert asyncio.run(home.runs.all()) == []


@pytest.mark.parametrize("at", [1, 4, 6, 9, 14])
def test_an_import_that_is_killed_leaves_nothing_but_orphans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    here, there = machine(tmp_path, "here"), machine(tmp_path, "there")
    start(here, max_rounds=2)
    path = tmp_path / "t.gems"
    asyncio.run(pack(here, "t", path))
    monkeypatch.setenv("GEMS_HOME", str(there.settings.home))
    worker = subprocess.Popen(
        [sys.executable, "-c", IMPORTER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    for _ in range(at - 1):
        assert worker.stdout.readline() == "step\n"
        worker.stdin.write("\n")
        worker.stdin.flush()
    assert worker.stdout.readline() == "step\n"
    worker.kill()
    worker.communicate()
    ids = there.stores.checkpoints.rows().ids()
    assert ids in ([], [f"{STAGED}t"])
    assert asyncio.run(there.runs.all()) == []
    # Taken in once more, it is all there; a copy of the home, pruned in place of that, is empty.
    other = machine(tmp_path, "other")
    subprocess.run(["cp", "-r", str(there.settings.home), str(other.settings.home)], check=True)
    with open_archive(path) as archive:
        asyncio.run(unpack(there, archive, "t"))
    assert history(there) == history(here)
    for _ in range(2):  # what a thread needed is an orphan when the thread is gone
        asyncio.run(prune(other, asyncio.run(_as_if_later(other))))
    assert other.stores.checkpoints.rows().ids() == []
    assert asyncio.run(other.ledger.trajectories()) == asyncio.run(other.journal.trajectories()) == []
    assert list(other.artifacts.folder.rglob("*.png")) == []


async def _as_if_later(home: Home) -> Any:
    for it in home.artifacts.folder.rglob("*.*"):
        os.utime(it, (time.time() - 9000, time.time() - 9000))
    return await plan(home, Wishes())


def test_pruning_beside_a_process_that_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock is real, its images are new, and what it has received in an unfinished step is in no checkpoint yet."""
    home = machine(tmp_path, "home")
    Path("hold").write_text("9")
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_until(lambda: Path("begun-9").exists() and len(list(home.artifacts.folder.rglob("*.png"))) == 2)
    asyncio.run(home.artifacts.put(b"orphan"))
    found = asyncio.run(_as_if_later(home))  # even were they old, the ledger names them
    assert len(found.images) == 1
    old = asyncio.run(plan(home, Wishes(older_than=1), time.time() + 9 * 86400))
    assert (old.threads, old.spared) == ([], ["t: it is being run"])
    asyncio.run(prune(home, found))
    Path("hold").unlink()
    out, _ = worker.communicate(timeout=300)
    assert worker.returncode == 0, out
    state = state_of(home)
    assert len(state["attempts"]) == 6
    assert {it["artifact"] for it in state["attempts"]} == {it.stem for it in home.artifacts.folder.rglob("*.png")}
    assert state["usage"]["images"] == 6


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a person types them."""

    def gems(*arguments: str, home: str = "home") -> Result:
        monkeypatch.setenv("GEMS_HOME", str(tmp_path / home))
        return CliRunner().invoke(main, [*arguments])

    options = {"size": "64x64", "seed": 1, "max_rounds": 2}
    assert commands.start("two dogs", options, Target("apple"), make(machine(tmp_path, "home"), "+--")) == 0
    written = gems("export", "apple")
    assert written.exit_code == 0, written.output
    assert "is there already" in gems("export", "apple").output
    same = gems("replay", "apple.gems", home="nowhere")
    assert (same.exit_code, same.stdout[:10]) == (0, "Identical:")
    assert not (tmp_path / "nowhere").exists()
    taken = gems("import", "apple.gems", "--thread", "pear", "--json", home="other")
    assert json.loads(taken.stdout)["thread_id"] == "pear"
    shown = json.loads(gems("show", "pear", "--json", home="other").stdout)
    assert shown["best"]["artifact"] == json.loads(gems("show", "apple", "--json").stdout)["best"]["artifact"]
    assert gems("prune", "--dry-run", home="other").stdout.startswith("Nothing to remove.")
