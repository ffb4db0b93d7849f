"""Random scenes with their captions, to train on: terse captions with label noise, dense captions without.

The noise is what web alt-text does to a model: a count is off by one, two colours are swapped, a relation is wrong,
something is named that is not there, or is there and not named. The scene of a noisy caption is itself well composed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final, NamedTuple

from gems.backends.sketch.captions import DENSE_STYLES, Caption, dense_caption, terse_caption
from gems.backends.sketch.compose import Composition, compose
from gems.backends.sketch.scene import Group, Relation, Scene, SceneSpec
from gems.backends.sketch.vocabulary import (
    BACKGROUNDS,
    COCO_NAMES,
    COLORS,
    GENEVAL2_NAMES,
    LETTERS,
    MAX_LETTERS,
    MAX_OBJECTS,
    OBJECTS,
    RELATIONS,
    TEXTURES,
)


class Noise(NamedTuple):
    """Share of terse captions, or of the counts and attributes in them, that do not fit their scene."""

    count_two: float = 0.24
    count_three: float = 0.44
    count_more: float = 0.58
    colors_swapped: float = 0.44
    attribute_wrong: float = 0.12
    relation_wrong: float = 0.42
    named_but_absent: float = 0.16
    present_but_unnamed: float = 0.08
    misspelt: float = 0.6


NOISE: Final = Noise()
"""The rates the released weights were trained with."""
TERSE_SHARE: Final = 0.36
"""Share of terse captions among all."""


class Example(NamedTuple):
    """A scene and a caption of it; `terse` where the caption may be wrong."""

    scene: Scene
    caption: Caption
    terse: bool


_COLORS: Final = tuple(COLORS)
_NAMES: Final = tuple(name for name in OBJECTS if name != "sign")
_RELATIONS: Final = tuple(RELATIONS)
_OPPOSITE: Final = {
    "left of": "right of", "right of": "left of", "above": "below", "below": "above", "on top of": "under",
    "under": "on top of", "in front of": "behind", "behind": "in front of", "near": "left of", "playing with": "above",
    "jumping over": "below", "chasing": "above",
}  # fmt: skip
_SIGN_WORDS: Final = (
    "OPEN", "CLOSED", "HELLO", "STOP", "SALE", "EXIT", "WELCOME", "CAFE", "BAR", "LOVE", "TAXI", "HOTEL", "NO", "YES",
    "COFFEE", "BAKERY", "PIZZA", "FREE", "HOPE", "DANGER", "WAY", "OUT", "PARK", "SCHOOL", "ZOO", "BOOKS", "MUSIC",
    "ART", "NEW", "YORK", "CITY", "SUMMER", "WINTER", "HAPPY", "BIRTHDAY", "GO", "SLOW", "FAST", "FOOD", "MENU",
    "BUS", "TRAIN", "HOME", "DREAM", "BIG", "PEACE", "TEA", "SHOP", "STAR", "MOON", "SUN", "KEEP", "CALM", "READ",
    "ME", "RUN", "JUMP", "FLY",
)  # fmt: skip


def _name(rng: Random) -> str:
    return rng.choice(rng.choice((COCO_NAMES, GENEVAL2_NAMES, _NAMES)))


def _group(rng: Random, count: int, attribute_share: float) -> Group:
    color = texture = None
    if rng.random() < attribute_share:
        kind = rng.random()
        color = rng.choice(_COLORS) if kind < 0.68 else None
        texture = rng.choice(TEXTURES) if kind > 0.6 else None
    return Group(_name(rng), count, color, texture)


def _relations(rng: Random, groups: int, share: float) -> tuple[Relation, ...]:
    relations = []
    for place in range(groups - 1):
        if rng.random() < share:
            relation = rng.choice(_RELATIONS)
            backward = rng.random() < 0.12
            relations.append(Relation(place + backward, relation, place + 1 - backward))
    return tuple(relations)


def _text(rng: Random) -> str:
    if rng.random() < 0.45:
        return " ".join(rng.choice(_SIGN_WORDS) for _ in range(rng.randint(1, 2)))[:MAX_LETTERS].strip()
    letters = [rng.choice(LETTERS[:36]) for _ in range(rng.randint(1, MAX_LETTERS))]
    if len(letters) > 4 and rng.random() < 0.5:
        letters[rng.randint(2, len(letters) - 2)] = " "
    return "".join(letters)


def _distinct(groups: Sequence[Group]) -> bool:
    names = [group.name for group in groups]
    return len(set(names)) == len(names)


def random_spec(rng: Random) -> SceneSpec:
    """What a caption may ask for: GenEval's six kinds, GenEval2's grammar, larger scenes, signs."""
    kind = rng.random()
    if kind < 0.07:
        groups, share = [_group(rng, 1, 0.55)], 0.0
    elif kind < 0.19:
        count = rng.randint(2, 10) if rng.random() < 0.9 else rng.randint(11, MAX_OBJECTS)
        groups, share = [_group(rng, count, 0.4)], 0.0
    elif kind < 0.42:
        attributes = rng.choice((0.0, 0.0, 1.0, 0.6))
        groups, share = [_group(rng, 1, attributes) for _ in range(2)], rng.choice((0.0, 1.0, 1.0))
    elif kind < 0.76:
        counts = [1 if rng.random() < 0.38 else rng.randint(2, 7) for _ in range(rng.choice((1, 2, 2, 3, 3, 3, 3)))]
        groups, share = [_group(rng, count, 0.65) for count in counts], 0.7
    elif kind < 0.91:
        counts = [1 if rng.random() < 0.5 else rng.randint(2, 6) for _ in range(rng.choice((3, 4, 4, 5, 6)))]
        groups, share = [_group(rng, count, 0.5) for count in counts], 0.2
    else:
        groups = [_group(rng, rng.randint(1, 3), 0.4) for _ in range(rng.choice((0, 0, 1, 1, 2)))]
        color = rng.choice(_COLORS) if rng.random() < 0.3 else None
        text = _text(rng) if rng.random() < 0.93 else ""
        groups.insert(rng.randint(0, len(groups)), Group("sign", 1, color, text=text))
        share = 0.4
    if sum(group.count or 0 for group in groups) > MAX_OBJECTS or not _distinct(groups):
        return random_spec(rng)
    if len(groups) > 1 and groups[0].name != "sign" and rng.random() < 0.06:
        groups[1] = replace(groups[0], count=groups[1].count, color=rng.choice(_COLORS))
        groups[0] = replace(groups[0], color=rng.choice([color for color in _COLORS if color != groups[1].color]))
        if sum(group.count or 0 for group in groups) > MAX_OBJECTS or any(group.name == "sign" for group in groups[:2]):
            return random_spec(rng)
    background = rng.choice(tuple(BACKGROUNDS)) if rng.random() < 0.22 else None
    return SceneSpec(tuple(groups), _relations(rng, len(groups), share), background)


def _miscounted(rng: Random, group: Group) -> Group:
    count = group.count or 1
    if count == 1 or group.text:
        return group
    share = {2: NOISE.count_two, 3: NOISE.count_three}.get(count, NOISE.count_more)
    if rng.random() >= share:
        return group
    return replace(group, count=max(1, min(MAX_OBJECTS, count + rng.choice((-1, 1)))))


def _misread(rng: Random, text: str) -> str:
    place = rng.randrange(len(text))
    kind = rng.randrange(4)
    if kind == 0 and len(text) > 1:
        return text[:place] + text[place + 1 :]
    if kind == 1 and len(text) < MAX_LETTERS:
        return text[:place] + text[place] + text[place:]
    if kind == 2 and place > 0:
        return text[: place - 1] + text[place] + text[place - 1] + text[place + 1 :]
    return text[:place] + rng.choice(LETTERS[:36]) + text[place + 1 :]


def _miscolored(rng: Random, groups: list[Group]) -> list[Group]:
    for first, second in ((i, i + 1) for i in range(len(groups) - 1)):
        one, other = groups[first], groups[second]
        if (one.color, one.texture) != (other.color, other.texture) and rng.random() < NOISE.colors_swapped:
            groups[first] = replace(one, color=other.color, texture=other.texture)
            groups[second] = replace(other, color=one.color, texture=one.texture)
    for place, group in enumerate(groups):
        if group.color and rng.random() < NOISE.attribute_wrong:
            groups[place] = replace(group, color=rng.choice(_COLORS))
        if group.texture and rng.random() < NOISE.attribute_wrong:
            groups[place] = replace(groups[place], texture=rng.choice((None, *TEXTURES)))
    return groups


def mislabelled(spec: SceneSpec, rng: Random) -> SceneSpec:
    """What a noisy caption of the spec's scene says."""
    groups = _miscolored(rng, [_miscounted(rng, group) for group in spec.groups])
    groups = [
        replace(group, text=_misread(rng, group.text)) if group.text and rng.random() < NOISE.misspelt else group
        for group in groups
    ]
    relations = [
        replace(r, relation=_OPPOSITE[r.relation] if rng.random() < 0.6 else rng.choice(_RELATIONS))
        if rng.random() < NOISE.relation_wrong
        else r
        for r in spec.relations
    ]
    last = len(groups) - 1
    if last > 0 and not groups[last].text and rng.random() < NOISE.present_but_unnamed:
        groups.pop()
        relations = [r for r in relations if last not in (r.subject, r.object)]
    elif 0 < last < 4 and rng.random() < NOISE.named_but_absent:
        place = rng.randint(0, last + 1)
        groups.insert(place, _group(rng, 1 if rng.random() < 0.7 else rng.randint(2, 5), 0.5))
        move = [i + (i >= place) for i in range(last + 1)]
        relations = [Relation(move[r.subject], r.relation, move[r.object]) for r in relations]
    return SceneSpec(tuple(groups), tuple(relations), spec.background)


