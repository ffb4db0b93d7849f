"""`gems batch` on scripted models: the file, the threads, results, failures, stops, and going on."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from gems.app import commands
from gems.app.batch.command import BatchTarget, batch
from gems.app.batch.fund import Fund
from gems.app.batch.pool import Pool
from gems.app.batch.progress import BatchView
from gems.app.batch.rows import Row, name_of, read_rows
from gems.app.batch.tally import Tally
from gems.app.cli import main
from gems.app.outcome import Outcome
from gems.app.session import Target
from gems.backends.chat.rehearsal import rehearse
from gems.backends.chat.scripted import ScriptedRole
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import DrawingRefused, GemsConfigError, ModelOutage
from gems.core.ports import Capabilities, Drawing, DrawRequest, Progress
from gems.core.settings import Settings
from gems.core.spending import Spend
from gems.graph import OwnServices
from gems.memory import FileArtifacts, read_png_text

SMALL = {"size": "64x64", "seed": 7, "skills": []}
FILE = Path("dogs.jsonl")
OUT = Path("gems-out/dogs")


def write(*rows: Mapping[str, Any] | str) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    FILE.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return FILE


def dogs(count: int) -> Path:
    return write(*({"prompt": f"{number} red dogs"} for number in range(1, count + 1)))


def make(
    settings: Settings, *marks: str, images: ScriptedImages | None = None, chat: ScriptedRole | None = None
) -> OwnServices:
    return OwnServices(settings, chat=chat or rehearse(list(marks) or ["+++"]), images=images or ScriptedImages())


def failing(fails: Callable[[DrawRequest], Exception | None]) -> ScriptedImages:
    return ScriptedImages(fails)


def results(out: Path = OUT) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def run(services: OwnServices, *, options: Mapping[str, Any] = SMALL, **target: Any) -> int:
    return batch(BatchTarget(FILE, **target), options, services)


# The file.


def test_a_row_overrides_the_options_of_the_command() -> None:
    write({"prompt": " two dogs "}, "", {"prompt": "a cat", "id": "cat", "seed": 3, "max_rounds": 2, "skills": ["x"]})
    first, second = read_rows(FILE, "pets", {"seed": 7, "size": "64x64"})
    assert (first.number, first.line, first.id, first.thread_id) == (1, 1, "00001", "pets-00001")
    assert (first.prompt, first.options) == ("two dogs", {"seed": 7, "size": "64x64"})
    assert (second.number, second.line, second.id, second.thread_id) == (2, 3, "cat", "pets-cat")
    assert second.options == {"seed": 3, "size": "64x64", "max_rounds": 2, "skills": ["x"]}


def test_numbers_may_be_ids_and_a_byte_order_mark_may_begin_the_file() -> None:
    FILE.write_bytes(b'\xef\xbb\xbf{"prompt": "two dogs", "id": 17}\r\n\r\n')
    assert [row.id for row in read_rows(FILE, "pets", {})] == ["17"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("not json", "not JSON"),
        ('["two dogs"]', "list, not an object"),
        ("{}", "prompt is missing: say what to draw"),
        ('{"prompt": null}', "prompt is missing"),
        ('{"prompt": "  "}', "it is empty: say what to draw"),
        ('{"prompt": 3}', "prompt 3"),
        ('{"prompt": "a\\u0000b"}', r"holds '\x00'"),
        ('{"prompt": "\\ud800"}', "prompt"),
        (json.dumps({"prompt": "x" * 20_001}), "20000"),
        ('{"prompt": "x", "promt": "y"}', "unknown field 'promt'; there are: id, prompt, references, profile"),
        ('{"prompt": "x", "seed": -1}', "seed -1"),
        ('{"prompt": "x", "seed": true}', "seed True"),
        ('{"prompt": "x", "seed": "7"}', "seed '7'"),
        ('{"prompt": "x", "size": "9x9"}', "each side must be 64 to 4096"),
        ('{"prompt": "x", "max_cost": NaN}', "max_cost nan"),
        ('{"prompt": "x", "review": "round"}', "a batch asks nobody"),
        ('{"prompt": "x", "id": "../x"}', "id '../x': use 1 to 59 letters"),
        ('{"prompt": "x", "id": "nul"}', "id 'nul'"),
        ('{"prompt": "x", "id": ""}', "id ''"),
        (json.dumps({"prompt": "x", "id": "y" * 60}), "use 1 to 59 letters"),
        ('{"prompt": "x", "references": ["nope.png"]}', "no reference image 'nope.png'"),
        ('{"prompt": "x", "references": "a.png"}', "references"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_line_is_named_with_its_value(line: str, complaint: str) -> None:
    write({"prompt": "two dogs"}, "", line)
    with pytest.raises(GemsConfigError) as caught:
        read_rows(FILE, "dogs", {})
    message = str(caught.value)
    assert complaint in message
    assert "dogs.jsonl cannot be used:\n  line 3: " in message
    assert len(message) < 500


def test_bytes_that_are_no_text_are_named_by_their_line() -> None:
    FILE.write_bytes(b'{"prompt": "x"}\n{"prompt": "\xff"}\n')
    with pytest.raises(GemsConfigError, match="line 2: not UTF-8 text"):
        read_rows(FILE, "dogs", {})


def test_ids_must_differ_in_more_than_case() -> None:
    write({"prompt": "x", "id": "a"}, {"prompt": "y", "id": "A"}, {"prompt": "z", "id": "00004"}, {"prompt": "w"})
    with pytest.raises(GemsConfigError) as caught:
        read_rows(FILE, "dogs", {})
    assert "line 2: id 'A' stands in line 1 already" in str(caught.value)
    assert "line 4" in str(caught.value)


def test_many_bad_lines_are_counted() -> None:
    write(*(["{}"] * 9))
    with pytest.raises(GemsConfigError) as caught:
        read_rows(FILE, "dogs", {})
    assert str(caught.value).count("line ") == 5
    assert str(caught.value).endswith("and 4 more")


@pytest.mark.parametrize("content", ["", "\n  \n", "\ufeff\n"])
def test_an_empty_file(content: str) -> None:
    FILE.write_text(content, encoding="utf-8")
    with pytest.raises(GemsConfigError, match="holds no prompt: write one JSON object a line"):
        read_rows(FILE, "dogs", {})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "nope.jsonl", tmp_path):
        with pytest.raises(GemsConfigError, match="cannot read"):
            read_rows(path, "dogs", {})
    FILE.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(GemsConfigError, match="is it a text file"):
        read_rows(FILE, "dogs", {})


def test_too_many_rows() -> None:
    assert len(read_rows(dogs(3), "dogs", {}, most=3)) == 3
    with pytest.raises(GemsConfigError, match="more than 3 prompts: split it"):
        read_rows(dogs(4), "dogs", {}, most=3)


def test_names_of_files_become_names_of_batches() -> None:
    assert name_of(Path("a/My dogs (2).jsonl")) == "My-dogs-2"
    assert name_of(Path("x" * 99 + ".jsonl")) == "x" * 40
    assert [name_of(Path(name)) for name in ("犬.jsonl", "con.jsonl", "--.jsonl")] == ["batch"] * 3


# Running.


def test_each_prompt_has_a_row_in_the_order_of_the_file_and_a_picture(settings: Settings) -> None:
    write({"prompt": "two red dogs", "id": "b"}, {"prompt": "a cät", "id": "a", "seed": 9})
    assert run(make(settings, "+--", "+++"), jobs=1) == 0
    first, second = results()
    assert (first["id"], first["thread_id"], first["prompt"]) == ("b", "dogs-b", "two red dogs")
    assert (first["status"], first["stop_reason"], first["score"], first["rounds"]) == ("done", "satisfied", 1.0, 2)
    assert (first["image"], first["error"], first["usage"]["images"]) == ("b.png", None, 2)
    assert (second["id"], second["prompt"], second["rounds"]) == ("a", "a cät", 1)
    text = read_png_text((OUT / "a.png").read_bytes())
    assert (text["thread"], text["seed"], text["request"]) == ("dogs-a", "9", "a cät")
    assert sorted(path.name for path in OUT.iterdir()) == ["a.png", "b.png", "results.jsonl"]


def test_with_full_each_row_has_the_folder_of_its_run(settings: Settings) -> None:
    dogs(1)
    services = make(settings)
    assert run(services) == 0
    assert run(services, full=True, out=Path("elsewhere")) == 0
    assert {path.name for path in Path("elsewhere/00001").iterdir()} >= {"best.png", "trajectory.json", "report.html"}
    assert Path("elsewhere/00001.png").read_bytes() == (OUT / "00001.png").read_bytes()


def test_rows_share_the_places_that_are_allowed(settings: Settings) -> None:
    class Counted(ScriptedImages):
        """Waits until three are drawn at the same time, and then for a fourth that may not come."""

        running = most = 0

        def __init__(self) -> None:
            super().__init__()
            self.three = asyncio.Event()

        async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
            self.running += 1
            self.most = max(self.most, self.running)
            if self.running == 3:
                self.three.set()
            await asyncio.wait_for(self.three.wait(), 30)
            await asyncio.sleep(0.05)
            self.running -= 1
            return await super().generate(request, progress)

    dogs(7)
    images = Counted()
    assert run(make(settings, images=images), jobs=3) == 0
    assert images.most == 3
    assert len(images.history) == 7


def test_references_lie_beside_the_file_and_are_kept_once(settings: Settings, tmp_path: Path) -> None:
    Image.new("RGB", (70, 70), (200, 0, 0)).save(tmp_path / "red.png")
    write(*({"prompt": f"{number} dogs", "references": ["red.png"]} for number in range(2)))
    images = ScriptedImages(capabilities=Capabilities(edit=True, references=2))
    assert run(make(settings, images=images)) == 0
    assert [len(request.references) for request in images.history] == [1, 1]
    assert run(make(settings, images=images)) == 0
    assert len(images.history) == 2
    Image.new("RGB", (70, 70), (0, 200, 0)).save(tmp_path / "red.png")
    with pytest.raises(GemsConfigError, match="the reference images are others"):
        run(make(settings, images=images))


def test_a_reference_that_is_no_picture_is_told_before_the_first_row(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_text("no picture")
    write({"prompt": "x"}, {"prompt": "y", "references": ["red.png"]})
    images = ScriptedImages(capabilities=Capabilities(references=2))
    with pytest.raises(GemsConfigError, match=r"line 2: the reference image red\.png is no"):
        run(make(settings, images=images))
    assert images.history == []


# Going on.


def test_the_same_command_leaves_finished_rows_as_they_are(settings: Settings) -> None:
    dogs(3)
    assert run(make(settings)) == 0
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in OUT.glob("*.png")}
    rows = results()
    (OUT / "results.jsonl").unlink()
    (OUT / "00002.png").unlink()
    images, chat = ScriptedImages(), rehearse(["---"])
    assert run(make(settings, images=images, chat=chat)) == 0
    assert images.history == []
    assert chat.history == []
    assert results() == rows
    after = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in OUT.glob("*.png")}
    assert after.keys() == before.keys()
    assert after["00001.png"] == before["00001.png"]
    assert after["00002.png"][1] == before["00002.png"][1]


def test_a_file_that_has_grown_runs_what_is_new(settings: Settings) -> None:
    dogs(2)
    run(make(settings))
    images = ScriptedImages()
    dogs(3)
    assert run(make(settings, images=images)) == 0
    assert [request.prompt for request in images.history] == ["3 red dogs"]
    assert [row["id"] for row in results()] == ["00001", "00002", "00003"]


def test_another_name_begins_anew(settings: Settings) -> None:
    dogs(1)
    images = ScriptedImages()
    run(make(settings, images=images))
    assert run(make(settings, images=images), name="again") == 0
    assert len(images.history) == 2
    assert results(Path("gems-out/again"))[0]["thread_id"] == "again-00001"


@pytest.mark.parametrize(
    ("row", "options", "complaint"),
    [
        ({"prompt": "blue cats"}, SMALL, "prompt was '2 red dogs', is 'blue cats'"),
        ({"prompt": "2 red dogs", "seed": 8}, SMALL, "seed was 7, is 8"),
        ({"prompt": "2 red dogs"}, {**SMALL, "max_rounds": 9}, "max_rounds was left out, is 9"),
        ({"prompt": "2 red dogs"}, {"size": "64x64", "skills": []}, "seed was 7, is left out"),
        ({"prompt": "2 red dogs", "size": "128x64"}, SMALL, "size was '64x64', is '128x64'"),
    ],
)
def test_a_row_that_asks_for_something_else_is_refused_before_anything_runs(
    settings: Settings, row: dict[str, Any], options: dict[str, Any], complaint: str
) -> None:
    dogs(2)
    run(make(settings))
    before = (OUT / "results.jsonl").read_bytes()
    write({"prompt": "1 red dogs", "size": "64x64", "seed": 7, "skills": []}, row, {"prompt": "3 red dogs"})
    images = ScriptedImages()
    with pytest.raises(GemsConfigError) as caught:
        run(make(settings, images=images), options=options)
    assert complaint in str(caught.value)
    assert "line 2 (dogs-00002)" in str(caught.value)
    assert "--name OTHER" in str(caught.value)
    assert images.history == []
    assert (OUT / "results.jsonl").read_bytes() == before


def test_what_a_person_did_to_a_thread_since_is_taken_as_it_is(settings: Settings) -> None:
    dogs(2)
    limited = {**SMALL, "max_rounds": 1}
    assert run(make(settings, "+--"), options=limited) == 0
    assert [row["stop_reason"] for row in results()] == ["max_rounds", "max_rounds"]
    stale = (OUT / "00002.png").read_bytes()
    assert commands.resume({"max_rounds": 3}, Target("dogs-00002"), make(settings, "+++")) == 0
    images = ScriptedImages()
    assert run(make(settings, images=images), options=limited) == 0
    assert [(row["stop_reason"], row["rounds"]) for row in results()] == [("max_rounds", 1), ("satisfied", 2)]
    assert (OUT / "00002.png").read_bytes() != stale
    assert images.history == []
    with pytest.raises(GemsConfigError, match="seed was 7, is 8"):
        run(make(settings), options={**limited, "seed": 8})


def test_a_thread_that_is_not_the_batchs_is_not_touched(settings: Settings) -> None:
    commands.start("a blue cat", SMALL, Target("dogs-00001"), make(settings))
    dogs(1)
    with pytest.raises(GemsConfigError, match="prompt was 'a blue cat', is '1 red dogs'"):
        run(make(settings))


# Failing.


def test_a_row_that_fails_stops_no_other(settings: Settings) -> None:
    dogs(3)
    images = failing(lambda request: DrawingRefused("not this") if request.prompt.startswith("2") else None)
    assert run(make(settings, images=images), options={**SMALL, "max_rounds": 1}) == 1
    first, second, third = results()
    assert (first["status"], third["status"]) == ("done", "done")
    assert (second["status"], second["image"]) == ("failed", None)
    assert second["error"] == {"kind": "run", "message": "no image could be drawn: not this"}


def test_a_defect_in_one_row_is_told_in_its_row(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    dogs(2)
    images = failing(lambda request: ZeroDivisionError("oh") if request.prompt.startswith("1") else None)
    assert run(make(settings, images=images)) == 1
    assert results()[0]["error"] == {"kind": "unexpected", "message": "ZeroDivisionError: oh"}
    assert "Traceback" not in capsys.readouterr().err
    assert run(make(settings, images=images), debug=True) == 1
    assert "Traceback" in capsys.readouterr().err
    assert run(make(settings)) == 0


def test_an_outage_is_tried_once_more_at_the_end(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    dogs(3)
    asked: list[str] = []

    def fails(request: DrawRequest) -> Exception | None:
        asked.append(request.prompt[0])
        return ModelOutage("the server is down") if asked.count("1") == 1 and request.prompt[0] == "1" else None

    assert run(make(settings, images=failing(fails)), jobs=1) == 0
    assert "".join(asked) == "1231"
    assert [row["id"] for row in results()] == ["00001", "00002", "00003"]
    assert "tried again at the end" in capsys.readouterr().out


def test_an_outage_that_stays_fails_its_row_which_can_go_on(settings: Settings) -> None:
    dogs(2)
    images = failing(lambda request: ModelOutage("down") if request.prompt.startswith("1") else None)
    assert run(make(settings, images=images)) == 1
    assert [row["status"] for row in results()] == ["failed", "done"]
    assert len([request for request in images.history if request.prompt.startswith("1")]) == 2
    chat = rehearse(["+++"])
    assert run(make(settings, chat=chat)) == 0
    assert {task.task for task in chat.history} & {"write_prompts", "decompose"} == set()
    assert [row["status"] for row in results()] == ["done", "done"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"profile": "nope"}, "line 1: unknown profile 'nope'"),
        ({"size": "9x9"}, "9x9"),
        ({"max_rounds": 0}, "max_rounds 0"),
        ({"skills": ["nope"]}, "no row could begin; line 1: "),
        ({"max_calls": 1}, "no row could begin; line 1: max_calls 1 is too small"),
    ],
)
def test_what_would_fail_every_row_is_told_before_the_first(
    settings: Settings, options: dict[str, Any], complaint: str
) -> None:
    dogs(4)
    images = ScriptedImages()
    with pytest.raises(GemsConfigError) as caught:
        run(make(settings, images=images), options={**SMALL, **options})
    assert complaint in str(caught.value)
    assert images.history == []
    assert not OUT.exists()
    assert run(make(settings)) == 0, "what was refused spoils no thread"


def test_a_key_that_is_missing_is_told_before_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMS_MLLM", "openai:gpt-5")
    dogs(2)
    with pytest.raises(GemsConfigError, match=r"line 1: .*OPENAI_API_KEY"):
        batch(BatchTarget(FILE), SMALL)
    assert not OUT.exists()


def test_rows_that_the_model_cannot_draw_fail_alone(settings: Settings) -> None:
    class Picky(ScriptedImages):
        def check(self, prompt: str, width: int, height: int) -> list[str]:
            if "4" not in prompt:
                raise GemsConfigError(f"cannot draw {prompt!r}")
            return []

    dogs(5)
    assert run(make(settings, images=Picky())) == 1
    assert [row["status"] for row in results()] == ["failed", "failed", "failed", "done", "failed"]
    assert results()[0]["error"] == {"kind": "input", "message": "cannot draw '1 red dogs'"}


def test_a_folder_that_cannot_be_written(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    dogs(1)
    images = ScriptedImages()
    with pytest.raises(GemsConfigError, match="--out"):
        run(make(settings, images=images), out=tmp_path / "file" / "out")
    assert images.history == []


def test_results_that_cannot_be_written_end_the_batch_and_lose_nothing(settings: Settings) -> None:
    class Spoils(ScriptedImages):
        async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
            if not (OUT / "results.jsonl").is_dir():
                (OUT / "results.jsonl").unlink(missing_ok=True)
                (OUT / "results.jsonl").mkdir()
            return await super().generate(request, progress)

    dogs(3)
    with pytest.raises(GemsConfigError, match=r"cannot write .*results\.jsonl.*give the command again"):
        run(make(settings, images=Spoils()), jobs=1)
    (OUT / "results.jsonl").rmdir()
    images = ScriptedImages()
    assert run(make(settings, images=images)) == 0
    assert [request.prompt[0] for request in images.history] == ["2", "3"]
    assert len(results()) == 3


def test_a_picture_that_is_lost_is_told_in_its_row(settings: Settings) -> None:
    dogs(2)
    run(make(settings))
    for path in OUT.glob("*.png"):
        path.unlink()
    for path in (settings.home / "artifacts").rglob("*.png"):
        path.write_bytes(b"rubbish")
    assert run(make(settings)) == 1
    assert all("damaged" in row["error"]["message"] for row in results())


def test_two_processes_cannot_run_one_batch(settings: Settings) -> None:
    class Nested(ScriptedImages):
        refusal = ""

        async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
            try:
                await asyncio.to_thread(run, make(settings))
            except GemsConfigError as error:
                self.refusal = str(error)
            return await super().generate(request, progress)

    dogs(1)
    images = Nested()
    assert run(make(settings, images=images)) == 0
    assert "batch 'dogs' is being run by another process" in images.refusal


# Money.


class Dear(ScriptedImages):
    """Each drawing costs 4 cents, and never more than 5."""

    def worst_cost(self, request: DrawRequest) -> float:
        return 0.05

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        await asyncio.sleep(0.02)
        return replace(await super().generate(request, progress), cost=0.04)


def test_the_limit_of_all_rows_is_never_passed_and_can_be_raised(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    dogs(6)
    limited = {**SMALL, "max_cost": 0.10}
    images = Dear()
    assert run(make(settings, images=images), options=limited, max_cost_total=0.21, as_json=True) == 1
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    # Two begin at once; each that ends at 0.04 leaves room for another, until 0.04 * 3 + 0.10 does not fit.
    assert (summary["done"], summary["left"], summary["failed"]) == (3, 3, 0)
    assert summary["usage"]["cost"] == pytest.approx(0.12)
    assert "--max-cost-total leaves no room" in printed.err
    assert run(make(settings, images=images), options=limited, max_cost_total=0.21) == 1
    assert len(images.history) == 3
    assert run(make(settings, images=images), options=limited, max_cost_total=0.40) == 0
    assert len(images.history) == 6


@pytest.mark.parametrize(("limit", "complaint"), [(None, "give --max-cost"), (3.0, "it could never begin")])
def test_a_limit_of_all_rows_needs_smaller_ones(settings: Settings, limit: float | None, complaint: str) -> None:
    dogs(1)
    with pytest.raises(GemsConfigError, match=complaint):
        run(make(settings), options={**SMALL, "max_cost": limit}, max_cost_total=2.0)


async def test_a_row_waits_for_money_that_others_hold(settings: Settings) -> None:
    ledger = make(settings).ledger
    fund = Fund(1.0, ledger)
    await ledger.book("killed", Spend(cost=0.3))
    await fund.count(9, {"trajectory_id": "killed", "usage": {"cost": 0.1}})
    assert await fund.admit(1, 0.4)
    second = asyncio.create_task(fund.admit(2, 0.4))
    await asyncio.sleep(0.05)
    assert not second.done()
    await fund.count(1, {"trajectory_id": "one", "usage": {"cost": 0.2}})
    assert await second
    await fund.count(2, {})
    assert await fund.admit(9, 0.8), "what it has spent counts towards its own limit"
    await fund.count(9, {"trajectory_id": "killed", "usage": {"cost": 0.8}})
    assert not await fund.admit(3, 0.1)
    assert fund.has_run_out
    assert await Fund(None, ledger).admit(1, 1e9)


# Stopping.


@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself Ctrl-C")
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c(settings: Settings, presses: int, capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted(ScriptedImages):
        """Two drawings wait for each other; then Ctrl-C is pressed."""

        begun = cancelled = 0

        def __init__(self) -> None:
            super().__init__()
            self.both = asyncio.Event()

        async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
            self.begun += 1
            try:
                if self.begun == 2:
                    self.both.set()
                    for _ in range(presses):
                        os.kill(os.getpid(), signal.SIGINT)
                        await asyncio.sleep(0.05)
                await asyncio.wait_for(self.both.wait(), 30)
                await asyncio.sleep(0.2)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return await super().generate(request, progress)

    dogs(6)
    images = Interrupted()
    assert run(make(settings, images=images), jobs=2, as_json=True) == 130
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert "Press Ctrl-C again" in printed.err
    assert (summary["rows"], summary["failed"], summary["left"]) == (6, 0, 4)
    assert summary["stopped"] == 2
    assert images.cancelled == (2 if presses == 2 else 0)
    assert [row["status"] for row in results()] == ["stopped", "stopped"]
    drawn = len(images.history)
    more = ScriptedImages()
    assert run(make(settings, images=more)) == 0
    assert len(more.history) == 6 - drawn
    assert [row["status"] for row in results()] == ["done"] * 6


# What is told.


def test_the_summary_and_the_lines(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    dogs(2)
    assert run(make(settings)) == 0
    out = capsys.readouterr().out
    assert "GEMS  batch dogs · 2 prompts, 4 at a time" in out
    assert "  2/2  0000" in out
    assert "every requirement is met, 100% met, 1 round" in out
    assert "2 of 2 prompts done, 2 of them with every requirement met." in out
    assert "results.jsonl" in out
    assert run(make(settings), as_json=True) == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert {name: summary[name] for name in ("name", "rows", "done", "satisfied", "ended_earlier", "left")} == {
        "name": "dogs",
        "rows": 2,
        "done": 2,
        "satisfied": 2,
        "ended_earlier": 2,
        "left": 0,
    }
    assert summary["usage"]["images"] == 2
    assert Path(summary["results"]) == (OUT / "results.jsonl").absolute()
    assert "2 ended before" in printed.err


def rows(count: int) -> list[Row]:
    return [Row(number, number, f"{number:05d}", f"d-{number}", "x", (), {}) for number in range(1, count + 1)]


def test_the_time_that_is_left_follows_from_the_rows_that_ended() -> None:
    now = [0.0]
    tally = Tally("dogs", 10, done=2, earlier=2)
    view = BatchView(Console(file=io.StringIO()), tally, 4, lambda: now[0])
    first, second, third, *_ = rows(10)
    assert view.seconds_left is None
    for row in (first, second, third):
        view.began(row)
    for row, moment in ((first, 10.0), (second, 30.0)):
        now[0] = moment
        tally.add(Outcome("t", "done", "satisfied"))
        view.ended(row, Outcome("t", "done", "satisfied"))
    assert view.seconds_left == pytest.approx(20.0 * 6 / 4)
    tally.done = 9
    assert view.seconds_left == pytest.approx(20.0)


def test_a_terminal_shows_one_bar_and_what_failed() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, markup=False, highlight=False, legacy_windows=False)
    tally = Tally("dogs", 3)
    view = BatchView(console, tally, 2)
    view.started()
    first, second, _ = rows(3)
    for row in (first, second):
        view.began(row)
    view.event({"event": "drawn", "reused": False})
    view.event({"event": "drawn", "reused": True})
    done, failed = Outcome("t", "done", "satisfied"), Outcome("t", "running").with_error(ModelOutage("no\x1b[2Janswer"))
    for row, outcome in ((first, done), (second, failed)):
        tally.add(outcome)
        view.ended(row, outcome)
    view.close()
    shown = out.getvalue()
    assert "0 running · 1 failed · 1 satisfied · 1 image" in shown
    assert "2/3" in shown
    assert "failed: no [2Janswer" in shown
    assert "\x1b[2J" not in shown
    assert "every requirement" not in shown


def test_the_tally_counts_each_row_once() -> None:
    tally = Tally("dogs", 5)
    tally.add(Outcome("t", "done", "satisfied", usage={"images": 2, "cost": 0.1}))
    tally.add(Outcome("t", "done", "max_rounds", usage={"images": 1, "cost": 0.2}))
    assert tally.exit_code == 1
    tally.add(Outcome("t", "stopped", "stopped"))
    tally.add(Outcome("t", "failed", "failed"))
    assert (tally.done, tally.satisfied, tally.stopped, tally.failed, tally.left) == (2, 1, 1, 1, 1)
    assert (tally.usage["images"], tally.usage["cost"]) == (3, 0.3)


async def test_until_one_has_begun_the_pool_tries_one_by_one() -> None:
    pool = Pool[int](3)
    running: list[int] = []
    most: dict[int, int] = {}

    async def work(item: int) -> None:
        running.append(item)
        await asyncio.sleep(0.01)
        most[item] = len(running)
        if item == 2:
            pool.begin()
            await asyncio.sleep(0.01)
        running.remove(item)

    await pool.run(range(8), work)
    assert sorted(most) == list(range(8))
    assert [most[item] for item in (0, 1, 2)] == [1, 1, 1]
    assert max(most.values()) == 3


async def test_an_error_in_the_pool_ends_all_and_is_raised() -> None:
    pool = Pool[int](2)
    pool.begin()
    done: list[int] = []

    async def work(item: int) -> None:
        await asyncio.sleep(0.01)
        if item == 1:
            raise GemsConfigError("the disk is full")
        done.append(item)

    with pytest.raises(GemsConfigError, match="the disk is full"):
        await pool.run(range(50), work)
    assert len(done) < 4
    await pool.run([], work)


def test_the_command_line_passes_everything_on(settings: Settings) -> None:
    (settings.home).mkdir()
    FILE.write_text("{}\n")
    result = CliRunner().invoke(main, ["batch", str(FILE), "--json"])
    assert result.exit_code == 2
    assert "line 1: prompt is missing" in json.loads(result.stdout)["error"]["message"]
    assert CliRunner().invoke(main, ["batch", str(FILE), "--skill", "a", "--no-skills"]).exit_code == 2
    assert CliRunner().invoke(main, ["batch", str(FILE), "--jobs", "0"]).exit_code == 2
    assert "letters, digits" in CliRunner().invoke(main, ["batch", str(FILE), "--name", "a/b"]).output
    assert FileArtifacts(settings.home / "artifacts").folder.exists() is False
