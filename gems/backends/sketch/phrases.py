"""Noun phrases: from a place in the lexemes to what it names, how many of it, and how it is described."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from gems.backends.sketch.lexicon import LEXICON, MOST, SEVERAL, Kind, Lexeme
from gems.backends.sketch.vocabulary import MATERIALS
from gems.backends.sketch.wordlists import VERBS

_CONTENT: Final = frozenset(
    {
        Kind.OBJECT,
        Kind.NOUN,
        Kind.WORD,
        Kind.COLOR,
        Kind.TEXTURE,
        Kind.ADJECTIVE,
        Kind.BACKGROUND,
        Kind.BACKDROP,
        Kind.ONES,
    }
)
_DESCRIBING: Final = frozenset({Kind.COLOR, Kind.TEXTURE, Kind.ADJECTIVE})
_JOINING: Final = frozenset({Kind.AND, Kind.COMMA})
_STARTS: Final = _CONTENT | {Kind.DETERMINER, Kind.NUMBER, Kind.PLENTY}
_ATTRIBUTE_NOUNS: Final = frozenset(
    {"pattern", "patterns", "texture", "color", "colour", "material", "colors", "tone", "surface"}
)
_ARTICLES: Final = frozenset({"a", "an", "another"})
_AFTER_THINGS: Final = frozenset(
    {"that", "which", "who", "sitting", "sits", "sit", "standing", "stands", "stand", "lying", "lies", "lie", "resting",
     "rests", "rest", "placed", "located", "positioned", "situated", "being"}
)  # fmt: skip
"""Silent words that follow a thing, not a description."""
_MATERIAL_NOUNS: Final = frozenset({*MATERIALS, "wood"}) - {"wooden"}
_LONGEST_DESCRIPTION: Final = 12
"""Lexemes of a description that are looked through for its noun."""
_END: Final = Lexeme(Kind.STOP)


class Head(Enum):
    """What a noun phrase turned out to name."""

    OBJECT = "a drawable thing"
    ONES = "one, ones: a thing named before"
    BACKGROUND = "a background"
    BACKDROP = "the background, described"
    UNKNOWN = "a thing that cannot be drawn"
    ATTRIBUTE = "a colour or texture, as in 'a striped pattern'"
    MISSING = "described or counted, but not named, as in 'one black and two brown'"
    NOTHING = "nothing that has an effect"


@dataclass(slots=True)
class NounPhrase:
    """A noun phrase, `end` being the first lexeme after it. `count` None: open."""

    end: int
    head: Head = Head.NOTHING
    name: str = ""
    determiner: str = ""
    count: int | None = None
    counted: bool = False
    """Whether the number was said, be it "several"."""
    plural: bool | None = None
    colors: list[str] = field(default_factory=list)
    textures: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    materials: list[str] = field(default_factory=list)
    """Texture words that could also be nouns, as written: "a glass"."""

    @property
    def bare(self) -> bool:
        """Whether only the name was said."""
        return not (self.determiner or self.counted or self.colors or self.textures or self.ignored)

    @property
    def described(self) -> bool:
        """Whether a colour or a texture was said."""
        return bool(self.colors or self.textures)


def at(lexemes: Sequence[Lexeme], place: int) -> Lexeme:
    """The lexeme at a place; the end of a sentence beyond the last."""
    return lexemes[place] if 0 <= place < len(lexemes) else _END


def starts_noun_phrase(lexeme: Lexeme) -> bool:
    """Whether a noun phrase can begin here."""
    return lexeme.kind in _STARTS


def _reaches_noun(lexemes: Sequence[Lexeme], place: int) -> bool:
    """Whether only descriptions stand between here and a noun, so that "red and green" goes on to "apples"."""
    if at(lexemes, place).kind not in _DESCRIBING:
        return False
    for _ in range(_LONGEST_DESCRIPTION):
        joins = at(lexemes, place).kind in _JOINING and at(lexemes, place + 1).kind in _DESCRIBING
        if not joins and at(lexemes, place).kind not in _DESCRIBING:
            break
        place += 1
    return at(lexemes, place).kind in {Kind.OBJECT, Kind.ONES, Kind.NOUN}


def _is_verb_like(lexeme: Lexeme) -> bool:
    return lexeme.value in VERBS or (lexeme.kind is Kind.WORD and lexeme.value.endswith(("s", "ed")))


def _describes_ahead(lexemes: Sequence[Lexeme], place: int) -> bool:
    """Whether the word before describes what comes: "a velvetish, moody cat", "an artistic style", "an artistic image"."""
    following = at(lexemes, place)
    if following.kind in _DESCRIBING or (following.kind is Kind.SILENT and following.surface not in _AFTER_THINGS):
        return True
    for ahead in lexemes[place : place + _LONGEST_DESCRIPTION]:
        if ahead.kind not in _DESCRIBING | _JOINING | {Kind.VERB, Kind.SILENT}:
            return ahead.kind in _CONTENT
    return False


def _modifies_next(lexemes: Sequence[Lexeme], place: int) -> bool:
    """Whether a noun only describes the noun right after it: "kitchen table", "bird cage"."""
    lexeme, after = at(lexemes, place), at(lexemes, place + 1)
    if lexeme.plural is True or _is_verb_like(after):
        return False
    if lexeme.kind is Kind.WORD:
        return after.kind in _CONTENT - {Kind.ONES}
    if after.kind in {Kind.NOUN, Kind.OBJECT, Kind.WORD}:
        return True
    return after.kind is Kind.BACKGROUND and lexeme.kind is not Kind.BACKGROUND


class _Parser:
    """Reads one noun phrase from left to right."""

    def __init__(self, lexemes: Sequence[Lexeme], start: int) -> None:
        self.lexemes = lexemes
        self.phrase = NounPhrase(start)
        self._front: list[str] = []
        self._attribute = False

    def read(self) -> NounPhrase:
        phrase = self.phrase
        while phrase.head is Head.NOTHING and self._step():
            pass
        if phrase.head is Head.NOTHING:
            self._headless()
        phrase.count = self._count()
        return phrase

    def _step(self) -> bool:
        """Take in one lexeme; False where the phrase ends before it."""
        phrase = self.phrase
        lexeme = at(self.lexemes, phrase.end)
        begun = bool(phrase.determiner or phrase.counted or phrase.described or phrase.ignored)
        if lexeme.kind is Kind.DETERMINER:
            if begun:
                return False
            phrase.determiner = lexeme.value
        elif lexeme.kind in {Kind.NUMBER, Kind.PLENTY}:
            if not self._number(lexeme):
                return False
        elif lexeme.kind in _JOINING:
            if not phrase.described or not _reaches_noun(self.lexemes, phrase.end + 1):
                return False
        elif lexeme.kind is Kind.VERB or lexeme.kind is Kind.SILENT:
            if lexeme.surface in _ATTRIBUTE_NOUNS:
                self._attribute = True
            elif phrase.determiner in _ARTICLES and self._is_unlisted_thing(lexeme):
                phrase.head, phrase.name = Head.UNKNOWN, lexeme.surface
            elif not begun or (lexeme.kind is Kind.VERB and at(self.lexemes, phrase.end + 1).kind not in _CONTENT):
                return False
        elif not self._content(lexeme):
            return False
        phrase.end += 1
        return True

    def _number(self, lexeme: Lexeme) -> bool:
        phrase = self.phrase
        if lexeme.surface == "no" and phrase.determiner:
            phrase.ignored.append(lexeme.surface)
            return True
        if lexeme.surface == "a couple" and not _describes_ahead(self.lexemes, phrase.end + 1):
            phrase.head, phrase.name, phrase.count, phrase.plural = Head.OBJECT, "person", 2, True
        elif lexeme.surface == "one" and (phrase.determiner or phrase.described) and not self._goes_on():
            phrase.head = Head.ONES
        elif lexeme.kind is Kind.PLENTY:
            phrase.count = min(MOST, (phrase.count or 1) * lexeme.number) if lexeme.number != SEVERAL else None
        elif phrase.counted and not (phrase.count in range(20, 100, 10) and 0 < lexeme.number < 10):
            return False
        else:
            phrase.count = lexeme.number + (phrase.count or 0) if lexeme.number != SEVERAL else None
        phrase.counted = True
        return True

    def _is_unlisted_thing(self, lexeme: Lexeme) -> bool:
        """Whether a word in no list, taken for a description by its ending, stands where the noun must: "a goldfish"."""
        listed = lexeme.surface in LEXICON or not lexeme.surface.isalpha() or len(lexeme.surface) < 3
        return not listed and not _describes_ahead(self.lexemes, self.phrase.end + 1)

    def _goes_on(self) -> bool:
        return at(self.lexemes, self.phrase.end + 1).kind in _CONTENT

    def _content(self, lexeme: Lexeme) -> bool:
        phrase = self.phrase
        if lexeme.kind is Kind.COLOR:
            phrase.colors.append(lexeme.value)
        elif lexeme.kind is Kind.TEXTURE:
            phrase.textures.append(lexeme.value)
            if lexeme.surface in _MATERIAL_NOUNS:
                phrase.materials.append(lexeme.surface)
        elif lexeme.kind is Kind.ADJECTIVE:
            if (phrase.determiner in _ARTICLES or phrase.counted) and self._is_unlisted_thing(lexeme):
                phrase.head, phrase.name = Head.UNKNOWN, lexeme.surface
                return True
            self._attribute = self._attribute or lexeme.surface in _ATTRIBUTE_NOUNS
            phrase.ignored.append(lexeme.surface)
        elif lexeme.kind is Kind.ONES:
            phrase.head, phrase.plural = Head.ONES, True
        elif lexeme.kind is Kind.BACKDROP:
            phrase.head = Head.BACKDROP
        elif lexeme.kind in {Kind.OBJECT, Kind.NOUN, Kind.WORD, Kind.BACKGROUND}:
            self._noun(lexeme)
        else:
            return False
        return True

    def _noun(self, lexeme: Lexeme) -> None:
        phrase = self.phrase
        if _modifies_next(self.lexemes, phrase.end):
            target = phrase.ignored if lexeme.kind in {Kind.WORD, Kind.BACKGROUND} else self._front
            target.append(lexeme.surface)
            return
        phrase.plural = lexeme.plural
        if lexeme.kind is Kind.OBJECT:
            phrase.head, phrase.name = Head.OBJECT, lexeme.value
            if self._front:
                # A bird house is no house: a compound outside the vocabulary is a thing of its own.
                phrase.head, phrase.name = Head.UNKNOWN, " ".join([*self._front, lexeme.surface])
        elif lexeme.kind is Kind.BACKGROUND:
            phrase.head, phrase.name = Head.BACKGROUND, lexeme.value
            phrase.ignored += self._front
            if at(self.lexemes, phrase.end + 1).kind is Kind.BACKDROP:
                phrase.end += 1
        else:
            phrase.head, phrase.name = Head.UNKNOWN, " ".join([*self._front, lexeme.surface])

    def _headless(self) -> None:
        phrase = self.phrase
        phrase.ignored += self._front
        if phrase.described and (self._attribute or not (phrase.determiner or phrase.counted)):
            phrase.head = Head.ATTRIBUTE
        elif phrase.counted or (phrase.determiner and (phrase.described or phrase.ignored)):
            phrase.head = Head.MISSING

    def _count(self) -> int | None:
        phrase = self.phrase
        if phrase.counted:
            return phrase.count if phrase.head is not Head.ONES or phrase.count is not None else self._count_unsaid()
        return self._count_unsaid()

    def _count_unsaid(self) -> int | None:
        phrase = self.phrase
        if phrase.plural is True or (phrase.plural is None and phrase.head is Head.OBJECT and not phrase.determiner):
            return None
        return 1


def read_noun_phrase(lexemes: Sequence[Lexeme], start: int) -> NounPhrase:
    """The noun phrase that begins at `start`; its `end` is `start` where there is none."""
    return _Parser(lexemes, start).read()
