"""Composition: from what is asked for to a scene in which it holds. The training scenes and the places in dense prompts.

Each group becomes a small grid; grids are joined side by side or one above the other, so that every relation holds, and the
whole is scaled and spread to fill the canvas (a slicing layout, Otten 1982, with random cuts).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from gems.backends.sketch.scene import Scene, SceneSpec, Thing, related
from gems.backends.sketch.vocabulary import MAX_OBJECTS, OBJECTS

EDGE: Final = 0.03
"""Free border of the canvas."""
GAP: Final = 0.1
"""Least gap between two things, as a share of their mean size."""
_ATTEMPTS: Final = 24
_CHOICES: Final = 3
"""Of so many the one with the largest things is kept: clean pictures, and less for the model to guess."""
_FULL: Final = 1 - 2 * EDGE
_LARGEST: Final = {1: 0.6, 2: 0.42, 3: 0.34, 4: 0.32}
_TIGHT: Final = frozenset({"near", "playing with"})
_DEPTH: Final = {"in front of": 1 / 0.68, "behind": 0.68}
# Where the subject goes: (side by side?, subject first?); None: either.
_CUT: Final[dict[str, tuple[bool | None, bool | None]]] = {
    "left of": (True, True),
    "right of": (True, False),
    "above": (False, True),
    "below": (False, False),
    "on top of": (False, True),
    "under": (False, False),
    "in front of": (False, False),
    "behind": (False, True),
    "near": (None, None),
    "playing with": (None, None),
    "jumping over": (False, True),
    "chasing": (True, None),
}

Tree = int | tuple[bool, "Tree", "Tree"]


@dataclass(frozen=True, slots=True)
class _Item:
    group: int
    x: float
    y: float
    size: float


@dataclass(frozen=True, slots=True)
class _Box:
    """Items in a box of their own, in units that are scaled later; (0, 0) is its middle."""

    width: float
    height: float
    items: tuple[_Item, ...]


def _allowed(relations: list[tuple[int, str, int]], front: set[int], side_by_side: bool) -> bool:
    for subject, relation, target in relations:
        if (subject in front) == (target in front):
            continue
        wanted_cut, wanted_first = _CUT[relation]
        if wanted_cut not in (None, side_by_side) or wanted_first not in (None, subject in front):
            return False
    return True


def _tree(groups: list[int], relations: list[tuple[int, str, int]], rng: Random) -> Tree | None:
    if len(groups) == 1:
        return groups[0]
    inner = [relation for relation in relations if relation[0] in groups and relation[2] in groups]
    for _ in range(12):
        shuffled = rng.sample(groups, len(groups))
        cut = rng.randint(1, len(groups) - 1)
        front = set(shuffled[:cut])
        side_by_side = rng.random() < 0.5
        if not _allowed(inner, front, side_by_side):
            continue
        first = _tree([group for group in groups if group in front], inner, rng)
        second = _tree([group for group in groups if group not in front], inner, rng)
        if first is not None and second is not None:
            return side_by_side, first, second
    return None


def _grid(group: int, count: int, size: float, pitch: float, rng: Random) -> _Box:
    shapes = [columns for columns in range(1, count + 1) if columns * (-(-count // columns) - 1) < count]
    if count > 3:
        widest = 7 if count <= 7 else 3
        shapes = [columns for columns in shapes if 0.4 <= columns / -(-count // columns) <= widest]
    columns = rng.choice(shapes)
    rows = -(-count // columns)
    step = size * pitch
    items = []
    for place in range(count):
        row, column = divmod(place, columns)
        in_row = min(columns, count - row * columns)
        x = (column - (in_row - 1) / 2) * step
        items.append(_Item(group, x, (row - (rows - 1) / 2) * step, size))
    return _Box(columns * step, rows * step, tuple(items))


def _join(first: _Box, second: _Box, side_by_side: bool, pad: float) -> _Box:
    if side_by_side:
        width, height = first.width + second.width + pad, max(first.height, second.height)
        moves = ((first.width - width) / 2, 0.0), ((width - second.width) / 2, 0.0)
    else:
        width, height = max(first.width, second.width), first.height + second.height + pad
        moves = (0.0, (first.height - height) / 2), (0.0, (height - second.height) / 2)
    items = tuple(
        _Item(item.group, item.x + dx, item.y + dy, item.size)
        for box, (dx, dy) in zip((first, second), moves, strict=True)
        for item in box.items
    )
    return _Box(width, height, items)


def _sizes(spec: SceneSpec, rng: Random) -> list[float]:
    sizes = [rng.uniform(0.9, 1.1) for _ in spec.groups]
    for _ in spec.relations:
        for relation in spec.relations:
            ratio = _DEPTH.get(relation.relation)
            if ratio is not None:
                sizes[relation.subject] = sizes[relation.object] * ratio * rng.uniform(0.97, 1.03)
    return sizes


def _box(tree: Tree, counts: list[int], sizes: list[float], pitch: float, pad: float, rng: Random) -> _Box:
    if isinstance(tree, int):
        return _grid(tree, counts[tree], sizes[tree], pitch, rng)
    side_by_side, first, second = tree
    front, back = (_box(part, counts, sizes, pitch, pad, rng) for part in (first, second))
    return _join(front, back, side_by_side, pad)


def _fit(box: _Box, tight: bool, rng: Random) -> list[_Item]:
    """Scale to the canvas, then spread what is left of it, sizes kept."""
    largest = max(item.size for item in box.items)
    cap = _LARGEST.get(len(box.items), 0.29) * rng.uniform(0.86, 1.0) / largest
    scale = min(_FULL / box.width, _FULL / box.height, cap)
    width, height = box.width * scale, box.height * scale
    spread_x = spread_y = 1.0
    if not tight:
        spread_x = min(_FULL / width, rng.uniform(1.0, 1.6))
        spread_y = min(_FULL / height, rng.uniform(1.0, 1.6))
    shift_x = rng.gauss(0, 0.12) * (_FULL - width * spread_x)
    shift_y = rng.gauss(0, 0.12) * (_FULL - height * spread_y)
    fitted = []
    for item in box.items:
        size = item.size * scale * rng.uniform(0.97, 1.0)
        jitter = 0.02 * size
        x = 0.5 + item.x * scale * spread_x + shift_x + rng.uniform(-jitter, jitter)
        y = 0.5 + item.y * scale * spread_y + shift_y + rng.uniform(-jitter, jitter)
        reach = EDGE / 2 + size / 2
        fitted.append(_Item(item.group, min(max(x, reach), 1 - reach), min(max(y, reach), 1 - reach), size))
    return fitted


def overlaps(one: Thing, other: Thing, gap: float = 0.0) -> bool:
    """Whether two boxes, with a gap that is a share of their mean size, share some of the canvas."""
    reach = (one.size + other.size) / 2 * (1 + gap)
    return abs(one.x - other.x) < reach and abs(one.y - other.y) < reach


def holds(spec: SceneSpec, groups: list[list[Thing]]) -> bool:
    """Whether every relation of the spec holds between its groups' things."""
    return all(related(groups[r.subject], r.relation, groups[r.object]) for r in spec.relations)


