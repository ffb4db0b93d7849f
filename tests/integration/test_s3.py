"""Pictures in a bucket of a real S3 server: runs, commands, several machines, and a server in trouble."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from click.testing import CliRunner

from gems.app.cli import main
from gems.app.doctor import examine
from gems.core.errors import ArtifactCorrupt, GemsConfigError, StoreOutage
from gems.core.settings import Settings, load_settings
from gems.evals.s3 import ACCESS_DENIED, INTERNAL_ERROR, SLOW_DOWN, WRONG_REGION, LoopbackS3
from gems.graph import make_services
from gems.memory.artifacts import artifact_id, artifact_name
from gems.memory.object_shelf import object_shelf_at
from gems.memory.packing import home_of
from gems.memory.postgres import postgres_at
from gems.memory.pruning import Wishes, plan, prune
from gems.memory.shared_artifacts import CACHE, SharedArtifacts
from gems.memory.stores import images_of

PICTURE = b"a picture"
ID = artifact_id(PICTURE)


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackS3]:
    with LoopbackS3() as server:
        yield server


@pytest.fixture
def bucket(server: LoopbackS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    # Nobody's keys but those above, wherever the tests are run.
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    bucket = server.new_bucket()
    monkeypatch.setenv("GEMS_ARTIFACTS_URL", f"s3://{bucket}/gems")
    yield bucket
    server.down = None


def gems(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def pictures(server: LoopbackS3, bucket: str) -> set[str]:
    return {name.removeprefix("gems/") for name in server.names(bucket) if name.endswith(".png")}


def store(home: Path, **options: Any) -> SharedArtifacts:
    found = images_of(load_settings().model_copy(update={"home": home, **options}))
    assert isinstance(found, SharedArtifacts)
    return found


def test_a_run_lies_in_the_bucket_and_goes_to_another_machine(
    server: LoopbackS3, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = gems("run", "two red apples", "--size", "256x256", "--max-rounds", "1", "--seed", "3", "--thread", "t")
    drawn = {artifact_name(it["artifact"]) for it in run["attempts"]}
    assert drawn
    assert pictures(server, bucket) == drawn
    home = tmp_path / "home"
    assert not (home / "artifacts").exists()
    assert Path(run["best"]["path"]).is_file()  # what was written to the folder of results
    # Nothing of it is here any more but the address: the report and the archive fetch the pictures.
    shutil.rmtree(home / CACHE)
    name = artifact_name(run["best"]["artifact"])
    assert gems("show", "t")["best"]["path"] == f"s3://{bucket}/gems/{name}"
    report = CliRunner().invoke(main, ["report", "t"])
    assert report.exit_code == 0, report.output
    assert "data:image/" in Path(report.stdout.strip()).read_text(encoding="utf-8")
    shutil.rmtree(home / CACHE)
    file = tmp_path / "t.gems"
    exported = gems("export", "t", str(file))
    assert (exported["counts"]["images"], exported["missing"]) == (len(drawn), [])
    assert bucket.encode() not in file.read_bytes()
    # Another home, by the same bucket: nothing is sent twice.
    monkeypatch.setenv("GEMS_HOME", str(tmp_path / "other"))
    server.asked.clear()
    gems("import", str(file))
    sent = [it for it in server.asked if it.startswith("PUT") and it.endswith(".png")]
    assert len(sent) == len(drawn)  # a copy onto itself is a PUT without content
    assert pictures(server, bucket) == drawn
    assert Path(gems("show", "t")["best"]["path"]).read_bytes()[:4] == b"\x89PNG"


def test_two_workers_with_one_postgres_and_one_bucket(
    server: LoopbackS3, bucket: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but these two is shared: what one draws, the other shows, and goes on with."""
    monkeypatch.setenv("GEMS_DATABASE_URL", database_url)
    first = gems("run", "two red apples", "--size", "256x256", "--max-rounds", "1", "--seed", "3", "--thread", "t")
    monkeypatch.setenv("GEMS_HOME", str(tmp_path / "other"))
    shown = gems("show", "t")
    assert shown["best"]["artifact"] == first["best"]["artifact"]
    report = CliRunner().invoke(main, ["report", "t"])
    assert report.exit_code == 0, report.output
    assert "data:image/" in Path(report.stdout.strip()).read_text(encoding="utf-8")
    followed = CliRunner().invoke(main, ["follow-up", "t", "make the apples green", "--max-rounds", "1", "--json"])
    assert followed.exit_code == 0, followed.output
    assert len(json.loads(followed.stdout)["attempts"]) > len(first["attempts"])
    # They are one database to the bucket, so either may prune it.
    assert len([it for it in server.names(bucket) if it.startswith("gems/databases/")]) == 1
    server.age(bucket, 7200)
    asyncio.run(store(tmp_path / "other").put(PICTURE))
    server.age(bucket, 7200)
    home = home_of(load_settings())
    found = asyncio.run(plan(home, Wishes()))
    assert [it.name for it in found.shared] == [artifact_name(ID)]
    assert [it.name for it in asyncio.run(prune(home, found)).shared] == [artifact_name(ID)]
    assert artifact_name(ID) not in pictures(server, bucket)
    assert artifact_name(first["best"]["artifact"]) in pictures(server, bucket)
    postgres_at(database_url).close()


STORE = """
import asyncio, sys
from pathlib import Path
from gems.core.settings import load_settings
from gems.memory.stores import images_of

async def work(store):
    mine = [f"{sys.argv[1]} {number}".encode() for number in range(8)]
    ids = await asyncio.gather(*(store.put(it) for it in [*mine, *[b"of both"] * 4]))
    for artifact, content in zip(ids, [*mine, *[b"of both"] * 4], strict=True):
        store.copies.remove(artifact)
        assert await store.get(artifact) == content

asyncio.run(work(images_of(load_settings())))
"""


