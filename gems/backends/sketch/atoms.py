"""Atoms: a spec taken apart into yes/no questions, each with the one it depends on (as GenEval2 and TIFA do)."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from gems.backends.sketch.questions import Aspect, Question
from gems.backends.sketch.scene import Group, SceneSpec


class Atom(NamedTuple):
    """One question, and the places in the list of the atoms it depends on."""

    question: Question
    depends_on: tuple[int, ...] = ()

    @property
    def aspect(self) -> Aspect:
        """What it asks about."""
        return self.question.aspect


def identity(spec: SceneSpec, index: int) -> Group:
    """Which things a group means: its name and, where groups share the name, its colour and texture.

    The count is 1 for one thing and None for several.
    """
    group = spec.groups[index]
    twins = [
        other
        for place, other in enumerate(spec.groups)
        if place != index and other.name == group.name and other.count != 0
    ]
    count = 1 if group.count == 1 else None
    if not twins or group.count == 0:
        return Group(group.name, count)
    return Group(group.name, count, group.color, group.texture)


def atoms(spec: SceneSpec) -> list[Atom]:
    """All atoms of a spec: object, count, attribute and text by group, then relations, then the background."""
    found: list[Atom] = []
    places: dict[int, int] = {}
    for index, group in enumerate(spec.groups):
        if group.count == 0:
            found.append(Atom(Question("count", Group(group.name, 0, group.color, group.texture))))
            continue
        places[index] = len(found)
        found += _group_atoms(spec, index, len(found))
    for relation in spec.relations:
        if relation.subject in places and relation.object in places:
            subject, other = identity(spec, relation.subject), identity(spec, relation.object)
            question = Question("spatial", subject, relation=relation.relation, other=other)
            found.append(Atom(question, tuple(dict.fromkeys((places[relation.subject], places[relation.object])))))
    if spec.background is not None:
        found.append(Atom(Question("background", background=spec.background)))
    return found


def _group_atoms(spec: SceneSpec, index: int, place: int) -> list[Atom]:
    group, meant = spec.groups[index], identity(spec, index)
    found = [Atom(Question("object", meant))]
    parent = (place,)
    total = _total(spec, index)
    if total is not None:
        found.append(Atom(Question("count", replace(meant, count=total)), parent))
    if group.color is not None and meant.color is None:
        found.append(Atom(Question("attribute", meant, color=group.color), parent))
    if group.texture is not None and meant.texture is None:
        found.append(Atom(Question("attribute", meant, texture=group.texture), parent))
    if group.text:
        found.append(Atom(Question("text", text=group.text), parent))
    return found


def _total(spec: SceneSpec, index: int) -> int | None:
    """How many things of the group's identity the whole spec asks for; None where it leaves that open.

    "Two apples and a red apple" asks for one red apple and three apples in all.
    """
    meant = identity(spec, index)
    total = 0
    for group in spec.groups:
        covered = (
            group.name == meant.name and meant.color in (None, group.color) and meant.texture in (None, group.texture)
        )
        if covered and group.count is None:
            return None
        total += group.count or 0 if covered else 0
    return total
