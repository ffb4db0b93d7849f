"""Pictures of the embedded engine with questions whose answers are known: what a critic is examined on.

Each is made from a layout, without the diffusion model, and asked about in every kind of requirement, half of it truly.
What is false is nearly true, as in the drawings that a critic must tell apart: one thing too many, the colour of the thing
beside it, the other side, one letter wrong.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import permutations
from random import Random
from typing import Final, NamedTuple

from gems.backends.sketch.compose import compose
from gems.backends.sketch.questions import Aspect, Question, say
from gems.backends.sketch.render import render
from gems.backends.sketch.scene import Group, Scene, SceneSpec, related
from gems.backends.sketch.truth import answer, members
from gems.core.state import Requirement, RequirementKind

KINDS: Final[dict[Aspect, RequirementKind]] = {
    "object": "object",
    "attribute": "attribute",
    "count": "count",
    "spatial": "spatial",
    "text": "text",
}
"""What is asked about, by the kind of its requirement."""

_NAMES: Final = (
    "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light", "fire hydrant", "bench",
    "cat", "dog", "elephant", "penguin", "duck", "owl", "fish", "snake", "umbrella", "kite", "skateboard", "fork", "banana",
    "apple", "carrot", "cake", "chair", "couch", "bed", "laptop", "clock", "book", "scissors", "guitar", "trumpet", "house",
    "robot", "crown", "balloon", "key",
)  # fmt: skip
"""Icons that are hard to take for another, and of which none is a kind of another (no bird beside the duck)."""
_COLORS: Final = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "gray")
_PATTERNS: Final = ("striped", "spotted", "checkered")
_BACKGROUNDS: Final = ("plain", "grass", "beach", "snow", "desert")
"""Without trees, stars or houses of their own, which a question could be about."""
_WORDS: Final = (
    "OPEN", "CLOSED", "HELLO", "SALE", "EXIT", "WELCOME", "CAFE", "TAXI", "HOTEL", "COFFEE", "BAKERY", "DANGER", "SCHOOL",
    "BOOKS", "MUSIC", "SUMMER", "WINTER", "HAPPY", "MENU", "STATION", "DREAM", "PEACE", "MARKET", "GARDEN",
)  # fmt: skip
_GROUPS: Final = 3
"""Groups of things beside the sign."""
_MOST: Final = 5
"""Things in a group."""
_PATTERNED: Final = 0.25
"""Share of groups with a pattern."""
_OPPOSITE: Final = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


class ExamQuestion(NamedTuple):
    """A requirement, and whether the picture meets it."""

    requirement: Requirement
    met: bool


class ExamPicture(NamedTuple):
    """A picture and what is asked about it."""

    png: bytes
    questions: tuple[ExamQuestion, ...]


def make_pictures(number: int, seed: int, side: int) -> Iterator[ExamPicture]:
    """Pictures, the same for the same seed; each is made when it is asked for.

    Over all of them each kind is asked about as often truly as not (the text once a picture, so give or take one).

    Args:
        number: How many.
        seed: Of the layouts and the questions.
        side: Width and height in pixels.
    """
    spelt = [place % 2 == 0 for place in range(number)]
    Random(f"critic exam {seed}").shuffle(spelt)
    for place, is_spelt in enumerate(spelt):
        scene, asked = _scene_with_questions(Random(f"critic exam {seed} {place}"), is_spelt)
        yield ExamPicture(_png(scene, side), tuple(_as_asked(asked)))


class _Asked(NamedTuple):
    question: Question
    met: bool


def _scene_with_questions(rng: Random, is_spelt: bool) -> tuple[Scene, list[_Asked]]:
    while True:
        groups = _random_groups(rng)
        word = rng.choice(_WORDS)
        sign = Group("sign", 1, "white", text=word)
        composition = compose(SceneSpec((*groups, sign)), rng)
        if composition is None:
            continue
        scene = composition.scene(rng.choice(_BACKGROUNDS))
        pairs = _clear_pairs(scene, [*groups, sign], rng)
        if len(pairs) < 2:
            continue
        asked = [
            *_about_objects(groups, rng),
            *_about_counts(groups, rng),
            *_about_attributes(groups, rng),
            *_about_places(pairs),
            _Asked(Question("text", text=word if is_spelt else _misspelt(word, rng)), is_spelt),
        ]
        # Two groups may share a colour, or the words of a question: what is meant and what is true must agree.
        if all(answer(it.question, scene) == it.met for it in asked):
            rng.shuffle(asked)
            return scene, asked


def _random_groups(rng: Random) -> list[Group]:
    names, colors = rng.sample(_NAMES, _GROUPS), rng.sample(_COLORS, _GROUPS)
    patterns = [rng.choice(_PATTERNS) if rng.random() < _PATTERNED else None for _ in names]
    counts = [rng.randint(1, _MOST) for _ in names]
    return [Group(*parts) for parts in zip(names, counts, colors, patterns, strict=True)]


def _meant(name: str, count: int | None) -> Group:
    """The things of a name as a question speaks of them: one (1) or several (None)."""
    return Group(name, 1 if count == 1 else None)


def _about_objects(groups: Sequence[Group], rng: Random) -> list[_Asked]:
    present = rng.choice(groups)
    absent = rng.choice([name for name in _NAMES if name not in {group.name for group in groups}])
    return [
        _Asked(Question("object", _meant(present.name, present.count)), True),
        _Asked(Question("object", _meant(absent, rng.choice((1, 2)))), False),
    ]


def _about_counts(groups: Sequence[Group], rng: Random) -> list[_Asked]:
    one, other = rng.sample(groups, 2)
    count = other.count or 1
    wrong = count + 1 if count == 1 else count + rng.choice((-1, 1))
    return [
        _Asked(Question("count", Group(one.name, one.count)), True),
        _Asked(Question("count", Group(other.name, wrong)), False),
    ]


def _about_attributes(groups: Sequence[Group], rng: Random) -> list[_Asked]:
    one, other = rng.sample(groups, 2)
    return [
        _Asked(_attribute(one, one.color, one.texture), True),
        _Asked(
            _attribute(
                other,
                # The colour of what stands beside it, half the time: models that draw mix those up.
                one.color if rng.random() < 0.5 else rng.choice([it for it in _COLORS if it != other.color]),
                rng.choice([it for it in _PATTERNS if it != other.texture]),
            ),
            False,
        ),
    ]


def _attribute(group: Group, color: str | None, pattern: str | None) -> Question:
    """About the pattern where the group has one, else about the colour."""
    meant = _meant(group.name, group.count)
    return Question("attribute", meant, texture=pattern) if group.texture else Question("attribute", meant, color=color)


class _Pair(NamedTuple):
    subject: Group
    relation: str
    other: Group


def _clear_pairs(scene: Scene, groups: Sequence[Group], rng: Random) -> list[_Pair]:
    """Pairs of groups that stand apart clearly: each thing of one to each of the other, so that no reading differs."""
    found = [
        _Pair(_meant(one.name, one.count), relation, _meant(other.name, other.count))
        for one, other in permutations(groups, 2)
        for relation in _OPPOSITE
        if all(
            related([thing], relation, [target]) for thing in members(scene, one) for target in members(scene, other)
        )
    ]
    rng.shuffle(found)
    # "A left of B" and "B right of A" are one question.
    chosen: dict[frozenset[str], _Pair] = {}
    for pair in found:
        chosen.setdefault(frozenset((pair.subject.name, pair.other.name)), pair)
    return list(chosen.values())


def _about_places(pairs: Sequence[_Pair]) -> list[_Asked]:
    true, false = pairs[:2]
    return [
        _Asked(Question("spatial", true.subject, relation=true.relation, other=true.other), True),
        _Asked(Question("spatial", false.subject, relation=_OPPOSITE[false.relation], other=false.other), False),
    ]


def _misspelt(word: str, rng: Random) -> str:
    """One letter left out, doubled, or changed."""
    place = rng.randrange(len(word))
    letter = rng.choice([it for it in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if it != word[place]])
    middle = rng.choice(("", 2 * word[place], letter))
    return word[:place] + middle + word[place + 1 :]


def _as_asked(asked: Sequence[_Asked]) -> Iterator[ExamQuestion]:
    for place, (question, met) in enumerate(asked, start=1):
        kind = KINDS[question.aspect]
        yield ExamQuestion(Requirement(id=f"r{place}", question=say(question), kind=kind, depends_on=[]), met)


def _png(scene: Scene, side: int) -> bytes:
    buffer = io.BytesIO()
    render(scene, side, side).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
