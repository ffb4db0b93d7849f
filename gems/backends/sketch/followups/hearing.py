"""Hearing a message: its sentences and clauses, each understood as a whole or handed back in the person's own words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from gems.backends.sketch.followups.additions import add, said_anew
from gems.backends.sketch.followups.changes import (
    Change,
)
from gems.backends.sketch.followups.looks import colored, described, lettering
from gems.backends.sketch.followups.meant import Changes, Spoken
from gems.backends.sketch.followups.places import backdrop, placed, swap
from gems.backends.sketch.followups.removals import fewer, remove
from gems.backends.sketch.followups.replacements import numbered, replacement
from gems.backends.sketch.followups.terms import ADD, REMOVE, VERB, mask, unmask
from gems.backends.sketch.language import Reading

_LONGEST: Final = 400
"""Characters of a sentence that is taken apart; a longer one is handed back whole."""
_MOST_JOINTS: Final = 8
"""Joints of a sentence at which it is taken apart."""
_POLITE: Final = re.compile(
    r"^(?:please|kindly|now|next|ok(?:ay)?|then|also|and|but|actually|hm+|great|nice|good|perfect|thanks|thank you|well|hi|"
    r"hello|hey|yes|sorry|maybe|perhaps|so|oh|just|instead(?! of)|i think|"
    r"we should|you should|let'?s|let us|how about|what about|"
    r"(?:can|could|would|will) (?:you|we)|(?:i|we)(?: would|'d)? (?:like|love|want|need|prefer|wish)(?: you)?"
    r"(?: to(?: (?:have|see))?)?|i'd rather(?: have)?)\b[\s,:!]*",
    re.IGNORECASE,
)
_TRAILING: Final = re.compile(
    r"[\s,]*\b(?:please|instead|now|this time|thanks|thank you|though|actually|rather|if (?:possible|you can)|for me|"
    r"(?:in|from|to|into) (?:the|this) (?:picture|image|scene|photo|drawing))[\s.!?]*$",
    re.IGNORECASE,
)
_JOINT: Final = re.compile(
    r"\s*(?:[,;]|\b(?:and then|then|and|but|plus|with|while)\b)(?:\s*(?:and|but|then|also)\b)?\s*", re.I
)
_COMMAND: Final = re.compile(
    r"(?:,|\band\b|\bthen\b|\bbut\b)\s+(?:then |also |please )?(?:add|remove|delete|make|change|paint|put|move|place|"
    r"replace|swap|turn|get rid of|include|take|drop|set|draw|write|the \w+(?: \w+)? (?:should|must))\b",
    re.IGNORECASE,
)


class Understood(NamedTuple):
    """What a message asks for: changes in order, and what could not be read, in the person's own words."""

    changes: tuple[Change, ...] = ()
    rest: tuple[str, ...] = ()


def understand(message: str, reading: Reading) -> Understood:
    """Read a message about a picture of what `reading` asks for. Any text can be read; nothing is raised."""
    masked, passages = mask(" ".join(message.split()))
    scene = Spoken(reading.spec, frozenset(reading.unknown), passages=tuple(passages))
    found: list[Change] = []
    rest: list[str] = []
    for sentence in re.split(r"(?<=[.;!?])\s+|\n+", masked):
        if not sentence.strip(" .,;:!?"):
            continue
        listener = _Listener()
        understood = listener.partly(sentence.strip(" .,;:!?"), scene) if len(sentence) <= _LONGEST else None
        if understood is None:
            rest.append(unmask(sentence.strip(), passages))
            continue
        found += understood.changes
        rest += [unmask(words, passages) for words in understood.rest]
        scene = scene.after(understood.changes)
    return Understood(tuple(found), tuple(dict.fromkeys(rest)))


_FRAMES: Final[tuple[Callable[[str, Spoken], Changes | None], ...]] = (
    lettering, swap, remove, fewer, backdrop, replacement, add, colored, numbered, described, placed, said_anew,
)  # fmt: skip
"""What a clause may be, in the order in which it is tried; each answers None where it does not fit."""


class _Listener:
    """Understands the clauses of one sentence."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Spoken], Changes | None] = {}

    def partly(self, sentence: str, scene: Spoken, verb: str = "") -> Understood:
        """Everything in a sentence that can be understood, and the rest of it."""
        opening = _JOINT.match(sentence)
        sentence = sentence[opening.end() :] if opening else sentence
        whole = self._wholly(sentence, scene, verb)
        if whole is not None:
            return Understood(whole)
        joints = list(_JOINT.finditer(sentence))[:_MOST_JOINTS]
        for joint in joints:
            left, right = sentence[: joint.start()], sentence[joint.end() :]
            changes = self._wholly(left, scene, verb) if left and right else None
            if changes:
                rest = self.partly(right, scene.after(changes), _verb_of(left) or verb)
                return Understood((*changes, *rest.changes), rest.rest)
        for joint in joints:
            left, right = sentence[: joint.start()], sentence[joint.end() :]
            changes = self._wholly(right, scene) if left and right else None
            if changes:
                return Understood(changes, _wish(left))
        for joint in joints[:1]:
            rest = self.partly(sentence[joint.end() :], scene, verb)
            if rest.changes:
                return Understood(rest.changes, (*_wish(sentence[: joint.start()]), *rest.rest))
        return Understood((), _wish(sentence))

    def _wholly(self, clause: str, scene: Spoken, verb: str = "") -> Changes | None:
        """A clause as changes; None where any part of it is not understood."""
        alone = self._clause(clause, scene)
        if alone is None and verb:
            alone = self._clause(f"{verb} {clause}", scene)
        if alone is not None:
            return alone
        for joint in list(_JOINT.finditer(clause))[:_MOST_JOINTS]:
            left, right = clause[: joint.start()], clause[joint.end() :]
            first = self._clause(left, scene) if left and right else None
            if first is None and verb and left and right:
                first = self._clause(f"{verb} {left}", scene)
            if first is not None:
                second = self._wholly(right, scene.after(first), _verb_of(left) or verb)
                if second is not None:
                    return (*first, *second)
        return None

    def _clause(self, clause: str, scene: Spoken) -> Changes | None:
        # A sentence is cut in many ways, and most of its clauses come up again.
        if (clause, scene) not in self._known:
            self._known[clause, scene] = self._framed(clause, scene)
        return self._known[clause, scene]

    def _framed(self, clause: str, scene: Spoken) -> Changes | None:
        text = _without_politeness(clause)
        stripped = _TRAILING.sub("", text).strip(" .,;:!?")
        if not stripped or _later_command(stripped):
            return None
        for frame in _FRAMES:
            changes = frame(stripped, scene)
            if changes is not None:
                return changes
        return None


def _without_politeness(clause: str) -> str:
    text = clause.strip(" .,;:!?")
    while match := _POLITE.match(text):
        # "I want no dog" and "then" alone leave something to say.
        if match.end() == len(text):
            return ""
        text = text[match.end() :]
    return text


def _wish(clause: str) -> tuple[str, ...]:
    """The clause as a wish that is only written down; nothing where it was mere politeness."""
    words = _TRAILING.sub("", _without_politeness(clause)).strip(" .,;:!?")
    return (words,) if words else ()


def _verb_of(clause: str) -> str:
    """The verb that a clause begins with, for the clauses after it."""
    text = _without_politeness(clause)
    match = ADD.match(text) or REMOVE.match(text) or VERB.match(text)
    return match.group().strip() if match else ""


def _later_command(clause: str) -> bool:
    """Whether a second command follows in the same clause, which must be read by itself."""
    return _COMMAND.search(clause) is not None
