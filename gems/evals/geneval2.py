"""GenEval 2: prompts in its grammar, its own file, and the truth of its questions on a layout.

Kamath et al. 2025 (arXiv 2512.16853). A prompt counts as right when every question of its `vqa_list` has the answer that
stands beside it: the layout's counterpart of a Soft-TIFA geometric mean of one. Icons have no poses, so a verb holds where
the place that it implies holds (see `RELATIONS`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gems.backends.sketch.scene import Scene, related
from gems.backends.sketch.vocabulary import GENEVAL2_NAMES, MAX_OBJECTS, NUMBERS, OBJECTS, TEXTURES, plural
from gems.evals.geneval import COLORS
from gems.evals.tasks import article, read_rows

Skill = Literal["object", "count", "attribute", "position", "verb"]

RELATIONS: Final = {
    "to the left of": "left of",
    "to the right of": "right of",
    "on top of": "on top of",
    "under": "under",
    "in front of": "in front of",
    "behind": "behind",
    "playing with": "playing with",
    "jumping over": "jumping over",
    "chasing": "chasing",
}
"""GenEval 2's wordings, with the relation of a scene that each one means."""
VERBS: Final = frozenset({"playing with", "jumping over", "chasing"})
ATTRIBUTES: Final = (*COLORS, *TEXTURES)
ATOMS: Final = range(3, 11)
MOST: Final = 7
"""Largest count of one group."""

Joint = Literal["and", ", and", "related"]
SHAPES: Final[tuple[tuple[Joint, ...], ...]] = (
    (),
    ("and",),
    ("related",),
    ("and", "and"),
    (", and", "related"),
    ("related", ", and"),
    ("related", "related"),
)
"""What stands between the groups of a prompt."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question about a layout. `relation` and `other` are for position and verb, `number` for count."""

    skill: Skill
    name: str
    number: int = 0
    attribute: str = ""
    relation: str = ""
    other: str = ""

    def holds(self, scene: Scene) -> bool:
        """Whether the layout gives the wanted answer. What is asked about a group must be so of each of its things."""
        things = scene.matching(self.name)
        match self.skill:
            case "object":
                return bool(things)
            case "count":
                return len(things) == self.number
            case "attribute":
                return bool(things) and all(self.attribute in (thing.color, thing.texture) for thing in things)
            case _:
                return related(things, self.relation, scene.matching(self.other))


class GenEval2Prompt(BaseModel):
    """One row of GenEval 2."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    prompt: str
    atom_count: int = Field(ge=1)
    vqa_list: tuple[tuple[str, str], ...] = Field(min_length=1)
    skills: tuple[Skill, ...]

    @model_validator(mode="after")
    def _readable(self) -> GenEval2Prompt:
        if len(self.skills) != len(self.vqa_list):
            raise ValueError(f"{len(self.vqa_list)} questions but {len(self.skills)} skills")
        read = self.checks
        if tuple(check.skill for check in read) != self.skills:
            raise ValueError("a question does not ask about what its skill says")
        return self

    @property
    def benchmark(self) -> str:
        """The benchmark's name."""
        return "geneval2"

    @property
    def stratum(self) -> str:
        """The number of atoms."""
        return f"{self.atom_count} atoms"

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """The questions, read."""
        return tuple(read_check(question, answer) for question, answer in self.vqa_list)

    @property
    def things(self) -> int:
        """How many things the prompt asks for in all."""
        return sum(check.number for check in self.checks if check.skill == "count")

    def holds(self, scene: Scene) -> bool:
        """Whether every question has its answer."""
        return all(check.holds(scene) for check in self.checks)

    def holds_exactly(self, scene: Scene) -> bool:
        """The same: GenEval 2 asks for every count."""
        return self.holds(scene)


# Reading

_HOW_MANY: Final = re.compile(r"How many (?P<name>.+) are in the image\?")
_ANY: Final = re.compile(r"Are there any (?P<name>.+) in the image\?")
_RELATED: Final = re.compile(rf"(?:Is|Are) the (?P<name>.+?) (?P<relation>{'|'.join(RELATIONS)}) the (?P<other>.+)\?")
_ATTRIBUTE: Final = re.compile(r"(?:Is|Are) the (?P<name>.+) (?P<attribute>[\w-]+)\?")
_SINGULAR: Final = {form: name for name in OBJECTS for form in (plural(name), f"{name}s", name)}


def read_check(question: str, answer: str) -> Check:
    """A question of a `vqa_list` with its answer.

    Raises:
        ValueError: the question is of no kind that GenEval 2 asks.
    """
    if counted := _HOW_MANY.fullmatch(question):
        return Check("count", _name(counted["name"]), number=_number(answer))
    if answer != "Yes":
        raise ValueError(f"the answer {answer!r} to {question!r} is not 'Yes'")
    if some := _ANY.fullmatch(question):
        return Check("object", _name(some["name"]))
    if placed := _RELATED.fullmatch(question):
        wording = placed["relation"]
        skill: Skill = "verb" if wording in VERBS else "position"
        return Check(skill, _name(placed["name"]), relation=RELATIONS[wording], other=_name(placed["other"]))
    if described := _ATTRIBUTE.fullmatch(question):
        return Check("attribute", _name(described["name"]), attribute=described["attribute"])
    raise ValueError(f"the question {question!r} is of no known kind")


