"""Images in a store that machines share: whole, checked, kept through outages, and removed by nobody who must not."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from langgraph.checkpoint.memory import InMemorySaver

from gems.app.cli import main
from gems.app.doctor import examine
from gems.app.export import OutFolder, export_run
from gems.app.report import render_report
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import ArtifactCorrupt, GemsConfigError, StoreOutage
from gems.core.ports import ArtifactStore
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.graph import OwnServices, build_graph, make_services, open_graph
from gems.memory import FileArtifacts
from gems.memory.artifacts import artifact_id, artifact_name
from gems.memory.local_copies import LocalCopies
from gems.memory.object_shelf import object_shelf_at
from gems.memory.packing import Home, home_of
from gems.memory.pruning import Plan, Wishes, plan, prune
from gems.memory.shared_artifacts import DATABASES, LEAVING, SharedArtifacts
from gems.memory.shelves import FolderShelf, Shelf, folder_of
from gems.memory.stores import images_of
from gems.memory.unsteady import UnsteadyFiles, internal_error, slow_down

HOUR = 3600.0
PICTURE = b"a picture"
ID = artifact_id(PICTURE)
NAME = artifact_name(ID)
NOTE = f"{DATABASES}/one"


def machine(files: UnsteadyFiles, home: Path, database: str = "one", **options: Any) -> SharedArtifacts:
    return SharedArtifacts(files.shelf(**options), home, lambda: database, lambda seconds: None)


@pytest.fixture
def files() -> UnsteadyFiles:
    return UnsteadyFiles()


@pytest.fixture
def here(files: UnsteadyFiles, tmp_path: Path) -> SharedArtifacts:
    return machine(files, tmp_path / "here")


@pytest.fixture
def there(files: UnsteadyFiles, tmp_path: Path) -> SharedArtifacts:
    return machine(files, tmp_path / "there")


async def test_what_one_machine_stores_another_reads(here: SharedArtifacts, there: SharedArtifacts) -> None:
    assert not await there.has(ID)
    assert await here.put(PICTURE) == ID
    assert await there.has(ID)
    assert await there.get(ID) == PICTURE


async def test_reading_again_asks_nobody(files: UnsteadyFiles, here: SharedArtifacts, there: SharedArtifacts) -> None:
    await here.put(PICTURE)
    await there.get(ID)
    files.asked.clear()
    assert (await here.get(ID), await there.get(ID)) == (PICTURE, PICTURE)
    assert files.asked == []


async def test_what_is_there_is_not_sent_again_but_counts_as_new(
    files: UnsteadyFiles, here: SharedArtifacts, there: SharedArtifacts
) -> None:
    await here.put(PICTURE)
    files.age(NAME, HOUR)
    before = here.shelf.look(NAME)
    files.asked.clear()
    await there.put(PICTURE)
    assert files.asked == [f"write {NOTE}", f"look {NAME}", f"copy {NAME}", f"look {LEAVING}/{ID}"]
    after = here.shelf.look(NAME)
    assert before is not None
    assert after is not None
    assert after.moment - before.moment >= HOUR


async def test_where_nothing_can_be_copied_it_is_sent_again(files: UnsteadyFiles, tmp_path: Path) -> None:
    store = machine(files, tmp_path, can_copy=False)
    await store.put(PICTURE)
    files.age(NAME, HOUR)
    await store.put(PICTURE)
    found = store.shelf.look(NAME)
    assert found is not None
    assert time.time() - found.moment < HOUR / 2


@pytest.mark.parametrize("fault", [slow_down, internal_error, TimeoutError, ConnectionResetError, EOFError])
async def test_a_short_outage_is_outwaited(
    files: UnsteadyFiles, here: SharedArtifacts, fault: Callable[[], Exception]
) -> None:
    files.fail(fault() for _ in range(3))
    await here.put(PICTURE)
    here.copies.remove(ID)
    files.fail(fault() for _ in range(3))
    assert await here.get(ID) == PICTURE


async def test_a_long_outage_is_an_outage_and_ends(files: UnsteadyFiles, here: SharedArtifacts) -> None:
    await here.put(PICTURE)
    here.copies.remove(ID)
    files.down = slow_down()
    files.asked.clear()
    with pytest.raises(StoreOutage, match=r"s3://bucket/prefix does not answer: Please reduce .* can be resumed"):
        await here.get(ID)
    assert len(files.asked) == 4  # once, and for each wait


def test_repeats_wait_longer_and_longer(files: UnsteadyFiles) -> None:
    waited: list[float] = []
    shelf = files.shelf(waits=(1.0, 2.0, 4.0), sleep=waited.append)
    files.down = TimeoutError()
    with pytest.raises(StoreOutage, match="TimeoutError"):
        shelf.look(NAME)
    assert [most / 2 <= it <= most for it, most in zip(waited, (1, 2, 4), strict=True)] == [True] * 3


async def test_what_cannot_be_sent_waits_here_and_goes_when_it_is_asked_for(
    files: UnsteadyFiles, here: SharedArtifacts, there: SharedArtifacts
) -> None:
    await here.check()
    files.down = ConnectionError("no route to host")
    with pytest.raises(StoreOutage, match="no route to host"):
        await here.put(PICTURE)
    assert here.place(ID) == str(here.unsent.find(ID))
    files.down = None
    assert await here.get(ID) == PICTURE  # before it is sent
    assert not await there.has(ID)
    assert await here.has(ID)
    assert await there.get(ID) == PICTURE
    assert here.unsent.find(ID) is None


class NoCredentialsError(Exception):
    """As botocore's: it is known by its name, since botocore may not be installed."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError("Access Denied"), r"Access Denied; check the credentials \(AWS_ACCESS_KEY_ID"),
        (NoCredentialsError("Unable to locate credentials"), "Unable to locate .* AWS_PROFILE"),
        (PermissionError("The region constraint is incompatible"), r"AWS_PROFILE.*; check .*\(AWS_DEFAULT_REGION\)"),
        (OSError(errno.EINVAL, "the region 'a' is wrong; expecting 'b'"), r"expecting 'b'; .*\(AWS_DEFAULT_REGION\)"),
        (ValueError("Invalid endpoint: x"), "Invalid endpoint: x; .*AWS_ENDPOINT_URL_S3"),
        (FileNotFoundError("The specified bucket does not exist"), "s3://bucket/prefix is not there: make the bucket"),
    ],
)
async def test_what_is_wrong_is_said_at_once(
    files: UnsteadyFiles, here: SharedArtifacts, error: Exception, said: str
) -> None:
    files.down = error
    with pytest.raises(GemsConfigError, match=said):
        await here.check()
    assert len(files.asked) == 1


