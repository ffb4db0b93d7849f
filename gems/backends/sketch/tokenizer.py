"""Text to tokens: words, multi-word names as one token, and the letters of quoted text one by one.

An object's synonyms and its plural share its token (a flag keeps the plural); a relation's phrasings share one token. A
word that is not known becomes `<unk>`. The encoder learns meaning from context; the lexicon decides only what is one token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from gems.backends.sketch.vocabulary import (
    BACKGROUNDS,
    COLOR_SYNONYMS,
    COLORS,
    LETTERS,
    MAX_LETTERS,
    NUMBERS,
    OBJECTS,
    RELATIONS,
    TEXTURE_SYNONYMS,
    TEXTURES,
    plural,
)

MAX_TOKENS: Final = 160
"""Longest text in tokens; the rest is cut."""

_SPECIAL: Final = ("<null>", "<unk>", "<quote>", "<spell>", "<end>")
_WORDS: Final = (
    ".", ":", "a", "an", "the", "with", "of", "in", "on", "at", "is", "are", "there", "it", "them", "by", "before",
    "for", "as", "and", "no", "not", "nothing", "exactly", "only", "just", "another", "other", "some", "several",
    "many", "few", "single", "pair", "couple", "left", "right", "far", "top", "upper", "lower", "bottom", "middle",
    "center", "half", "corner", "side", "group", "first", "second", "third", "fourth", "fifth", "next", "colored",
    "large", "medium", "small", "made", "says", "word", "text", "letters", "background", "picture",
)  # fmt: skip
_SAME: Final = {
    "centre": "center", "photo": "picture", "image": "picture", "drawing": "picture", "photograph": "picture",
    "painting": "picture", "illustration": "picture", "rendering": "picture", "scene": "picture", "shot": "picture",
    "snapshot": "picture", "view": "picture", "sketch": "picture", "render": "picture", "artwork": "picture",
    "coloured": "colored", "precisely": "exactly", "solely": "only", "saying": "says", "reading": "says", "reads": "says",
    "say": "says",
    "read": "says", "lettering": "text", "letter": "letters", "words": "word", "leftmost": "left", "rightmost": "right",
    "scenery": "background", "backdrop": "background",
}  # fmt: skip
_PEOPLE: Final = ("men", "women", "children", "ladies")
_QUOTED: Final = re.compile(r"\"([^\"]{1,60})\"|“([^”]{1,60})”|«([^»]{1,60})»|(?<!\w)'([^'\n]{1,60})'(?!\w)")
_SPELLED: Final = re.compile(
    r"\b(?:letters|characters|spelled|spelling)\b:? ((?:(?:[A-Za-z0-9]|space)(?:, |-| and |\b))+)"
)
_WORD: Final = re.compile(r"[a-z]+(?:-[a-z]+)*|\d+|[.:;!?]")


class Token(NamedTuple):
    """One token of a text."""

    token: str
    plural: bool
    letter: int
    """Place within quoted text, from 1; 0 outside of it."""
    offset: int
    """Where it begins in the text, in characters."""


def _plurals(name: str) -> set[str]:
    return {plural(name), name + "s"} - {name}


def _build_lexicon() -> dict[str, tuple[str, bool]]:
    lexicon: dict[str, tuple[str, bool]] = {}
    for relation, phrasings in RELATIONS.items():
        for phrasing in phrasings:
            if phrasing not in _WORDS:
                lexicon[phrasing] = ("~" + relation, False)
    for background, names in BACKGROUNDS.items():
        for name in names:
            lexicon[name] = ("@" + background, False)
    lexicon.update({surface: (surface, False) for surface in (*_WORDS, *NUMBERS, *TEXTURES, *COLORS)})
    lexicon["close together"] = ("close together", False)
    for table in (_SAME, COLOR_SYNONYMS, TEXTURE_SYNONYMS):
        lexicon.update({surface: (token, False) for surface, token in table.items()})
    for name, word in OBJECTS.items():
        for surface in (*word.synonyms, name):
            lexicon[surface] = (name, False)
            lexicon.update(dict.fromkeys(_plurals(surface), (name, True)))
    lexicon.update(dict.fromkeys(_PEOPLE, ("person", True)))
    lexicon.update(dict.fromkeys(";!?", (".", False)))
    lexicon.update({str(value): (word, False) for value, word in enumerate(NUMBERS)})
    return lexicon


_LEXICON: Final = _build_lexicon()
_LONGEST: Final = max(len(surface.split(" ")) for surface in _LEXICON)

TOKENS: Final = (
    *_SPECIAL,
    *dict.fromkeys(token for token, _ in _LEXICON.values()),
    *("#" + letter for letter in LETTERS),
)
"""Every token, in the order of its id."""

COUNTING_VALUES: Final = {
    **{word: float(value) for value, word in enumerate(NUMBERS)},
    "pair": 2.0,
    "couple": 2.0,
    "some": 3.0,
    "several": 4.0,
    "few": 3.0,
    "many": 6.0,
}
"""How many things a token announces before any learning; 1 where it is not listed."""


def _letters(text: str, kind: str, offset: int) -> list[Token]:
    characters = [character for character in text.upper() if character in LETTERS][:MAX_LETTERS]
    inside = [Token("#" + character, False, place, offset) for place, character in enumerate(characters, start=1)]
    return [Token(kind, False, 0, offset), *inside, Token("<end>", False, 0, offset)]


def _words(text: str, start: int) -> list[Token]:
    found = [(match.group(), match.start() + start) for match in _WORD.finditer(text.lower())]
    tokens = []
    place = 0
    while place < len(found):
        for length in range(min(_LONGEST, len(found) - place), 0, -1):
            surface = " ".join(word for word, _ in found[place : place + length])
            entry = _LEXICON.get(surface)
            if entry or length == 1:
                break
        token, is_plural = entry or ("<unk>", False)
        tokens.append(Token(token, is_plural, 0, found[place][1]))
        place += length
    return tokens


def tokenize(text: str) -> list[Token]:
    """The tokens of a text, at most `MAX_TOKENS`.

    Text in quotation marks and a spelled-out run ("the letters O, P, E, N") become one token per letter.
    """
    special = [
        (match.start(), match.end(), "<quote>", next(filter(None, match.groups()), ""))
        for match in _QUOTED.finditer(text)
    ]
    for match in _SPELLED.finditer(text):
        run = re.sub(r", |-| and ", "", match.group(1).strip().replace("space", " "))
        special.append((match.start(1), match.end(1), "<spell>", run))
    tokens: list[Token] = []
    place = 0
    for start, end, kind, inside in sorted(special):
        if start < place:
            continue
        tokens += _words(text[place:start], place)
        tokens += _letters(inside, kind, start)
        place = end
    tokens += _words(text[place:], place)
    return tokens[:MAX_TOKENS]


class Encoded(NamedTuple):
    """A text as parallel lists of equal length, one entry a token."""

    ids: list[int]
    plurals: list[int]
    letters: list[int]
    offsets: list[int]


class SketchTokenizer:
    """Maps texts to token ids.

    Args:
        tokens: the tokens in the order of their ids, as stored with the weights.
    """

    def __init__(self, tokens: Sequence[str] = TOKENS) -> None:
        self._ids = {token: place for place, token in enumerate(tokens)}

    def __call__(self, text: str) -> Encoded:
        """Token ids, plural flags, places within quoted text and character offsets; an empty text is one `<null>`."""
        tokens = tokenize(text) or [Token("<null>", False, 0, 0)]
        unknown = self._ids["<unk>"]
        return Encoded(
            [self._ids.get(token.token, unknown) for token in tokens],
            [int(token.plural) for token in tokens],
            [token.letter for token in tokens],
            [token.offset for token in tokens],
        )
