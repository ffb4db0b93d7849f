"""Follow-ups on colours, textures and what a sign says."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from gems.backends.sketch.followups.additions import added
from gems.backends.sketch.followups.changes import (
    Add,
    Redescribe,
)
from gems.backends.sketch.followups.meant import Changes, Spoken, things, with_looks
from gems.backends.sketch.followups.replacements import replaced_group
from gems.backends.sketch.followups.terms import (
    ADD,
    DEFINITE,
    REMOVE,
    STATE,
    VERB,
    Looks,
    cuts,
    lexed,
    lexed_looks,
    looks_in,
)
from gems.backends.sketch.followups.wordings import named
from gems.backends.sketch.lexicon import Kind
from gems.backends.sketch.phrases import Head, read_noun_phrase
from gems.backends.sketch.scene import Group
from gems.backends.sketch.wordlists import words_of

_COLOR_OF: Final = re.compile(
    r"^(?:change |make |set )?the colou?rs? of (?P<what>.+?) "
    r"(?:should be|must be|to|is|be|into)?\s*(?P<looks>[\w-]+(?: [\w-]+)?)$",
    re.IGNORECASE,
)
_SAYING: Final = re.compile(
    r"^(?:make |let |have )?(?:(?:the |its )?(?:sign|text|lettering|word|words|board|label|writing)|it)"
    r"(?: on (?:it|the sign))?(?: should| must| has to)? "
    r"(?:say|says|read|reads|be|to|spell|become) (?P<text>\w+(?: \w+){0,2})$",
    re.IGNORECASE,
)
_AROUND_TEXT: Final = frozenset(
    {Kind.QUOTE, Kind.SAYS, Kind.SILENT, Kind.DETERMINER, Kind.COPULA, Kind.THERE, Kind.PREPOSITION, Kind.COMMA,
     Kind.PRONOUN, Kind.VERB, Kind.AND, Kind.STOP, Kind.ADJECTIVE, Kind.ONES}
)  # fmt: skip
_TEXT_VERBS: Final = words_of(
    "change write replace make put set let have use paint update correct spell should must instead word on rename"
)


def colored(text: str, scene: Spoken) -> Changes | None:
    """Change the colour of the car to green."""
    match = _COLOR_OF.match(text) or re.match(
        r"^(?:change |make |set )?(?P<what>.+?)(?:'s|s') colou?r (?:should be|to|is|be|into)?\s*(?P<looks>.+)$",
        text,
        re.I,
    )
    looks = looks_in(lexed_looks(match["looks"])) if match else None
    meant = things(match["what"], scene) if match and looks else None
    return with_looks(meant, looks) if meant and looks else None


def described(text: str, scene: Spoken) -> Changes | None:
    """Make the car blue; the car should be blue; the car in blue."""
    for left, right in cuts(VERB.sub("", text)):
        looks = looks_in(lexed_looks(STATE.sub("", right)))
        meant = things(left, scene) if looks else None
        if meant and looks:
            return with_looks(meant, looks)
        if STATE.match(right) and (new := _renamed(left, STATE.sub("", right), scene)) is not None:
            return new
        if looks and (new := _described_anew(left, looks, scene)) is not None:
            return new
    return None


def _renamed(words: str, new: str, scene: Spoken) -> Changes | None:
    """The dog should be a cat."""
    lexemes = lexed(new)
    phrase = read_noun_phrase(lexemes, 0)
    if phrase.head is not Head.OBJECT or phrase.end != len(lexemes) or phrase.ignored or phrase.determiner in DEFINITE:
        return None
    meant = things(words, scene)
    return replaced_group(meant[0], phrase) if meant and len(meant) == 1 else None


def _described_anew(words: str, looks: Looks, scene: Spoken) -> Changes | None:
    """Something described that is not there yet is to be there."""
    lexemes = lexed(words)
    phrase = read_noun_phrase(lexemes, 0)
    if (
        phrase.head is not Head.OBJECT
        or phrase.end != len(lexemes)
        or phrase.ignored
        or phrase.described
        or looks.shade
    ):
        return None
    if any(group.name == phrase.name for group in scene.groups):
        return None
    group = Group(phrase.name, phrase.count, looks.color, looks.texture)
    return (Add(named(group, article=True), (group,)),)


def lettering(text: str, scene: Spoken) -> Changes | None:
    """The sign should say "OPEN"."""
    lexemes = lexed(text)
    quotes = [lexeme.value for lexeme in lexemes if lexeme.kind is Kind.QUOTE]
    signs = [group for group in scene.groups if group.text] or [it for it in scene.groups if it.name == "sign"]
    if not quotes:
        said = _SAYING.match(text)
        if said is None or not signs or looks_in(lexed(said["text"])):
            return None
        return (Redescribe(signs[-1], replace(signs[-1], text=said["text"])),)
    if ADD.match(text) or REMOVE.match(text):
        return None
    allowed = {"sign"}
    if any(
        it.kind not in _AROUND_TEXT and it.value not in allowed and it.surface not in _TEXT_VERBS and it.surface != "of"
        for it in lexemes
    ):
        return None
    texts = [scene.passages[int(quote)] for quote in quotes]
    new = texts[0]
    if len(texts) == 2:
        old, new = (texts[1], texts[0]) if re.search(r"instead of|\bnot\b|rather than", text) else (texts[0], texts[1])
        signs = [group for group in scene.groups if group.text.casefold() == old.casefold()]
    if len(texts) > 2 or (len(texts) == 2 and not signs):
        return None
    if not signs:
        return added(f'a sign that says "{new}"', scene)
    return (Redescribe(signs[-1], replace(signs[-1], text=new)),)
