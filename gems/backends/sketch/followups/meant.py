"""What a follow-up speaks of: "the car", "both dogs", "one of the apples", "it" as groups of the scene."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from gems.backends.sketch.followups.changes import (
    Add,
    Change,
    Forget,
    Redescribe,
    Relate,
    Remove,
    changed,
)
from gems.backends.sketch.followups.terms import DEFINITE, Looks, lexed, number_in
from gems.backends.sketch.followups.wordings import named
from gems.backends.sketch.lexicon import Kind, Lexeme
from gems.backends.sketch.phrases import Head, NounPhrase, read_noun_phrase
from gems.backends.sketch.scene import Group, SceneSpec

_BOTH: Final = re.compile(r"^(?:all(?: of)?|both(?: of)?|every|each(?: of)?|any(?: of)?)\b\s*", re.IGNORECASE)
_SHARE: Final = re.compile(r"^(?P<number>\w+) of (?=the|them|those|these)", re.IGNORECASE)
_ONE_PRONOUN: Final = frozenset({"it", "that", "this", "him", "her", "he", "she"})
_ALL_PRONOUNS: Final = frozenset(
    {"everything", "all", "both", "all of them", "both of them", "all things", "each", "all of it"}
)
_MANY_PRONOUNS: Final = frozenset({"them", "they", "those", "these"})


Changes = tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Spoken:
    """What is known while a message is read: the scene so far, things outside the vocabulary, what was spoken of last."""

    spec: SceneSpec
    unknown: frozenset[str] = frozenset()
    topic: tuple[Group, ...] = ()
    passages: tuple[str, ...] = ()
    """What was quoted in the message, by the numbers that stand for it."""

    @property
    def groups(self) -> list[Group]:
        """The groups that are to be seen."""
        return [group for group in self.spec.groups if group.count != 0]

    def after(self, changes: Sequence[Change]) -> Spoken:
        """What is known once these changes are made."""
        spec, unknown, topic = self.spec, set(self.unknown), self.topic
        for change in changes:
            spec = changed(spec, change)
            match change:
                case Redescribe(_, new):
                    topic = (new,)
                case Add():
                    unknown |= set(change.unknown)
                    topic = change.groups or topic
                case Relate(bond):
                    topic = (bond.subject,)
                case Forget(name):
                    unknown -= {name}
                case _:
                    pass
        kept = tuple(group for group in topic if group in spec.groups)
        return Spoken(spec, frozenset(unknown), kept, self.passages)


@dataclass(frozen=True, slots=True)
class Meant:
    """Things that a phrase means: a group, or `share` of it (None: all of it)."""

    group: Group
    share: int | None = None


def things(words: str, scene: Spoken) -> list[Meant] | None:
    """What is meant by "the car", "both dogs", "one of the dogs", "it"; None where that is not plain."""
    words = words.strip(" ,").lower()
    if words in _ALL_PRONOUNS:
        return [Meant(group) for group in scene.groups] or None
    if words in _ONE_PRONOUN or words in _MANY_PRONOUNS:
        return _pronoun(words, scene)
    share = _SHARE.match(words)
    number = number_in(share["number"]) if share else None
    if share and number is not None:
        whole = things(words[share.end() :], scene)
        return [Meant(whole[0].group, number)] if whole and len(whole) == 1 else None
    if all_of := _BOTH.match(words):
        whole = things(f"the {words[all_of.end() :].removeprefix('the ')}", scene)
        return [Meant(it.group) for it in whole] if whole else None
    return meant_in(lexed(words), scene)


def sole(words: str, scene: Spoken) -> Group | None:
    """The one whole group that is meant; None where there is no such one."""
    meant = things(words, scene)
    return meant[0].group if meant and len(meant) == 1 and meant[0].share is None else None


def _pronoun(words: str, scene: Spoken) -> list[Meant] | None:
    if scene.topic:
        return [Meant(group) for group in scene.topic]
    groups = scene.groups
    fitting = [group for group in groups if (group.count == 1) == (words in _ONE_PRONOUN)]
    if len(groups) == 1 or words in _MANY_PRONOUNS:
        return [Meant(group) for group in (fitting if len(fitting) == 1 else groups)] or None
    return [Meant(fitting[0])] if len(fitting) == 1 else None


def meant_in(lexemes: Sequence[Lexeme], scene: Spoken) -> list[Meant] | None:
    """What lexemes mean that name nothing but things of the scene, joined by "and"."""
    found: list[Meant] = []
    place = 0
    while place < len(lexemes):
        if lexemes[place].kind is Kind.PRONOUN:
            meant, place = _pronoun(lexemes[place].surface, scene), place + 1
        else:
            phrase = read_noun_phrase(lexemes, place)
            meant, place = _resolved(phrase, scene.groups), phrase.end
        if meant is None:
            return None
        found += [it for it in meant if it not in found]
        if place < len(lexemes) and lexemes[place].kind not in (Kind.AND, Kind.COMMA):
            return None
        while place < len(lexemes) and lexemes[place].kind in (Kind.AND, Kind.COMMA):
            place += 1
    return found or None


def _resolved(phrase: NounPhrase, groups: Sequence[Group]) -> list[Meant] | None:
    """The groups that a noun phrase means."""
    if phrase.head not in (Head.OBJECT, Head.ONES) or len(phrase.colors) > 1 or len(phrase.textures) > 1:
        return None
    if phrase.head is Head.ONES and not phrase.described:
        return None
    group_named = [group for group in groups if phrase.head is Head.ONES or group.name == phrase.name]
    color = phrase.colors[0] if phrase.colors else None
    texture = phrase.textures[0] if phrase.textures else None
    fitting = [it for it in group_named if color in (None, it.color) and texture in (None, it.texture)]
    if not fitting and len(group_named) == 1 and not (color and group_named[0].color):
        fitting = group_named
    if phrase.ignored and len(fitting) > 1:
        return None
    several = phrase.plural is True or not phrase.determiner
    if len(fitting) > 1 and not (several and not phrase.counted):
        exact = [it for it in fitting if (it.color, it.texture) == (color, texture)]
        counted = [it for it in fitting if phrase.counted and it.count == phrase.count]
        fitting = exact if len(exact) == 1 else counted
        if len(fitting) != 1:
            return None
    definite = phrase.determiner in DEFINITE
    share = phrase.count if (phrase.counted or phrase.determiner in {"a", "an"}) and not definite else None
    if definite and phrase.counted and fitting and fitting[0].count != phrase.count:
        share = phrase.count
    return [Meant(it, share if share != it.count else None) for it in fitting] or None


def same_looks(groups: Sequence[Group], phrase: NounPhrase) -> list[Group]:
    """The groups of the phrase's name and of just the looks it says."""
    color = phrase.colors[0] if phrase.colors else None
    texture = phrase.textures[0] if phrase.textures else None
    return [it for it in groups if (it.name, it.color, it.texture) == (phrase.name, color, texture)]


def less(group: Group, share: int | None) -> Change:
    """The group without that many of its things; without any where that is all of them."""
    if share is None or group.count is None or share >= group.count:
        return Remove(group)
    return Redescribe(group, replace(group, count=group.count - share))


def recounted(group: Group, count: int) -> Change:
    """The group in another number."""
    return Redescribe(group, replace(group, count=count)) if count else Remove(group)


def relooked(group: Group, looks: Looks) -> Redescribe:
    """The group with other looks. A shade alone takes the place of the colour, for which a group has no word then."""
    color = None if looks.shade and not looks.color and not looks.texture else looks.color or group.color
    return Redescribe(group, replace(group, color=color, texture=looks.texture or group.texture), looks.shade)


def with_looks(meant: Sequence[Meant], looks: Looks) -> Changes | None:
    """All that is meant with other looks; a share of a group becomes a group of its own."""
    found: list[Change] = []
    for it in meant:
        if it.share is not None and it.group.count is not None and it.share < it.group.count:
            part = relooked(replace(it.group, count=it.share), looks).new
            if looks.shade:
                return None
            found += [less(it.group, it.share), Add(named(part, article=True), (part,))]
        else:
            found.append(relooked(it.group, looks))
    return tuple(found)
