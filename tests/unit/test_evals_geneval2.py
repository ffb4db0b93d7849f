"""GenEval 2's grammar, and its questions' truth on layouts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from gems.backends.sketch.compose import compose
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.scene import Scene, Thing
from gems.backends.sketch.truth import satisfies
from gems.backends.sketch.vocabulary import COLORS, GENEVAL2_NAMES, MAX_OBJECTS, TEXTURES
from gems.core.errors import GemsConfigError
from gems.evals import geneval2
from gems.evals.geneval2 import Check, GenEval2Prompt, read_check


def test_atoms_counts_and_questions_agree_with_the_prompt() -> None:
    prompts = geneval2.generate(160, seed=2)
    assert len({prompt.prompt for prompt in prompts}) == 160
    for prompt in prompts:
        checks = prompt.checks
        counted = [check for check in checks if check.skill == "count"]
        assert {check.name for check in counted} <= set(GENEVAL2_NAMES)
        assert prompt.things == sum(check.number for check in counted) <= MAX_OBJECTS
        # "a" is asked about but is no atom.
        assert prompt.atom_count == len(checks) - sum(check.number == 1 for check in counted)
        assert [check.skill for check in checks if check.skill == "object"] == ["object"] * len(counted)
        relations = [check for check in checks if check.skill in ("position", "verb")]
        words = re.findall("|".join(geneval2.RELATIONS), prompt.prompt)
        assert [geneval2.RELATIONS[word] for word in words] == [check.relation for check in relations]
    assert {prompt.atom_count for prompt in prompts} == set(geneval2.ATOMS)
    assert geneval2.generate(9, seed=2) == prompts[:9]


def test_every_shape_of_the_benchmark_occurs() -> None:
    relation, group = "|".join(geneval2.RELATIONS), r"(?:an?|two|three|four|five|six|seven) [a-z ]+?"
    shapes = (
        group,
        f"{group} and {group}",
        f"{group} (?:{relation}) {group}",
        f"{group} and {group} and {group}",
        f"{group}, and {group} (?:{relation}) {group}",
        f"{group} (?:{relation}) {group}, and {group}",
        f"{group} (?:{relation}) {group} (?:{relation}) {group}",
    )
    prompts = [prompt.prompt for prompt in geneval2.generate(200, seed=4)]
    assert all(any(re.fullmatch(shape, prompt) for shape in shapes) for prompt in prompts)
    joined = [re.sub(relation, "REL", prompt) for prompt in prompts]
    for shape in (r"[^,]+, and .+ REL .+", r"[^,]+ REL [^,]+, and .+", r".+ REL .+ REL .+", r".+ and .+ and .+"):
        assert any(re.fullmatch(shape, prompt) for prompt in joined), shape


def test_the_questions_are_in_the_benchmarks_order() -> None:
    prompt = next(it for it in geneval2.generate(400, seed=1) if re.search(r", and .* (under|behind) ", it.prompt))
    skills = [("rel" if skill in ("position", "verb") else skill) for skill in prompt.skills]
    # Before a relation stand the questions about its first group, after it those about its second.
    assert skills.index("rel") > skills.index("object")
    assert skills[skills.index("rel") + 1] == "count"
    assert skills[-1] == "object"


@pytest.mark.parametrize(
    ("question", "answer", "check"),
    [
        ("How many sheeps are in the image?", "seven", Check("count", "sheep", number=7)),
        ("Are there any birds in the image?", "Yes", Check("object", "bird")),
        ("Is the guitar stone?", "Yes", Check("attribute", "guitar", attribute="stone")),
        ("Are the teddy bears checkered?", "Yes", Check("attribute", "teddy bear", attribute="checkered")),
        (
            "Are the donuts on top of the turtles?",
            "Yes",
            Check("position", "donut", relation="on top of", other="turtle"),
        ),
        (
            "Is the cat to the right of the dog?",
            "Yes",
            Check("position", "cat", relation="right of", other="dog"),
        ),
        (
            "Are the pigs playing with the elephant?",
            "Yes",
            Check("verb", "pig", relation="playing with", other="elephant"),
        ),
        ("Are there any zeppelins in the image?", "Yes", Check("object", "zeppelins")),
    ],
)
def test_questions_are_read(question: str, answer: str, check: Check) -> None:
    assert read_check(question, answer) == check


@pytest.mark.parametrize(("question", "answer"), [("What is it?", "Yes"), ("How many cats are in the image?", "lots")])
def test_strange_questions_are_refused(question: str, answer: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(answer if answer == "lots" else question))):
        read_check(question, answer)


PIGS = GenEval2Prompt(
    prompt="two pink pigs under a cat",
    atom_count=5,
    vqa_list=(
        ("How many pigs are in the image?", "two"),
        ("Are the pigs pink?", "Yes"),
        ("Are there any pigs in the image?", "Yes"),
        ("Are the pigs under the cat?", "Yes"),
        ("How many cats are in the image?", "one"),
        ("Are there any cats in the image?", "Yes"),
    ),
    skills=("count", "attribute", "object", "position", "count", "object"),
)


def scene(*things: Thing) -> Scene:
    return Scene(things)


def pig(x: float, y: float = 0.8, color: str = "pink") -> Thing:
    return Thing("pig", x, y, 0.2, color)


CAT = Thing("cat", 0.5, 0.2, 0.2, "black")


@pytest.mark.parametrize(
    ("things", "holds"),
    [
        ([pig(0.4), pig(0.6), CAT], True),
        ([pig(0.4), pig(0.6), CAT, Thing("dog", 0.1, 0.1, 0.1, "red")], True),  # no question asks about dogs
        ([pig(0.4), CAT], False),
        ([pig(0.4), pig(0.5), pig(0.6), CAT], False),
        ([pig(0.4), pig(0.6, color="red"), CAT], False),
        ([pig(0.4), pig(0.6, y=0.1), CAT], False),
        ([pig(0.4), pig(0.6), CAT, CAT], False),
        ([pig(0.4), pig(0.6)], False),
    ],
)
def test_all_atoms_must_hold(things: list[Thing], holds: bool) -> None:
    assert PIGS.holds(scene(*things)) is holds


def test_the_truth_agrees_with_the_engines_own() -> None:
    """Two readings of one prompt, from its questions and from its English, judge spoilt compositions alike."""
    rng = Random(8)
    seen = {True: 0, False: 0}
    for prompt in geneval2.generate(120, seed=8):
        spec = read_prompt(prompt.prompt).spec
        composition = compose(spec, rng)
        if composition is None:
            continue
        things = [thing for group in composition for thing in group]
        for spoil in range(4):
            place = rng.randrange(len(things))
            spoilt = list(things)
            if spoil == 1:
                spoilt[place] = replace(things[place], x=rng.random(), y=rng.random())
            elif spoil == 2:
                spoilt[place] = replace(things[place], color=rng.choice(list(COLORS)), texture=rng.choice(TEXTURES))
            elif spoil == 3:
                spoilt.pop(place)
            layout = Scene(tuple(spoilt))
            holds = prompt.holds(layout)
            assert holds is all(verdict.met for verdict in satisfies(spec, layout)), prompt.prompt
            seen[holds] += 1
    assert min(seen.values()) > 80


def test_its_own_file_is_read_and_a_bad_line_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    good = PIGS.model_dump_json()
    path.write_text(good + "\n", encoding="utf-8")
    assert geneval2.load(path) == [PIGS]
    path.write_text(good + "\n" + good.replace('"position"', '"verb"') + "\n", encoding="utf-8")
    with pytest.raises(GemsConfigError, match=r"line 2: .*skill"):
        geneval2.load(path)
    path.write_text(good.replace("Are the pigs under the cat?", "Why?"), encoding="utf-8")
    with pytest.raises(GemsConfigError, match=r"line 1: .*'Why\?'"):
        geneval2.load(path)