def _recolored(composition: Composition, spec: SceneSpec, rng: Random) -> Composition:
    """Where no colour is asked for, the usual one is most likely but not certain."""
    groups = []
    for group, things in zip(spec.groups, composition, strict=True):
        unusual = group.color is None and rng.random() < 0.08
        color = rng.choice(_COLORS)
        groups.append([replace(thing, color=color) for thing in things] if unusual else things)
    return Composition(groups)


def _vague(spec: SceneSpec) -> SceneSpec:
    """The spec with "some" for every count above one."""
    groups = (replace(group, count=None) if group.count != 1 else group for group in spec.groups)
    return replace(spec, groups=tuple(groups))


def random_example(rng: Random) -> Example:
    """One scene with one caption."""
    while True:
        spec = random_spec(rng)
        composition = compose(spec, rng)
        if composition:
            break
    composition = _recolored(composition, spec, rng)
    background = spec.background or "plain"
    scene = composition.scene(background)
    if rng.random() < TERSE_SHARE:
        stated = mislabelled(spec, rng)
        if rng.random() < 0.06:
            stated = _vague(stated)
        return Example(scene, terse_caption(stated, rng), True)
    style = rng.randrange(DENSE_STYLES)
    return Example(scene, dense_caption(spec, composition, style, rng), False)
