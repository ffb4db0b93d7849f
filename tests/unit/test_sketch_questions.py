"""What the critic must not pretend to have read, or to have seen."""

from __future__ import annotations

import pytest

from gems.backends.sketch.judging import Looks, judge
from gems.backends.sketch.questions import read_question
from gems.backends.sketch.scene import Thing
from gems.backends.sketch.vision import Sight, Sighting


@pytest.mark.parametrize(
    "text",
    [
        "Is there a car that is not red?",
        "Are there only dogs?",
        "Does the image contain just a dog?",
        "Are there several dogs?",
        "Are there many dogs?",
        "Is there a cat or a bird?",
        "Are there more dogs than cats?",
        "Isn't there a dog?",
        "Is there a dog and a 🐱?",
    ],
)
def test_a_question_that_turns_its_words_is_not_read(text: str) -> None:
    assert read_question(text) is None


@pytest.mark.parametrize(
    ("text", "count"),
    [("Are there only two dogs?", 2), ("Is there just one dog?", 1), ("How many dogs are in the image? two", 2)],
)
def test_a_number_after_only_is_an_exact_count(text: str, count: int) -> None:
    question = read_question(text)
    assert question is not None
    assert question.subject is not None
    assert question.subject.count == count


def test_a_quoted_text_may_hold_any_word() -> None:
    question = read_question('Does the sign say "THIS OR THAT"?')
    assert question is not None
    assert question.text == "THIS OR THAT"


@pytest.mark.parametrize(("doubts", "verdicts"), [(0, ["met", "met", "unmet"]), (1, ["met", "unknown", "unknown"])])
def test_counts_and_absences_are_in_doubt_where_something_could_not_be_read(doubts: int, verdicts: list[str]) -> None:
    dog = Sighting(Thing("dog", 0.5, 0.5, 0.3, "brown"), 1.0, 1.0, 1.0, 1.0)
    looks = Looks(lambda _: Sight((dog,), "plain", 1.0, doubts))
    questions = ["Is there a dog?", "Is there exactly one dog?", "Is there a cat?"]
    fields = {"requirements": [{"id": f"r{n}", "question": it, "kind": "other"} for n, it in enumerate(questions)]}
    assert [it.verdict for it in judge(fields, [b"picture"], looks).verdicts] == verdicts