class Composition(tuple[list[Thing], ...]):
    """The things of each group, in the spec's order; within a group row by row."""

    def scene(self, background: str) -> Scene:
        """All of them as one scene, in mention order."""
        return Scene(tuple(thing for group in self for thing in group), background)


def compose(spec: SceneSpec, rng: Random) -> Composition | None:
    """Things that meet the spec: no overlaps, every relation holds. Groups without a colour get their usual one.

    Returns:
        None where no composition was found (contradicting relations, or too many things).
    """
    counts = [group.count or rng.randint(2, 4) for group in spec.groups]
    if not counts or sum(counts) > MAX_OBJECTS or min(counts) < 1:
        return None
    relations = [(r.subject, r.relation, r.object) for r in spec.relations]
    tight = any(relation in _TIGHT for _, relation, _ in relations)
    found: list[Composition] = []
    for attempt in range(_ATTEMPTS):
        tree = _tree(list(range(len(counts))), relations, rng)
        if tree is None:
            return None
        close = tight or attempt > _ATTEMPTS // 2
        pitch = rng.uniform(1.12, 1.14 if close else 1.28)
        pad = rng.uniform(0.0, 0.05) if tight else rng.uniform(0.15, 0.6)
        box = _box(tree, counts, _sizes(spec, rng), pitch, pad, rng)
        composition = _dress(spec, _fit(box, close, rng))
        things = [thing for group in composition for thing in group]
        crowded = any(overlaps(one, other, GAP / 2) for i, one in enumerate(things) for other in things[:i])
        if not crowded and holds(spec, list(composition)):
            found.append(composition)
        if len(found) == _CHOICES:
            break
    return max(found, key=lambda composition: min(thing.size for group in composition for thing in group), default=None)


def _dress(spec: SceneSpec, items: list[_Item]) -> Composition:
    groups: list[list[Thing]] = [[] for _ in spec.groups]
    for item in items:
        asked = spec.groups[item.group]
        color = asked.color or OBJECTS[asked.name].color
        text = asked.text if not groups[item.group] else ""
        groups[item.group].append(Thing(asked.name, item.x, item.y, item.size, color, asked.texture, text))
    return Composition(groups)
