"""A scene spec while it is being read: groups that later words can still split, colour, place or take back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from gems.backends.sketch.scene import Group, Relation, SceneSpec

_AXES: Final = {
    "left": ("x", 0), "right": ("x", 2), "top": ("y", 0), "bottom": ("y", 2), "front": ("z", 0), "back": ("z", 2),
}  # fmt: skip
_ALONG: Final = {"x": "left of", "y": "above", "z": "in front of"}


@dataclass(slots=True, eq=False)
class Draft:
    """One group so far. `parts` are what "one is black and two are brown" makes of it."""

    name: str
    count: int | None = 1
    color: str | None = None
    texture: str | None = None
    text: str = ""
    sentence: int = 0
    places: dict[str, int] = field(default_factory=dict)
    place_words: list[str] = field(default_factory=list)
    """What its absolute places were called, until a relation says them."""
    parts: list[Draft] = field(default_factory=list)

    def place(self, levels: str, words: str) -> None:
        """Note an absolute place, as "left", "top right", "center" or "back", and its words in the prompt."""
        self.place_words.append(words)
        for level in levels.split():
            if level == "center":
                self.places.setdefault("x", 1)
                self.places.setdefault("y", 1)
            else:
                axis, value = _AXES[level]
                self.places[axis] = value

    def group(self) -> Group:
        """The group it became."""
        return Group(self.name, self.count, self.color, self.texture, self.text)


@dataclass(slots=True)
class Drafts:
    """Groups and relations in mention order."""

    groups: list[Draft] = field(default_factory=list)
    relations: list[tuple[Draft, str, Draft]] = field(default_factory=list)
    background: str | None = None

    def relate(self, subject: Draft, relation: str, other: Draft) -> None:
        """Note a relation between two different groups, once."""
        if subject is not other and (subject, relation, other) not in self.relations:
            self.relations.append((subject, relation, other))

    def spec(self) -> SceneSpec:
        """The finished spec."""
        self._relate_places()
        kept = list(self._finished())
        index = {id(draft): number for number, draft in enumerate(kept)}
        relations = [
            Relation(index[id(one)], relation, index[id(two)])
            for subject, relation, other in self.relations
            for one in _members(subject, index)
            for two in _members(other, index)
        ]
        return SceneSpec(tuple(draft.group() for draft in kept), tuple(dict.fromkeys(relations)), self.background)

    def _finished(self) -> Iterator[Draft]:
        for draft in self.groups:
            parts = [part for part in draft.parts if part.color or part.texture]
            rest = None if draft.count is None else draft.count - sum(part.count or 1 for part in parts)
            if not parts or (rest is not None and rest > 0):
                if parts:
                    draft.count = rest
                yield draft
            yield from parts

    def _relate_places(self) -> None:
        """Turn absolute places into relations: left before right, top before bottom, front before back."""
        shown = [draft for draft in self.groups if draft.count != 0]
        for axis, relation in _ALONG.items():
            placed = {level: [draft for draft in shown if draft.places.get(axis) == level] for level in (0, 1, 2)}
            others = [draft for draft in shown if not draft.places]
            levels = [level for level in (0, 1, 2) if placed[level]]
            if levels in ([0], [2]) and (others and (len(shown) == 2 or axis == "z")):
                placed[2 - levels[0]] = others[:1]
                levels = [0, 2]
            for first, second in pairwise(levels):
                self._relate_all(placed[first], relation, placed[second])

    def _relate_all(self, subjects: Sequence[Draft], relation: str, others: Sequence[Draft]) -> None:
        for subject in subjects:
            for other in others:
                self.relate(subject, relation, other)
                subject.place_words = other.place_words = []


def _members(draft: Draft, index: dict[int, int]) -> list[Draft]:
    return [member for member in (draft, *draft.parts) if id(member) in index]
