"""A scene as a plain request, and parts of it in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from gems.backends.sketch.followups.changes import (
    Bond,
    bonds,
    facts,
)
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.scene import Group, SceneSpec
from gems.backends.sketch.specs import terse
from gems.backends.sketch.vocabulary import NUMBERS, RELATIONS, plural

WHERE: Final = {
    "plain": "on a plain background", "grass": "on the grass", "beach": "at the beach", "sea": "at the sea",
    "snow": "in the snow", "desert": "in the desert", "forest": "in a forest", "mountains": "in the mountains",
    "street": "on the street", "room": "in a room", "night": "at night", "sunset": "at sunset",
}  # fmt: skip


def quantified(described: str, count: int | None) -> str:
    """What is described, with its number before it: "two red dogs", "an apple"."""
    if count is None:
        return f"some {described}"
    if count == 1:
        return f"{'an' if described[0] in 'aeiouAEIOU' else 'a'} {described}"
    return f"{NUMBERS[count] if count < len(NUMBERS) else count} {described}"


def named(group: Group, *, article: bool) -> str:
    """A group in words, with how many or, without an article, as one that is known: "two red dogs", "red dogs"."""
    noun = group.name if group.count == 1 else plural(group.name)
    described = " ".join(word for word in (group.color, group.texture, noun) if word)
    if not article:
        return described
    said = quantified(described, group.count)
    return f'{said} that says "{group.text}"' if group.text else said


def ended(text: str) -> str:
    """The text with a full stop, where it has no end of its own."""
    text = text.rstrip(" ,;:")
    return text if text.endswith((".", "!", "?")) else f"{text}."


def sentence(words: str) -> str:
    """The words as a sentence."""
    return f"{words[0].upper()}{words[1:].rstrip(' .')}." if words.strip() else ""


def bond_sentence(bond: Bond) -> str:
    """How two groups stand to each other: "The dogs are behind the tree."."""
    be = "is" if bond.subject.count == 1 else "are"
    subject, other = named(bond.subject, article=False), named(bond.object, article=False)
    return f"The {subject} {be} {RELATIONS[bond.relation][0]} the {other}."


def wordings(spec: SceneSpec) -> Iterator[str]:
    """Plain requests for a spec; whether one reads back as the spec is for the caller to see."""
    absent = [f"without any {named(replace(it, count=None), article=False)}" for it in spec.groups if it.count == 0]
    shown = [group for group in spec.groups if group.count != 0]
    where = WHERE[spec.background] if spec.background else ""
    if not shown:
        yield " ".join([" and ".join(absent), where]).strip()
        return
    if short := terse(spec):
        yield ", ".join([short, *absent])
    listed = [named(group, article=True) for group in shown]
    sentences = [bond_sentence(bond) for bond in bonds(spec)]
    together = " and ".join(filter(None, (", ".join(listed[:-1]), listed[-1])))
    yield " ".join([f"{' '.join(filter(None, (together, where)))}.", *sentences, *map(sentence, absent)])
    yield " ".join([*map(sentence, listed), *sentences, *map(sentence, absent), sentence(where)]).strip()


def worded(spec: SceneSpec) -> str:
    """A plain request that reads back as the spec; empty where there is none."""
    return next((text for text in wordings(spec) if facts(read_prompt(text).spec) == facts(spec)), "")