async def test_addresses_are_not_told(files: UnsteadyFiles, here: SharedArtifacts) -> None:
    files.down = ConnectionError('Could not connect to the endpoint URL: "http://10.0.0.1:9000/bucket?X-Key=s3cret"')
    with pytest.raises(StoreOutage) as told:
        await here.check()
    assert "10.0.0.1" not in str(told.value)
    assert "s3cret" not in str(told.value)


async def test_a_missing_or_damaged_image_is_said_to_be_so(
    files: UnsteadyFiles, here: SharedArtifacts, there: SharedArtifacts
) -> None:
    with pytest.raises(ArtifactCorrupt, match=f"cannot be read: there is no s3://bucket/prefix/{NAME}"):
        await here.get(ID)
    await here.put(PICTURE)
    files.damage(NAME)
    with pytest.raises(ArtifactCorrupt, match=f"is damaged: restore s3://bucket/prefix/{NAME}"):
        await there.get(ID)
    assert there.copies.find(ID) is None
    assert await here.get(ID) == PICTURE  # by its own copy


async def test_half_an_object_is_mended_by_storing_it_again(
    files: UnsteadyFiles, here: SharedArtifacts, there: SharedArtifacts
) -> None:
    here.shelf.write(NAME, PICTURE[:4])
    await here.put(PICTURE)
    assert await there.get(ID) == PICTURE


