"""What is true of a scene, atom by atom."""

from __future__ import annotations

import pytest

from gems.backends.sketch.atoms import atoms
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.questions import read_question, say
from gems.backends.sketch.scene import Scene, Thing
from gems.backends.sketch.truth import answer, satisfies


def row(*described: str, y: float = 0.5, size: float = 0.1) -> list[Thing]:
    """Things from left to right: "red apple", "wooden:brown chair"."""
    things = []
    for place, words in enumerate(described):
        look, name = words.split(" ", 1)
        texture, _, color = look.rpartition(":")
        things.append(Thing(name, 0.1 + 0.15 * place, y, size, color, texture or None))
    return things


def scene(*rows: list[Thing], background: str = "plain") -> Scene:
    return Scene(tuple(thing for things in rows for thing in things), background)


FARM = scene(
    row("brown dog", "brown dog", "black cat", y=0.2),
    row("red apple", "red apple", "green apple", y=0.8),
    [Thing("sign", 0.9, 0.5, 0.2, "white", text="OPEN")],
    background="grass",
)


@pytest.mark.parametrize(
    ("question", "truth"),
    [
        ("Is there a dog?", True),
        ("Is there a horse?", False),
        ("Are there exactly two dogs?", True),
        ("Are there exactly three dogs?", False),
        ("Is there exactly one dog?", False),
        ("Are there at least two dogs?", True),
        ("Are there no people?", True),
        ("Are there no cats?", False),
        ("Are there exactly two red apples?", True),
        ("Are there exactly two apples?", False),
        ("Are the dogs brown?", True),
        ("Are the apples red?", False),
        ("Are the horses red?", False),
        ("Is the cat striped?", False),
        ("Are the dogs to the left of the cat?", True),
        ("Is the cat to the left of the dogs?", False),
        ("Are the dogs above the apples?", True),
        ("Is the green apple to the right of the red apples?", True),
        ("Is the dog above the horse?", False),
        ('Does the sign say "open"?', True),
        ('Does the sign say "CLOSED"?', False),
        ("Is the background grass?", True),
        ("Is the background a beach?", False),
        ("Does the picture show all of this: two brown dogs left of a black cat?", True),
        ("Does the picture show all of this: two brown dogs and a horse?", False),
    ],
)
def test_answers(question: str, truth: bool) -> None:
    understood = read_question(question)
    assert understood is not None
    assert answer(understood, FARM) is truth


def aspects(prompt: str, where: Scene) -> list[tuple[str, bool]]:
    return [(verdict.aspect, verdict.met) for verdict in satisfies(read_prompt(prompt).spec, where)]


def test_every_group_and_relation_has_its_atoms() -> None:
    prompt = 'two brown dogs to the left of a cat and a sign that says "OPEN" in a meadow'
    assert aspects(prompt, FARM) == [
        ("object", True), ("count", True), ("attribute", True),
        ("object", True), ("count", True),
        ("object", True), ("count", True), ("text", True),
        ("spatial", True),
        ("background", True),
    ]  # fmt: skip


def test_one_wrong_thing_fails_its_own_atoms_only() -> None:
    assert aspects("three dogs and a red cat", FARM) == [
        ("object", True), ("count", False), ("object", True), ("count", True), ("attribute", False),
    ]  # fmt: skip


def test_an_atom_whose_parent_fails_is_not_met() -> None:
    assert aspects("a red horse above a dog", FARM) == [
        ("object", False), ("count", False), ("attribute", False), ("object", True), ("count", False), ("spatial", False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "met"),
    [
        ("two red apples and a green apple", True),
        ("three red apples and a green apple", False),
        ("two red apples and two green apples", False),
        ("three apples; one is green and two are red", True),
        ("three apples; one is red and two are green", False),
        ("three apples, one of them is green", True),
        ("two apples, one of them is green", False),
        ("an apple and two other apples", True),
        ("no people", True),
        ("a dog and no cats", False),
    ],
)
def test_like_things_of_several_colours(prompt: str, met: bool) -> None:
    assert all(verdict.met for verdict in satisfies(read_prompt(prompt).spec, FARM)) is met


@pytest.mark.parametrize(
    ("prompt", "things", "met"),
    [
        ("a dog left of a dog", row("brown dog", "black dog"), True),
        ("a dog above a dog", row("brown dog", "black dog"), False),
        ("two dogs left of another dog", row("brown dog", "black dog", "black dog"), True),
        ("a dog left of a dog", row("brown dog"), False),
    ],
)
def test_relations_between_like_things(prompt: str, things: list[Thing], met: bool) -> None:
    verdicts = satisfies(read_prompt(prompt).spec, scene(things))
    assert verdicts[-1].aspect == "spatial"
    assert verdicts[-1].met is met


def test_questions_of_a_spec_name_what_they_depend_on() -> None:
    found = atoms(read_prompt("two red apples and a green apple under a wooden chair").spec)
    assert [(say(atom.question), atom.depends_on) for atom in found] == [
        ("Are there any red apples?", ()),
        ("Are there exactly two red apples?", (0,)),
        ("Is there a green apple?", ()),
        ("Is there exactly one green apple?", (2,)),
        ("Is there a chair?", ()),
        ("Is there exactly one chair?", (4,)),
        ("Is the chair made of wood?", (4,)),
        ("Is the green apple under the chair?", (2, 4)),
    ]


def test_an_empty_scene_meets_nothing_but_absence() -> None:
    assert aspects("a dog and no cat", Scene()) == [("object", False), ("count", False), ("count", True)]
