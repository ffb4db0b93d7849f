"""Processes really killed: a run goes on where it stopped, and nothing received is drawn, asked for or lost again."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gems.core.state import GemsState
from gems.evals.crash.checks import RECEIVING, check, check_lessons
from gems.evals.crash.harness import harry
from gems.evals.crash.history import Chapter, History
from gems.evals.crash.lives import Life, Order, Zygote, last_words
from gems.evals.crash.moments import EXPORTING, STARTING, STORING, describe
from gems.evals.crash.place import Ending, Glimpse, Place, Stored
from gems.evals.crash.report import print_record
from gems.evals.crash.servers import WISH_FIELD, Asked, paint, wish_digest
from gems.evals.loopback import Entry
from gems.evals.loopback.pictures import Wish
from gems.memory import read_png_text
from gems.memory.artifacts import artifact_id

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="lives are forked")

ROUNDS, CANDIDATES = 3, 3


def test_runs_killed_at_random_moments_end_as_if_undisturbed(tmp_path: Path) -> None:
    record = harry(tmp_path / "crash", kills=9, seed=11, rounds=ROUNDS)
    assert record.findings == []
    assert record.kills == 9
    for history in record.histories:
        assert history.ending is not None
        drawn = [it.digest for it in history.asked if it.is_drawing]
        most = ROUNDS * CANDIDATES
        assert len(set(drawn)) == len(history.ending.state["attempts"]) <= most
        assert set(drawn) <= history.chapters[-1].after.wishes
        assert {"best.png", "report.html", "trajectory.json"} <= history.ending.files
    killed = [chapter for history in record.histories for chapter in history.chapters if chapter.kill]
    assert all(chapter.life.code == -9 for chapter in killed)
    assert len({chapter.kill.moment for chapter in killed if chapter.kill}) > 2, "all kills hit the same moments"
    console = Console(record=True, width=160)
    print_record(console, record)
    assert "9 kills, by what they hit" in console.export_text()


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("psycopg") is None, reason="psycopg is not installed")
def test_runs_whose_tables_lie_in_postgres_do_too(tmp_path: Path, database_url: str) -> None:
    record = harry(tmp_path / "crash", kills=4, seed=12, database=database_url, rounds=1)
    assert record.findings == []
    assert record.kills == 4
    assert list((tmp_path / "crash" / "wild" / "home").glob("*.sqlite*")) == []


def test_a_life_is_a_real_process_that_is_killed_in_time(tmp_path: Path) -> None:
    output = tmp_path / "words"

    def order(*arguments: str, seconds: float = 60.0, fresh: bool = False) -> Order:
        return Order(arguments, str(tmp_path), {}, str(output), seconds, fresh)

    with Zygote() as zygote:
        helped = zygote.live(order("--help"))
        assert "gems doctor" in last_words(output, 10_000)
        refused = zygote.live(order("no-such-command"))
        killed = [zygote.live(order("--help", seconds=0.001, fresh=fresh)) for fresh in (False, True)]
        (tmp_path / "aim").touch()
        aimed = zygote.live(replace(order("--help", fresh=True), aim=str(tmp_path / "aim"), after=0.05))
        with pytest.raises(RuntimeError, match="the zygote is gone"):
            zygote.live(order("--help", seconds="soon"))  # type: ignore[arg-type]
    assert [(it.killed, it.code) for it in (helped, refused)] == [(False, 0), (False, 2)]
    for life in (*killed, aimed):
        assert (life.killed, life.code) == (True, -9)
        assert life.died - life.born < 2


class TestPlace:
    """What is seen from outside."""

    def test_a_file_that_is_not_whole_is_a_fault(self, place: Place) -> None:
        whole = paint(Wish("a dog", 1, 8, 8))
        put(place, f"{artifact_id(whole)}.png", whole)
        put(place, f"{'0' * 64}.png", whole)
        put(place, ".part-abc", whole[:9])
        stored = place.stored()
        assert stored.wishes == {wish_digest("a dog", 1)} == {read_png_text(whole)[WISH_FIELD]}
        assert stored.artifacts == {artifact_id(whole)}
        assert stored.parts == 1
        assert [fault[:8] for fault in stored.faults] == ["00000000"]

    def test_a_file_that_changes_is_read_again(self, place: Place) -> None:
        whole = paint(Wish("a dog", 1, 8, 8))
        path = put(place, f"{artifact_id(whole)}.png", whole)
        assert place.stored().faults == ()
        path.write_bytes(whole[:50])
        assert len(place.stored().faults) == 1

    def test_a_thread_that_was_never_begun(self, place: Place) -> None:
        place.home.mkdir()
        assert place.glimpse("t") == Glimpse({}, (), exists=False)

    def test_a_damaged_table_is_found(self, place: Place) -> None:
        place.home.mkdir()
        path = place.home / "ledger.sqlite"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE kept (text TEXT)")
            connection.executemany("INSERT INTO kept VALUES (?)", [("x" * 3000,)] * 40)
        connection.close()
        content = bytearray(path.read_bytes())
        content[8192:12288] = bytes(4096)
        path.write_bytes(content)
        with pytest.raises(RuntimeError, match=r"ledger\.sqlite is damaged"):
            place.glimpse("t")

    def test_looking_leaves_no_trace(self, place: Place) -> None:
        place.home.mkdir()
        place.glimpse("t")
        assert list(place.home.iterdir()) == []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place", "http://127.0.0.1:1/v1")


def put(place: Place, name: str, content: bytes) -> Path:
    path = place.home / "artifacts" / name[:2] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class TestChecks:
    """Each check finds what it is for; times are seconds after a life was born."""

    def test_a_good_history_has_no_findings(self) -> None:
        assert check(history()) == []

    def test_a_stored_picture_drawn_again(self) -> None:
        again = [drawing(21.0, "w2"), drawing(22.0, "w1"), chat(21.0, "c1")]
        assert told(history(again=again))[0] == "the picture w1 was stored, and drawn again"

    def test_a_picture_drawn_twice_in_one_life(self) -> None:
        again = [drawing(21.0, "w2"), drawing(21.1, "w2"), chat(21.0, "c1")]
        assert told(history(again=again))[0] == "the picture w2 was drawn 2 times in one life"

    def test_a_picture_that_was_sent_long_before_the_kill_and_not_stored(self) -> None:
        first = [drawing(1.0, "w1"), drawing(2.0, "w2"), chat(9.5, "c1", took=None)]
        assert told(history(first=first)) == ["the picture w2 was sent 7.0 s before the end, and not stored"]

    def test_a_stored_picture_that_is_gone(self) -> None:
        broken = history()
        broken.chapters[1] = replace(broken.chapters[1], after=stored("w2"))
        assert told(broken)[0] == "the image a-w1 was stored and is gone"

    def test_a_life_that_ends_by_itself_but_badly(self) -> None:
        broken = history()
        broken.chapters[1] = replace(broken.chapters[1], life=Life(20.0, 30.0, killed=False, code=1))
        assert told(broken) == ["it ended with exit code 1, and not by our hand"]

    def test_a_call_asked_again_whose_node_was_not_hit(self) -> None:
        broken = history()
        broken.chapters[0] = replace(broken.chapters[0], glimpse=Glimpse({}, ("generator",), exists=True))
        assert told(broken) == ["'judge' was asked again, though its node was not among those killed: ('generator',)"]

    def test_a_call_asked_again_that_was_long_answered(self) -> None:
        late = [drawing(1.0, "w1"), drawing(9.5, "w2", took=None), chat(2.0, "c1", took=0.5)]
        assert told(history(first=late)) == ["'judge' was asked again, though it was answered 7.5 s before the kill"]
        just = [drawing(1.0, "w1"), drawing(9.5, "w2", took=None), chat(9.0, "c1", took=1.0 - RECEIVING / 2)]
        assert told(history(first=just)) == []

    def test_a_state_that_ends_otherwise(self) -> None:
        broken = history()
        assert broken.ending is not None
        broken.ending = broken.ending._replace(state={**broken.ending.state, "best": "1.2"})
        assert told(broken) == ["'best' ends otherwise than undisturbed: '1.2', not '1.1'"]

    def test_a_request_that_the_undisturbed_run_never_made(self) -> None:
        assert told(history(again=[drawing(21.0, "w2"), chat(21.0, "c1"), chat(22.0, "c9")])) == [
            "a chat call (c9) was asked for only by the killed run",
            "3 chat calls were made, and only 2 booked against the limits",
        ]

    def test_more_drawings_than_are_booked(self) -> None:
        broken = history()
        assert broken.ending is not None
        broken.ending = broken.ending._replace(images=2)
        assert told(broken) == ["3 pictures were asked for, and only 2 booked against the limits"]

    def test_usage_that_counts_what_was_paid_twice(self) -> None:
        broken = history()
        assert broken.ending is not None
        broken.ending = broken.ending._replace(state={**broken.ending.state, "usage": {"images": 2, "mllm_calls": 9}})
        assert told(broken)[0].startswith("usage is {'mllm_calls': 9,")

    def test_a_run_that_never_ends(self) -> None:
        broken = history()
        broken.ending = None
        assert told(broken) == ["it never came to an end"]

    def test_results_that_were_not_exported(self) -> None:
        broken = history()
        assert broken.ending is not None
        broken.ending = broken.ending._replace(files=frozenset())
        assert told(broken) == ["exported were [], and ['best.png'] undisturbed"]

    def test_lessons_that_were_counted_twice(self) -> None:
        assert check_lessons(["a"], ["a"]) == []
        assert len(check_lessons(["a (uses 2)"], ["a (uses 1)"])) == 1


class TestMoments:
    """What a kill has hit."""

    @pytest.mark.parametrize(
        ("asked", "pending", "spoke", "status", "moment"),
        [
            ([], (), False, None, STARTING),
            ([], ("planner", "decomposer"), True, "running", "decomposer + planner"),
            (["w9"], ("generator", "generator"), True, "running", STORING),
            ([], (), True, "done", EXPORTING),
        ],
    )
    def test_a_moment(
        self, asked: list[str], pending: tuple[str, ...], spoke: bool, status: str | None, moment: str
    ) -> None:
        state: GemsState = {"status": status} if status else {}  # type: ignore[typeddict-item]
        drawings = [drawing(1.0, digest) for digest in asked]
        after = Glimpse(state, pending, exists=True)
        kill = describe(Life(0.0, 10.0, killed=True, code=-9), drawings, after, frozenset({"w1"}), spoke=spoke)
        assert kill.moment == moment
        assert kill.unstored == len(asked)


def told(history: History) -> list[str]:
    return [finding.text for finding in check(history)]


NUMBERS = itertools.count()


def drawing(start: float, wish: str, took: float | None = 1.0) -> Asked:
    """A request for a picture; without `took` it is not answered."""
    return Asked("", wish, Entry(next(NUMBERS), "images", "", start, None if took is None else start + took))


def chat(start: float, digest: str, took: float | None = 1.0) -> Asked:
    """A request of the critic's."""
    entry = Entry(next(NUMBERS), "chat", "", start, None if took is None else start + took, task="judge")
    return Asked("", digest, entry)


