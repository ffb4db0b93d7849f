"""The trajectory view: what the refiner reads. Its size is bounded, however many rounds there were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gems.core.state import Attempt, Experience, GemsState, Requirement

RECENT: Final = 4
"""Experiences kept whole; older ones are folded into the digest."""
TRIED: Final = 8
"""Earlier prompts listed, shortened."""
LONGEST: Final = {"request": 4000, "prompt": 2500, "evidence": 160, "tried": 120, "experience": 900}
"""Characters at which each kind of text is cut."""


def shorten(text: str, kind: str) -> str:
    """The text, cut to the limit of its kind."""
    limit = LONGEST[kind]
    return text if len(text) <= limit else text[: limit - 1] + "…"


def find_attempt(attempts: Sequence[Attempt], attempt_id: str | None) -> Attempt | None:
    """The attempt of that id, if any."""
    return next((attempt for attempt in attempts if attempt["id"] == attempt_id), None)


def latest_attempt(state: GemsState) -> Attempt:
    """The best-scored attempt of the latest round that has any."""
    attempts = state["attempts"]
    last = max(attempt["round"] for attempt in attempts)
    return max((attempt for attempt in attempts if attempt["round"] == last), key=lambda it: it.get("score", -1.0))


def trajectory_view(state: GemsState) -> dict[str, Any]:
    """The view as JSON values, without its images: those of `latest` and `best`, in this order, go beside it."""
    latest = latest_attempt(state)
    best = find_attempt(state["attempts"], state.get("best"))
    experiences = state.get("experiences", [])
    older = experiences[:-RECENT]
    tried = [attempt for attempt in state["attempts"] if attempt["id"] != latest["id"]][-TRIED:]
    return {
        "request": {"prompt": shorten(state["request"]["prompt"], "request")},
        "requirements": asked(state["requirements"]),
        "round": state["round"],
        "digest": _digest(state, older) if older else "",
        "experiences": [
            {"round": item["round"], "text": shorten(item["text"], "experience")} for item in experiences[-RECENT:]
        ],
        "latest": summary(latest),
        "best": summary(best) if best is not None and best["id"] != latest["id"] else "the latest is the best",
        "tried": [
            {"action": it["action"], "prompt": shorten(it["prompt"], "tried"), "score": round(it.get("score", 0.0), 3)}
            for it in tried
        ],
    }


def asked(requirements: Sequence[Requirement]) -> list[dict[str, str]]:
    """Requirements as a model reads them."""
    return [{"id": item["id"], "question": item["question"], "kind": item["kind"]} for item in requirements]


def summary(attempt: Attempt) -> dict[str, Any]:
    """One attempt as a model reads it."""
    fields: dict[str, Any] = {key: attempt[key] for key in ("id", "round", "action", "seed")}
    fields["prompt"] = shorten(attempt["prompt"], "prompt")
    if "error" in attempt:
        fields["error"] = shorten(attempt["error"], "evidence")
    fields["verdicts"] = {
        requirement: {
            "verdict": verdict["verdict"],
            "evidence": shorten(verdict["evidence"], "evidence"),
            "confidence": round(verdict["confidence"], 2),
        }
        for requirement, verdict in attempt.get("verdicts", {}).items()
    }
    return fields


def _digest(state: GemsState, older: Sequence[Experience]) -> str:
    """Older rounds in numbers: its length depends on the requirements, not on the rounds."""
    last = older[-1]["round"]
    judged = [it for it in state["attempts"] if it["round"] <= last and "verdicts" in it]
    failures = [
        f"{item['id']} {sum(it['verdicts'][item['id']]['verdict'] == 'unmet' for it in judged)}"
        for item in state["requirements"]
    ]
    return f"Rounds 1-{last}: {len(judged)} pictures judged; times each requirement was unmet: {', '.join(failures)}."
