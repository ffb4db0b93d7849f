"""A request with some of its words changed: what comes nearest to the request comes first, and nothing is checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Final, NamedTuple

from gems.backends.sketch.followups.changes import (
    Add,
    Backdrop,
    Bond,
    Change,
    Forget,
    Redescribe,
    Relate,
    Remove,
    bonds,
)
from gems.backends.sketch.followups.wordings import (
    WHERE,
    bond_sentence,
    ended,
    quantified,
    sentence,
)
from gems.backends.sketch.lexicon import Kind, Lexeme
from gems.backends.sketch.phrases import Head, NounPhrase, at, read_noun_phrase, starts_noun_phrase
from gems.backends.sketch.scene import Group, SceneSpec
from gems.backends.sketch.vocabulary import OBJECTS, RELATIONS, plural
from gems.backends.sketch.wordlists import words_of
from gems.backends.sketch.words import lex

JOINING: Final = frozenset({Kind.AND, Kind.COMMA, Kind.RELATION, Kind.PREPOSITION, Kind.WITHOUT, Kind.BETWEEN})
TINTS: Final = words_of(
    """gold silver bronze copper teal turquoise cyan magenta beige maroon navy lavender indigo olive tan ivory lime amber
    coral salmon ruby emerald sapphire azure multicolored multicoloured rainbow-colored royal-blue bright dark light deep
    pale pastel neon vivid"""
)
"""Words that say what colour a thing has; another colour takes their place."""
_DEFINITE: Final = frozenset({"the", "his", "her", "its", "their", "my", "your", "our"})
_BETWEEN_PHRASES: Final = JOINING | {Kind.SILENT, Kind.VERB, Kind.COPULA, Kind.PRONOUN, Kind.THERE}
_REACH: Final = 4
"""Lexemes on either side of a phrase that may go with it."""


class Piece(NamedTuple):
    """A lexeme and where it stands in the text, as offsets in characters."""

    lexeme: Lexeme
    start: int
    end: int


class Phrase(NamedTuple):
    """A noun phrase and its lexemes' places."""

    first: int
    end: int
    phrase: NounPhrase


