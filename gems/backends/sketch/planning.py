"""The planner's expert: which skills fit a request, and the first prompts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gems.backends.sketch.advice import kinds_in, styles_advised
from gems.backends.sketch.language import Reading, read_prompt
from gems.backends.sketch.lexicon import Kind
from gems.backends.sketch.specs import dense, terse
from gems.backends.sketch.words import lex
from gems.core.replies import FirstPrompts, SkillChoice

_CROWD: Final = 4
"""Things from which on a request is a matter of layout."""
_COUNTS: Final = 6
"""The dense style that says counts and relations and leaves the places open."""
_FITTING: Final = 2
"""Points from which on a skill fits."""
_LAYOUT_WORDS: Final = frozenset(
    [
        "spatial",
        "layout",
        "layouts",
        "place",
        "places",
        "position",
        "positions",
        "count",
        "counts",
        "counting",
        "number",
        "left",
        "above",
        "behind",
        "arrangement",
    ]
)
_TEXT_WORDS: Final = frozenset(
    ["text", "lettering", "letters", "words", "typography", "spelled", "spelling", "quotation", "quoted"]
)
_BEAUTY_WORDS: Final = frozenset(
    ["aesthetic", "aesthetics", "beauty", "mood", "atmosphere", "artistry", "cinematic", "light", "colour", "style"]
)
_IDEA_WORDS: Final = frozenset(
    ["creative", "creativity", "abstract", "concept", "metaphor", "surreal", "idea", "original", "imagination"]
)
_ASKS_BEAUTY: Final = frozenset(
    [
        "beautiful",
        "majestic",
        "stunning",
        "elegant",
        "gorgeous",
        "cinematic",
        "dramatic",
        "moody",
        "atmospheric",
        "artistic",
        "epic",
        "masterpiece",
        "ethereal",
        "serene",
        "vibrant",
        "mood",
        "aesthetic",
        "magnificent",
        "watercolor",
        "oil",
        "painterly",
        "professional",
        "golden-hour",
    ]
)
_ASKS_IDEA: Final = frozenset(
    [
        "surreal",
        "dreamlike",
        "dreamy",
        "abstract",
        "whimsical",
        "imaginative",
        "fantastical",
        "metaphor",
        "concept",
        "symbolic",
        "impossible",
        "creative",
        "original",
        "unusual",
        "weird",
        "bizarre",
        "otherworldly",
    ]
)


def choose_skills(fields: Mapping[str, Any]) -> SkillChoice:
    """The skills that the request's needs, or its things, call for; none for a plain one."""
    prompt = str(fields["request"]["prompt"])
    needs = _needs(prompt)
    things = _things(prompt)
    points = {str(skill["name"]): _points(skill, needs, things) for skill in fields["skills"]}
    fitting = sorted((name for name, value in points.items() if value >= _FITTING), key=lambda name: -points[name])
    chosen = fitting[: int(fields.get("most", 3))]
    if not chosen:
        return SkillChoice(reason="A plain request: no skill's description fits it.", skills=[])
    asked = " and ".join(needs) or "what the skill is about"
    return SkillChoice(reason=f"The request is about {asked}.", skills=chosen)


def _needs(prompt: str) -> dict[str, frozenset[str]]:
    """What the request is about, each with the words that a fitting skill is described in."""
    spec = read_prompt(prompt).spec
    words = set(re.findall(r"[a-z-]+", prompt.lower()))
    needs = {}
    described = [group for group in spec.groups if group.color or group.texture]
    if spec.relations or sum(group.count or 2 for group in spec.groups) >= _CROWD or len(described) > 1:
        needs["counts and places"] = _LAYOUT_WORDS
    if any(group.text for group in spec.groups):
        needs["written text"] = _TEXT_WORDS
    if words & _ASKS_BEAUTY:
        needs["beauty"] = _BEAUTY_WORDS
    if words & _ASKS_IDEA:
        needs["an idea"] = _IDEA_WORDS
    return needs


def _things(text: str) -> set[str]:
    kinds = {Kind.OBJECT, Kind.NOUN, Kind.WORD, Kind.BACKGROUND}
    return {lexeme.value for lexeme in lex(text) if lexeme.kind in kinds}


def _points(skill: Mapping[str, Any], needs: Mapping[str, frozenset[str]], things: set[str]) -> int:
    name = str(skill["name"]).replace("-", " ").lower()
    description = str(skill.get("description", "")).lower()
    in_name, in_description = set(name.split()), set(re.findall(r"[a-z]+", description))
    points = 2 * len(things & _things(name)) + (1 if things & _things(description) else 0)
    for words in needs.values():
        points += 2 * bool(words & in_name) + (len(words & in_description) >= 2) * 2
    return points


def write_prompts(fields: Mapping[str, Any]) -> FirstPrompts:
    """The request itself, as a hurried model would; with a skill for layout or lettering, what it asks for made explicit.

    Lessons on kinds of requirement that the request has come first, worded as they advise.
    """
    request = str(fields["request"]["prompt"]).strip()
    reading = read_prompt(request)
    explicit = any(_is_about(skill, _LAYOUT_WORDS | _TEXT_WORDS) for skill in fields.get("skills", []))
    wanted = max(1, int(fields.get("wanted", 1)))
    prompts = _explicit(reading, request) if explicit else _close(reading, request)
    advised = styles_advised(fields.get("lessons", []), kinds_in(reading.spec))
    prompts = list(dict.fromkeys([*filter(None, (dense(reading.spec, style) for style in advised)), *prompts]))
    quoted = [str(text) for text in fields.get("quoted", [])]
    return FirstPrompts(prompts=[carrying(prompt, quoted) for prompt in prompts[:wanted]])


def _is_about(skill: Mapping[str, Any], words: frozenset[str]) -> bool:
    return bool(words & set(str(skill["name"]).lower().replace("-", " ").split()))


def _explicit(reading: Reading, request: str) -> list[str]:
    prompts = [dense(reading.spec, _COUNTS), request, terse(reading.spec)]
    return list(dict.fromkeys(filter(None, prompts)))


def _close(reading: Reading, request: str) -> list[str]:
    return list(dict.fromkeys(filter(None, [request, terse(reading.spec)])))


def carrying(prompt: str, quoted: Sequence[str]) -> str:
    """The prompt, with every quoted text that it lacks named at its end, letter by letter as it was asked for."""
    lost = [text for text in quoted if f'"{text}"' not in prompt]
    if not lost:
        return prompt
    return f"{prompt.rstrip(' .')}. " + " ".join(f'A sign that says "{text}".' for text in lost)
