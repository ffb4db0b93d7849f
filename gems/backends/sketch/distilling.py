"""The expert on lessons: what a trajectory's failures and their cures taught for others.

Only a wording can be a lesson. A failure that a new seed cured taught nothing, and neither did a prompt that follows none of
the explicit styles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gems.backends.sketch.advice import ADVICE, style_in
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.questions import read_question
from gems.backends.sketch.scene import SceneSpec
from gems.backends.sketch.vocabulary import RELATIONS
from gems.core.replies import LessonItem, Lessons
from gems.core.state import RequirementKind

_MOST: Final = 3
_MANY: Final = 5
"""Things of one kind from which on they are hard to count."""
_KINDS: Final[tuple[RequirementKind, ...]] = ("object", "attribute", "count", "spatial", "text", "style", "other")


def distil(fields: Mapping[str, Any]) -> Lessons:
    """For each kind of requirement that failed and was met later, what the prompt that met it did; at most three."""
    spec = read_prompt(str(fields["request"]["prompt"])).spec
    cured: dict[RequirementKind, list[tuple[int, str]]] = {}
    for item in fields.get("evidence", []):
        style = _cure(item, spec)
        kind = next((kind for kind in _KINDS if kind == item.get("kind")), None)
        if style is not None and kind is not None:
            cured.setdefault(kind, []).append((style, str(item.get("question", ""))))
    most_first = sorted(cured.items(), key=lambda entry: -len(entry[1]))
    return Lessons(lessons=[_lesson(kind, cures, spec) for kind, cures in most_first[:_MOST]])


def _cure(item: Mapping[str, Any], spec: SceneSpec) -> int | None:
    """The style of the prompt that met what had failed; None where the wording did not do it."""
    failed, fixed = item.get("failed"), item.get("fixed")
    if not isinstance(failed, Mapping) or not isinstance(fixed, Mapping):
        return None
    prompt = str(fixed.get("prompt", ""))
    if fixed.get("action") != "rewrite" or prompt == failed.get("prompt"):
        return None
    return style_in(prompt, spec)


def _lesson(kind: RequirementKind, cures: list[tuple[int, str]], spec: SceneSpec) -> LessonItem:
    styles = [style for style, _ in cures]
    best = max(dict.fromkeys(styles), key=styles.count)
    question = next(question for style, question in cures if style == best)
    return LessonItem(kind=kind, when=_situation(kind, question, spec), advice=ADVICE[best])


def _situation(kind: RequirementKind, question: str, spec: SceneSpec) -> str:
    """The situation in words that fit other requests too."""
    shown = [group for group in spec.groups if group.count != 0]
    match kind:
        case "count" | "object":
            if len(shown) > 2:
                return "more than two kinds of things with counts"
            if len(shown) == 2:
                return "two kinds of things with counts"
            many = any((group.count or 0) >= _MANY for group in shown)
            return "five or more of one thing" if many else "a few of one thing"
        case "attribute":
            described = [group for group in shown if group.color or group.texture]
            looks = "colours" if all(group.texture is None for group in described) else "colours or materials"
            return (
                f"two or more things of different {looks}"
                if len(described) > 1
                else "a thing of a stated colour or material"
            )
        case "spatial":
            read = read_question(question)
            relation = read.relation if read is not None and read.relation else ""
            return (
                f"a thing {RELATIONS[relation][0]} another" if relation else "things that stand to each other as stated"
            )
        case "text":
            return "a sign with text beside other things" if len(shown) > 1 else "a sign with text"
        case _:
            return "a stated background or look"
