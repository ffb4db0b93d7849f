"""What a follow-up can change in a scene, and the scene that comes of it. How the change is worded is told elsewhere."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

from gems.backends.sketch.scene import Group, Relation, SceneSpec


class Bond(NamedTuple):
    """A relation by its groups rather than by their places in a spec."""

    subject: Group
    relation: str
    object: Group


class Facts(NamedTuple):
    """A spec whatever the order of its groups: two specs with equal facts ask for the same."""

    groups: frozenset[tuple[Group, int]]
    bonds: frozenset[Bond]
    background: str | None


@dataclass(frozen=True, slots=True)
class Redescribe:
    """One group becomes another: its number, looks, text or name. `shade` are looks that a group has no field for."""

    old: Group
    new: Group
    shade: str = ""


@dataclass(frozen=True, slots=True)
class Remove:
    """A group goes, and is not to be seen any more."""

    group: Group


@dataclass(frozen=True, slots=True)
class Forget:
    """A thing outside the vocabulary goes."""

    name: str


@dataclass(frozen=True, slots=True)
class Add:
    """What `words` say comes on top: groups, bonds between any groups, things outside the vocabulary."""

    words: str
    groups: tuple[Group, ...] = ()
    bonds: tuple[Bond, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Relate:
    """Two groups stand so to each other, whatever was said of the two before."""

    bond: Bond


@dataclass(frozen=True, slots=True)
class Backdrop:
    """Another background; None leaves it open."""

    background: str | None


Change = Redescribe | Remove | Forget | Add | Relate | Backdrop


def bonds(spec: SceneSpec) -> list[Bond]:
    """The relations of a spec by their groups."""
    return [Bond(spec.groups[it.subject], it.relation, spec.groups[it.object]) for it in spec.relations]


def facts(spec: SceneSpec) -> Facts:
    """What a spec asks for, whatever its order."""
    return Facts(frozenset(Counter(spec.groups).items()), frozenset(bonds(spec)), spec.background)


def spec_of(groups: list[Group], said: list[Bond], background: str | None) -> SceneSpec:
    """A spec of groups and bonds; a bond whose group is not there is left out."""
    relations = [
        Relation(groups.index(it.subject), it.relation, groups.index(it.object))
        for it in said
        if it.subject in groups and it.object in groups and it.subject != it.object
    ]
    return SceneSpec(tuple(groups), tuple(dict.fromkeys(relations)), background)


def changed(spec: SceneSpec, change: Change) -> SceneSpec:
    """The spec with the change in it. A change of a group that is not there changes nothing."""
    groups, said = list(spec.groups), bonds(spec)
    match change:
        case Redescribe(old, new):
            return _redescribed(spec, old, new)
        case Remove(group):
            if group not in groups:
                return spec
            gone = groups.index(group)
            kept = [it for it in spec.relations if gone not in (it.subject, it.object)]
            relations = tuple(
                Relation(it.subject - (it.subject > gone), it.relation, it.object - (it.object > gone)) for it in kept
            )
            return SceneSpec(tuple(groups[:gone] + groups[gone + 1 :]), relations, spec.background)
        case Add():
            return spec_of([*groups, *change.groups], [*said, *change.bonds], spec.background)
        case Relate(bond):
            others = [it for it in said if {it.subject, it.object} != {bond.subject, bond.object}]
            return spec_of(groups, [*others, bond], spec.background)
        case Backdrop(background):
            return replace(spec, background=background)
        case _:
            return spec


def _redescribed(spec: SceneSpec, old: Group, new: Group) -> SceneSpec:
    """The group made another, in its place."""
    if old not in spec.groups:
        return spec
    groups = list(spec.groups)
    groups[groups.index(old)] = new
    return SceneSpec(tuple(groups), spec.relations, spec.background)
