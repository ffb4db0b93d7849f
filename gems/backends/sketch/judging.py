"""The critic's expert: looks at pictures, answers questions about them, compares two."""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gems.backends.sketch.questions import Question, read_question
from gems.backends.sketch.scene import Group, Scene, Thing
from gems.backends.sketch.truth import answer, members
from gems.backends.sketch.vocabulary import plural
from gems.core.replies import Comparison, VerdictItem, Verdicts

if TYPE_CHECKING:
    from gems.backends.sketch.vision import Sight, Sighting

_REMEMBERED: Final = 32
"""Looks kept."""
_LISTED: Final = 6
"""Things that evidence describes one by one."""
_LARGER: Final = 1.15
"""How much larger things must be, on the mean, for a composition to be called the better one."""


def _look(content: bytes) -> Sight:
    from PIL import Image

    from gems.backends.sketch.vision import look

    with Image.open(io.BytesIO(content)) as image:
        return look(image.convert("RGB"))


class Looks:
    """The last pictures looked at, by the SHA-256 of their bytes: asking about one again costs nothing.

    Args:
        look: from a picture's bytes to what is seen in it.
    """

    def __init__(self, look: Callable[[bytes], Sight] = _look) -> None:
        self._look = look
        self._seen: OrderedDict[str, Sight] = OrderedDict()
        # One look at a time: threads that ask about one picture at once must not each look.
        self._lock = Lock()

    def at(self, content: bytes) -> Sight:
        """What is seen in a picture.

        Raises:
            OSError: the bytes are no picture.
        """
        digest = hashlib.sha256(content).hexdigest()
        with self._lock:
            sight = self._seen.pop(digest, None) or self._look(content)
            self._seen[digest] = sight
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            return sight


@dataclass(frozen=True, slots=True)
class _Eye:
    """A look, with the questions that can be put to it."""

    sight: Sight

    @property
    def scene(self) -> Scene:
        return self.sight.scene

    def sightings(self, group: Group) -> list[Sighting]:
        meant = members(self.scene, group)
        return [sighting for sighting in self.sight.sightings if sighting.thing in meant]

    def doubtful(self, group: Group) -> list[Sighting]:
        """Sightings of something else that could, being doubtful, be of the group."""
        meant = members(self.scene, group)
        return [sighting for sighting in self.sight.sightings if sighting.thing not in meant]


def judge(fields: Mapping[str, Any], images: Sequence[bytes], looks: Looks) -> Verdicts:
    """A verdict for each requirement: `unknown` where its question cannot be read or the vision is in doubt."""
    requirements = [(str(item["id"]), str(item["question"])) for item in fields["requirements"]]
    if not images:
        return Verdicts(verdicts=[_unknown(name, "no picture came with the question") for name, _ in requirements])
    try:
        eye = _Eye(looks.at(images[0]))
    except OSError as error:
        return Verdicts(verdicts=[_unknown(name, f"the picture cannot be opened: {error}") for name, _ in requirements])
    return Verdicts(verdicts=[_verdict(name, question, eye) for name, question in requirements])


def _unknown(name: str, evidence: str) -> VerdictItem:
    return VerdictItem(id=name, evidence=evidence, verdict="unknown", confidence=0.0)


def _verdict(name: str, text: str, eye: _Eye) -> VerdictItem:
    from gems.backends.sketch.vision import CONFIDENT

    question = read_question(text)
    if question is None:
        return _unknown(name, "the question is outside the vocabulary of the embedded critic")
    seen = _evidence(question, eye)
    confidence = _confidence(question, eye)
    if confidence < CONFIDENT:
        return VerdictItem(id=name, evidence=f"in doubt: {seen}", verdict="unknown", confidence=confidence)
    met = answer(question, eye.scene)
    return VerdictItem(id=name, evidence=seen, verdict="met" if met else "unmet", confidence=confidence)


# Confidence


def _confidence(question: Question, eye: _Eye) -> float:
    """Of the least certain word that the answer hangs on, in [0, 1]."""
    match question.aspect:
        case "text":
            return _lowest(sighting.text_confidence for sighting in eye.sight.sightings if sighting.thing.text)
        case "background":
            return eye.sight.background_confidence
        case "whole":
            return eye.sight.confidence
        case _:
            return _confidence_about(question, question.subject or Group(""), eye)


def _confidence_about(question: Question, subject: Group, eye: _Eye) -> float:
    meant = eye.sightings(subject)
    named = [_certainty(sighting, subject) for sighting in meant]
    match question.aspect:
        case "object" if meant:
            return max(named)
        case "attribute" if meant:
            return _lowest(_attribute_certainty(sighting, question) for sighting in meant)
        case "spatial" if meant and question.other is not None:
            return _lowest([*named, *(_certainty(it, question.other) for it in eye.sightings(question.other))])
        case _ if eye.sight.doubts:
            return 0.0  # what stands where something could not be read may be one more of them
        case _:
            # What was taken for something else counts too: it may be one more of them.
            return _lowest([*named, *(_certainty(sighting, subject) for sighting in eye.doubtful(subject))])


