"""The refiner's and the compressor's expert: what failed, what to draw next, what a round taught."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gems.backends.sketch.advice import in_order, styles_advised
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.planning import carrying
from gems.backends.sketch.specs import denses
from gems.backends.sketch.words import quotes
from gems.core.replies import NextAction, Refinement, RoundNote

_ORDERS: Final[dict[str, tuple[int, ...]]] = {
    "count": (0, 2, 4, 7, 1, 3, 6, 5),
    "spatial": (0, 1, 4, 7, 2, 3, 6, 5),
    "attribute": (2, 0, 4, 3, 7, 1, 6, 5),
    "text": (0, 2, 4, 3, 7, 1, 6, 5),
    "": (0, 2, 4, 7, 1, 3, 6, 5),
}
"""Dense styles, the most promising first, by the kind of requirement that failed."""
_LAYERS: Final = 4
"""How often the styles come round, each time with other places."""
_NEARLY: Final = 0.8
"""Share of requirements met from which on another seed may do."""
_PATIENCE: Final = 2
"""Explicit prompts tried before one is drawn again."""
_TOLD: Final = 3
"""Failures that a diagnosis tells in full."""
_MOST_WORDS: Final = 90


def refine(fields: Mapping[str, Any]) -> Refinement:
    """New wordings while they are few, then the best prompt with another seed in turn with new ones."""
    request = str(fields["request"]["prompt"])
    latest = _attempt(fields, "latest")
    best = _attempt(fields, "best") or latest
    tried = [str(entry.get("prompt", "")) for entry in fields.get("tried", []) if isinstance(entry, Mapping)]
    tried += [str(attempt.get("prompt", "")) for attempt in (latest, best)]
    fresh = _fresh(request, _order(fields, _failed_kind(fields, latest)), tried)
    allowed = list(fields.get("actions", [])) or ["rewrite"]
    again = str(best.get("prompt", "")).strip() if "resample" in allowed else ""
    quoted = [str(text) for text in fields.get("quoted", quotes(request))]
    actions = [
        _next(number, fields, best, fresh, again, request, quoted)
        for number in range(max(1, int(fields.get("wanted", 1))))
    ]
    return Refinement(diagnosis=_diagnosis(fields, latest), actions=actions)


def _attempt(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An attempt of the view; the best one is only named there when it is the latest."""
    value = fields.get(name)
    if not isinstance(value, Mapping):
        return {}
    inner = value.get("attempt", value)
    return inner if isinstance(inner, Mapping) else {}


def _verdicts(attempt: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    verdicts = attempt.get("verdicts", {})
    return {str(name): verdict for name, verdict in verdicts.items()} if isinstance(verdicts, Mapping) else {}


def _failures(fields: Mapping[str, Any], attempt: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The requirements that were not met, without those skipped because of another."""
    verdicts = _verdicts(attempt)
    return [
        item
        for item in fields.get("requirements", [])
        if verdicts.get(str(item["id"]), {}).get("verdict") in ("unmet", "unknown")
    ]


def _failed_kind(fields: Mapping[str, Any], attempt: Mapping[str, Any]) -> str:
    kinds = [str(item.get("kind", "")) for item in _failures(fields, attempt)]
    kinds = [("count" if kind == "object" else kind) for kind in kinds]
    known = [kind for kind in kinds if kind in _ORDERS]
    return max(known, key=known.count) if known else ""


def _order(fields: Mapping[str, Any], failed: str) -> tuple[int, ...]:
    """Dense styles, the most promising first: what lessons advise on the kind that failed, on others, the usual."""
    lessons = fields.get("lessons", [])
    every = {str(it.get("kind", "")) for it in lessons if isinstance(it, Mapping)}
    return in_order([*styles_advised(lessons, {failed}), *styles_advised(lessons, every)], _ORDERS[failed])


def _fresh(request: str, order: tuple[int, ...], tried: Sequence[str]) -> list[str]:
    """Explicit prompts that were not tried yet, the most promising first."""
    wordings = denses(read_prompt(request).spec, order, _LAYERS)
    return [wording for wording in dict.fromkeys(wordings) if not any(_is_same(wording, other) for other in tried)]


def _is_same(prompt: str, other: str) -> bool:
    """Whether a prompt is one that the view shows, possibly cut short."""
    return prompt == other or (other.endswith("…") and prompt.startswith(other[:-1]))


def _next(
    number: int,
    fields: Mapping[str, Any],
    best: Mapping[str, Any],
    fresh: list[str],
    again: str,
    request: str,
    quoted: Sequence[str],
) -> NextAction:
    """The action of candidate `number`: it takes its prompt off `fresh`."""
    if again and (not fresh or _may_resample(number, fields, best)):
        return NextAction(action="resample", prompt=again)
    prompt = fresh.pop(0) if fresh else request
    return NextAction(action="rewrite", prompt=carrying(prompt, quoted))


def _may_resample(number: int, fields: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
    """Every other time, once a few wordings were tried and the best attempt was nearly right."""
    rounds = int(fields.get("round", len(fields.get("experiences", [])) + 1))
    verdicts = [str(verdict.get("verdict")) for verdict in _verdicts(best).values()]
    nearly = bool(verdicts) and verdicts.count("met") >= _NEARLY * len(verdicts)
    return nearly and rounds > _PATIENCE and best.get("round") != 1 and (rounds + number) % 2 == 0


def _diagnosis(fields: Mapping[str, Any], latest: Mapping[str, Any]) -> str:
    if error := latest.get("error"):
        return f"Nothing was drawn: {error}."
    failures = _failures(fields, latest)
    if not failures:
        return "Every requirement that could be checked was met."
    verdicts = _verdicts(latest)
    told = "; ".join(f"{item['question']} {verdicts[str(item['id'])].get('evidence', '')}" for item in failures[:_TOLD])
    more = f" and {len(failures) - _TOLD} more" if len(failures) > _TOLD else ""
    kind = _failed_kind(fields, latest) or "other"
    return f"Not met: {told}{more}. Mostly {kind} failed, so the next prompt says it outright."


def compress(fields: Mapping[str, Any]) -> RoundNote:
    """What was met, what was not, and what to do next, in at most 100 words."""
    attempt = fields.get("attempt", {})
    verdicts = _verdicts(attempt)
    met = sum(verdict.get("verdict") == "met" for verdict in verdicts.values())
    questions = {str(item["id"]): str(item["question"]) for item in fields.get("requirements", [])}
    failed = [
        f"{questions.get(name, name)} no: {verdict.get('evidence', '')}"
        for name, verdict in verdicts.items()
        if verdict.get("verdict") == "unmet"
    ]
    if error := attempt.get("error"):
        text = f"Nothing was drawn: {error}. Draw again."
    elif not failed:
        text = f"{met} of {len(verdicts)} requirements met; keep this prompt."
    else:
        advice = "Say counts and places outright, one group a sentence; try another seed only when one thing is off."
        text = f"{met} of {len(verdicts)} requirements met. Failed: {'; '.join(failed)}. {advice}"
    words = text.split()
    return RoundNote(experience=" ".join(words[:_MOST_WORDS]) + ("…" if len(words) > _MOST_WORDS else ""))
