"""Follow-ups that add things, or say how many and of what looks there are to be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from gems.backends.sketch.followups.changes import (
    Add,
    Redescribe,
    bonds,
)
from gems.backends.sketch.followups.meant import Changes, Spoken, same_looks, things, with_looks
from gems.backends.sketch.followups.terms import ADD, DEFINITE, MORE, VERB, cuts, lexed, lexed_looks, looks_in, unmask
from gems.backends.sketch.followups.wordings import named, worded
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.lexicon import Kind, Lexeme
from gems.backends.sketch.phrases import Head, NounPhrase, at, read_noun_phrase
from gems.backends.sketch.scene import Group


def add(text: str, scene: Spoken) -> Changes | None:
    """Add two cats."""
    verb = ADD.match(text)
    if verb is None:
        return _given(text, scene)
    return added(text[verb.end() :], scene)


def _given(text: str, scene: Spoken) -> Changes | None:
    """Give the dog a red hat."""
    given = re.match(r"^give (?P<rest>.+)$", text, re.IGNORECASE)
    for left, right in cuts(given["rest"]) if given else ():
        meant = things(left, scene)
        if meant and len(meant) == 1 and at(lexed(right), 0).kind in (Kind.DETERMINER, Kind.NUMBER):
            has = "has" if meant[0].group.count == 1 else "have"
            return read_addition(f"the {named(meant[0].group, article=False)} {has} {right}", scene)
    return None


def added(words: str, scene: Spoken) -> Changes | None:
    """What the words name on top of the scene."""
    more = MORE.search(words) is not None
    plain = _plain_addition(words)
    lexemes = lexed(plain)
    phrase = read_noun_phrase(lexemes, 0)
    if phrase.head is Head.OBJECT and phrase.end == len(lexemes) and not phrase.ignored and phrase.name:
        same = same_looks(scene.groups, phrase)
        if more and not same and not phrase.described:
            same = [group for group in scene.groups if group.name == phrase.name]
        if len(same) == 1 and same[0].count is not None and phrase.count is not None and not same[0].text:
            return (Redescribe(same[0], replace(same[0], count=same[0].count + phrase.count)),)
    if (looks := looks_in(lexed_looks(plain))) is not None:
        it = things("it", scene)
        return with_looks(it, looks) if it else None
    if described := _given_looks(plain, scene):
        return described
    return read_addition(_with_name(plain, scene), scene)


def _given_looks(words: str, scene: Spoken) -> Changes | None:
    """Add stripes to the car."""
    match = re.match(r"^(?P<looks>.+?) (?:to|on) (?P<what>.+)$", words)
    looks = looks_in(lexed_looks(match["looks"])) if match else None
    meant = things(match["what"], scene) if match and looks else None
    return with_looks(meant, looks) if meant and looks else None


def _with_name(words: str, scene: Spoken) -> str:
    """The words with a trailing pronoun named: "a ball next to it"."""
    match = re.search(r"\b(?P<it>it|them)$", words)
    meant = things(match["it"], scene) if match else None
    if match is None or meant is None or len(meant) != 1:
        return words
    return f"{words[: match.start()]}the {named(meant[0].group, article=False)}"


def read_addition(words: str, scene: Spoken) -> Changes | None:
    """What the words bring to the scene, read behind the scene itself so that "the dog" is known."""
    if not words:
        return None
    base = worded(scene.spec)
    original = unmask(words, scene.passages)
    reading = read_prompt(f"{base.rstrip('. ')}. {original[0].upper()}{original[1:]}." if base else original)
    kept = list(scene.spec.groups)
    new = list(reading.spec.groups)
    for group in kept:
        if group not in new:
            return None
        new.remove(group)
    said, before = bonds(reading.spec), set(bonds(scene.spec))
    if not before <= set(said) or reading.unfollowed or reading.spec.background != scene.spec.background:
        return None
    added = Add(original, tuple(new), tuple(bond for bond in said if bond not in before), reading.unknown)
    return (added,) if new or reading.unknown or added.bonds else None


def _plain_addition(words: str) -> str:
    """The words as a plain noun phrase: "two more dogs" as "two dogs", "another dog" as "a dog"."""
    words = re.sub(
        r"^(?:an?other|one more|an? (?:extra|additional|further))\b", "a", words.strip(), flags=re.IGNORECASE
    )
    words = re.sub(r"\b(?:more|extra|additional|further|also|too|as well)\b", "", words, flags=re.IGNORECASE)
    return " ".join(re.sub(r"^a (?=[aeiou])", "an ", " ".join(words.split())).split())


def said_anew(text: str, scene: Spoken) -> Changes | None:
    """Three dogs; a blue car; two cats behind the dog: as it is to be, new or in place of what is there."""
    words = VERB.sub("", text)
    more = MORE.search(words) is not None
    lexemes = lexed(words)
    phrase = read_noun_phrase(lexemes, 0)
    whole = phrase.end == len(lexemes) and phrase.head is Head.OBJECT and not phrase.ignored
    if whole and not more:
        groups = [group for group in scene.groups if group.name == phrase.name]
        if groups:
            return _anew(groups, phrase)
    if phrase.determiner in DEFINITE or (not more and _names_again(lexemes, scene)):
        return None
    if phrase.head not in (Head.OBJECT, Head.UNKNOWN) or any(it.kind is Kind.VERB for it in lexemes):
        return None
    if phrase.head is Head.UNKNOWN and not (phrase.determiner or phrase.counted):
        return None
    return added(words, scene)


def _names_again(lexemes: Sequence[Lexeme], scene: Spoken) -> bool:
    """Whether things that are there are counted or described in a list, as they are to be from now on."""
    place = 0
    while place < len(lexemes):
        phrase = read_noun_phrase(lexemes, place)
        tied = at(lexemes, place - 1).kind in (Kind.RELATION, Kind.BETWEEN)
        counts = phrase.head is Head.OBJECT and not tied and phrase.determiner not in DEFINITE
        if counts and any(group.name == phrase.name for group in scene.groups):
            return True
        place = max(phrase.end, place + 1)
    return False


def _anew(groups: Sequence[Group], phrase: NounPhrase) -> Changes | None:
    if len(groups) > 1:
        groups = same_looks(groups, phrase)
    if len(groups) != 1:
        return None
    old = groups[0]
    if not (phrase.described or (phrase.counted and phrase.count is not None)):
        return () if phrase.determiner in {"a", "an"} and old.count == 1 else None
    color = phrase.colors[0] if len(phrase.colors) == 1 else old.color
    texture = phrase.textures[0] if len(phrase.textures) == 1 else old.texture
    count = phrase.count if phrase.counted else old.count
    return (Redescribe(old, Group(old.name, count, color, texture, old.text)),)
