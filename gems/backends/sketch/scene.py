"""A scene: what stands where, and whether a relation holds between two groups of things.

Coordinates are fractions of the canvas: x to the right, y downwards, (0, 0) the top left corner. A size is the side of a
thing's square box as a fraction of the shorter side of the canvas. Depth is linear perspective on a ground plane: what is
nearer stands lower and is larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

MARGIN: Final = 0.1
"""Share of the two boxes' summed sizes that an offset must exceed before it counts (GenEval's rule)."""
DEPTH_RATIO: Final = 0.8
"""Largest size of what is behind, relative to what is in front."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One object in a scene: `name`, `color` and `texture` are words of the vocabulary; `text` is for a sign."""

    name: str
    x: float
    y: float
    size: float
    color: str
    texture: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything in one picture: what the denoiser lays out, the renderer draws, and the vision reads back."""

    things: tuple[Thing, ...] = ()
    background: str = "plain"

    def matching(self, name: str, color: str | None = None, texture: str | None = None) -> list[Thing]:
        """The things of that name and, where given, of that colour and texture."""
        return [
            thing
            for thing in self.things
            if thing.name == name and color in (None, thing.color) and texture in (None, thing.texture)
        ]


@dataclass(frozen=True, slots=True)
class Group:
    """What a prompt asks of one group of like things. `count` None: one or more."""

    name: str
    count: int | None = 1
    color: str | None = None
    texture: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """`groups[subject]` stands in `relation` (a key of `RELATIONS`) to `groups[object]`."""

    subject: int
    relation: str
    object: int


@dataclass(frozen=True, slots=True)
class SceneSpec:
    """What a prompt asks for, within the vocabulary."""

    groups: tuple[Group, ...] = ()
    relations: tuple[Relation, ...] = ()
    background: str | None = None


@dataclass(frozen=True, slots=True)
class _Offset:
    """From the other thing to this one, each axis less GenEval's margin, relative to the distance of the centres."""

    x: float
    y: float
    raw_x: float
    raw_y: float
    reach: float
    ratio: float


def _offset(one: Thing, other: Thing) -> _Offset:
    reach = one.size + other.size
    raw = (one.x - other.x, one.y - other.y)
    dx, dy = (max(abs(value) - MARGIN * reach, 0.0) * (1 if value > 0 else -1) for value in raw)
    # GenEval divides by the length of the whole offset, not of the one that the margin has shrunk.
    length = math.hypot(*raw)
    if length:
        dx, dy = dx / length, dy / length
    return _Offset(dx, dy, raw[0], raw[1], reach, one.size / other.size)


_HOLDS: Final[dict[str, Callable[[_Offset], bool]]] = {
    "left of": lambda o: o.x < -0.5,
    "right of": lambda o: o.x > 0.5,
    "above": lambda o: o.y < -0.5,
    "below": lambda o: o.y > 0.5,
    "on top of": lambda o: o.y < -0.5,
    "under": lambda o: o.y > 0.5,
    "in front of": lambda o: o.raw_y > 0 and o.ratio >= 1 / DEPTH_RATIO,
    "behind": lambda o: o.raw_y < 0 and o.ratio <= DEPTH_RATIO,
    "near": lambda o: o.raw_x**2 + o.raw_y**2 <= (1.5 * o.reach) ** 2,
    "playing with": lambda o: o.raw_x**2 + o.raw_y**2 <= (1.5 * o.reach) ** 2,
    "jumping over": lambda o: o.y < -0.5,
    "chasing": lambda o: abs(o.x) > 0.5,
}


def centre(things: Sequence[Thing]) -> Thing:
    """A stand-in for a whole group: mean place and mean size."""
    n = len(things)
    first = things[0]
    return Thing(
        first.name,
        sum(thing.x for thing in things) / n,
        sum(thing.y for thing in things) / n,
        sum(thing.size for thing in things) / n,
        first.color,
    )


def related(subjects: Sequence[Thing], relation: str, objects: Sequence[Thing]) -> bool:
    """Whether every subject stands in `relation` to the middle of the objects. False when either side is empty.

    For one subject and one object, left, right, above and below are GenEval's rule: the offset of the centres, less a tenth
    of the summed sizes on each axis, must be more than half the distance of the centres.
    """
    if not subjects or not objects:
        return False
    middle = centre(objects)
    return all(_HOLDS[relation](_offset(subject, middle)) for subject in subjects)
