"""The lexicon of the reader: every word and phrase it knows, with the part it plays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gems.backends.sketch.vocabulary import (
    BACKGROUNDS,
    COLOR_SYNONYMS,
    COLORS,
    NUMBERS,
    OBJECTS,
    RELATIONS,
    TEXTURE_SYNONYMS,
    TEXTURES,
    plural,
)
from gems.backends.sketch.wordlists import ADJECTIVES, NOUNS, SILENT, VERBS


class Kind(Enum):
    """The part a lexeme plays."""

    OBJECT = "a drawable thing"
    COLOR = "a colour"
    TEXTURE = "a material or a pattern"
    NUMBER = "a number; -1 for several"
    PLENTY = "a word that multiplies: dozen, hundred"
    DETERMINER = "a, the, another, ..."
    RELATION = "a relation"
    PLACE = "an absolute place on the canvas"
    BACKGROUND = "a background"
    BACKDROP = "the word background itself"
    AND = "and"
    COMMA = "a comma, colon or dash"
    STOP = "the end of a sentence"
    COPULA = "is, are"
    THERE = "there is"
    PREPOSITION = "a preposition that is no relation"
    BETWEEN = "between"
    WITHOUT = "without"
    PRONOUN = "it, them"
    ONES = "ones"
    REST = "the others, the rest"
    QUOTE = "quoted text"
    SAYS = "words that announce quoted text"
    MADE_OF = "made of"
    UNFOLLOWED = "a word that changes the meaning in a way that a scene spec cannot say"
    NOUN = "a thing that cannot be drawn"
    VERB = "a verb without effect"
    ADJECTIVE = "a word without effect"
    SILENT = "a word that carries no wish"
    WORD = "a word in no list"


SEVERAL: Final = -1
"""The value of a number word that leaves the number open."""
MOST: Final = 10**6
"""Larger numbers are read as this."""


@dataclass(frozen=True, slots=True)
class Lexeme:
    """A word or phrase: its kind, its value (a vocabulary word, number or text), and how it was written."""

    kind: Kind
    value: str = ""
    surface: str = ""
    number: int = 0
    plural: bool | None = None
    """For an object: whether the form is plural; None where both forms are one."""


_IRREGULAR: Final = {
    "man": "men", "woman": "women", "child": "children", "person": "persons", "sheep": "sheeps", "mouse": "mouses",
    "knife": "knifes", "broccoli": "broccolis", "fish": "fishes",
}  # fmt: skip
"""Plurals that people write besides the vocabulary's."""
_ALWAYS_PLURAL: Final = frozenset({"people"})
_ONE_FORM: Final = frozenset({"sheep", "fish", "skis", "scissors", "broccoli", "luggage", "cattle"})

