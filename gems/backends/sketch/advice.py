"""The closed set of advice that the engine's rules give and understand: one for each explicit way of wording a scene.

Lessons across runs are made of it (`distilling`), and `planning` and `refining` read it again. The roles are rules: that a
lesson is taken up here shows that lessons are wired through the program, not that they are wise. Advice of any other
wording, such as a real model's, is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gems.backends.sketch.atoms import atoms
from gems.backends.sketch.questions import Aspect
from gems.backends.sketch.scene import SceneSpec
from gems.backends.sketch.specs import dense
from gems.core.state import RequirementKind

ADVICE: Final = (
    "Give each group of things a sentence of its own: the exact count first, the place last.",
    "Say in one sentence how the groups stand to each other, each with its exact count and its place.",
    "Number the groups, first group, second group, and give each its exact count and its place.",
    "List the groups one after the other, each with its exact count, a colon and its place.",
    "Begin each sentence with a place, then say what is there and exactly how many.",
    "Name every single thing one by one instead of giving a number.",
    "State exact counts and how the groups stand to each other, and leave their places open.",
    "State all exact counts first, then say in sentences of their own where each group is.",
)
"""The advice by the style of `captions.dense_prompt` that follows it."""
KINDS: Final[dict[Aspect, RequirementKind]] = {
    "object": "object", "count": "count", "attribute": "attribute", "spatial": "spatial", "text": "text",
    "background": "other", "whole": "other",
}  # fmt: skip
"""The kind of requirement that a question about an aspect makes."""
_LAYERS: Final = 4
"""Layers of other places in which a prompt's style is looked for."""
_SHORTEST: Final = 40
"""Characters above which the beginning of a prompt tells its style."""


def style_of(advice: str) -> int | None:
    """The dense style that some advice asks for; None where it is none of `ADVICE`."""
    words = _plain(advice)
    return next((style for style, text in enumerate(ADVICE) if _plain(text) in words), None)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def styles_advised(lessons: Iterable[Any], kinds: Iterable[str]) -> list[int]:
    """The styles that lessons on these kinds of requirement ask for, in the lessons' order."""
    wanted = {_counted(kind) for kind in kinds}
    fitting = [it for it in lessons if isinstance(it, Mapping) and _counted(str(it.get("kind", ""))) in wanted]
    styles = (style_of(str(lesson.get("advice", ""))) for lesson in fitting)
    return list(dict.fromkeys(style for style in styles if style is not None))


def _counted(kind: str) -> str:
    """What is not there is a count gone wrong."""
    return "count" if kind == "object" else kind


def kinds_in(spec: SceneSpec) -> frozenset[RequirementKind]:
    """The kinds of requirement that a scene is made of; the count of a single thing is none."""
    kinds = {KINDS[atom.aspect] for atom in atoms(spec)}
    crowd = len(spec.groups) > 1 or any(group.count != 1 for group in spec.groups)
    return frozenset(kinds if crowd else kinds - {"object", "count"})


def style_in(prompt: str, spec: SceneSpec) -> int | None:
    """The dense style in which a prompt words a scene, be there something behind it; None where it is none of them.

    A prompt that was cut short, which an ellipsis shows, is compared as far as it goes.
    """
    cut = prompt.endswith("…") and len(prompt) > _SHORTEST
    for layer in range(_LAYERS):
        for style in range(len(ADVICE)):
            wording = dense(spec, style + len(ADVICE) * layer).rstrip(" .")
            if wording and (prompt.startswith(wording) or (cut and wording.startswith(prompt[:-1]))):
                return style
    return None


def in_order(styles: Sequence[int], usual: Sequence[int]) -> tuple[int, ...]:
    """The usual order of styles with those advised put first."""
    return tuple(dict.fromkeys([*styles, *usual]))
