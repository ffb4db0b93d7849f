"""Follow-ups that put one thing, number or look in the place of another."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from gems.backends.sketch.followups.additions import said_anew
from gems.backends.sketch.followups.changes import (
    Add,
    Redescribe,
)
from gems.backends.sketch.followups.meant import Changes, Meant, Spoken, less, recounted, relooked, things, with_looks
from gems.backends.sketch.followups.terms import VERB, cuts, lexed_looks, looks_in, number_in
from gems.backends.sketch.followups.wordings import named
from gems.backends.sketch.phrases import Head, NounPhrase, read_noun_phrase
from gems.backends.sketch.scene import Group

_REPLACE: Final = (
    re.compile(r"^(?:replace|swap|exchange|trade|switch) (?P<old>.+?) (?:with|for|by) (?P<new>.+)$", re.IGNORECASE),
    re.compile(r"^(?:change|turn|convert|transform|make) (?P<old>.+?) (?:into|in to|to) (?P<new>.+)$", re.IGNORECASE),
    re.compile(
        r"^(?:use |make it |draw |have )?(?P<new>.+?) (?:instead of|rather than|in place of|not) (?P<old>.+)$", re.I
    ),
    re.compile(r"^instead of (?P<old>[^,]+),? (?:make it |use |draw |have )?(?P<new>.+)$", re.IGNORECASE),
    re.compile(r"^not (?P<old>.+?),? but (?P<new>.+)$", re.IGNORECASE),
    re.compile(r"^make (?P<old>.+?) (?P<new>(?:an?|the) .+)$", re.IGNORECASE),
)
_NUMBER_OF: Final = re.compile(
    r"^(?:change |set |make |reduce |increase |raise |lower )?the (?:number|count|amount) of (?P<what>.+?) "
    r"(?:should be|must be|to|is|be) (?P<number>\w+)$",
    re.I,
)
_IT_IS: Final = re.compile(r"^(?:it|that|them|this|those|they)(?: should| must)?(?: be)? (?P<what>.+)$", re.IGNORECASE)


def replacement(text: str, scene: Spoken) -> Changes | None:
    """Replace the dog with a cat; three dogs instead of two."""
    for pattern in _REPLACE:
        match = pattern.match(text)
        changes = _replaced(match["old"].strip(" ,"), match["new"].strip(" ,"), scene) if match else None
        if changes is not None:
            return changes
    return None


def _replaced(old: str, new: str, scene: Spoken) -> Changes | None:
    lexemes = lexed_looks(new)
    if (looks := looks_in(lexemes)) is not None:
        before = looks_in(lexed_looks(old))
        if before is not None:
            fitting = [
                group for group in scene.groups
                if before[:2] == (group.color if before.color else None, group.texture if before.texture else None)
            ]  # fmt: skip
            return tuple(relooked(group, looks) for group in fitting) or None
        meant = things(old, scene)
        return with_looks(meant, looks) if meant else None
    phrase = read_noun_phrase(lexemes, 0)
    if phrase.end != len(lexemes) or phrase.ignored:
        return None
    number = number_in(old)
    if phrase.head is Head.MISSING and phrase.counted and number is not None:
        counted = [group for group in scene.groups if group.count == number]
        return (Redescribe(counted[0], replace(counted[0], count=phrase.count)),) if len(counted) == 1 else None
    if phrase.head is not Head.OBJECT:
        return None
    if number is not None:
        meant = [Meant(group) for group in scene.groups if group.name == phrase.name and group.count == number]
    else:
        meant = things(old, scene) or []
    if len(meant) != 1:
        return None
    return replaced_group(meant[0], phrase)


def replaced_group(meant: Meant, phrase: NounPhrase) -> Changes:
    """A group made into what the phrase says; of a share, a group of its own."""
    old = meant.group
    color = phrase.colors[0] if phrase.colors else None
    texture = phrase.textures[0] if phrase.textures else None
    said = phrase.counted or phrase.determiner in {"a", "an"}
    if old.name == phrase.name:
        count = phrase.count if phrase.counted else old.count
        return (Redescribe(old, Group(old.name, count, color or old.color, texture or old.texture, old.text)),)
    if meant.share is not None and old.count is not None and meant.share < old.count:
        new = Group(phrase.name, phrase.count, color, texture)
        return (less(old, meant.share), Add(named(new, article=True), (new,)))
    return (Redescribe(old, Group(phrase.name, phrase.count if said else old.count, color, texture)),)


def numbered(text: str, scene: Spoken) -> Changes | None:
    """Make it four apples; make it four; change the number of dogs to three."""
    if match := _NUMBER_OF.match(text):
        meant, value = things(f"the {match['what'].removeprefix('the ')}", scene), number_in(match["number"])
        if meant and len(meant) == 1 and value is not None:
            return (recounted(meant[0].group, value),)
        return None
    rest = VERB.sub("", text)
    match = _IT_IS.match(rest) or re.match(r"^(?:only|just|exactly) (?P<what>.+)$", rest, re.IGNORECASE)
    number = number_in(match["what"].split(" ")[-1]) if match else None
    if match and number is not None and len(match["what"].split(" ")) <= 2:
        known = [it for it in scene.topic if it.count is not None] or [
            it for it in scene.groups if it.count not in (None, 1)
        ]
        known = known or scene.groups
        return (recounted(known[0], number),) if len(known) == 1 else None
    if match and (changes := said_anew(match["what"], scene)) is not None:
        return changes
    for left, right in cuts(rest):
        # Reduce the dogs to two.
        value = number_in(re.sub(r"^(?:down )?to ", "", right)) if right.startswith(("to ", "down to ")) else None
        meant = things(left, scene) if value is not None else None
        if meant and len(meant) == 1 and value is not None:
            return (recounted(meant[0].group, value),)
    return None
