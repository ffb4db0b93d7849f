"""What is true of a scene: the answer to a question, and which atoms of a spec hold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, islice
from typing import Final, NamedTuple

from gems.backends.sketch.atoms import atoms
from gems.backends.sketch.questions import Aspect, Question
from gems.backends.sketch.scene import Group, Scene, SceneSpec, Thing, related

_MOST_SPLITS: Final = 5000
"""Ways of telling two groups of one kind apart that are tried."""


class AtomVerdict(NamedTuple):
    """Whether one atom holds."""

    aspect: Aspect
    question: Question
    met: bool


def members(scene: Scene, group: Group) -> list[Thing]:
    """The things a group means: of its name and, where given, its colour, texture and text."""
    found = scene.matching(group.name, group.color, group.texture)
    return [thing for thing in found if not group.text or same_text(thing.text, group.text)]


def same_text(one: str, other: str) -> bool:
    """Whether two texts read the same, case and runs of spaces aside."""
    return one.upper().split() == other.upper().split()


def answer(question: Question, scene: Scene) -> bool:
    """The answer by the scene alone. A question about things that are not there is answered no."""
    match question.aspect:
        case "text":
            return any(same_text(thing.text, question.text) for thing in scene.things)
        case "background":
            return scene.background == question.background
        case "whole":
            return question.spec is not None and all(verdict.met for verdict in satisfies(question.spec, scene))
        case _:
            return question.subject is not None and _about(question, question.subject, scene)


def _about(question: Question, subject: Group, scene: Scene) -> bool:
    things = members(scene, subject)
    match question.aspect:
        case "object":
            return bool(things)
        case "count":
            wanted = subject.count or 0
            return len(things) >= wanted if question.at_least else len(things) == wanted
        case "attribute":
            color, texture = question.color, question.texture
            fits = [thing for thing in things if color in (None, thing.color) and texture in (None, thing.texture)]
            return bool(things) and len(fits) == len(things)
        case _:
            return _stands(question, subject, scene)


def _stands(question: Question, subject: Group, scene: Scene) -> bool:
    if question.relation is None or question.other is None:
        return False
    things, others = members(scene, subject), members(scene, question.other)
    shared = [thing for thing in things if thing in others]
    if not shared:
        return related(things, question.relation, others)
    return _some_split(things, question.relation, others)


def _some_split(things: Sequence[Thing], relation: str, others: Sequence[Thing]) -> bool:
    """Two groups of one kind ("a dog left of a dog"): whether the things can be divided so that the relation holds."""
    together = list(dict.fromkeys([*things, *others]))
    splits = (
        (chosen, [thing for thing in together if thing not in chosen])
        for size in range(1, len(together))
        for chosen in combinations(together, size)
    )
    return any(
        related(chosen, relation, rest)
        for chosen, rest in islice(splits, _MOST_SPLITS)
        if all(thing in things for thing in chosen) and all(thing in others for thing in rest)
    )


def satisfies(spec: SceneSpec, scene: Scene) -> list[AtomVerdict]:
    """Each atom of the spec, and whether it holds in the scene. An atom whose parent fails is not met."""
    found = atoms(spec)
    verdicts: list[AtomVerdict] = []
    for atom in found:
        met = all(verdicts[parent].met for parent in atom.depends_on) and answer(atom.question, scene)
        verdicts.append(AtomVerdict(atom.aspect, atom.question, met))
    return verdicts
