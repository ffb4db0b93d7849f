"""Follow-ups on where things stand, and before which background."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gems.backends.sketch.followups.additions import read_addition
from gems.backends.sketch.followups.changes import (
    Backdrop,
    Bond,
    Relate,
    bonds,
)
from gems.backends.sketch.followups.meant import Changes, Spoken, meant_in, sole, things
from gems.backends.sketch.followups.terms import STATE, VERB, background_in, cuts, lexed
from gems.backends.sketch.followups.wordings import named
from gems.backends.sketch.lexicon import Kind
from gems.backends.sketch.phrases import at
from gems.backends.sketch.scene import Group

_SWAP: Final = re.compile(
    r"^(?:swap|switch|exchange)(?: the)?(?: places| positions)?(?: of)? (?P<one>.+?) (?:and|with) (?P<two>.+?)"
    r"(?: around| over|'s (?:places|positions))?$",
    re.IGNORECASE,
)
_SIDES: Final = {
    "left": "left of", "right": "right of", "top": "above", "bottom": "below", "front": "in front of", "back": "behind",
}  # fmt: skip


def swap(text: str, scene: Spoken) -> Changes | None:
    """Swap the dog and the cat."""
    match = _SWAP.match(text)
    one = sole(match["one"], scene) if match else None
    two = sole(match["two"], scene) if match else None
    if one is None or two is None or one == two:
        return None
    between = [bond for bond in bonds(scene.spec) if {bond.subject, bond.object} == {one, two}]
    if len(between) != 1:
        return None
    bond = between[0]
    return (Relate(Bond(bond.object, bond.relation, bond.subject)),)


def backdrop(text: str, scene: Spoken) -> Changes | None:
    """At the beach; change the background to a forest."""
    place = re.search(r"\b(?:instead of|rather than|not)\b", text)
    background = background_in(text[: place.start()] if place else text)
    if place and (background is None or background_in(text[place.end() :]) is None):
        return None
    if background is None:
        background = _backdrop_of_things(text, scene)
    if background is None:
        return None
    return (Backdrop(background),) if background != scene.spec.background else ()


def _backdrop_of_things(text: str, scene: Spoken) -> str | None:
    """The background of "put the dog on the beach"."""
    for left, right in cuts(VERB.sub("", text)):
        background = background_in(STATE.sub("", right) if STATE.match(right) else right)
        first = at(lexed(right), 0)
        tied = first.kind is Kind.PREPOSITION or (first.kind is Kind.RELATION and first.surface in {"on", "by"})
        if background and tied and things(left, scene):
            return background
    return None


def placed(text: str, scene: Spoken) -> Changes | None:
    """Put the dog on the right of the tree; the dog behind the tree; move the dog to the left."""
    for left, right in cuts(VERB.sub("", text)):
        subjects = things(left, scene)
        if not subjects or any(it.share is not None for it in subjects):
            continue
        for words in dict.fromkeys((right, STATE.sub("", right))):
            changes = _placed_there([it.group for it in subjects], words, scene)
            if changes is not None:
                return changes
    return None


def _placed_there(subjects: Sequence[Group], words: str, scene: Spoken) -> Changes | None:
    lexemes = lexed(words)
    first = at(lexemes, 0)
    if first.kind is Kind.PLACE and len(lexemes) == 1 and first.value in _SIDES:
        rest = [group for group in scene.groups if group not in subjects]
        if len(rest) != 1 or len(subjects) != 1:
            return None
        return (Relate(Bond(subjects[0], _SIDES[first.value], rest[0])),)
    others = meant_in(lexemes[1:], scene) or []
    if first.kind is Kind.BETWEEN:
        if len(others) != 2 or len(subjects) != 1:
            return None
        one, two = (it.group for it in others)
        return (Relate(Bond(one, "left of", subjects[0])), Relate(Bond(subjects[0], "left of", two)))
    if first.kind is not Kind.RELATION:
        return None
    if len(others) == 1:
        return tuple(Relate(Bond(it, first.value, others[0].group)) for it in subjects if it != others[0].group) or None
    if len(subjects) == 1 and not others:
        be = "is" if subjects[0].count == 1 else "are"
        return read_addition(f"the {named(subjects[0], article=False)} {be} {words}", scene)
    return None
