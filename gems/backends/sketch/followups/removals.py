"""Follow-ups that take things away."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from gems.backends.sketch.followups.changes import (
    Add,
    Backdrop,
    Forget,
    Redescribe,
)
from gems.backends.sketch.followups.meant import Changes, Spoken, less, things
from gems.backends.sketch.followups.terms import REMOVE, VERB, background_in, lexed, number_in, texture_in
from gems.backends.sketch.followups.wordings import named
from gems.backends.sketch.lexicon import Kind
from gems.backends.sketch.phrases import Head, NounPhrase, read_noun_phrase
from gems.backends.sketch.scene import Group

_REMOVE_AROUND: Final = re.compile(r"^(?:take|leave|throw|cut|get) (?P<what>.+) (?:away|out|off)$", re.IGNORECASE)
_GONE: Final = re.compile(
    r"^(?P<what>.+?) (?:should|must|has to|have to|needs? to|can|is|are)(?: to)?(?: be| go)? "
    r"(?:gone|removed|deleted|away|disappear|vanish|go|leave|not be (?:there|visible|shown))$",
    re.IGNORECASE,
)
_FEWER: Final = re.compile(
    r"^(?P<number>\w+) (?:fewer|less) (?P<what>.+)$|^(?P<number2>\w+) (?P<what2>.+) (?:fewer|less)$", re.I
)
_LETTERING: Final = frozenset({"text", "lettering", "letters", "words", "word", "writing", "inscription"})


def remove(text: str, scene: Spoken) -> Changes | None:
    """Remove the dog; no dog; the dog should be gone."""
    match = _REMOVE_AROUND.match(text) or _GONE.match(text)
    verb = REMOVE.match(text)
    if match is None and verb is None:
        return None
    what = match["what"] if match else text[verb.end() if verb else 0 :]
    what = re.sub(r"\s+(?:at all|anymore|any more|anywhere)$", "", what)
    everywhere = bool(verb and re.search(r"\b(?:no|any|without)\b", verb.group(), re.IGNORECASE))
    return _removed(what, scene, everywhere)


def _removed(what: str, scene: Spoken, everywhere: bool) -> Changes | None:
    quotes = [it.value for it in lexed(what) if it.kind is Kind.QUOTE]
    bare = re.sub(r"^(?:the|any|all|its)\s+", "", what.lower())
    written = [group for group in scene.groups if group.text]
    if written and (bare.split(" on ")[0].split(" from ")[0] in _LETTERING or (quotes and len(lexed(what)) == 1)):
        return tuple(Redescribe(group, replace(group, text="")) for group in written)
    textured = [group for group in scene.groups if group.texture and group.texture == texture_in(what)]
    if textured:
        return tuple(Redescribe(group, replace(group, texture=None)) for group in textured)
    if bare in {"background", "backdrop"} or background_in(what) == (scene.spec.background or "-"):
        return (Backdrop("plain" if bare in {"background", "backdrop"} else None),)
    meant = things(what, scene)
    if meant is not None:
        return tuple(less(it.group, None if everywhere else it.share) for it in meant)
    lexemes = lexed(what)
    phrase = read_noun_phrase(lexemes, 0)
    if phrase.end != len(lexemes) or phrase.ignored:
        return None
    if phrase.head is Head.UNKNOWN:
        names = {name for name in scene.unknown if _same_thing(name, phrase.name)}
        return tuple(Forget(name) for name in sorted(names)) or None
    if phrase.head is Head.OBJECT and not any(group.name == phrase.name for group in scene.groups):
        return _forbidden(phrase, scene)
    return None


def _forbidden(phrase: NounPhrase, scene: Spoken) -> Changes:
    """What the request does not name, and now rules out."""
    absent = Group(phrase.name, 0, next(iter(phrase.colors), None), next(iter(phrase.textures), None))
    if absent in scene.spec.groups:
        return ()
    return (Add(f"without any {named(replace(absent, count=None), article=False)}", (absent,)),)


def fewer(text: str, scene: Spoken) -> Changes | None:
    """One dog fewer."""
    match = _FEWER.match(VERB.sub("", text))
    if match is None:
        return None
    number, what = match["number"] or match["number2"], match["what"] or match["what2"]
    meant = things(f"the {re.sub(r'^(?:the|of the) ', '', what)}", scene)
    value = number_in(number)
    if value is None or meant is None or len(meant) != 1 or meant[0].group.count is None:
        return None
    return (less(meant[0].group, value),)


def _same_thing(one: str, other: str) -> bool:
    return one.removesuffix("s") == other.removesuffix("s")
