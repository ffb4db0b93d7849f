"""Text to lexemes: what each word or phrase of a prompt is, before any grammar."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gems.backends.sketch.lexicon import FIRST_WORDS, LEXICON, LONGEST, MOST, PAIRED, Kind, Lexeme
from gems.backends.sketch.wordlists import ADJECTIVE_ENDINGS

_CONTRACTIONS: Final = {
    "there's": "there is", "it's": "it is", "that's": "that is", "isn't": "is not", "aren't": "are not", "let's": "",
    "i'd": "", "don't": "do not", "they're": "they are", "what's": "", "here's": "there is", "one's": "one is",
}  # fmt: skip
QUOTED: Final = r"\"([^\"]*)\"|“([^”]*)”|„([^“”]*)[“”]|«([^»]*)»|(?<![^\W_])'([^'\n]+)'(?![^\W_])|‘([^’\n]+)’(?![^\W_])"
"""Quoted passages, each kind of marks with a group of its own."""
_TOKEN: Final = re.compile(QUOTED + r"|([^\W_]+(?:['’-][^\W_]+)*)|([.,;:!?&()\n–—])|([^\x00-\x7f\w\s])")
_STYLE: Final = re.compile(
    r"\b(?:in the (?:\w+ )?style of|in style of|style of|inspired by|reminiscent of)\b[^,.;\"]*"
    r"|\b(?:as )?(?:seen|painted|drawn|imagined|rendered|photographed|made|taken|told) by [^,.;\"]*"
    r"|\bby (?:artist )?(?:[A-Z][\w.'-]+(?: (?:van |de |da |von )?[A-Z][\w.'-]+)+)"
    r"|--\w+(?: [\d:.]+)?|\(+|\)+|\b\d+[:x×]\d+\b"
)
_NEARER_SIDE: Final = re.compile(r"\b(the) (?:immediate|direct|near|exact) (?=left|right|top|bottom)")
_QUALIFIED: Final = re.compile(r"[0-9]+[^\W\d_]+|[^\W\d_]+[0-9]+")
_MARKS: Final = {":": ",", "(": ",", ")": ",", "–": ",", "—": ",", "\n": "."}


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    quoted: bool = False
    capital: bool = False


def quotes(text: str) -> list[str]:
    """The quoted passages of a text, spaces collapsed, in order."""
    return [token.text for token in _tokens(text) if token.quoted]


def styles(text: str) -> list[str]:
    """The style passages of a text, such as "in the style of Monet": they say nothing of what is to be seen."""
    outside = re.sub(QUOTED, " ", text)
    return [match.group().strip() for match in _STYLE.finditer(outside) if any(map(str.isalpha, match.group()))]


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        *quoted, word, mark, symbol = match.groups()
        inside = next((passage for passage in quoted if passage is not None), None)
        if inside is not None:
            if inside.strip():
                yield _Token(" ".join(inside.split()), quoted=True)
        elif mark is not None:
            yield _Token(_MARKS.get(mark, mark))
        elif symbol is not None:
            if unicodedata.category(symbol).startswith("S"):
                yield _Token(symbol)
        else:
            yield from _word_tokens(word.replace("’", "'"))


def _word_tokens(word: str) -> Iterator[_Token]:
    lower = word.lower()
    capital = word[:1].isupper()
    if lower in _CONTRACTIONS:
        yield from (_Token(part, capital=capital) for part in _CONTRACTIONS[lower].split())
    elif lower.endswith("n't") or lower == "cannot":
        yield _Token("not", capital=capital)
    elif (
        "-" in lower
        and lower not in LEXICON
        and all(part in LEXICON or (part.isascii() and part.isdigit()) for part in lower.split("-"))
    ):
        yield from (_Token(part, capital=capital) for part in lower.split("-"))
    else:
        yield _Token(lower, capital=capital)


def has_adjective_ending(word: str) -> bool:
    """Whether an unlisted word looks like an adjective, adverb or participle."""
    return len(word) > 4 and word.endswith(ADJECTIVE_ENDINGS)


def _unlisted(token: _Token) -> Lexeme:
    word = token.text
    if not word[0].isalnum():
        # An emoji stands for a thing; a plural describes no other thing.
        return Lexeme(Kind.NOUN, word, word, plural=True)
    if word.isascii() and word.isdigit():
        return Lexeme(Kind.NUMBER, word, word, min(int(word[:9]), MOST))
    if "'" in word or "-" in word or _QUALIFIED.fullmatch(word) or (len(word) < 3 and word.isascii()):
        return Lexeme(Kind.ADJECTIVE, word, word)
    if has_adjective_ending(word):
        return Lexeme(Kind.VERB if word.endswith(("ing", "ed")) else Kind.ADJECTIVE, word, word)
    return Lexeme(Kind.WORD, word, word)


def lex(text: str) -> list[Lexeme]:
    """The lexemes of a text, longest phrase first. Never fails; styles "by" or "of" somebody are left out."""
    text = _NEARER_SIDE.sub(r"\1 ", text)
    tokens = [token for part in _without_styles(text) for token in _tokens(part)]
    lexemes = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token.quoted:
            lexemes.append(Lexeme(Kind.QUOTE, token.text, token.text))
            place += 1
            continue
        length, lexeme = _longest(tokens, place)
        lexemes.append(lexeme or _unlisted(token))
        place += length
    return [_settled(lexemes, place) for place in range(len(lexemes))]


def _without_styles(text: str) -> Iterator[str]:
    """Everything but style phrases; a style phrase inside quotation marks is text and stays."""
    place = 0
    for match in re.finditer(QUOTED, text):
        yield _STYLE.sub(" , ", text[place : match.start()])
        yield match.group()
        place = match.end()
    yield _STYLE.sub(" , ", text[place:])


def _longest(tokens: list[_Token], place: int) -> tuple[int, Lexeme | None]:
    if tokens[place].text not in FIRST_WORDS:
        return 1, LEXICON.get(tokens[place].text)
    window = tokens[place : place + LONGEST]
    for length in range(len(window), 0, -1):
        if any(token.quoted for token in window[:length]):
            continue
        lexeme = LEXICON.get(" ".join(token.text for token in window[:length]))
        if lexeme is not None:
            return length, lexeme
    return 1, None


def _settled(lexemes: list[Lexeme], place: int) -> Lexeme:
    """The lexeme, where one of two meanings depends on its neighbours."""
    lexeme = lexemes[place]
    after = lexemes[place + 1] if place + 1 < len(lexemes) else Lexeme(Kind.STOP)
    if lexeme.kind is Kind.NUMBER and lexeme.number > 1 and after.value in PAIRED and "pair" in lexeme.surface:
        return Lexeme(Kind.NUMBER, lexeme.value, lexeme.surface, lexeme.number // 2)
    if (
        lexeme.kind is Kind.OBJECT
        and lexeme.value == "orange"
        and not lexeme.plural
        and _is_color_before(lexemes, place + 1)
    ):
        return Lexeme(Kind.COLOR, "orange", "orange")
    return lexeme


def _is_color_before(lexemes: list[Lexeme], place: int) -> bool:
    """Whether what follows "orange" is a noun that it describes."""
    described = {Kind.COLOR, Kind.TEXTURE, Kind.ADJECTIVE}
    headed = {Kind.OBJECT, Kind.NOUN, Kind.WORD, Kind.ONES, Kind.BACKDROP}
    before: Kind | None = None
    for lexeme in lexemes[place : place + 6]:
        if lexeme.kind in headed or lexeme.surface == "one":
            return before not in {Kind.AND, Kind.COMMA}
        if lexeme.surface in {"colored", "coloured"}:
            continue
        if lexeme.kind not in described and not (
            lexeme.kind in {Kind.AND, Kind.COMMA} and before not in {Kind.AND, Kind.COMMA}
        ):
            return False
        before = lexeme.kind
    return False