async def test_a_damaged_copy_is_fetched_anew(here: SharedArtifacts) -> None:
    await here.put(PICTURE)
    copy = here.copies.find(ID)
    assert copy is not None
    copy.write_bytes(b"rust")
    assert await here.get(ID) == PICTURE
    assert copy.read_bytes() == PICTURE


@pytest.mark.parametrize("text", ["", "../../etc/passwd", "a" * 63, "A" * 64, f"{LEAVING}/x"])
async def test_only_digests_become_names(files: UnsteadyFiles, here: SharedArtifacts, text: str) -> None:
    for ask in (here.get, here.has):
        with pytest.raises(GemsConfigError, match="not an artifact id"):
            await ask(text)
    assert files.asked == []


async def test_a_place_is_a_file_where_there_is_one(here: SharedArtifacts, there: SharedArtifacts) -> None:
    await here.put(PICTURE)
    assert Path(here.place(ID)).read_bytes() == PICTURE
    assert there.place(ID) == f"s3://bucket/prefix/{NAME}"
    await there.get(ID)
    assert Path(there.place(ID)).read_bytes() == PICTURE


async def test_a_disk_without_room_does_not_keep_images_from_the_store(files: UnsteadyFiles, tmp_path: Path) -> None:
    (tmp_path / "home").write_bytes(b"a file where a folder should be")
    store = machine(files, tmp_path / "home")
    assert await store.get(await store.put(PICTURE)) == PICTURE
    with pytest.raises(GemsConfigError, match="cannot write to"):
        await store.check()


async def test_a_probe_leaves_nothing(files: UnsteadyFiles, here: SharedArtifacts) -> None:
    await here.probe()
    assert list(here.shelf.entries()) == []


def test_copies_have_a_bound_and_the_least_used_go(tmp_path: Path) -> None:
    copies = LocalCopies(tmp_path, most_bytes=1000)
    pictures = [bytes([number]) * 300 for number in range(4)]
    for age, picture in enumerate(pictures[:3]):
        copies.add(artifact_id(picture), picture)
        path = copies.find(artifact_id(picture))
        assert path is not None
        os.utime(path, (100 + age, 100 + age))
    assert copies.read(artifact_id(pictures[0])) == pictures[0]  # used now
    copies.add(artifact_id(pictures[3]), pictures[3])
    left = [copies.find(artifact_id(it)) is not None for it in pictures]
    assert left == [True, False, False, True]
    copies.add(artifact_id(bytes(2000)), bytes(2000))
    assert copies.find(artifact_id(bytes(2000))) is None


async def test_nobody_sees_an_object_of_a_file_server_before_it_is_whole(tmp_path: Path) -> None:
    """Where a protocol writes piece by piece, the object is written aside and renamed."""
    seen: list[list[str]] = []

    class Watched(UnsteadyFiles):
        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
            super().pipe_file(path, value[:3], mode, **kwargs)
            seen.append([it for it in self.store if it.endswith(f"{ID}.png")])
            super().pipe_file(path, value, mode, **kwargs)

    files = Watched()
    store = machine(files, tmp_path, whole=False)
    await store.put(PICTURE)
    assert seen
    assert not any(seen)
    assert await machine(files, tmp_path / "other", whole=False).get(ID) == PICTURE
    assert [it.name for it in (await store.listing()).leftovers] == []
    files.fail([FileNotFoundError("gone")])
    with pytest.raises(GemsConfigError, match="is not there"):
        store.shelf.write(NAME, PICTURE)


# A folder of a file share.


