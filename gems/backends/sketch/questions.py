"""Yes/no questions about a picture: what they ask, read from English and said in English."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.lexicon import Kind, Lexeme
from gems.backends.sketch.phrases import Head, NounPhrase, at, read_noun_phrase
from gems.backends.sketch.scene import Group, SceneSpec
from gems.backends.sketch.vocabulary import MATERIALS, NUMBERS, RELATIONS, plural
from gems.backends.sketch.words import lex

Aspect = Literal["object", "count", "attribute", "spatial", "text", "background", "whole"]


@dataclass(frozen=True, slots=True)
class Question:
    """One yes/no question.

    `subject` says which things are meant; its count is the number asked about for `count`, and else only tells one (1) from
    several (None). `spec` is for `whole`: everything a sentence says at once.
    """

    aspect: Aspect
    subject: Group | None = None
    color: str | None = None
    texture: str | None = None
    relation: str | None = None
    other: Group | None = None
    text: str = ""
    background: str | None = None
    spec: SceneSpec | None = None
    at_least: bool = False


# Saying

_ARTICLES: Final = {
    "beach": "a ",
    "desert": "a ",
    "forest": "a ",
    "street": "a ",
    "room": "a ",
    "sea": "the ",
    "sunset": "a ",
}


def say(question: Question) -> str:
    """The question in English, so that `read_question` reads it back.

    Raises:
        ValueError: the question is about a whole sentence, which is its own wording.
    """
    subject = question.subject
    match question.aspect:
        case "text":
            return f'Does the sign say "{question.text}"?'
        case "background" if question.background is not None:
            return f"Is the background {_ARTICLES.get(question.background, '')}{question.background}?"
        case "object" if subject is not None:
            return f"Is there {_with_article(subject)}?" if subject.count == 1 else f"Are there any {_named(subject)}?"
        case "count" if subject is not None and subject.count is not None:
            return _say_count(subject, subject.count)
        case "attribute" if subject is not None:
            return f"{_be(subject)} the {_named(subject)} {_said_attribute(question)}?"
        case "spatial" if subject is not None and question.other is not None and question.relation is not None:
            return (
                f"{_be(subject)} the {_named(subject)} {RELATIONS[question.relation][0]} the {_named(question.other)}?"
            )
        case _:
            raise ValueError(f"no wording for a question about {question.aspect!r}")


def _say_count(subject: Group, count: int) -> str:
    if count == 0:
        return f"Are there no {_named(subject)}?"
    number = NUMBERS[count] if count < len(NUMBERS) else str(count)
    return f"{'Is' if count == 1 else 'Are'} there exactly {number} {_named(subject)}?"


def _be(group: Group) -> str:
    return "Is" if group.count == 1 else "Are"


def _named(group: Group) -> str:
    noun = group.name if group.count == 1 else plural(group.name)
    return " ".join(word for word in (group.color, group.texture, noun) if word)


def _with_article(group: Group) -> str:
    named = _named(group)
    return f"{'an' if named[0] in 'aeiou' else 'a'} {named}"


def _said_attribute(question: Question) -> str:
    if question.texture in MATERIALS:
        material = "wood" if question.texture == "wooden" else question.texture
        return f"{question.color} and made of {material}" if question.color else f"made of {material}"
    return " and ".join(word for word in (question.color, question.texture) if word)


# Reading

_NUMBER: Final = rf"(?:\d+|{'|'.join(NUMBERS)}|no)"
_FRAMES: Final = (
    (r"\bthe colou?rs? of (?:all |both |each )?(?:of )?", ""),
    (r"(\w)(?:'s|’s|s'|s’) colou?rs?\b", r"\1"),
    (r"\b(?:all|both|each|every one|any) of (?=the\b|these\b|them\b)", ""),
    (r"\b(?:all|both|each|every) (?=the\b)", ""),
    (r"\b(each|every)\b", "the"),
    (r"\b(?:equal to|a total of|in total|altogether)\b", ""),
    (r"\b(?:exactly|precisely)\b", ""),
    (rf"\b(?:only|just) (?={_NUMBER}\b|one\b)", ""),
    (r"\b(?:appears?|looks?|seems?)(?: to be)?\b", ""),
    (r"\b(?:present|visible|shown|seen)(?: in (?:the|this) \w+)?$", ""),
)
_BEYOND: Final = re.compile(
    r"\b(?:not|or|nor|neither|either|except|instead|fewer|less|several|few|multiple|lots?)\b|n't\b"
    r"|(?<!how )\bmany\b|(?<!more )\bthan\b"
)
"""Words that turn a question into another one, which is not read here."""
_EXCLUSIVE: Final = re.compile(r"\b(?:only|just)\b")
_QUOTE: Final = re.compile(r"[\"“”]")
_MARKS: Final = frozenset("“”‘’–—…")
_HOW_MANY: Final = re.compile(rf"how many (?P<what>.+?)\?\W*(?:(?:expected )?answer:?\W*)?(?P<number>{_NUMBER})\W*$")
_NUMBER_OF: Final = re.compile(
    rf"(?:is|does) the (?:number|count|amount) of (?P<what>.+?) (?:is |equals? )?(?P<number>{_NUMBER})\W*$"
)
_NUMBER_OF_THE: Final = re.compile(rf"(?:is|are) (?P<number>{_NUMBER}) of (?P<what>.+)$")
_AT_LEAST: Final = re.compile(rf"\b(?P<more>at least|more than) (?P<number>{_NUMBER})\b")
_EXISTENCE: Final = re.compile(
    r"(?:(?:is|are|was|were) there|(?:does|do|can|could) (?:(?:the|this) )?"
    r"(?:\w+ )??(?:image|picture|photo|scene|drawing|it|you|we|i)"
    r" (?:clearly )?(?:show|contain|have|include|depict|feature|display|see|portray))\b(?P<what>.+)$"
)
_BEING: Final = re.compile(r"(?:is|are|was|were|do|does|has|have)\b(?P<what>.+)$")
_WHOLE: Final = re.compile(r"show all of this:\s*(?P<what>.+)$", re.IGNORECASE | re.DOTALL)
_LONGEST: Final = 2000
"""Characters of a question that are read."""
_ATTRIBUTE_WORDS: Final = frozenset({"pattern", "patterns", "texture", "material", "surface", "color", "colour"})


def read_question(text: str) -> Question | None:
    """Read a yes/no question within the vocabulary; None where any part of it cannot be read."""
    text = " ".join(text[:_LONGEST].split())
    if not _QUOTE.search(text) and _is_beyond(text.lower()):
        return None
    if whole := _WHOLE.search(text):
        return _whole(whole["what"].rstrip("?"))
    quoted = _text_question(
        re.sub(r"\b(?:spelled |written )?(?:correctly|legibly|clearly)(?: spelled| written)?\b", "", text)
    )
    if quoted is not None:
        return quoted
    lower = text.lower().replace(" ?", "?")
    if counted := _HOW_MANY.search(lower):
        return _counted(
            re.sub(r"\b(?:are|is) (?:there|in|visible|shown|seen|present)\b.*", "", counted["what"]), counted["number"]
        )
    body = lower.rstrip("?!. ")
    if counted := _NUMBER_OF.match(body):
        return _counted(counted["what"], counted["number"])
    for pattern, better in _FRAMES:
        body = re.sub(pattern, better, body)
    body = " ".join(body.split())
    if _EXCLUSIVE.search(body):
        return None
    return _about_part(body) or _about_existence(body) or _about_being(body)


def _is_beyond(lower: str) -> bool:
    """Whether part of it would be passed over: a word that turns the meaning, or a symbol such as an emoji."""
    symbols = (char for char in lower if ord(char) > 127 and not char.isalnum() and char not in _MARKS)
    return bool(_BEYOND.search(lower)) or next(symbols, None) is not None


def _text_question(text: str) -> Question | None:
    """A question about what is written, and about nothing else."""
    lexemes = lex(text)
    texts = [lexeme.value for lexeme in lexemes if lexeme.kind is Kind.QUOTE]
    if len(texts) != 1:
        return None
    about = [lexeme for lexeme in lexemes if lexeme.kind not in _AROUND_TEXT and lexeme.value != "sign"]
    return Question("text", text=texts[0]) if not about else None


_AROUND_TEXT: Final = frozenset(
    {Kind.QUOTE, Kind.SAYS, Kind.SILENT, Kind.DETERMINER, Kind.COPULA, Kind.THERE, Kind.PREPOSITION, Kind.STOP, Kind.COMMA,
     Kind.PRONOUN, Kind.VERB, Kind.AND}
)  # fmt: skip


def _counted(what: str, number: str) -> Question | None:
    lexemes = _cleaned(what)
    phrase = read_noun_phrase(lexemes, 0)
    group = _group_of(phrase)
    if group is None or phrase.end != len(lexemes):
        return None
    return Question("count", replace(group, count=_value(number)))


def _value(number: str) -> int:
    if number.isdigit():
        return min(int(number[:6]), 10**6)
    return 0 if number == "no" else NUMBERS.index(number)


def _cleaned(text: str) -> list[Lexeme]:
    """The lexemes that say something."""
    return [lexeme for lexeme in lex(text) if lexeme.kind not in {Kind.SILENT, Kind.STOP, Kind.COMMA, Kind.THERE}]


def _group_of(phrase: NounPhrase) -> Group | None:
    """The things a noun phrase means; None where one of its words is not known."""
    if phrase.head is not Head.OBJECT or phrase.ignored or len(phrase.colors) > 1 or len(phrase.textures) > 1:
        return None
    color = phrase.colors[0] if phrase.colors else None
    texture = phrase.textures[0] if phrase.textures else None
    return Group(phrase.name, phrase.count, color, texture)


def _about_part(body: str) -> Question | None:
    """Is one of the dogs black?"""
    match = _NUMBER_OF_THE.match(body)
    if match is None:
        return None
    being = _about_being(f"are {match['what']}")
    if being is None or being.aspect != "attribute" or being.subject is None:
        return None
    return _count_described(being, _value(match["number"]))


def _count_described(being: Question, count: int) -> Question:
    """How many are so: "are two dogs brown?" asks for two brown dogs."""
    subject = being.subject or Group("")
    described = replace(
        subject, count=count, color=being.color or subject.color, texture=being.texture or subject.texture
    )
    return Question("count", described)


def _about_existence(body: str) -> Question | None:
    at_least = _AT_LEAST.search(body)
    if at_least:
        body = _AT_LEAST.sub(at_least["number"], body)
    match = _EXISTENCE.match(body)
    if match is None:
        return None
    lexemes = _cleaned(match["what"])
    if at(lexemes, 0).kind is Kind.WITHOUT:
        lexemes = [Lexeme(Kind.NUMBER, "no", "no", 0), *lexemes[1:]]
    phrase = read_noun_phrase(lexemes, 0)
    rest = lexemes[phrase.end :]
    if phrase.head is Head.BACKGROUND and not phrase.ignored and _is_background(rest):
        return Question("background", background=phrase.name)
    group = _group_of(phrase)
    if group is None:
        return None
    if body.startswith("are ") and not phrase.counted:
        group = replace(group, count=None)
    if not rest:
        question = Question("count" if phrase.counted and phrase.count is not None else "object", group)
        if at_least:
            more = at_least["more"] == "more than"
            return replace(question, at_least=True, subject=replace(group, count=(group.count or 0) + more))
        return question
    if at_least:
        return None
    if not phrase.counted and rest[0].kind is Kind.RELATION:
        return _spatial(group, rest)
    return _whole(match["what"])


def _is_background(rest: Sequence[Lexeme]) -> bool:
    return all(lexeme.kind is Kind.BACKDROP or lexeme.value == "back" for lexeme in rest)


def _whole(sentence: str) -> Question | None:
    """Everything a sentence says, where every word of it can be read."""
    reading = read_prompt(sentence)
    if reading.unknown or reading.unfollowed or reading.ignored or not reading.spec.groups:
        return None
    return Question("whole", spec=reading.spec)


def _spatial(subject: Group, rest: Sequence[Lexeme]) -> Question | None:
    """`rest` begins with the relation."""
    phrase = read_noun_phrase(rest, 1)
    if phrase.head is Head.BACKGROUND and phrase.end == len(rest) and not phrase.ignored:
        return Question("background", background=phrase.name)
    other = _group_of(phrase)
    if other is None or phrase.end != len(rest):
        return None
    return Question("spatial", _one_or_more(subject), relation=rest[0].value, other=_one_or_more(other))


def _one_or_more(group: Group) -> Group:
    return replace(group, count=1 if group.count == 1 else None)


def _about_being(body: str) -> Question | None:
    match = _BEING.match(body)
    if match is None:
        return None
    lexemes = _with_color_orange([lexeme for lexeme in _cleaned(match["what"]) if lexeme.kind is not Kind.COPULA])
    phrase = read_noun_phrase(lexemes, 0)
    rest = lexemes[phrase.end :]
    group = _group_of(phrase)
    if group is None:
        return _about_background(lexemes)
    if body.startswith(("are ", "do ")) and group.count == 1 and phrase.plural is None:
        group = replace(group, count=None)
    if not rest:
        return Question("count" if phrase.counted and phrase.count is not None else "object", group)
    if rest[0].kind is Kind.RELATION:
        return _spatial(group, rest)
    if rest[0].kind is Kind.PREPOSITION and rest[0].value in {"in", "at"}:
        return _about_background(rest)
    being = _attribute(_one_or_more(group), rest)
    if being is not None and phrase.counted and phrase.count is not None and not phrase.determiner:
        return _count_described(being, phrase.count)
    return being


def _with_color_orange(lexemes: list[Lexeme]) -> list[Lexeme]:
    """Right after its thing, "orange" is the colour: "is the cat orange?"."""
    last = at(lexemes, len(lexemes) - 1)
    if last.surface == "orange" and at(lexemes, len(lexemes) - 2).kind is Kind.OBJECT:
        return [*lexemes[:-1], Lexeme(Kind.COLOR, "orange", "orange")]
    return lexemes


def _attribute(subject: Group, rest: Sequence[Lexeme]) -> Question | None:
    color = texture = None
    allowed = {Kind.MADE_OF, Kind.AND, Kind.PREPOSITION, Kind.DETERMINER}
    for lexeme in rest:
        if lexeme.value == "orange" and color is None and not lexeme.plural:
            color = "orange"
        elif lexeme.kind is Kind.COLOR and color in (None, lexeme.value):
            color = lexeme.value
        elif lexeme.kind is Kind.TEXTURE and texture in (None, lexeme.value):
            texture = lexeme.value
        elif lexeme.kind not in allowed and lexeme.surface not in _ATTRIBUTE_WORDS:
            return None
    return Question("attribute", subject, color, texture) if color or texture else None


def _about_background(lexemes: Sequence[Lexeme]) -> Question | None:
    """Every lexeme must belong to the naming of one background."""
    named = {lexeme.value for lexeme in lexemes if lexeme.kind is Kind.BACKGROUND}
    around = {Kind.DETERMINER, Kind.PREPOSITION, Kind.BACKDROP, Kind.BACKGROUND, Kind.PRONOUN, Kind.VERB}
    others = [
        lexeme for lexeme in lexemes if lexeme.kind not in around and lexeme.surface not in {"setting", "environment"}
    ]
    others = [lexeme for lexeme in others if not (lexeme.kind is Kind.RELATION and lexeme.surface in {"on", "by"})]
    if (
        not named
        and any(lexeme.kind is Kind.BACKDROP for lexeme in lexemes)
        and [it.surface for it in others] == ["plain"]
    ):
        return Question("background", background="plain")
    return Question("background", background=named.pop()) if len(named) == 1 and not others else None