class Text:
    """A request taken apart into lexemes and noun phrases that know where they stand."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pieces = list(_pieces(text))
        self.lexemes = [piece.lexeme for piece in self.pieces]
        self.phrases = list(self._phrases())

    def _phrases(self) -> Iterator[Phrase]:
        place = 0
        while place < len(self.lexemes):
            phrase = read_noun_phrase(self.lexemes, place)
            if not starts_noun_phrase(self.lexemes[place]) or phrase.end == place:
                place += 1
                continue
            yield Phrase(place, phrase.end, phrase)
            place = phrase.end

    def with_words(self, first: int, end: int, words: str) -> str:
        """The text with other words in place of the lexemes from `first` to before `end`."""
        start, stop = self.pieces[first].start, self.pieces[end - 1].end
        if words and self.text[start : start + 1].isupper():
            words = words[0].upper() + words[1:]
        return self.text[:start] + words + self.text[stop:]

    def surface(self, place: int) -> str:
        """A lexeme as it is written."""
        return self.text[self.pieces[place].start : self.pieces[place].end]


def _pieces(text: str) -> Iterator[Piece]:
    """The lexemes in order, each with its place. One that is not found stands, empty, after the one before."""
    plain = text.replace("’", "'")
    place = 0
    for lexeme in lex(text):
        if lexeme.kind is Kind.QUOTE:
            pattern = r"[\"“„«'‘]\s*" + _spaced(lexeme.surface.replace("’", "'")) + r"\s*[\"“”»'’]"
        elif lexeme.surface[:1].isalnum():
            pattern = r"(?<![^\W_])" + _spaced(lexeme.surface) + r"(?![^\W_])"
        else:
            pattern = re.escape(lexeme.surface)
        match = re.compile(pattern, re.IGNORECASE).search(plain, place)
        start, end = match.span() if match else (place, place)
        yield Piece(lexeme, start, end)
        place = end


def _spaced(words: str) -> str:
    return r"[\s-]+".join(re.escape(word) for word in words.split())


def edits(parts: Text, spec: SceneSpec, change: Change) -> Iterator[str]:
    """The request with the change made in its own words, in several ways; some of them will say something else."""
    match change:
        case Redescribe():
            yield from _redescriptions(parts, change)
        case Remove(group):
            fitting = [it for it in parts.phrases if _names(it.phrase, group)]
            yield from _deletions(parts, sorted(fitting, key=lambda it: not _fits(it.phrase, group)))
        case Forget(name):
            yield from _deletions(parts, [it for it in parts.phrases if it.phrase.name == name])
        case Add(words):
            yield from _additions(parts.text, words)
        case Relate(bond):
            yield from _relations(parts, spec, bond)
        case Backdrop(background):
            yield from _backdrops(parts, background)


def _names(phrase: NounPhrase, group: Group) -> bool:
    return phrase.head is Head.OBJECT and phrase.name == group.name


def _fits(phrase: NounPhrase, group: Group) -> bool:
    """Whether a phrase says what a group is, rather than naming it again."""
    same_looks = phrase.colors == ([group.color] if group.color else []) and phrase.textures == (
        [group.texture] if group.texture else []
    )
    return same_looks and phrase.count == group.count and phrase.determiner not in _DEFINITE


def _redescriptions(parts: Text, change: Redescribe) -> Iterator[str]:
    old, new = change.old, change.new
    if old.text != new.text:
        yield from _letterings(parts, new)
    if new.count == 0 or (replace(old, text="") == replace(new, text="") and not change.shade):
        return
    named = [it for it in parts.phrases if _names(it.phrase, old)]
    named.sort(key=lambda it: not _fits(it.phrase, old))
    for found in named:
        yield parts.with_words(found.first, found.end, _rebuilt(parts, found, change))
    again = [it for it in named if not it.phrase.described or old.color in it.phrase.colors]
    text = parts.text
    for found in sorted(again, key=lambda it: -it.first):
        rest = Text(text)
        text = rest.with_words(found.first, found.end, _rebuilt(rest, found, change))
    yield text
    for place, lexeme in enumerate(parts.lexemes):
        if lexeme.kind is Kind.COLOR and old.color == lexeme.value and new.color:
            yield parts.with_words(place, place + 1, new.color)
        if lexeme.kind is Kind.TEXTURE and old.texture == lexeme.value and new.texture:
            yield parts.with_words(place, place + 1, new.texture)


def _rebuilt(parts: Text, found: Phrase, change: Redescribe) -> str:
    """The phrase in new words: how many, what it was called besides, colour, texture, name."""
    phrase, new = found.phrase, change.new
    kept = []
    quantity = ""
    for place in range(found.first, found.end - 1):
        lexeme = parts.lexemes[place]
        if lexeme.kind in {Kind.NUMBER, Kind.PLENTY}:
            quantity = f"{quantity} {parts.surface(place)}".strip()
        elif lexeme.kind not in {Kind.DETERMINER, Kind.COLOR, Kind.TEXTURE, Kind.AND, Kind.COMMA}:
            kept.append(parts.surface(place))
    if change.old.color != new.color or change.shade:
        kept = [word for word in kept if word.lower() not in TINTS]
    many = new.count != 1
    noun = parts.surface(found.end - 1)
    if change.old.name != new.name or (phrase.plural is not None and phrase.plural != many):
        noun = _noun(noun, change.old.name, new.name, many)
    looks = [change.shade, new.color or "", new.texture or "", noun]
    described = " ".join(filter(None, [*kept, *looks]))
    definite = phrase.determiner if phrase.determiner in _DEFINITE else ""
    if new.count == change.old.count and (quantity or phrase.determiner in _DEFINITE or many):
        return " ".join(filter(None, [definite, quantity, described]))
    return f"{definite} {described}" if definite and not phrase.counted else quantified(described, new.count)


def _noun(surface: str, old: str, new: str, many: bool) -> str:
    """The noun in the other number, by the word that was used for it where that is known."""
    if old != new:
        return plural(new) if many else new
    if many:
        return plural(surface.lower())
    words = (new, *OBJECTS[new].synonyms) if new in OBJECTS else (new,)
    return next((word for word in words if surface.lower() in (plural(word), f"{word}s")), new)


def _letterings(parts: Text, new: Group) -> Iterator[str]:
    for place, lexeme in enumerate(parts.lexemes):
        if lexeme.kind is not Kind.QUOTE:
            continue
        if new.text:
            yield parts.with_words(place, place + 1, f'"{new.text}"')
        else:
            for first in range(max(0, place - _REACH), place + 1):
                yield parts.with_words(first, place + 1, "")
    for found in parts.phrases:
        if _names(found.phrase, new) and new.text:
            words = parts.text[parts.pieces[found.first].start : parts.pieces[found.end - 1].end]
            yield parts.with_words(found.first, found.end, f'{words} that says "{new.text}"')


def _deletions(parts: Text, found: Sequence[Phrase]) -> Iterator[str]:
    """Without the phrase, with less and more of what ties it to its neighbours."""
    for it in found:
        before = _run(parts.lexemes, it.first - 1, -1)
        after = _run(parts.lexemes, it.end, 1)
        reaches = sorted(product(range(before + 1), range(after + 1)), key=sum)
        for joint in ("", " and ", ", "):
            for left, right in reaches:
                yield parts.with_words(it.first - left, it.end + right, joint)
    for it in found:
        stops = [place for place, lexeme in enumerate(parts.lexemes) if lexeme.kind is Kind.STOP]
        first = max([stop + 1 for stop in stops if stop < it.first], default=0)
        end = min([stop + 1 for stop in stops if stop >= it.end], default=len(parts.lexemes))
        yield parts.with_words(first, end, "")


def _run(lexemes: Sequence[Lexeme], place: int, step: int) -> int:
    """How many lexemes from a place on, going that way, only tie things together."""
    length = 0
    while 0 <= place < len(lexemes) and lexemes[place].kind in _BETWEEN_PHRASES and length < _REACH:
        length, place = length + 1, place + step
    return length


def _additions(text: str, words: str) -> Iterator[str]:
    bare = text.rstrip(" .,;:")
    if bare.startswith("without "):
        yield f"{words} {bare}"
    if words.startswith("without "):
        yield f"{bare} {words}"
    if not re.search(r"[.;!?]", bare) and not words.lower().startswith("the "):
        yield f"{bare} and {words}"
        yield f"{bare}, {words}"
    yield f"{ended(text)} {sentence(words)}"


def _relations(parts: Text, spec: SceneSpec, bond: Bond) -> Iterator[str]:
    said = [it for it in bonds(spec) if {it.subject, it.object} == {bond.subject, bond.object}]
    for place, lexeme in enumerate(parts.lexemes):
        if lexeme.kind is Kind.RELATION and lexeme.value in {it.relation for it in said}:
            yield parts.with_words(place, place + 1, RELATIONS[bond.relation][0])
    if not said:
        yield f"{ended(parts.text)} {bond_sentence(bond)}"
    for parted in _partings(parts, [it.relation for it in said]):
        yield f"{ended(tidied(parted))} {bond_sentence(bond)}"


def _partings(parts: Text, relations: Sequence[str]) -> Iterator[str]:
    for place, lexeme in enumerate(parts.lexemes):
        if lexeme.kind is Kind.RELATION and lexeme.value in relations:
            for joint in (" and ", ", "):
                before = _run(parts.lexemes, place - 1, -1)
                for left in range(before + 1):
                    yield parts.with_words(place - left, place + 1, joint)
            yield from _without_sentence(parts, place)
        if lexeme.kind is Kind.PLACE:
            yield parts.with_words(place, place + 1, "")


def _without_sentence(parts: Text, place: int) -> Iterator[str]:
    stops = [number for number, lexeme in enumerate(parts.lexemes) if lexeme.kind is Kind.STOP]
    first = max([stop + 1 for stop in stops if stop < place], default=0)
    end = min([stop + 1 for stop in stops if stop > place], default=len(parts.lexemes))
    if first:
        yield parts.with_words(first, end, "")


def _backdrops(parts: Text, background: str | None) -> Iterator[str]:
    where = WHERE[background] if background else ""
    for found in parts.phrases:
        if found.phrase.head in (Head.BACKGROUND, Head.BACKDROP):
            before = at(parts.lexemes, found.first - 1)
            tied = before.kind in (Kind.PREPOSITION, Kind.RELATION)
            yield parts.with_words(found.first - tied, found.end, where)
            yield from _deletions(parts, [found]) if not where else ()
    bare = parts.text.rstrip(" .,;:")
    if where:
        yield f"{bare} {where}"
        yield f"{bare}, {where}"
        yield f"{ended(parts.text)} {sentence(where)}"


def tidied(text: str) -> str:
    """Spaces and commas put right; empty where words are left hanging."""
    text = re.sub(r"\s+([,.;:!?])", r"\1", " ".join(text.split()))
    text = re.sub(r"([,;:.])(?:\s*[,;:])+", r"\1", text)
    text = re.sub(r"[,;:]\s*([.!?])", r"\1", text)
    text = re.sub(r"([.!?])(?:\s*\.)+", r"\1", text).lstrip(" ,;:.").rstrip(" ,;:")
    lexemes = lex(text)
    for before, lexeme in zip([Lexeme(Kind.STOP), *lexemes], [*lexemes, Lexeme(Kind.STOP)], strict=True):
        hangs = before.kind in {Kind.AND, Kind.RELATION, Kind.BETWEEN} and lexeme.kind in {Kind.STOP, Kind.COMMA}
        dangles = before.kind in {Kind.STOP, Kind.COMMA} and lexeme.kind is Kind.AND and before.surface != ","
        bumps = before.kind is Kind.OBJECT and lexeme.kind in {Kind.DETERMINER, Kind.NUMBER}
        if (
            hangs
            or dangles
            or bumps
            or (before.kind in JOINING and lexeme.kind is Kind.AND and before.kind is not Kind.COMMA)
        ):
            return ""
    return text