def _certainty(sighting: Sighting, group: Group) -> float:
    parts = [sighting.name_confidence]
    if sighting.thing.name == group.name:
        parts += [sighting.color_confidence] if group.color else []
        parts += [sighting.texture_confidence] if group.texture else []
        parts += [sighting.text_confidence] if group.text else []
    return min(parts)


def _attribute_certainty(sighting: Sighting, question: Question) -> float:
    parts = [sighting.name_confidence]
    parts += [sighting.color_confidence] if question.color else []
    parts += [sighting.texture_confidence] if question.texture else []
    return min(parts)


def _lowest(values: Iterable[float]) -> float:
    return min(values, default=1.0)


# Evidence


def _evidence(question: Question, eye: _Eye) -> str:
    """What is seen, in words."""
    scene = eye.scene
    match question.aspect:
        case "text":
            texts = [thing.text for thing in scene.things if thing.text]
            return f"the sign reads {', '.join(repr(text) for text in texts)}" if texts else "no written text seen"
        case "background":
            return f"the background is {scene.background}"
        case "whole":
            return _counted(list(scene.things)) or "nothing seen"
        case "spatial" if question.other is not None and question.subject is not None:
            return f"{_described(question.subject, scene)}; {_described(question.other, scene)}"
        case _:
            return _described(question.subject or Group(""), scene)


def _described(group: Group, scene: Scene) -> str:
    """The things of the name, whatever their colour, as in "2 dogs seen: black at left, brown at right"."""
    things = members(scene, Group(group.name))
    if not things:
        return f"no {group.name} seen"
    many = group.name if len(things) == 1 else plural(group.name)
    head = f"{len(things)} {many} seen"
    if len(things) > _LISTED:
        return f"{head}: {_tally([_look_of(thing) for thing in things])}"
    return f"{head}: " + ", ".join(
        f"{_look_of(thing)} {_where(thing)}" for thing in sorted(things, key=lambda it: it.x)
    )


def _look_of(thing: Thing) -> str:
    return f"{thing.color} {thing.texture}" if thing.texture else thing.color


def _where(thing: Thing) -> str:
    across = "left" if thing.x < 0.38 else "right" if thing.x > 0.62 else ""
    down = "top" if thing.y < 0.38 else "bottom" if thing.y > 0.62 else ""
    return f"at {down} {across}".replace("  ", " ").strip() if across or down else "in the middle"


def _tally(words: Sequence[str]) -> str:
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))


def _counted(things: Sequence[Thing]) -> str:
    looks = [(_look_of(thing), thing.name) for thing in things]
    counts = {look: looks.count(look) for look in looks}
    return ", ".join(f"{count} {look} {name if count == 1 else plural(name)}" for (look, name), count in counts.items())


# Comparison


class _Merit(NamedTuple):
    met: int
    strays: int
    """Things that no question is about."""
    size: float
    """Mean side of a thing, as a fraction of the canvas."""


def compare(fields: Mapping[str, Any], images: Sequence[bytes], looks: Looks) -> Comparison:
    """More questions answered yes wins; then fewer things nobody asked for; then things a good deal larger; else a tie."""
    if len(images) < 2:
        return Comparison(reason="two pictures are needed", better="tie")
    try:
        scenes = [looks.at(image).scene for image in images[:2]]
    except OSError as error:
        return Comparison(reason=f"a picture cannot be opened: {error}", better="tie")
    asked = [read_question(_question_text(item)) for item in fields.get("requirements", [])]
    questions = [question for question in asked if question is not None]
    first, second = (_merit(scene, questions) for scene in scenes)
    if first.met != second.met:
        return _prefer(first.met > second.met, "it meets more of the requirements")
    if first.strays != second.strays:
        return _prefer(first.strays < second.strays, "it has fewer things that nobody asked for")
    if max(first.size, second.size) > _LARGER * min(first.size, second.size):
        return _prefer(first.size > second.size, "its things are larger and easier to see")
    return Comparison(reason="both show the same, about as large", better="tie")


def _question_text(item: Any) -> str:
    return str(item["question"]) if isinstance(item, Mapping) else str(item)


def _prefer(first: bool, reason: str) -> Comparison:
    return Comparison(reason=f"The {'first' if first else 'second'}: {reason}.", better="first" if first else "second")


def _merit(scene: Scene, questions: Sequence[Question]) -> _Merit:
    names = {group.name for question in questions for group in (question.subject, question.other) if group is not None}
    names |= {"sign"} if any(question.aspect == "text" for question in questions) else set()
    names |= {group.name for question in questions if question.spec for group in question.spec.groups}
    strays = sum(thing.name not in names for thing in scene.things)
    size = sum(thing.size for thing in scene.things) / len(scene.things) if scene.things else 0.0
    return _Merit(sum(answer(question, scene) for question in questions), strays, size)