def test_two_processes_store_at_once(server: LoopbackS3, bucket: str, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", STORE, name], stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert said == ""
    wanted = {artifact_name(artifact_id(f"{it} {number}".encode())) for it in ("one", "two") for number in range(8)}
    assert pictures(server, bucket) == wanted | {artifact_name(artifact_id(b"of both"))}


async def test_what_is_there_is_not_sent_again_but_is_new(server: LoopbackS3, bucket: str, tmp_path: Path) -> None:
    await store(tmp_path / "a").put(PICTURE)
    server.age(bucket, 7200)
    other = store(tmp_path / "b")
    before = other.shelf.look(artifact_name(ID))
    await other.put(PICTURE)
    after = other.shelf.look(artifact_name(ID))
    assert before is not None
    assert after is not None
    assert after.moment - before.moment >= 7000
    assert await store(tmp_path / "c").get(ID) == PICTURE


async def test_throttling_and_errors_of_the_server_are_outwaited(
    server: LoopbackS3, bucket: str, tmp_path: Path
) -> None:
    server.trouble(SLOW_DOWN, INTERNAL_ERROR)
    await store(tmp_path / "a").put(PICTURE)
    server.trouble(INTERNAL_ERROR, SLOW_DOWN)
    assert await store(tmp_path / "b").get(ID) == PICTURE


async def test_a_server_that_stays_away_is_an_outage(server: LoopbackS3, bucket: str, tmp_path: Path) -> None:
    settings = load_settings()
    shelf = object_shelf_at(settings.artifacts_url or "", waits=(0.01, 0.01))
    patient = SharedArtifacts(shelf, tmp_path / "a", lambda: "one")
    await patient.check()
    server.down = SLOW_DOWN
    server.asked.clear()
    with pytest.raises(StoreOutage, match="does not answer: Service Unavailable"):
        await patient.put(PICTURE)
    assert len(server.asked) == 3  # nobody below repeats it too
    server.down = None
    assert await patient.has(ID)
    assert await store(tmp_path / "b").get(ID) == PICTURE


async def test_a_server_that_is_not_there_is_an_outage(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    shelf = object_shelf_at(f"s3://{bucket}/gems", waits=(0.01,))
    with pytest.raises(StoreOutage, match=r"does not answer: Could not connect .* check the network") as told:
        await SharedArtifacts(shelf, tmp_path / "a", lambda: "one").check()
    assert "127.0.0.1" not in str(told.value)


async def test_what_is_wrong_is_said(
    server: LoopbackS3, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GemsConfigError, match="s3://no-such-bucket is not there: make the bucket"):
        await store(tmp_path / "a", artifacts_url="s3://no-such-bucket").check()
    for trouble, said in (
        (ACCESS_DENIED, r"Access Denied; check the credentials \(AWS_ACCESS_KEY_ID"),
        (WRONG_REGION, r"expecting 'eu-central-1'; .*AWS_DEFAULT_REGION"),
    ):
        server.down = trouble
        with pytest.raises(GemsConfigError, match=said):
            await store(tmp_path / "a").check()
    server.down = None
    await store(tmp_path / "a").put(PICTURE)
    server.damage(bucket, f"gems/{artifact_name(ID)}")
    with pytest.raises(ArtifactCorrupt, match=f"is damaged: restore s3://{bucket}/gems/{artifact_name(ID)}"):
        await store(tmp_path / "b").get(ID)


async def test_missing_keys_are_named(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(GemsConfigError, match=r"Unable to locate credentials; check the credentials \(AWS_ACCESS"):
        await store(tmp_path / "a").check()


async def test_nothing_holds_up_a_server(bucket: str, tmp_path: Path) -> None:
    """`langgraph dev` refuses what blocks its loop; the driver's own loop, in its own thread, may."""
    here, there = store(tmp_path / "a"), store(tmp_path / "b")

    async def nobody() -> bool:
        return False

    with blockbuster_ctx(scanned_modules=["gems.memory"]):
        await here.check()
        for _ in range(2):
            await here.put(PICTURE)
        assert await there.has(ID)
        assert await there.get(ID) == PICTURE
        await there.probe()
        assert len((await there.listing()).images) == 1
        assert await there.remove(ID, -10, nobody)


def test_the_doctor_tries_the_bucket(
    server: LoopbackS3, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEMS_REPLAY", str(tmp_path))  # so that no model is asked
    assert examine(None, make_services()) == 0
    assert f"s3://{bucket}/gems: written, read and removed in" in " ".join(capsys.readouterr().out.split())
    assert server.names(bucket) == set()
    server.down = ACCESS_DENIED
    assert examine(None, make_services()) == 2
    assert "Access Denied" in capsys.readouterr().out


def test_pruning_leaves_what_another_database_may_name(
    server: LoopbackS3, bucket: str, settings: Settings, tmp_path: Path
) -> None:
    url = f"s3://{bucket}/gems"
    homes = [
        home_of(settings.model_copy(update={"home": tmp_path / name, "artifacts_url": url})) for name in ("a", "b")
    ]
    asyncio.run(homes[0].artifacts.put(PICTURE))
    server.age(bucket, 7200)
    assert [it.name for it in asyncio.run(plan(homes[0], Wishes())).shared] == [artifact_name(ID)]
    asyncio.run(homes[1].artifacts.check())
    found = asyncio.run(plan(homes[0], Wishes()))
    assert found.shared == []
    assert found.spared == [f"pictures: 1 more databases name pictures of {url}"]