def stored(*wishes: str) -> Stored:
    return Stored(frozenset(wishes), frozenset(f"a-{wish}" for wish in wishes), 0, ())


def history(first: Sequence[Asked] | None = None, again: Sequence[Asked] | None = None) -> History:
    """Two lives: killed after 10 seconds with a picture stored, another and a call in flight; then 20 to 30, in peace."""
    killed, peaceful = Life(0.0, 10.0, killed=True, code=-9), Life(20.0, 30.0, killed=False, code=0)
    before = first or [drawing(1.0, "w1"), drawing(9.5, "w2", took=None), chat(9.5, "c1", took=None)]
    after = again or [drawing(21.0, "w2"), chat(21.0, "c1")]
    glimpse = Glimpse({"status": "running"}, ("critic", "generator"), exists=True)
    kill = describe(killed, before, glimpse, frozenset({"w1"}), spoke=True)
    attempts: list[dict[str, str]] = [{"id": "1.1", "artifact": "a-w1"}, {"id": "1.2", "artifact": "a-w2"}]
    state: GemsState = {"best": "1.1", "attempts": attempts, "usage": {"images": 2}}  # type: ignore[typeddict-item]
    ending = Ending(state, 2, 3, "done, max_rounds", frozenset({"best.png"}), frozenset())
    calm = (drawing(0.0, "w1"), drawing(0.0, "w2"), chat(0.0, "c1"))
    chapters = [
        Chapter("life-1", killed, False, stored(), stored("w1"), glimpse, True, tuple(before), kill),
        Chapter("life-2", peaceful, False, stored("w1"), stored("w1", "w2"), glimpse, True, tuple(after)),
    ]
    return History("t", calm, ending._replace(calls=1, images=2), chapters, ending)
