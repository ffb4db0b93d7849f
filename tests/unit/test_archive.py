"""Archives: a thread comes out of one as it went in, and nothing comes out of a file that is not whole and ours."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.types import Interrupt, Send

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError
from gems.core.settings import Settings
from gems.core.spending import Spend
from gems.graph import OwnServices, open_graph
from gems.memory.archive import (
    MANIFEST,
    MOST_MEMBER,
    VERSION,
    Archive,
    ArchiveWriter,
    Facts,
    Saved,
    open_archive,
    strict_serializer,
)
from gems.memory.locks import FileLocks
from gems.memory.packing import Home, home_of, pack, unpack

CONFIG: Any = {"configurable": {"thread_id": "t"}}
TRAJECTORY = "0123456789abcdef" * 2
CALL = {
    "key": "c" * 64,
    "role": "planner",
    "task": "refine",
    "prompt": "p",
    "instructions": "draw",
    "fields": {},
    "images": [],
    "reply": {"actions": []},
    "usage": {"mllm_calls": 1},
    "thoughts": "",
    "problem": "",
    "tokens": [],
}


def saved(number: int = 1, **values: Any) -> Saved:
    name = f"1f000000-0000-6000-8000-{number:012}"
    checkpoint = {
        "v": 4,
        "id": name,
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": {"trajectory_id": TRAJECTORY, **values},
        "channel_versions": {"trajectory_id": "1"},
        "versions_seen": {},
        "updated_channels": [],
    }
    return Saved(name, None, "", checkpoint, {"source": "loop", "step": number}, [])


def write(path: Path, *checkpoints: Saved, images: tuple[bytes, ...] = (), state_version: int = 2) -> Path:
    with ArchiveWriter(path) as writer:
        for it in checkpoints or (saved(),):
            writer.add_checkpoint(it)
        writer.add_journal({TRAJECTORY: [CALL]})
        writer.add_ledger({})
        writer.add_run(None)
        writer.add_parameters({})
        for image in images:
            writer.add_image(hashlib.sha256(image).hexdigest(), image)
        writer.finish(Facts("t", [TRAJECTORY], state_version, True, []))
    return path


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The archive with other members, and a manifest that names and digests them as they are."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    manifest = json.loads(members.pop(MANIFEST))
    manifest["members"] = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            stored = zipfile.ZIP_STORED if name.startswith("images/") else zipfile.ZIP_DEFLATED
            file.writestr(name, content, stored)
        file.writestr(MANIFEST, json.dumps(manifest))
    return path


def refused(path: Path) -> str:
    with pytest.raises(GemsConfigError) as error, open_archive(path):
        pass
    return str(error.value)


def run(settings: Settings, **context: Any) -> None:
    services = OwnServices(settings, chat=rehearse(["+--", "+++"]), images=ScriptedImages())
    with open_graph(settings, services=services) as graph:
        given: Any = {"size": "64x64", "seed": 7, **context}
        graph.invoke({"prompt": "two red dogs"}, CONFIG, context=given, durability="sync")  # type: ignore[call-overload]


@pytest.fixture
def exported(settings: Settings, tmp_path: Path) -> Path:
    """A run of two rounds, as a file."""
    run(settings)
    path = tmp_path / "t.gems"
    asyncio.run(pack(home_of(settings), "t", path))
    return path


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Home:
    return home_of(settings.model_copy(update={"home": tmp_path / "elsewhere"}))


def take_in(home: Home, path: Path, thread_id: str = "t") -> None:
    with open_archive(path) as archive:
        asyncio.run(unpack(home, archive, thread_id))


def test_values_of_every_kind_come_back(tmp_path: Path) -> None:
    first = saved(
        1,
        messages=[HumanMessage("hello"), AIMessage("done")],
        __pregel_tasks=[Send("generator", {"trajectory_id": TRAJECTORY, "wanted": [1.5, None, True]})],
    )
    question = Interrupt(value={"kind": "plan"}, id="i", response_schema={"type": "object"})
    second = saved(2)._replace(
        parent=first.id, writes=[("task", "__interrupt__", [question]), ("task", "x", (1, b"y"))]
    )
    picture = b"\x89PNG not really"
    with open_archive(write(tmp_path / "a.gems", first, second, images=(picture,))) as archive:
        back = list(archive.checkpoints())
        assert back[0] == first
        assert back[1]._replace(writes=[]) == second._replace(writes=[])
        assert back[1].writes[0][2] == [question]
        assert list(back[1].writes[1][2]) == [1, b"y"]
        assert archive.calls() == {TRAJECTORY: [CALL]}
        assert [archive.image(it) for it in archive.images] == [picture]
        assert archive.manifest.counts == {"checkpoints": 2, "calls": 1, "drawings": 0, "images": 1}


def test_a_trajectory_is_renamed_wherever_it_is_named(tmp_path: Path) -> None:
    new = "f" * 32
    sends = [Send("generator", {"trajectory_id": TRAJECTORY})]
    with open_archive(write(tmp_path / "a.gems", saved(1, __pregel_tasks=sends))) as archive:
        (it,) = archive.checkpoints({TRAJECTORY: new})
    values = it.checkpoint["channel_values"]
    assert values["trajectory_id"] == values["__pregel_tasks"][0].arg["trajectory_id"] == new


def test_a_thread_is_the_same_file_wherever_it_is(exported: Path, elsewhere: Home, tmp_path: Path) -> None:
    """All that is kept of it was taken in: written again from there, nothing differs but when the run was last touched."""
    take_in(elsewhere, exported)
    again = tmp_path / "again.gems"
    asyncio.run(pack(elsewhere, "t", again))
    with zipfile.ZipFile(exported) as first, zipfile.ZipFile(again) as second:
        assert first.namelist() == second.namelist()
        differing = [name for name in first.namelist() if first.read(name) != second.read(name)]
        assert differing == ["run.json", MANIFEST]
        lines = [json.loads(file.read("run.json"))["run"] for file in (first, second)]
    assert lines[0] | {"updated": 0} == lines[1] | {"updated": 0}


def test_spending_and_drawings_travel(settings: Settings, elsewhere: Home, exported: Path) -> None:
    home = home_of(settings)
    (name,) = asyncio.run(home.ledger.trajectories())
    asyncio.run(home.ledger.book(name, Spend(calls=3, cost=0.25)))
    asyncio.run(pack(home, "t", exported))
    take_in(elsewhere, exported)
    assert asyncio.run(elsewhere.ledger.spent(name)) == asyncio.run(home.ledger.spent(name))
    assert asyncio.run(elsewhere.ledger.spent(name)).cost == 0.25
    assert len(asyncio.run(elsewhere.ledger.drawings(name))) == 2
    assert asyncio.run(elsewhere.ledger.drawings(name)) == asyncio.run(home.ledger.drawings(name))


def test_damage_anywhere_is_refused_or_harmless(exported: Path, elsewhere: Home, tmp_path: Path) -> None:
    """Whatever byte changes: the file is refused and nothing is written, or what comes out of it is what went in."""
    whole = exported.read_bytes()
    with open_archive(exported) as archive:
        truth = contents(archive)
    chance = random.Random(3)
    broken = tmp_path / "broken.gems"
    refusals = 0
    for _ in range(300):
        content = bytearray(whole)
        place = chance.randrange(len(whole))
        content[place] ^= 1 << chance.randrange(8)
        broken.write_bytes(content)
        try:
            with open_archive(broken) as archive:
                assert contents(archive) == truth, place
        except GemsConfigError:
            refusals += 1
    assert refusals > 200
    assert not elsewhere.settings.home.exists()


def contents(archive: Archive) -> str:
    said = [archive.manifest, list(archive.checkpoints()), archive.calls(), archive.ledger(), archive.run()]
    return repr(said) + repr([archive.image(it) for it in archive.images])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused(exported: Path, share: float) -> None:
    content = exported.read_bytes()
    exported.write_bytes(content[: int(len(content) * share)])
    assert "is no archive of a thread" in refused(exported)


def test_a_damaged_member_is_named(exported: Path) -> None:
    with zipfile.ZipFile(exported) as file:
        info = file.getinfo("journal.jsonl")
    content = bytearray(exported.read_bytes())
    content[info.header_offset + 60] ^= 255
    exported.write_bytes(content)
    assert "damaged in its member journal.jsonl" in refused(exported)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.gems"
    assert "cannot read" in refused(path)
    path.write_text("no zip")
    assert "is no archive of a thread" in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("holiday.txt", "sun")
    assert "it has no manifest.json" in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(MANIFEST, '{"format": "another"}')
    assert "not that of a thread" in refused(path)


@pytest.mark.parametrize(
    "name", ["../evil.png", "/etc/passwd", "images/../../x.png", "images/" + "A" * 64 + ".png", "C:\\x", "images/"]
)
def test_names_that_are_not_ours_are_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.gems")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, "x")
    assert "it has a member" in refused(path)
    assert sorted(it.name for it in tmp_path.iterdir()) == ["a.gems"]


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gems")
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("journal.jsonl", "")
    assert "two members of one name" in refused(path)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gems")
    bomb = zipfile.ZipInfo("checkpoints/000002.msgpack")
    bomb.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "a") as file, file.open(bomb, "w", force_zip64=True) as member:
        block = bytes(2**20)
        for _ in range(MOST_MEMBER // 2**20 + 1):
            member.write(block)
    assert path.stat().st_size < 2**20
    assert "the limit is 256 MiB" in refused(path)


def test_a_member_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    picture = bytes(range(256)) * 40
    path = write(tmp_path / "a.gems", images=(picture,))
    name = f"images/{hashlib.sha256(picture).hexdigest()}.png"
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, old.read(member))  # the image, too, is packed now
    path.write_bytes(buffer.getvalue())
    assert f"damaged in its member {name}" in refused(path)


def test_an_image_must_be_what_its_name_says(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gems", images=(b"one",))

    def swap(members: dict[str, bytes]) -> None:
        (name,) = (name for name in members if name.startswith("images/"))
        members[name] = b"another"

    assert "another image than its name says" in refused(rewritten(path, swap))


def test_what_is_newer_is_refused_in_words(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gems")

    def newer(members: dict[str, bytes]) -> None:
        members[MANIFEST] = members[MANIFEST].replace(f'"version": {VERSION}'.encode(), b'"version": 9')

    assert "archive version 9; this one reads up to 1): upgrade GEMS" in refused(rewritten(path, newer))
    assert "state version 99" in refused(write(tmp_path / "b.gems", state_version=99))
    assert "state version 99" in refused(write(tmp_path / "c.gems", saved(schema=99)))


def test_objects_are_not_made_from_foreign_bytes(tmp_path: Path) -> None:
    """A checkpoint can name any class; none but those that GEMS writes comes to life."""
    import datetime

    path = write(tmp_path / "a.gems", saved(best=datetime.date(2026, 1, 1)))
    assert "damaged in its member checkpoints/000001.msgpack" in refused(path)
    # As the usual, lenient serializer writes an object of any class.
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    evil = JsonPlusSerializer().dumps_typed(Settings(home=tmp_path, profiles={}))
    assert not isinstance(strict_serializer().loads_typed(evil), Settings)


@pytest.mark.parametrize(
    ("member", "content"),
    [
        ("journal.jsonl", b'{"trajectory_id": "x"}\n'),
        ("journal.jsonl", b"{\n"),
        ("ledger.json", b"[" * 100_000),
        ("ledger.json", b'{"trajectories": {"../x": {}}}'),
        ("run.json", b'{"run": 1}'),
        ("run.json", b"\xff"),
        ("checkpoints/000001.msgpack", b"\xc1"),
        ("checkpoints/000001.msgpack", b"\x90"),
        ("parameters.json", b"nothing"),
    ],
)
def test_members_that_say_nothing_sound_are_named(tmp_path: Path, member: str, content: bytes) -> None:
    path = rewritten(write(tmp_path / "a.gems"), lambda members: members.update({member: content}))
    assert member in refused(path)


def test_a_taken_name_is_refused_and_nothing_is_written(
    settings: Settings, exported: Path, elsewhere: Home, tmp_path: Path
) -> None:
    home = home_of(settings)
    before = {it: it.read_bytes() for it in settings.home.rglob("*.png")}
    with pytest.raises(GemsConfigError, match=r"'t' is in use here.*--thread"):
        take_in(home, exported)
    take_in(elsewhere, exported)
    with FileLocks(elsewhere.settings.home / "locks").hold("u"), pytest.raises(GemsConfigError, match="being run"):
        take_in(elsewhere, exported, "u")
    assert {it: it.read_bytes() for it in settings.home.rglob("*.png")} == before
    assert elsewhere.stores.checkpoints.rows().ids() == ["t"]


def test_a_copy_beside_its_original_spends_for_itself(settings: Settings, exported: Path) -> None:
    home = home_of(settings)
    take_in(home, exported, "copy")
    runs = {it.thread_id: it for it in asyncio.run(home.runs.all())}
    assert runs["copy"].trajectory_id != runs["t"].trajectory_id
    with open_graph(settings) as graph:
        states = [graph.get_state({"configurable": {"thread_id": name}}).values for name in ("t", "copy")]
    assert states[1] == {**states[0], "trajectory_id": runs["copy"].trajectory_id}
    calls = [asyncio.run(home.journal.calls(runs[name].trajectory_id)) for name in ("t", "copy")]
    assert calls[0] == calls[1] != []


def test_an_import_that_died_before_it_was_listed_is_ended(elsewhere: Home, exported: Path) -> None:
    take_in(elsewhere, exported)
    asyncio.run(elsewhere.runs.remove("t"))
    take_in(elsewhere, exported)
    assert [it.thread_id for it in asyncio.run(elsewhere.runs.all())] == ["t"]


def test_a_full_disk_is_told_before_anything_is_written(elsewhere: Home, exported: Path) -> None:
    class Vast(Archive):
        @property
        def size(self) -> int:
            return 2**60

    with open_archive(exported) as archive:
        vast = Vast(exported, zipfile.ZipFile(exported), archive.manifest)
        with pytest.raises(GemsConfigError, match="the thread needs"):
            asyncio.run(unpack(elsewhere, vast, "t"))
    assert not elsewhere.settings.home.exists()


def test_lost_images_are_told_and_the_rest_travels(settings: Settings, exported: Path, elsewhere: Home) -> None:
    home = home_of(settings)
    lost, damaged = sorted(it for it in settings.home.rglob("*.png"))
    lost.unlink()
    damaged.write_bytes(b"rot")
    packed = asyncio.run(pack(home, "t", exported))
    assert packed.manifest.missing == sorted([lost.stem, damaged.stem])
    take_in(elsewhere, exported)
    assert not list(elsewhere.settings.home.rglob("*.png"))


def test_neither_keys_nor_folders_travel(settings: Settings, tmp_path: Path) -> None:
    from pydantic import SecretStr

    run(settings)
    keyed = settings.model_copy(update={"secrets": {"OPENAI_API_KEY": SecretStr("sk-plugh")}})
    with open_graph(settings) as graph:
        state = graph.get_state(CONFIG).values
        telling = {**state["attempts"][0], "error": f"sk-plugh was refused; see {settings.home}/artifacts"}
        graph.update_state(CONFIG, {"attempts": [telling]}, as_node="finish")
    path = tmp_path / "t.gems"
    asyncio.run(pack(home_of(keyed), "t", path))
    with zipfile.ZipFile(path) as file:
        said = b"".join(file.read(name) for name in file.namelist())
    assert b"[secret] was refused; see GEMS_HOME/artifacts" in said
    assert b"sk-plugh" not in said
    assert str(tmp_path).encode() not in said


def test_a_thread_that_is_being_run_or_is_not_there_is_not_exported(settings: Settings, tmp_path: Path) -> None:
    home, path = home_of(settings), tmp_path / "t.gems"
    with pytest.raises(GemsConfigError, match="no thread 't' here"):
        asyncio.run(pack(home, "t", path))
    run(settings)
    with FileLocks(settings.home / "locks").hold("t"), pytest.raises(GemsConfigError, match="being run"):
        asyncio.run(pack(home, "t", path))
    with pytest.raises(GemsConfigError, match=r"cannot write .*nowhere"):
        asyncio.run(pack(home, "t", tmp_path / "nowhere" / "t.gems"))
    assert not path.exists()
    assert list(tmp_path.glob(".*.part")) == []
