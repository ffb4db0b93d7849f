"""Images, received drawings, the index of runs, checkpoints, and the view the refiner reads."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import ArtifactCorrupt, GemsConfigError
from gems.core.ports import DrawRequest, RunRecord
from gems.core.settings import Settings
from gems.core.state import Attempt, GemsState, Options, Requirement, Verdict
from gems.graph import OwnServices, build_graph, open_graph
from gems.memory import (
    FileArtifacts,
    SqliteFile,
    SqlJournal,
    SqlLedger,
    SqlRuns,
    drawing_key,
    export_png,
    read_png_text,
)
from gems.memory.locks import FileLocks
from gems.memory.view import trajectory_view

THREAD: Any = {"configurable": {"thread_id": "t"}}


def png(color: str = "red", size: tuple[int, int] = (8, 8)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


async def test_an_artifact_is_found_by_its_digest_and_stored_once(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path)
    first, again, other = [await store.put(content) for content in (png(), png(), png("blue"))]
    assert first == again != other
    assert await store.get(first) == png()
    assert store.path(first) == tmp_path / first[:2] / f"{first}.png"
    assert len(list(tmp_path.rglob("*.png"))) == 2
    assert list(tmp_path.rglob(".part-*")) == []


async def test_a_damaged_or_missing_artifact_is_named(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path)
    artifact = await store.put(png())
    store.path(artifact).write_bytes(png("blue"))
    with pytest.raises(ArtifactCorrupt, match=artifact[:12]):
        await store.get(artifact)
    store.path(artifact).unlink()
    with pytest.raises(ArtifactCorrupt, match="cannot be read"):
        await store.get(artifact)


async def test_a_truncated_artifact_is_replaced_when_stored_again(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path)
    artifact = await store.put(png())
    store.path(artifact).write_bytes(png()[:20])
    assert await store.put(png()) == artifact
    assert await store.get(artifact) == png()


async def test_a_damaged_artifact_of_the_same_size_is_mended(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path)
    artifact = await store.put(png())
    store.path(artifact).write_bytes(bytes(len(png())))
    await store.put(png())
    assert await store.get(artifact) == png()


async def test_a_full_disk_is_found_before_a_run(tmp_path: Path) -> None:
    await FileArtifacts(tmp_path).check()
    with pytest.raises(GemsConfigError, match=r"MB free in .* or set GEMS_HOME elsewhere"):
        await FileArtifacts(tmp_path, room=2**62).check()


class FullDisk(FileArtifacts):
    """A store that is full when the image comes."""

    async def put(self, content: bytes) -> str:
        raise GemsConfigError("no space left on device")


async def test_a_drawing_is_recorded_before_it_is_stored(settings: Settings) -> None:
    """Otherwise a death between the two would leave an image that nobody finds."""
    full = OwnServices(
        settings, chat=rehearse(["+++"]), images=ScriptedImages(), artifacts=FullDisk(settings.home / "artifacts")
    )
    with pytest.raises(GemsConfigError, match="no space"):
        await build_graph(full).ainvoke({"prompt": "a dog"}, context={"size": "64x64"})  # type: ignore[call-overload]
    with sqlite3.connect(settings.home / "ledger.sqlite") as connection:
        assert len(connection.execute("SELECT artifact FROM drawings").fetchall()) == 1
    connection.close()


@pytest.mark.parametrize("text", ["", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "/"])
def test_only_digests_become_paths(tmp_path: Path, text: str) -> None:
    with pytest.raises(GemsConfigError, match="not an artifact id"):
        FileArtifacts(tmp_path).path(text)


def test_text_goes_into_a_png_without_touching_the_picture() -> None:
    fields = {"prompt": "ein rotes Haus — 赤い家", "seed": "7"}
    exported = export_png(png(), fields)
    assert read_png_text(exported) == fields
    with Image.open(io.BytesIO(exported)) as image:
        assert image.text == fields  # type: ignore[attr-defined]
        assert image.tobytes() == Image.new("RGB", (8, 8), "red").tobytes()
    with pytest.raises(ValueError, match="not a PNG"):
        export_png(b"\xff\xd8\xff", fields)


def test_a_drawing_key_holds_everything_a_picture_depends_on() -> None:
    base = DrawRequest("a dog", 1, 64, 64)
    keys = {
        drawing_key({"model": "m"}, base, None),
        drawing_key({"model": "n"}, base, None),
        drawing_key({"model": "m"}, DrawRequest("a cat", 1, 64, 64), None),
        drawing_key({"model": "m"}, DrawRequest("a dog", 2, 64, 64), None),
        drawing_key({"model": "m"}, DrawRequest("a dog", 1, 65, 64), None),
        drawing_key({"model": "m"}, DrawRequest("a dog", 1, 64, 64, b"source"), None),
        drawing_key({"model": "m"}, base, "1.1"),
    }
    assert len(keys) == 7
    assert drawing_key({"a": 1, "b": 2}, base, None) == drawing_key({"b": 2, "a": 1}, base, None)


async def test_the_ledger_survives_and_keeps_trajectories_apart(tmp_path: Path) -> None:
    await SqlLedger(SqliteFile(tmp_path / "ledger.sqlite")).record("one", "key", "artifact")
    again = SqlLedger(SqliteFile(tmp_path / "ledger.sqlite"))
    assert await again.find("one", "key") == "artifact"
    assert await again.find("two", "key") is None


async def test_the_journal_keeps_the_first_of_each_call_in_order(tmp_path: Path) -> None:
    journal = SqlJournal(SqliteFile(tmp_path / "journal.sqlite"))
    for key in ("c", "a", "b", "a"):
        await journal.record("t", key, {"reply": f"to {key}: ein 赤い \x00 \ud800", "again": key == "a"})
    await journal.record("other", "a", {"reply": "another's"})
    again = SqlJournal(SqliteFile(tmp_path / "journal.sqlite"))
    calls = await again.calls("t")
    assert [call["key"] for call in calls] == ["c", "a", "b"]
    assert calls[0] == {"key": "c", "reply": "to c: ein 赤い \x00 \ud800", "again": False}
    assert await again.find("t", "a") == {"reply": "to a: ein 赤い \x00 \ud800", "again": True}
    assert await again.find("t", "missing") is None
    assert await again.calls("nobody") == []


async def test_parallel_calls_are_all_kept(tmp_path: Path) -> None:
    journal = SqlJournal(SqliteFile(tmp_path / "journal.sqlite"))
    await asyncio.gather(*(journal.record("t", str(number), {"number": number}) for number in range(20)))
    assert sorted(call["number"] for call in await journal.calls("t")) == list(range(20))


async def test_many_writers_on_a_new_ledger(tmp_path: Path) -> None:
    ledgers = [SqlLedger(SqliteFile(tmp_path / "ledger.sqlite")) for _ in range(8)]
    await asyncio.gather(*(ledger.record("t", str(number), "a") for number, ledger in enumerate(ledgers)))
    assert [await ledgers[0].find("t", str(number)) for number in range(8)] == ["a"] * 8


async def test_a_damaged_table_is_named_with_its_remedy(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    path.write_bytes(b"this is no database, but it is long enough to look like one" * 20)
    with pytest.raises(GemsConfigError, match=r"runs\.sqlite: file is not a database; move the file away"):
        await SqlRuns(SqliteFile(path)).recent(5)


async def test_the_index_keeps_one_line_a_thread_and_its_start(tmp_path: Path) -> None:
    runs = SqlRuns(SqliteFile(tmp_path / "runs.sqlite"))

    def line(thread: str, trajectory: str, now: float, status: Any = "running") -> RunRecord:
        return RunRecord(thread, trajectory, "p", "sketch", status, None, None, 0, None, now, now)

    for record in (line("a", "1", 10), line("b", "2", 11), line("a", "1", 12, "done"), line("b", "3", 13)):
        await runs.record(record)
    assert [(it.thread_id, it.trajectory_id, it.started, it.updated, it.status) for it in await runs.recent(9)] == [
        ("b", "3", 13, 13, "running"),
        ("a", "1", 10, 12, "done"),
    ]
    assert len(await runs.recent(1)) == 1


def test_a_thread_is_held_against_another_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gems.memory.locks import FileLocks\n"
        "with FileLocks(Path(sys.argv[1])).hold('mine'): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == b"held"
    locks = FileLocks(tmp_path)
    with pytest.raises(GemsConfigError, match="'mine' is being run"), locks.hold("mine"):
        pass
    assert locks.is_held("mine")
    assert not locks.is_held("another/../one")
    with locks.hold("another/../one"):
        assert locks.is_held("another/../one")
    holder.kill()  # a process that dies lets go
    holder.communicate()
    assert not locks.is_held("mine")
    with locks.hold("mine"):
        pass


def services(settings: Settings, marks: list[str]) -> OwnServices:
    return OwnServices(settings, chat=rehearse(marks), images=ScriptedImages())


async def test_a_trajectory_is_read_back_by_another_graph(settings: Settings) -> None:
    options: Any = {"size": "64x64"}
    async with open_graph(settings, services=services(settings, ["+--", "+++"])) as graph:
        await graph.ainvoke({"prompt": "a dog"}, THREAD, context=options)  # type: ignore[call-overload]
    with open_graph(settings, services=services(settings, [])) as graph:
        state = graph.get_state(THREAD).values
    assert state["stop_reason"] == "satisfied"
    assert len(state["attempts"]) == 2
    runs = await SqlRuns(SqliteFile(settings.home / "runs.sqlite")).recent(5)
    assert [(it.thread_id, it.status, it.score, it.rounds) for it in runs] == [("t", "done", 1.0, 2)]
    stored = await FileArtifacts(settings.home / "artifacts").get(state["attempts"][0]["artifact"])
    assert set(read_png_text(stored)) == {"gems:key"}, "a stored image knows neither request nor thread"


def test_sync_and_async_share_one_file(settings: Settings) -> None:
    options: Any = {"size": "64x64"}
    with open_graph(settings, services=services(settings, ["+++"])) as graph:
        output = graph.invoke({"prompt": "a dog"}, THREAD, context=options)  # type: ignore[call-overload]
    assert output["stop_reason"] == "satisfied"

    async def read() -> dict[str, Any]:
        async with open_graph(settings) as graph:
            return (await graph.aget_state(THREAD)).values

    assert asyncio.run(read())["result"]["score"] == 1.0


async def test_two_runs_on_one_thread_are_refused(settings: Settings) -> None:
    options: Any = {"size": "64x64"}
    async with open_graph(settings, services=services(settings, ["+++"])) as graph:
        with FileLocks(settings.home / "locks").hold("t"), pytest.raises(GemsConfigError, match="'t' is being run"):
            await graph.ainvoke({"prompt": "a dog"}, THREAD, context=options)  # type: ignore[call-overload]
        await graph.ainvoke({"prompt": "a dog"}, THREAD, context=options)  # type: ignore[call-overload]


def test_copies_of_a_graph_hold_their_threads_too(settings: Settings) -> None:
    with open_graph(settings, services=services(settings, ["+++"])) as graph:
        bound = graph.with_config(THREAD)
        with FileLocks(settings.home / "locks").hold("t"):
            with pytest.raises(GemsConfigError, match="'t' is being run"):
                graph.invoke({"prompt": "a dog"}, THREAD)
            with pytest.raises(GemsConfigError, match="'t' is being run"):
                bound.invoke({"prompt": "a dog"})


async def test_a_damaged_checkpoint_file_is_named_before_anything_is_spent(settings: Settings) -> None:
    settings.home.mkdir()
    (settings.home / "checkpoints.sqlite").write_bytes(b"not a database at all, only some text. " * 50)
    with pytest.raises(GemsConfigError, match=r"checkpoints\.sqlite: .*move the file away"):
        async with open_graph(settings):
            pass
    with pytest.raises(GemsConfigError, match=r"checkpoints\.sqlite"), open_graph(settings):
        pass


async def test_checkpoints_hold_json_values_and_no_images(settings: Settings) -> None:
    options: Any = {"size": "512x512"}
    async with open_graph(settings, services=services(settings, ["+--", "+++"])) as graph:
        await graph.ainvoke({"prompt": "a dog"}, THREAD, context=options)  # type: ignore[call-overload]
        values = (await graph.aget_state(THREAD)).values
    assert json.loads(json.dumps(values)) == values
    with sqlite3.connect(settings.home / "checkpoints.sqlite") as connection:
        blobs = [row[0] for row in connection.execute("SELECT checkpoint FROM checkpoints")]
    connection.close()
    assert blobs
    assert not any(b"PNG" in blob or b"base64" in blob for blob in blobs)


def long_trajectory(rounds: int) -> GemsState:
    """A trajectory with long prompts and evidence, none of it ever right."""
    requirements = [
        Requirement(id=f"r{n}", question=f"Is there a thing number {n}?", kind="object", depends_on=[])
        for n in range(1, 11)
    ]
    verdicts = {it["id"]: Verdict(verdict="unmet", evidence="nothing " * 60, confidence=0.9) for it in requirements}
    attempts: list[Attempt] = [
        {
            "id": f"{n}.1", "round": n, "action": "rewrite", "prompt": f"{n} " + "word " * 900, "seed": n, "parent": None,
            "artifact": "0" * 64, "verdicts": verdicts, "score": 0.0,
        }
        for n in range(1, rounds + 1)
    ]  # fmt: skip
    return GemsState(
        request={"prompt": "p" * 20_000},
        requirements=requirements,
        round=rounds,
        attempts=attempts,
        best="1.1",
        options=cast("Options", {"memory": "experience"}),
        digest={"until": max(0, rounds - 5), "text": "word " * 100},
        experiences=[{"round": n, "text": "word " * 100, "source": "model"} for n in range(1, rounds)],
    )


def test_the_view_does_not_grow_with_the_rounds() -> None:
    sizes = {rounds: len(json.dumps(trajectory_view(long_trajectory(rounds)))) for rounds in (2, 5, 20, 100)}
    assert sizes[100] <= sizes[20] + 50
    assert sizes[20] < 25_000
    view = trajectory_view(long_trajectory(20))
    assert [it["round"] for it in view["experiences"]] == [16, 17, 18, 19]
    assert view["digest"].startswith("Rounds 1-15: 15 pictures judged")
    assert "r10 15" in view["digest"]
    assert view["latest"]["id"] == "20.1"
    assert view["best"]["id"] == "1.1"
