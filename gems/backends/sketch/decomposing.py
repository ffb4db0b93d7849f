"""The decomposer's expert: a request as yes/no questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gems.backends.sketch.advice import KINDS
from gems.backends.sketch.atoms import atoms
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.lexicon import LEXICON, Kind
from gems.backends.sketch.questions import say
from gems.backends.sketch.wordlists import SHADES
from gems.core.replies import RequirementItem, Requirements
from gems.core.state import RequirementKind

_MATTERING: Final = frozenset(
    {Kind.COLOR, Kind.TEXTURE, Kind.PLACE, Kind.RELATION, Kind.BETWEEN, Kind.PREPOSITION}
)  # fmt: skip
"""Kinds of ignored words that the request would be wrong without."""
LONGEST: Final = 300
"""Characters of a request that is asked about as a whole."""


def decompose(fields: Mapping[str, Any]) -> Requirements:
    """One question an atom. What the vocabulary lacks is asked about too: whether it is there is for the critic to say."""
    prompt = str(fields["request"]["prompt"])
    reading = read_prompt(prompt)
    items: list[RequirementItem] = []
    ids: list[str] = []
    said: dict[str, str] = {}
    for atom in atoms(reading.spec):
        question = say(atom.question)
        if question not in said:
            said[question] = f"r{len(items) + 1}"
            parents = list(dict.fromkeys(ids[parent] for parent in atom.depends_on))
            items.append(_item(said[question], question, KINDS[atom.aspect], parents))
        ids.append(said[question])
    for noun in reading.unknown:
        items.append(_item(f"r{len(items) + 1}", f"Is there any {noun}?", "object", []))
    for words in (*filter(_matters, reading.ignored), *reading.unfollowed):
        # No critic that reads pictures alone can answer it, so that the run does not end as satisfied.
        items.append(
            _item(f"r{len(items) + 1}", f'Does the picture follow "{words}" of the request as meant?', "other", [])
        )
    if not items:
        items = [_item("r1", f"Does the picture show all of this: {prompt[:LONGEST]}?", "other", [])]
    return Requirements(requirements=items)


def _matters(words: str) -> bool:
    """Whether ignored words are a colour, a material, a place or a relation, and no mere look or mood."""
    lexeme = LEXICON.get(words)
    return words in SHADES or words == "orange" or (lexeme is not None and lexeme.kind in _MATTERING)


def _item(name: str, question: str, kind: RequirementKind, depends_on: list[str]) -> RequirementItem:
    return RequirementItem(id=name, question=question, kind=kind, depends_on=depends_on)
