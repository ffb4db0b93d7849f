"""The words of a follow-up: numbers, colours and textures, backgrounds, and the verbs it may begin with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from gems.backends.sketch.lexicon import Kind, Lexeme
from gems.backends.sketch.phrases import at
from gems.backends.sketch.wordlists import SHADES, words_of
from gems.backends.sketch.words import QUOTED, lex

VERB: Final = re.compile(
    r"^(?:make|paint|colou?r|turn|dye|change|set|put|move|place|position|shift|bring|drag|have|let|get|keep|give|draw|want|"
    r"render|show|use|switch|reduce|increase|raise|lower|there (?:should|must) be|there (?:is|are))\b\s*",
    re.IGNORECASE,
)
ADD: Final = re.compile(
    r"^(?:add|include|insert|append|throw in|put in|draw in|bring in|introduce|give (?:me|us|it)|"
    r"there (?:could|can) be)\b\s*",
    re.IGNORECASE,
)
REMOVE: Final = re.compile(
    r"^(?:remove|delete|drop|erase|eliminate|lose|omit|exclude|hide|get rid of|leave (?:out|off|away)|take (?:away|out|off)|"
    r"do without|cut(?: out)?|no more|no|without(?: any)?|not any|"
    r"there (?:should|must|is|are)(?: be)? (?:no|not? be any|not any)|there (?:should|must) not be(?: any| a)?|"
    r"(?:i |we )?(?:do not|don'?t)(?: want| need| show| draw| include| have)(?: to see)?(?: any)?)\b\s*",
    re.IGNORECASE,
)
STATE: Final = re.compile(
    r"^(?:(?:should|must|shall|could|can|has to|have to|needs? to|ought to|would|to|will)(?: (?:all|both|each))?"
    r"(?: (?:be|become|look|get|stand|sit|go))?|is|are|be|become|becomes|looks?|into|in|to be|sit|stand|stands|over)\b\s*",
    re.IGNORECASE,
)
MORE: Final = re.compile(r"\b(?:another|more|extra|additional|further|also|too|as well)\b", re.IGNORECASE)
DEFINITE: Final = frozenset({"the", "its", "his", "her", "their", "my", "your", "our"})
_AROUND_BACKGROUND: Final = frozenset(
    {Kind.DETERMINER, Kind.PREPOSITION, Kind.BACKDROP, Kind.COPULA, Kind.PRONOUN, Kind.SILENT, Kind.VERB, Kind.COMMA,
     Kind.BACKGROUND}
)  # fmt: skip
_BACKGROUND_WORDS: Final = words_of(
    """set setting environment scene scenery place location change switch turn move put everything take on by in front of
    instead into to all whole"""
)
_BLANK: Final = frozenset({"plain", "simple", "clean", "neutral", "blank", "empty", "solid"})
_LOOKS_AROUND: Final = frozenset({Kind.SILENT, Kind.DETERMINER, Kind.AND, Kind.PREPOSITION, Kind.MADE_OF, Kind.COPULA})
_LOOKS_WORDS: Final = frozenset({"pattern", "patterned", "texture", "material", "surface", "tone", "shade"})
_TONES: Final = frozenset({"dark", "light", "bright", "pale", "deep", "pastel", "neon", "vivid"})


class Looks(NamedTuple):
    """A colour, a texture, and looks that the vocabulary lacks, such as "teal" or "dark"."""

    color: str | None
    texture: str | None
    shade: str = ""


@lru_cache(maxsize=4096)
def lexed(text: str) -> tuple[Lexeme, ...]:
    """The lexemes; remembered, since a clause is cut at each of its spaces by one frame after the other."""
    return tuple(lex(text))


def lexed_looks(text: str) -> list[Lexeme]:
    """The lexemes, "orange" being the colour where it can be one."""
    lexemes = list(lexed(text))
    if lexemes and lexemes[-1].surface == "orange" and (len(lexemes) == 1 or lexemes[-2].kind is not Kind.DETERMINER):
        lexemes[-1] = Lexeme(Kind.COLOR, "orange", "orange")
    return lexemes


def cuts(text: str) -> Iterator[tuple[str, str]]:
    """Both halves of a text, cut at each of its spaces, the longest left half first."""
    places = [match.start() for match in re.finditer(" ", text)]
    for place in reversed(places):
        yield text[:place], text[place + 1 :]


def number_in(word: str) -> int | None:
    """The number that a word is."""
    lexemes = lexed(word)
    only = at(lexemes, 0)
    return only.number if len(lexemes) == 1 and only.kind is Kind.NUMBER and only.number >= 0 else None


def looks_in(lexemes: Sequence[Lexeme]) -> Looks | None:
    """A colour, a texture or both; None where anything else is said."""
    colors = [it.value for it in lexemes if it.kind is Kind.COLOR]
    textures = [it.value for it in lexemes if it.kind is Kind.TEXTURE]
    tones = [it.surface for it in lexemes if it.surface in _TONES or it.surface in SHADES]
    for it in lexemes:
        known = it.kind in {Kind.COLOR, Kind.TEXTURE} | _LOOKS_AROUND or it.surface in _LOOKS_WORDS
        if not known and it.surface not in tones:
            return None
    shades = [word for word in tones if word in SHADES]
    if len(colors) > 1 or len(textures) > 1 or len(tones) > 1 or not (colors or textures or shades):
        return None
    return Looks(colors[0] if colors else None, textures[0] if textures else None, " ".join(tones))


def texture_in(words: str) -> str | None:
    """The texture that words name, where they name nothing else."""
    looks = looks_in(lexed(words))
    return looks.texture if looks and not looks.color and not looks.shade else None


def background_in(text: str) -> str | None:
    """The background that a text names, where it names nothing else."""
    lexemes = lexed(text)
    named_here = {it.value for it in lexemes if it.kind is Kind.BACKGROUND}
    backdrop = any(it.kind is Kind.BACKDROP for it in lexemes)
    blank = any(it.surface in _BLANK for it in lexemes)
    for it in lexemes:
        known = it.kind in _AROUND_BACKGROUND or it.surface in _BACKGROUND_WORDS
        if not known and not (backdrop and it.surface in _BLANK) and it.value != "back":
            return None
    if not named_here and backdrop and blank:
        return "plain"
    return named_here.pop() if len(named_here) == 1 else None


def mask(text: str) -> tuple[str, list[str]]:
    """Quoted passages replaced by numbers in quotation marks, so that no frame looks into them."""
    passages: list[str] = []

    def keep(match: re.Match[str]) -> str:
        passages.append(next(group for group in match.groups() if group is not None))
        return f'"{len(passages) - 1}"'

    return re.sub(QUOTED, keep, text), passages


def unmask(text: str, passages: Sequence[str]) -> str:
    """The text with its quoted passages back in their places."""
    return re.sub(r'"(\d+)"', lambda match: f'"{passages[int(match[1])]}"', text)