@pytest.fixture
def share(tmp_path: Path) -> Path:
    folder = tmp_path / "share"
    folder.mkdir()
    return folder


async def test_a_share_holds_images_as_a_home_does(share: Path, tmp_path: Path) -> None:
    store = SharedArtifacts(FolderShelf(share), tmp_path / "here", lambda: "one")
    await store.put(PICTURE)
    assert await FileArtifacts(share).get(ID) == PICTURE
    path = share / NAME
    os.utime(path, (0, 0))
    await store.put(PICTURE)
    assert time.time() - path.stat().st_mtime < HOUR
    assert await SharedArtifacts(FolderShelf(share), tmp_path / "there", lambda: "one").get(ID) == PICTURE
    listing = await store.listing()
    assert [it.name for it in listing.images] == [NAME]
    await store.probe()
    assert {it.name for it in FolderShelf(share).entries()} == {NAME, NOTE}


async def test_a_share_that_is_not_mounted_is_not_written_beside(share: Path, tmp_path: Path) -> None:
    store = SharedArtifacts(FolderShelf(share / "gems"), tmp_path / "here", lambda: "one")
    for work in (store.check(), store.put(PICTURE), store.has(ID), store.get(ID)):
        with pytest.raises(GemsConfigError, match="is not there: mount the share, or make the folder"):
            await work
    assert list(share.iterdir()) == []
    (share / "gems").mkdir()
    assert await store.has(ID)  # what waited here has gone there


def test_a_share_without_rights_says_so(share: Path) -> None:
    (share / "ab").write_bytes(b"a file where a folder should be")
    with pytest.raises(GemsConfigError, match=r"cannot be used: .*; check its rights and its room"):
        FolderShelf(share).read("ab/x")


# Addresses.


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("/mnt/share/gems", "/mnt/share/gems"),
        ("file:///mnt/share/my%20gems", "/mnt/share/my gems"),
        ("file://localhost/mnt/x", "/mnt/x"),
        ("s3://bucket/prefix", None),
    ],
)
def test_which_addresses_are_folders(url: str, folder: str | None) -> None:
    assert folder_of(url) == (Path(folder) if folder else None)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("pictures", "write the folder in full"),
        ("file://server/share", "names a machine: mount its share"),
        ("s3://", r"write a folder, or s3://BUCKET/PREFIX"),
        ("simplecache::s3://bucket/x", "write a folder, or s3://"),
        ("s3://bucket/x?endpoint=y", "holds more than a place"),
        ("s3://key:s3cret@bucket/x", "keys belong where"),
    ],
)
def test_addresses_that_cannot_work(settings: Settings, url: str, said: str) -> None:
    with pytest.raises(GemsConfigError, match=said) as told:
        images_of(settings.model_copy(update={"artifacts_url": url}))
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gs://bucket", "gs:// needs a further package: pip install gcsfs"),
        ("nonsense://x/y", "cannot be opened: .*nonsense"),
    ],
)
def test_a_driver_that_is_missing_is_named(url: str, said: str) -> None:
    with pytest.raises(GemsConfigError, match=said):
        object_shelf_at(url).look(NAME)


# What stands on the store.


def sharing(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"artifacts_url": url})


