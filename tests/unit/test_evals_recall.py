"""The measurement of how well lessons are found: its material, its counting, and that the thresholds in use hold."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from gems.core.ports import Lesson
from gems.evals.recall import Given, Quest, by_hand, by_name, found, given, main, merging, ranks, speed
from gems.evals.recall_cases import CASES, OPPOSED, REWORDED, UNRELATED
from gems.evals.recall_finders import FINDERS, full_text, likeness
from gems.memory.likeness import FLOOR

LESSONS = [Lesson("", "other", "sketch", (), when, "") for when in ("a", "b", "c")]
QUEST = Quest(LESSONS, ["count", "count", "text"], ["x", "y", "z"], [0, 1, 2])
SCORES = np.array([[0.9, 0.5, 0.1], [0.6, 0.4, 0.8], [0.0, 0.0, 0.0]])


def test_the_material_is_large_and_has_no_twins() -> None:
    quest = by_hand()
    assert len(quest.lessons) >= 60
    assert len(quest.queries) == 3 * len(quest.lessons) >= 150
    assert len({it.when for it in quest.lessons}) == len(quest.lessons)
    assert len(set(quest.queries)) == len(quest.queries)
    assert {case.kind for case in CASES} == {"object", "attribute", "count", "spatial", "text", "style", "other"}
    assert not set(UNRELATED) & set(quest.queries)
    assert {it.when for it in REWORDED} <= {case.when for case in CASES}
    assert all(one != other for one, other in OPPOSED)


def test_queries_are_not_copies_of_what_they_look_for() -> None:
    copied = [
        query for case in CASES for query in case.queries if query.lower() in f"{case.when}: {case.advice}".lower()
    ]
    assert copied == []


def test_named_things_are_reproducible_and_each_has_one_answer() -> None:
    quest = by_name(40, seed=3)
    assert quest == by_name(40, seed=3)
    assert quest.lessons != by_name(40, seed=4).lessons
    assert len({it.when for it in quest.lessons}) == len(set(quest.queries)) == len(quest.answers) == 40


def test_ranks_count_rivals_and_are_last_among_equals() -> None:
    assert ranks(SCORES, QUEST, within_kind=False) == [1, 3, 3]
    assert ranks(SCORES, QUEST, within_kind=True) == [1, 2, 1]


def test_shares_of_ranks() -> None:
    it = found([1, 2, 4, 4])
    assert (it.first.hits, it.among.hits, it.first.total) == (1, 2, 4)
    assert it.mrr == 0.5
    assert 0.25 <= it.low < 0.5 < it.high <= 1
    assert it == found([1, 2, 4, 4])


def test_a_floor_lets_through_what_is_like_enough() -> None:
    low, high = given(SCORES, QUEST, 0.3), given(SCORES, QUEST, 0.55)
    assert [(it.hits, it.total) for it in (low.right, low.fitting, low.needless)] == [(2, 3), (2, 4), (2, 3)]
    assert [(it.hits, it.total) for it in (high.right, high.fitting, high.needless)] == [(1, 3), (1, 2), (1, 3)]
    assert given(SCORES, QUEST, 0.3, half=1).right == given(SCORES[1:2], QUEST._replace(answers=[1]), 0.3).right
    assert low.balance == pytest.approx(1.25 * 0.5 * (2 / 3) / (0.25 * 0.5 + 2 / 3))
    assert given(SCORES, QUEST, 1.0).balance == 0


def test_every_finder_finds_the_text_itself() -> None:
    texts = ["seven small acorns", "a word on a sign", 'watercolour "painting" (old)']
    lessons = [Lesson("", "other", "sketch", (), text, "") for text in texts]
    for finder in FINDERS.values():
        scores = finder(lessons, texts)
        assert scores.shape == (3, 3)
        assert list(scores.argmax(axis=1)) == [0, 1, 2]


def test_full_text_knows_stems_and_gives_nothing_for_no_word() -> None:
    scores = full_text(
        [replace(it, when=when) for it, when in zip(LESSONS, ("lay acorns in grids", "a sign"), strict=False)],
        ["an acorn on a grid", "?"],
    )
    assert scores[0, 0] > scores[0, 1]
    assert not scores[1].any()


def test_what_is_in_use_beats_full_text_search() -> None:
    quest = by_hand()
    best, baseline = (
        found(ranks(finder(quest.lessons, quest.queries), quest, within_kind=True)) for finder in (likeness, full_text)
    )
    assert best.first.low > baseline.first.high
    assert best.among.low > baseline.among.high
    assert best.low > baseline.high


def test_the_floor_in_use_is_the_best_on_the_half_it_is_chosen_by() -> None:
    quest = by_hand()
    scores = likeness(quest.lessons, quest.queries)

    def balance(floor: float) -> float:
        it: Given = given(scores, quest, floor, half=0)
        return it.balance

    assert max((0.15, 0.20, 0.25, 0.30, 0.35), key=balance) == FLOOR


def test_the_thresholds_of_merging_know_the_same_from_the_different() -> None:
    it = merging()
    assert it.reworded.value > 0.5
    assert it.different.hits == 0
    assert it.opposites.value > 0.6
    assert it.agreeing.value < 0.1


def test_a_choice_is_quick() -> None:
    lap = speed(lessons=200, queries=5)
    assert min(lap) >= 0
    assert lap.next < 0.1


def test_the_command_prints_every_table() -> None:
    result = CliRunner().invoke(main, [])
    assert (result.exit_code, result.stderr) == (0, "")
    for words in (
        r"213 queries for 71 lessons",
        r"0\.25 \(in use\)",
        r"reworded lessons seen as the same",
        r"1000 lessons",
    ):
        assert re.search(words, result.stdout)
