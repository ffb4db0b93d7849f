"""GenEval's grammar and its official rule on layouts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from gems.backends.sketch.compose import compose
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.scene import Scene, Thing
from gems.backends.sketch.vocabulary import COCO_NAMES
from gems.core.errors import GemsConfigError
from gems.evals import geneval
from gems.evals.geneval import GenEvalPrompt, positions


def row(text: str) -> GenEvalPrompt:
    return GenEvalPrompt.model_validate_json(text)


def thing(name: str, x: float = 0.5, y: float = 0.5, color: str = "red", size: float = 0.2) -> Thing:
    return Thing(name, x, y, size, color)


BENCH = row('{"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}')
CLOCKS = row(
    '{"tag": "counting", "include": [{"class": "clock", "count": 2}], "exclude": [{"class": "clock", "count": 3}], '
    '"prompt": "a photo of two clocks"}'
)
PINK_CAR = row(
    '{"tag": "colors", "include": [{"class": "car", "count": 1, "color": "pink"}], "prompt": "a photo of a pink car"}'
)
DOG_RIGHT = row(
    '{"tag": "position", "include": [{"class": "teddy bear", "count": 1}, {"class": "dog", "count": 1, '
    '"position": ["right of", 0]}], "prompt": "a photo of a dog right of a teddy bear"}'
)
TWO_COLORS = row(
    '{"tag": "color_attr", "include": [{"class": "bus", "count": 1, "color": "green"}, {"class": "microwave", '
    '"count": 1, "color": "purple"}], "prompt": "a photo of a green bus and a purple microwave"}'
)


@pytest.mark.parametrize(
    ("prompt", "things", "holds"),
    [
        (BENCH, [thing("bench")], True),
        (BENCH, [thing("bench"), thing("bench"), thing("cat")], True),
        (BENCH, [thing("chair")], False),
        (BENCH, [], False),
        (CLOCKS, [thing("clock")] * 1, False),
        (CLOCKS, [thing("clock")] * 2, True),
        (CLOCKS, [thing("clock")] * 3, False),
        (PINK_CAR, [thing("car", color="pink")], True),
        (PINK_CAR, [thing("car", color="red")], False),
        (PINK_CAR, [thing("car", color="red"), thing("car", color="pink")], False),
        (PINK_CAR, [thing("car", color="pink"), thing("car", color="red")], True),
        (DOG_RIGHT, [thing("teddy bear", 0.3), thing("dog", 0.7)], True),
        (DOG_RIGHT, [thing("teddy bear", 0.7), thing("dog", 0.3)], False),
        (DOG_RIGHT, [thing("teddy bear", 0.5, 0.2), thing("dog", 0.5, 0.8)], False),
        (DOG_RIGHT, [thing("dog", 0.7)], False),
        (TWO_COLORS, [thing("bus", color="green"), thing("microwave", color="purple")], True),
        (TWO_COLORS, [thing("bus", color="purple"), thing("microwave", color="green")], False),
    ],
)
def test_the_official_rule(prompt: GenEvalPrompt, things: list[Thing], holds: bool) -> None:
    assert prompt.holds(Scene(tuple(things))) is holds


def test_exactness_is_a_stricter_rule() -> None:
    assert BENCH.holds_exactly(Scene((thing("bench"),)))
    assert not BENCH.holds_exactly(Scene((thing("bench"), thing("bench"))))


@pytest.mark.parametrize(
    ("x", "y", "found"),
    [
        (0.8, 0.5, {"right of"}),
        (0.2, 0.5, {"left of"}),
        (0.5, 0.9, {"below"}),
        (0.8, 0.8, {"right of", "below"}),
        (0.5, 0.5, set()),
        (0.53, 0.5, set()),  # within a tenth of the summed sides
        (
            0.57,
            0.5,
            {"right of"} if (0.07 - 0.04) / 0.07 > 0.5 else set(),
        ),  # the rest is too small a part of the offset
        (0.6, 0.5, {"right of"}),
    ],
)
def test_positions_are_those_of_the_official_rule(x: float, y: float, found: set[str]) -> None:
    assert positions(thing("dog", x, y), thing("cat")) == found


def test_a_far_corner_can_be_in_no_direction() -> None:
    """Half of the offset must remain on an axis: large boxes on a diagonal leave too little on both."""
    one, other = thing("dog", 0.7, 0.7, size=0.4), thing("cat", 0.5, 0.5, size=0.4)
    assert positions(one, other) == set()


def test_prompts_follow_the_grammar() -> None:
    prompts = geneval.generate(553, seed=3)
    assert len({prompt.prompt for prompt in prompts}) == 553
    assert {prompt.tag for prompt in prompts} == set(geneval.TAGS)
    assert sum(prompt.tag == "single_object" for prompt in prompts) == len(COCO_NAMES)
    assert min(sum(prompt.tag == tag for prompt in prompts) for tag in geneval.TAGS[1:]) >= 90
    for prompt in prompts:
        assert prompt.prompt.startswith("a photo of ")
        assert {clause.name for clause in prompt.include} <= set(COCO_NAMES)
        assert prompt.prompt == "a photo of " + says(prompt)
        if prompt.tag in ("colors", "color_attr"):
            assert "person" not in {clause.name for clause in prompt.include}


def says(prompt: GenEvalPrompt) -> str:
    """The phrase of a prompt, from its clauses alone."""
    one, *rest = prompt.include
    number = {2: "two", 3: "three", 4: "four"}

    def phrase(clause: geneval.Clause) -> str:
        if clause.count > 1:
            return f"{number[clause.count]} {geneval.naive_plural(clause.name)}"
        words = f"{clause.color} {clause.name}" if clause.color else clause.name
        return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"

    if not rest:
        assert [clause.count for clause in prompt.exclude] == ([one.count + 1] if prompt.tag == "counting" else [])
        return phrase(one)
    other = rest[0]
    if other.position:
        return f"{phrase(other)} {other.position[0]} {phrase(one)}"
    return f"{phrase(one)} and {phrase(other)}"


def test_a_seed_gives_the_same_prompts_again() -> None:
    assert geneval.generate(30, seed=1) == geneval.generate(30, seed=1)
    assert geneval.generate(30, seed=1) != geneval.generate(30, seed=2)


def test_the_engine_can_meet_what_the_rule_asks() -> None:
    """A composition made for the request is right, and with its first thing taken away it is wrong."""
    rng = Random(1)
    met = 0
    for prompt in geneval.generate(60, seed=5):
        composition = compose(read_prompt(prompt.prompt).spec, rng)
        if composition is None:
            continue
        things = tuple(member for group in composition for member in group)
        met += prompt.holds(Scene(things))
        assert not prompt.holds(Scene(things[1:]))
        if prompt.tag == "colors":
            assert not prompt.holds(Scene(tuple(replace(it, color="gray") for it in things)))
    assert met >= 55


def test_its_own_file_is_read_and_a_bad_line_named(tmp_path: Path) -> None:
    path = tmp_path / "metadata.jsonl"
    path.write_text(
        "\n".join(prompt.model_dump_json(by_alias=True) for prompt in (BENCH, CLOCKS, DOG_RIGHT)), encoding="utf-8"
    )
    assert geneval.load(path) == [BENCH, CLOCKS, DOG_RIGHT]
    path.write_text(json.dumps({"tag": "colors", "include": [], "prompt": "x"}), encoding="utf-8")
    with pytest.raises(GemsConfigError, match="line 1: include"):
        geneval.load(path)
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(GemsConfigError, match="no prompt"):
        geneval.load(path)
    with pytest.raises(GemsConfigError, match="cannot be read"):
        geneval.load(tmp_path / "nowhere.jsonl")
