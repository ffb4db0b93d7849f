"""The bench over the wire counts what a server saw."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from gems.evals.bench_wire import Course, bill_of, measure_wire
from gems.evals.loopback.log import Entry, Log


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


def test_its_figures_are_those_of_the_servers_log() -> None:
    course = Course(side=64, rounds=2, chat_seconds=0.02, image_seconds=0.05)
    figures = {figure.name: figure for figure in measure_wire(course, prompts=3, repeats=1)}
    assert figures["calls"].value == 7
    tasks = ["choose_skills 1", "compress 1", "decompose 1", "judge 2", "refine 1", "write_prompts 1"]
    assert sorted(figures["calls"].note.split(", ")) == tasks
    assert figures["calls that ask again"].value == 0
    assert figures["images sent"].value == 3
    # 64 px are 9 tokens: the critic sees each picture once, the refiner the first one again.
    assert figures["image tokens, as a part of the reference's"].note == "27 of 87,600"
    assert figures["of it our own, a round"].value > 0
    assert 0.1 < figures["drawing worker busy, 3 prompts at once"].value <= 1.0
    assert figures["drawing worker busy, 3 prompts at once"].note.startswith("6 drawings")


def test_what_asks_again_is_told_from_what_asks() -> None:
    def entry(task: str, picture: str = "", *, repair: bool = False) -> Entry:
        return Entry(
            0, "chat", "/", 0.0, task=task, picture=picture, repair=repair, images=bool(picture), text_tokens=2
        )

    log = Log(
        [
            entry("judge", "a"),
            entry("judge", "b"),
            entry("judge", "a"),
            entry("refine", "a"),
            entry("refine", repair=True),
        ]
    )
    bill = bill_of(log)
    assert (bill.calls, bill.again, bill.images, bill.text_tokens) == (5, 2, 4, 10)


def test_the_floor_is_what_the_servers_take_one_after_the_other() -> None:
    assert Course().floor == pytest.approx(2 * 0.3 + 5 * (0.6 + 0.3) + 4 * 0.3)