def _number(answer: str) -> int:
    if answer not in NUMBERS:
        raise ValueError(f"the answer {answer!r} is no number word")
    return NUMBERS.index(answer)


def _name(words: str) -> str:
    """The object's name in the singular; a word that no layout can have stays as it is, and is never met."""
    return _SINGULAR.get(words, words)


def load(path: Path) -> list[GenEval2Prompt]:
    """The prompts of GenEval 2's own file.

    Raises:
        GemsConfigError: the file cannot be read, or a line does not fit.
    """
    return read_rows(path, GenEval2Prompt)


# Writing


class _Group(NamedTuple):
    name: str
    number: int
    attribute: str

    @property
    def noun(self) -> str:
        # GenEval 2 adds an s to every name: its prompts say "sheeps".
        return self.name if self.number == 1 else f"{self.name}s"

    @property
    def be(self) -> str:
        return "Is" if self.number == 1 else "Are"

    def said(self) -> str:
        described = f"{self.attribute} {self.noun}".strip()
        return article(described) if self.number == 1 else f"{NUMBERS[self.number]} {described}"


class _Asked(NamedTuple):
    skill: Skill
    question: str
    answer: str


def generate(number: int, seed: int, wanted: Callable[[GenEval2Prompt], bool] = lambda _: True) -> list[GenEval2Prompt]:
    """That many different prompts in GenEval 2's grammar, of 3 to 10 atoms in turn, of at most 20 things each.

    Args:
        number: How many.
        seed: Same seed, same prompts.
        wanted: Keeps some of the prompts only.
    """
    rng = Random(f"geneval2 {seed}")
    prompts: dict[str, GenEval2Prompt] = {}
    while len(prompts) < number:
        prompt = _write(ATOMS[len(prompts) % len(ATOMS)], rng)
        if wanted(prompt):
            prompts[prompt.prompt] = prompt
    return list(prompts.values())


def _write(atoms: int, rng: Random) -> GenEval2Prompt:
    shape = rng.choice([shape for shape in SHAPES if _fewest(shape) <= atoms <= _fewest(shape) + 2 * (len(shape) + 1)])
    groups = _groups(len(shape) + 1, atoms - _fewest(shape), rng)
    text, asked = groups[0].said(), _about(groups[0])
    for joint, group, before in zip(shape, groups[1:], groups[:-1], strict=True):
        if joint == "related":
            wording = _relation(before, group, rng)
            text += f" {wording} {group.said()}"
            skill: Skill = "verb" if wording in VERBS else "position"
            asked.append(_Asked(skill, f"{before.be} the {before.noun} {wording} the {group.noun}?", "Yes"))
        else:
            text += f"{', and' if joint == ', and' else ' and'} {group.said()}"
        asked += _about(group)
    return GenEval2Prompt(
        prompt=text,
        atom_count=atoms,
        vqa_list=tuple((item.question, item.answer) for item in asked),
        skills=tuple(item.skill for item in asked),
    )


def _fewest(shape: Sequence[Joint]) -> int:
    """Atoms of a shape whose groups are one plain thing each: "a" is no atom."""
    return len(shape) + 1 + shape.count("related")


def _groups(number: int, extras: int, rng: Random) -> list[_Group]:
    """Groups of different things, with `extras` counts above one and attributes among them."""
    names = rng.sample(GENEVAL2_NAMES, number)
    chosen = set(rng.sample(range(2 * number), extras))
    while True:
        counts = [rng.randint(2, MOST) if 2 * place in chosen else 1 for place in range(number)]
        if sum(counts) <= MAX_OBJECTS:
            break
    attributes = [rng.choice(ATTRIBUTES) if 2 * place + 1 in chosen else "" for place in range(number)]
    return [_Group(*parts) for parts in zip(names, counts, attributes, strict=True)]


def _relation(before: _Group, after: _Group, rng: Random) -> str:
    alive = all(OBJECTS[group.name].category in ("animal", "wildlife") for group in (before, after))
    return rng.choice([wording for wording in RELATIONS if alive or wording not in VERBS])


def _about(group: _Group) -> list[_Asked]:
    asked = [_Asked("count", f"How many {group.name}s are in the image?", NUMBERS[group.number])]
    if group.attribute:
        asked.append(_Asked("attribute", f"{group.be} the {group.noun} {group.attribute}?", "Yes"))
    return [*asked, _Asked("object", f"Are there any {group.name}s in the image?", "Yes")]