_VERBAL: Final = {
    "playing with": ("plays with", "play with", "playing together with"),
    "jumping over": ("jumps over", "jump over", "leaps over", "leap over", "jumping above"),
    "chasing": ("chases", "chase", "follows", "follow", "running after", "runs after", "run after", "being followed by"),
    "on top of": ("onto", "upon", "on the top of", "riding on", "riding", "rides", "on top"),
    "near": ("adjacent to", "alongside", "besides", "around", "surrounding", "surrounded by", "close by", "nearby to",
        "near to", "next", "along side"),
    "in front of": ("at the front of", "in the front of", "ahead of"),
    "behind": ("at the back of", "in the back of"),
    "above": ("up above", "floating over", "flying over", "hovering over", "hovering above"),
    "left of": ("to left of", "at the left of", "on left of", "to the left side of", "at the left side of", "left from",
        "on the left-hand side of", "to the left from", "to the left hand side of"),
    "right of": ("to right of", "at the right of", "on right of", "to the right side of", "at the right side of",
        "right from", "on the right-hand side of", "to the right from", "to the right hand side of"),
}  # fmt: skip
"""Phrasings that are read besides the vocabulary's; the engine itself is prompted in the vocabulary's."""
_CLOSED: Final = {
    Kind.DETERMINER: "a|an|the|another|any|his|her|its|their|my|your|our|some more|one more",
    Kind.AND: "together with|and|&|plus|as well as|along with|accompanied by|together|but",
    Kind.COMMA: ",",
    Kind.STOP: ".|;|!|?",
    Kind.COPULA: "is|are|was|were|be|being|looks|look|should be|must be|has the color|in color|is colored",
    Kind.THERE: "there is|there are|there stands|there sits|there lies|there should be|there must be|we see|i see|you see",
    Kind.PREPOSITION: "in|at|with|of|from|into|inside|within|through|across|against|along|among|amongst|amid|for|to|off|as|"
    "during|out of|via|per|like|about|outside|toward|towards|throughout",
    Kind.BETWEEN: "between|in between|in the middle of",
    Kind.WITHOUT: "without|without any|free of|excluding",
    Kind.PRONOUN: "it|them|they|he|she|him|itself|themselves",
    Kind.ONES: "ones",
    Kind.REST: "the others|the other|the rest|the remaining|the other ones|the other one|the rest of them",
    Kind.SAYS: "says|say|saying|that reads|which reads|reading|reads|labeled|labelled|titled|written|with the words|"
    "with the word|with the text|with text|the words|the word|the text|with the letters|the letters|with the letter|"
    "spelling|spells|spelled|bearing the word|bearing the words|text",
    Kind.MADE_OF: "made of|made from|made out of|made up of|out of",
    Kind.BACKDROP: "background|backdrop|wallpaper",
    Kind.UNFOLLOWED: "not|never|except|except for|or|nor|neither|either|instead|instead of|each|every|than|more than|"
    "less than|fewer than|fewer|rather than|other than|at least|at most|twice",
    Kind.SILENT: "each other|one another|in the picture|in the image|in the photo|in the scene|in this image|"
    "in this picture|"
    "of the image|of the picture|of the scene|of the photo|of the canvas|of the frame|of them|of these|of those|of which|"
    "in total|in all|poster of|banner of|with each other|side by side|next to each other|in a row|in a line|in rows|"
    "in a group|in a grid|depth of field|field of view|rule of thirds|shot on|in focus|in black and white|"
    "black and white photo|"
    "pencil drawing|pencil sketch|pencil illustration|out of focus|in style|on white|nothing else|no one else|"
    "no other things|no other objects|no others|set in|no more|and nothing else|in front",
}
_NUMBER_PHRASES: Final = {
    "a pair of": 2, "pair of": 2, "two pairs of": 4, "a couple of": 2, "couple of": 2, "a couple": 2, "a trio of": 3,
    "trio of": 3, "a quartet of": 4, "a dozen": 12, "a dozen of": 12, "half a dozen": 6, "half a dozen of": 6,
    "a half dozen": 6, "a single": 1, "single": 1, "just one": 1, "only one": 1, "exactly one": 1, "no": 0, "zero": 0,
    "not any": 0, "a duo of": 2, "twin": 2, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70,
    "eighty": 80, "ninety": 90,
}  # fmt: skip
_SEVERAL: Final = [
    "several",
    "some",
    "many",
    "a few",
    "few",
    "multiple",
    "various",
    "numerous",
    "lots of",
    "a lot of",
    "plenty of",
    "a group of",
    "a bunch of",
    "a herd of",
    "a flock of",
    "a pack of",
    "a set of",
    "a collection of",
    "a number of",
    "a crowd of",
    "a pile of",
    "a stack of",
    "a row of",
    "a line of",
    "a grid of",
    "a couple more",
    "groups of",
    "a swarm of",
    "countless",
    "a handful of",
    "an assortment of",
    "a basketful of",
]
_TEXTURE_PHRASES: Final = {
    "with stripes": "striped", "with spots": "spotted", "with dots": "spotted", "with polka dots": "spotted",
    "polka dotted": "spotted", "polka-dotted": "spotted", "polka dot": "spotted", "with checks": "checkered",
    "with sparkles": "sparkling", "glittery": "sparkling", "checkerboard": "checkered", "stripes": "striped",
    "spots": "spotted", "polka dots": "spotted", "dots": "spotted",
}  # fmt: skip
PAIRED: Final = frozenset({"scissors", "skis"})
"""Things of which a pair is one."""
_SIDES: Final = {
    "left": ("left", "leftmost", "left-hand", "far left"), "right": ("right", "rightmost", "right-hand", "far right"),
    "top": ("top", "upper part", "upper half"), "bottom": ("bottom", "lower part", "lower half"),
    "center": ("center", "centre", "middle"),
}  # fmt: skip
_STEMS: Final = (
    "the {}", "{}", "the {} side", "the {} hand side", "the {} half", "the very {}", "the {} edge", "the {} part",
    "the far {} side",
)  # fmt: skip
_CORNERS: Final = (
    "top left",
    "top right",
    "bottom left",
    "bottom right",
    "upper left",
    "upper right",
    "lower left",
    "lower right",
)