async def test_a_drawing_that_could_not_be_stored_is_not_drawn_again(
    settings: Settings, files: UnsteadyFiles, tmp_path: Path
) -> None:
    """The server goes away while the picture is drawn, and comes back later."""

    class Cut(ScriptedImages):
        async def generate(self, *given: Any, **named: Any) -> Any:
            drawing = await super().generate(*given, **named)
            files.down = ConnectionError("cable pulled")
            return drawing

    images = Cut()
    store = machine(files, settings.home)
    services = OwnServices(settings, chat=rehearse(["+++"]), images=images, artifacts=store)
    graph = build_graph(services, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(StoreOutage, match="cable pulled"):
        await graph.ainvoke({"prompt": "a dog"}, config, context={"size": "64x64", "max_rounds": 1})  # type: ignore[call-overload]
    files.down = None
    await graph.ainvoke(None, config)
    (attempt,) = (await graph.aget_state(config)).values["attempts"]
    assert attempt["reused"]
    assert len(images.history) == 1
    assert artifact_id(await machine(files, tmp_path / "there").get(attempt["artifact"])) == attempt["artifact"]


async def test_an_outage_of_the_store_is_no_verdict(settings: Settings, files: UnsteadyFiles) -> None:
    """The step fails, and can be resumed: the critic did not look, and says nothing."""

    class Forgetful(SharedArtifacts):
        async def put(self, content: bytes) -> str:
            artifact = await super().put(content)
            self.copies.remove(artifact)
            files.down = slow_down()
            return artifact

    store = Forgetful(files.shelf(), settings.home, lambda: "one")
    services = OwnServices(settings, chat=rehearse(["+++"]), images=ScriptedImages(), artifacts=store)
    graph = build_graph(services, checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(StoreOutage):
        await graph.ainvoke({"prompt": "a dog"}, config, context={"size": "64x64", "max_rounds": 1})  # type: ignore[call-overload]
    files.down = None
    await graph.ainvoke(None, config)
    snapshot = (await graph.aget_state(config)).values
    assert snapshot["stop_reason"] == "satisfied"


async def test_results_are_written_from_the_store(
    state: GemsState, artifacts: FileArtifacts, files: UnsteadyFiles, here: SharedArtifacts, tmp_path: Path
) -> None:
    for attempt in state["attempts"]:
        if "artifact" in attempt:
            await here.put(await artifacts.get(attempt["artifact"]))
    there: ArtifactStore = machine(files, tmp_path / "there")
    folder = OutFolder(tmp_path / "out")
    folder.prepare()
    exported = await export_run(folder, "t", state, there, {})
    assert exported.problems == []
    assert exported.best is not None
    page = await render_report("t", state, there)
    assert page.count("data:image/jpeg") == (await render_report("t", state, artifacts)).count("data:image/jpeg") > 0
    files.down = ConnectionError("gone")
    lost = await export_run(folder, "t", state, machine(files, tmp_path / "third"), {})
    assert len(lost.problems) == sum("artifact" in it for it in state["attempts"])
    assert "does not answer" in lost.problems[0]


@pytest.fixture
async def state(finished_run: Callable[..., Any]) -> GemsState:
    return await finished_run(48, 32)


def test_the_commands_work_with_a_shared_store(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, share: Path, tmp_path: Path
) -> None:
    """Two homes that share a folder: what one exports, the other imports, shows and reports."""
    monkeypatch.setenv("GEMS_ARTIFACTS_URL", str(share))
    shared = sharing(settings, str(share))
    run_thread(shared)
    assert not (settings.home / "artifacts").exists()
    file = tmp_path / "t.gems"
    assert gems("export", "t", str(file))["missing"] == []
    monkeypatch.setenv("GEMS_HOME", str(tmp_path / "other"))
    gems("import", str(file))
    best = gems("show", "t")["best"]
    assert Path(best["path"]).read_bytes() == (share / artifact_name(best["artifact"])).read_bytes()
    done = CliRunner().invoke(main, ["report", "t"])
    assert done.exit_code == 0, done.output
    assert "data:image/" in Path(done.stdout.strip()).read_text(encoding="utf-8")
    told = file.read_bytes()
    assert str(share).encode() not in told


def run_thread(settings: Settings, thread_id: str = "t") -> dict[str, Any]:
    services = OwnServices(settings, chat=rehearse(["+++"]), images=ScriptedImages())
    config: Any = {"configurable": {"thread_id": thread_id}}
    with open_graph(settings, services=services) as graph:
        graph.invoke({"prompt": "two red dogs"}, config, context={"size": "64x64"}, durability="sync")  # type: ignore[call-overload]
        return graph.get_state(config).values


def gems(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_doctor_tries_the_store(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], share: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("GEMS_REPLAY", str(tmp_path))  # so that no model is asked
    monkeypatch.setenv("GEMS_ARTIFACTS_URL", str(share))
    assert examine(None, make_services()) == 0
    assert f"{share}: written, read and removed in" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setenv("GEMS_ARTIFACTS_URL", str(share / "gone"))
    assert examine(None, make_services()) == 2
    assert "mount the share" in " ".join(capsys.readouterr().out.split())
    monkeypatch.setenv("GEMS_ARTIFACTS_URL", "s3://key:s3cret@bucket/x")
    assert examine(None, make_services()) == 2
    assert "s3cret" not in capsys.readouterr().out


# Pruning.


@pytest.fixture
def home(settings: Settings, files: UnsteadyFiles) -> Home:
    """A home with a run, whose store is unsteady."""
    store = machine(files, settings.home)
    services = OwnServices(settings, chat=rehearse(["+++"]), images=ScriptedImages(), artifacts=store)
    config: Any = {"configurable": {"thread_id": "t"}}
    with open_graph(settings, services=services) as graph:
        graph.invoke({"prompt": "two red dogs"}, config, context={"size": "64x64"}, durability="sync")  # type: ignore[call-overload]
    return replace(home_of(settings), artifacts=store)


def store_of(home: Home) -> SharedArtifacts:
    assert isinstance(home.artifacts, SharedArtifacts)
    return home.artifacts


def orphan(home: Home, files: UnsteadyFiles, content: bytes, age: float) -> str:
    name = artifact_name(asyncio.run(home.artifacts.put(content)))
    files.age(name, age)
    return name


def find(home: Home) -> Plan:
    return asyncio.run(plan(home, Wishes()))


def names(home: Home) -> set[str]:
    return {it.name for it in store_of(home).shelf.entries()}


def test_orphans_of_the_store_go_when_they_are_an_hour_old(home: Home, files: UnsteadyFiles) -> None:
    needed = names(home)
    for name in needed:
        files.age(name, 2 * HOUR)
    old, young = orphan(home, files, b"old", HOUR + 60), orphan(home, files, b"young", HOUR - 60)
    store_of(home).shelf.write("holiday.png", b"sun")
    store_of(home).shelf.write(f"{LEAVING}/{ID}", b"")
    for name in ("holiday.png", f"{LEAVING}/{ID}"):
        files.age(name, 2 * HOUR)
    found = find(home)
    assert {it.name for it in found.shared} == {old, f"{LEAVING}/{ID}"}
    assert found.image_bytes == len(b"old")
    done = asyncio.run(prune(home, found))
    assert [it.name for it in done.shared] == [it.name for it in found.shared]
    assert done.image_bytes == len(b"old")
    assert names(home) == needed | {young, "holiday.png"}
    assert find(home).is_empty


def test_the_store_of_several_databases_is_left_alone(home: Home, files: UnsteadyFiles, tmp_path: Path) -> None:
    orphan(home, files, b"old", 2 * HOUR)
    other = machine(files, tmp_path / "other", "two")
    asyncio.run(other.check())
    found = find(home)
    assert found.shared == []
    assert found.spared == ["pictures: 1 more databases name pictures of s3://bucket/prefix"]
    other.shelf.remove(f"{DATABASES}/two")
    assert len(find(home).shared) == 1


def test_what_the_ledger_names_meanwhile_stays(home: Home, files: UnsteadyFiles) -> None:
    name = orphan(home, files, PICTURE, 2 * HOUR)
    found = find(home)
    asyncio.run(home.ledger.record("somebody", "key", ID))
    assert asyncio.run(prune(home, found)).shared == []
    assert name in names(home)


def test_what_is_stored_again_just_before_its_removal_stays(home: Home, files: UnsteadyFiles) -> None:
    name = orphan(home, files, PICTURE, 2 * HOUR)
    asyncio.run(home.artifacts.put(PICTURE))

    async def nobody() -> bool:
        return False

    assert not asyncio.run(store_of(home).remove(ID, HOUR, nobody))
    assert name in names(home)


def test_what_is_stored_again_during_its_removal_is_there_afterwards(
    home: Home, files: UnsteadyFiles, tmp_path: Path
) -> None:
    """The other sees that the image is there, and that it is leaving; it waits, and sends it anew."""
    orphan(home, files, PICTURE, 2 * HOUR)
    waits, gone = threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        waits.set()
        assert gone.wait(10)

    other = SharedArtifacts(files.shelf(), tmp_path / "other", lambda: "one", sleep)

    async def nobody() -> bool:
        thread = threading.Thread(target=lambda: asyncio.run(other.put(PICTURE)))
        threads.append(thread)
        thread.start()
        assert await asyncio.to_thread(waits.wait, 10)
        return False

    threads: list[threading.Thread] = []
    assert asyncio.run(store_of(home).remove(ID, HOUR, nobody))
    gone.set()
    threads[0].join(10)
    assert asyncio.run(machine(files, tmp_path / "third").get(ID)) == PICTURE


def test_a_removal_is_never_asked_for_twice(home: Home, files: UnsteadyFiles) -> None:
    """A late repeat would remove what was stored in between."""
    orphan(home, files, PICTURE, 2 * HOUR)
    files.asked.clear()

    async def breaks() -> bool:
        files.fail([TimeoutError()])
        return False

    with pytest.raises(StoreOutage):
        asyncio.run(store_of(home).remove(ID, HOUR, breaks))
    assert files.asked.count(f"remove {NAME}") == 1


def test_images_that_wait_to_be_sent_are_kept_as_long_as_a_run_names_them(home: Home, files: UnsteadyFiles) -> None:
    store = store_of(home)
    for content in (PICTURE, b"nobody's"):
        store.unsent.add(artifact_id(content), content)
        path = store.unsent.find(artifact_id(content))
        assert path is not None
        os.utime(path, (0, 0))
    with sqlite3.connect(home.settings.home / "ledger.sqlite") as connection:
        (trajectory,) = connection.execute("SELECT DISTINCT trajectory_id FROM drawings").fetchone()
    connection.close()
    asyncio.run(home.ledger.record(trajectory, "key", ID))
    found = find(home)
    assert [it.stem for it in found.images] == [artifact_id(b"nobody's")]
    asyncio.run(prune(home, found))
    assert store.unsent.find(ID) is not None
    assert store.unsent.find(artifact_id(b"nobody's")) is None


def test_every_database_has_a_name_of_its_own(settings: Settings, share: Path, tmp_path: Path) -> None:
    both = [
        sharing(settings, str(share)),
        sharing(settings.model_copy(update={"home": tmp_path / "b"}), str(share)),
    ]
    for it in (*both, both[0]):
        asyncio.run(images_of(it).check())
    assert len(list((share / DATABASES).iterdir())) == 2


def test_a_shelf_is_what_the_protocol_says(files: UnsteadyFiles, share: Path) -> None:
    shelves: list[Shelf] = [files.shelf(), FolderShelf(share)]
    for shelf in shelves:
        assert shelf.look("x/y") is None
        with pytest.raises(FileNotFoundError):
            shelf.read("x/y")
        assert not shelf.refresh("x/y")
        shelf.remove("x/y")
        shelf.write("x/y", b"1")
        shelf.write("x/y", b"22")
        assert shelf.read("x/y") == b"22"
        assert [(it.name, it.size) for it in shelf.entries()] == [("x/y", 2)]
        assert shelf.refresh("x/y")
        shelf.remove("x/y")
        assert list(shelf.entries()) == []
