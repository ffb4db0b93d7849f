"""GenEval: prompts in its grammar, its own file, and its official rule, applied to a layout instead of to detections.

Ghosh, Hajishirzi and Schmidt 2023 (arXiv 2310.11513). A detector's boxes come sorted by confidence; a layout has none, so
its things are taken in the order of the layout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from gems.backends.sketch.scene import Scene, Thing
from gems.backends.sketch.vocabulary import COCO_NAMES, NUMBERS
from gems.evals.tasks import article, read_rows

Tag = Literal["single_object", "two_object", "counting", "colors", "position", "color_attr"]
Position = Literal["left of", "right of", "above", "below"]

TAGS: Final[tuple[Tag, ...]] = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
POSITIONS: Final[tuple[Position, ...]] = ("left of", "right of", "above", "below")
COLORS: Final = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
MOST: Final = 4
"""Largest count asked for."""
MARGIN: Final = 0.1
"""Share of the two boxes' summed sides that an offset must exceed on an axis before it counts."""
DIRECTION: Final = 0.5
"""Least share of the whole offset that must remain on an axis."""
_TRIES: Final = 200


class Clause(BaseModel):
    """Things that must be there, or, as an exclusion, must not be there in such number."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(alias="class")
    count: int = Field(ge=1)
    color: str | None = None
    position: tuple[Position, int] | None = None
    """Where they stand, relative to the clause of that place in the list."""


class GenEvalPrompt(BaseModel):
    """One row of GenEval."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tag: Tag
    include: tuple[Clause, ...] = Field(min_length=1)
    exclude: tuple[Clause, ...] = ()
    prompt: str

    @property
    def benchmark(self) -> str:
        """The benchmark's name."""
        return "geneval"

    @property
    def stratum(self) -> str:
        """The tag."""
        return self.tag

    @property
    def things(self) -> int:
        """How many things the prompt asks for in all."""
        return sum(clause.count for clause in self.include)

    def holds(self, scene: Scene) -> bool:
        """Whether a layout, drawn on a square canvas, is right by the official rule."""
        groups: list[Sequence[Thing]] = []
        for clause in self.include:
            # The rule looks at the first things found only: a fifth bench does not spoil "a bench".
            found = scene.matching(clause.name)[: clause.count]
            if len(found) < clause.count or any(clause.color not in (None, thing.color) for thing in found):
                return False
            if clause.position is not None:
                relation, target = clause.position
                if not all(relation in positions(one, other) for one in found for other in groups[target]):
                    return False
            groups.append(found)
        return all(len(scene.matching(clause.name)) < clause.count for clause in self.exclude)

    def holds_exactly(self, scene: Scene) -> bool:
        """Whether the layout also has no more of each thing than was asked for, which the official rule does not look at."""
        counts = all(len(scene.matching(clause.name)) == clause.count for clause in self.include)
        return counts and self.holds(scene)


def positions(one: Thing, other: Thing) -> frozenset[Position]:
    """Where one thing stands relative to another: none, one or two of the four positions.

    Each axis of the offset between the centres is shortened by `MARGIN` of the summed sides; what remains of it must be more
    than `DIRECTION` of the length of the offset as it was.
    """
    dx, dy = one.x - other.x, one.y - other.y
    distance = math.hypot(dx, dy)
    if not distance:
        return frozenset()
    margin = MARGIN * (one.size + other.size)
    across, down = (math.copysign(max(abs(part) - margin, 0.0), part) / distance for part in (dx, dy))
    shares = (-across, across, -down, down)
    return frozenset(position for position, share in zip(POSITIONS, shares, strict=True) if share > DIRECTION)


def load(path: Path) -> list[GenEvalPrompt]:
    """The prompts of GenEval's own file.

    Raises:
        GemsConfigError: the file cannot be read, or a line does not fit.
    """
    return read_rows(path, GenEvalPrompt)


def generate(number: int, seed: int) -> list[GenEvalPrompt]:
    """That many different prompts in GenEval's grammar, the tags in turn.

    Single objects run out after the 80 classes; the other tags go on.
    """
    rng = Random(f"geneval {seed}")
    singles = iter(rng.sample(COCO_NAMES, len(COCO_NAMES)))
    prompts: dict[str, GenEvalPrompt] = {}
    place = 0
    while len(prompts) < number:
        tag = TAGS[place % len(TAGS)]
        place += 1
        fresh = _single(singles) if tag == "single_object" else _fresh(tag, rng, prompts)
        if fresh is not None:
            prompts[fresh.prompt] = fresh
    return list(prompts.values())


def _single(names: Iterator[str]) -> GenEvalPrompt | None:
    name = next(names, None)
    return None if name is None else _prompt("single_object", [_clause(name)], article(name))


def _fresh(tag: Tag, rng: Random, known: dict[str, GenEvalPrompt]) -> GenEvalPrompt | None:
    for _ in range(_TRIES):
        prompt = _MAKERS[tag](rng)
        if prompt.prompt not in known:
            return prompt
    return None


def _two(rng: Random) -> GenEvalPrompt:
    one, other = rng.sample(COCO_NAMES, 2)
    return _prompt("two_object", [_clause(one), _clause(other)], f"{article(one)} and {article(other)}")


def _counting(rng: Random) -> GenEvalPrompt:
    name, count = rng.choice(COCO_NAMES), rng.randint(2, MOST)
    wanted, excess = _clause(name, count), _clause(name, count + 1)
    return _prompt("counting", [wanted], f"{NUMBERS[count]} {naive_plural(name)}", [excess])


def _colored(rng: Random) -> GenEvalPrompt:
    name, color = rng.choice(_things()), rng.choice(COLORS)
    return _prompt("colors", [_clause(name, color=color)], f"{article(color)} {name}")


def _placed(rng: Random) -> GenEvalPrompt:
    one, other = rng.sample(COCO_NAMES, 2)
    position = rng.choice(POSITIONS)
    clauses = [_clause(other), _clause(one, position=position)]
    return _prompt("position", clauses, f"{article(one)} {position} {article(other)}")


def _two_colored(rng: Random) -> GenEvalPrompt:
    one, other = rng.sample(_things(), 2)
    first, second = rng.sample(COLORS, 2)
    clauses = [_clause(one, color=first), _clause(other, color=second)]
    return _prompt("color_attr", clauses, f"{article(first)} {one} and {article(second)} {other}")


_MAKERS: Final = {
    "two_object": _two,
    "counting": _counting,
    "colors": _colored,
    "position": _placed,
    "color_attr": _two_colored,
}


def _things() -> list[str]:
    """What GenEval gives a colour: every class but people."""
    return [name for name in COCO_NAMES if name != "person"]


def naive_plural(name: str) -> str:
    """GenEval's plural: "es" after an s, else "s", so that its prompts say "two toothbrushs" and "three sheeps"."""
    return f"{name}es" if name.endswith("s") else f"{name}s"


def _clause(name: str, count: int = 1, color: str | None = None, position: Position | None = None) -> Clause:
    place = None if position is None else (position, 0)
    return Clause(**{"class": name}, count=count, color=color, position=place)


def _prompt(tag: Tag, include: Sequence[Clause], phrase: str, exclude: Sequence[Clause] = ()) -> GenEvalPrompt:
    return GenEvalPrompt(tag=tag, include=tuple(include), exclude=tuple(exclude), prompt=f"a photo of {phrase}")