def _object_entries() -> Iterator[tuple[str, Lexeme]]:
    for name, word in OBJECTS.items():
        for form in (*word.synonyms, name):
            # GenEval's own rule makes "skises" and "scissorses" of words that have no plural form.
            plurals = {plural(form), form + "s", *([form + "es"] if form.endswith("s") else [])}
            *front, last = form.split(" ")
            if last in _IRREGULAR:
                plurals.add(" ".join([*front, _IRREGULAR[last]]))
            if form + "s" in OBJECTS:
                plurals.discard(form + "s")
            for many in plurals - {form}:
                yield many, Lexeme(Kind.OBJECT, name, many, plural=None if many in _ONE_FORM else True)
            is_plural: bool | None = None if form in _ONE_FORM else form in _ALWAYS_PLURAL
            yield form, Lexeme(Kind.OBJECT, name, form, plural=is_plural)


def _place_entries() -> Iterator[tuple[str, Lexeme]]:
    for level, words in _SIDES.items():
        for word in words:
            for stem in _STEMS:
                for preposition in ("on", "at", "to", "in"):
                    phrase = f"{preposition} {stem.format(word)}"
                    yield phrase, Lexeme(Kind.PLACE, level, phrase)
        yield f"far {level}", Lexeme(Kind.PLACE, level, f"far {level}")
    for corner in _CORNERS:
        vertical, side = corner.split(" ")
        level = f"{'top' if vertical in ('top', 'upper') else 'bottom'} {side}"
        for spelling in (corner, corner.replace(" ", "-"), f"{corner} corner", f"{corner.replace(' ', '-')} corner"):
            for preposition in ("in", "at", "on", "to"):
                phrase = f"{preposition} the {spelling}"
                yield phrase, Lexeme(Kind.PLACE, level, phrase)
    for phrase in ("in the foreground", "in the front"):
        yield phrase, Lexeme(Kind.PLACE, "front", phrase)
    for phrase in ("in the background", "in the distance", "in the back", "in the far background", "far away"):
        yield phrase, Lexeme(Kind.PLACE, "back", phrase)


def _entries() -> Iterator[tuple[str, Lexeme]]:
    for words, kind in ((SILENT, Kind.SILENT), (ADJECTIVES, Kind.ADJECTIVE), (VERBS, Kind.VERB), (NOUNS, Kind.NOUN)):
        for word in words:
            yield word, Lexeme(kind, word, word)
    for word in NOUNS:
        for many in {plural(word), word + "s"}:
            if many not in SILENT | ADJECTIVES | VERBS:
                yield many, Lexeme(Kind.NOUN, word, many)
    for background, names in BACKGROUNDS.items():
        for name in names:
            yield name, Lexeme(Kind.BACKGROUND, background, name)
            if " " not in name and not name.endswith("s"):
                yield plural(name), Lexeme(Kind.BACKGROUND, background, plural(name))
    yield from _object_entries()
    for color in COLORS.keys() - OBJECTS.keys():
        yield color, Lexeme(Kind.COLOR, color, color)
    for surface, color in COLOR_SYNONYMS.items():
        yield surface, Lexeme(Kind.COLOR, color, surface)
    for texture in TEXTURES:
        yield texture, Lexeme(Kind.TEXTURE, texture, texture)
    for surface, texture in TEXTURE_SYNONYMS.items():
        yield surface, Lexeme(Kind.TEXTURE, texture, surface)
    for surface, texture in _TEXTURE_PHRASES.items():
        yield surface, Lexeme(Kind.TEXTURE, texture, surface)
    for value, word in enumerate(NUMBERS):
        yield word, Lexeme(Kind.NUMBER, word, word, value)
    for phrase, value in _NUMBER_PHRASES.items():
        yield phrase, Lexeme(Kind.NUMBER, phrase, phrase, value)
    for phrase in _SEVERAL:
        yield phrase, Lexeme(Kind.NUMBER, phrase, phrase, SEVERAL)
    for phrase, value in (("dozen", 12), ("dozens of", SEVERAL), ("hundred", 100), ("thousand", 1000), ("hundreds of", 200),
                          ("thousands of", 2000), ("million", MOST)):  # fmt: skip
        yield phrase, Lexeme(Kind.PLENTY, phrase, phrase, value)
    yield from _place_entries()
    for kind, phrases in _CLOSED.items():
        for phrase in phrases.split("|"):
            yield phrase, Lexeme(kind, phrase, phrase)
    for table in (_VERBAL, RELATIONS):
        for relation, phrasings in table.items():
            for phrasing in phrasings:
                yield phrasing, Lexeme(Kind.RELATION, relation, phrasing)


LEXICON: Final = dict(_entries())
"""Every word and phrase in lower case."""
# "besides" would be read as an addition; people mean beside.
LEXICON["besides"] = LEXICON["next to"]
LONGEST: Final = max(phrase.count(" ") + 1 for phrase in LEXICON)
"""Words in the longest phrase."""
FIRST_WORDS: Final = {phrase.split(" ", 1)[0] for phrase in LEXICON if " " in phrase}
"""Words that begin a phrase of several words."""
