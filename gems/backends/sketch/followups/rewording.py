"""Rewording a request after a change: as few of its words as possible are touched, and the outcome is read back.

Wordings are proposed, the nearest to the request first, and the first one is taken that says exactly the changed scene and
keeps everything else: things outside the vocabulary, looks, moods. Nothing is proposed on trust.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from gems.backends.sketch.followups.changes import (
    Add,
    Backdrop,
    Change,
    Forget,
    Redescribe,
    Remove,
    changed,
    facts,
)
from gems.backends.sketch.followups.edits import TINTS, Text, edits, tidied
from gems.backends.sketch.followups.wordings import (
    ended,
    quantified,
    sentence,
    wordings,
)
from gems.backends.sketch.language import Reading, read_prompt
from gems.backends.sketch.lexicon import Kind
from gems.backends.sketch.phrases import Head
from gems.backends.sketch.words import styles


def reworded(text: str, reading: Reading, change: Change) -> str | None:
    """The request with the change in it; None where no wording says exactly that.

    Args:
        text: The request.
        reading: What it asks for.
        change: What is to be different.
    """
    target = changed(reading.spec, change)
    if isinstance(change, Redescribe) and change.old == change.new and not change.shade:
        return text
    unknown = Counter(reading.unknown)
    if isinstance(change, Forget):
        del unknown[change.name]
    if isinstance(change, Add):
        unknown.update(name for name in change.unknown if name not in unknown)
    wanted = replace(reading, spec=target, unknown=tuple(unknown))
    parts = Text(text)
    bounds = _Bounds(_spared(parts, change), _brought(change), tuple(styles(text)))
    proposals = chain(edits(parts, reading.spec, change), _anew(wanted, change, bounds.manner))
    for proposal in proposals:
        tidy = tidied(proposal)
        if tidy and _says(tidy, wanted, bounds):
            return tidy
    return None


class _Bounds(NamedTuple):
    """Words without effect that a rewording may lose or bring in, and the style passages that it must keep."""

    may_lose: frozenset[str]
    may_bring: frozenset[str]
    manner: tuple[str, ...]


def _says(text: str, wanted: Reading, bounds: _Bounds) -> bool:
    """Whether a text says just what is wanted, with every other word of the request and no new one."""
    found = read_prompt(text)
    if facts(found.spec) != facts(wanted.spec) or set(found.unknown) != set(wanted.unknown):
        return False
    had, has = {*wanted.ignored, *wanted.unfollowed}, {*found.ignored, *found.unfollowed}
    return had - bounds.may_lose <= has <= had | bounds.may_bring and set(bounds.manner) <= set(styles(text))


def _brought(change: Change) -> frozenset[str]:
    match change:
        case Redescribe(shade=words) | Add(words=words):
            reading = read_prompt(words)
            return frozenset({*reading.ignored, *words.lower().split()})
        case _:
            return frozenset()


def _spared(parts: Text, change: Change) -> frozenset[str]:
    """Words without effect that may go: those of what goes itself, and tints where a colour is set."""
    match change:
        case Remove(group):
            gone = [it.phrase.ignored for it in parts.phrases if it.phrase.name == group.name]
        case Forget(name):
            gone = [it.phrase.ignored for it in parts.phrases if it.phrase.name == name]
        case Redescribe(old, new) if old.color != new.color or old.name != new.name:
            gone = [[*TINTS]]
        case Backdrop():
            gone = [it.phrase.ignored for it in parts.phrases if it.phrase.head in (Head.BACKGROUND, Head.BACKDROP)]
            gone.append([piece.lexeme.surface for piece in parts.pieces if piece.lexeme.kind is Kind.BACKGROUND])
        case _:
            gone = []
    return frozenset(word for words in gone for word in words)


def _anew(wanted: Reading, change: Change, manner: Sequence[str]) -> Iterator[str]:
    """The whole request written from the changed scene, with what lies outside the vocabulary behind it."""
    if isinstance(change, Add) and change.unknown:
        return
    others = [name if name.endswith("s") else quantified(name, 1) for name in wanted.unknown]
    looks = [*wanted.ignored, *manner]
    if isinstance(change, Redescribe) and change.shade:
        return
    for text in wordings(wanted.spec):
        joined = f"{ended(text)} {sentence(' and '.join(others))}".strip() if others and text else text
        joined = joined or " and ".join(others)
        yield ", ".join([joined.rstrip(" ."), *looks]) if looks else joined
