"""The trajectory view: what the refiner reads. Its size is bounded, however many rounds there were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gems.core.state import Attempt, Experience, GemsState, Requirement, Thought, VerdictName

RECENT: Final = 4
"""Experiences kept whole; older ones are folded into the digest."""
TRIED: Final = 8
"""Earlier prompts listed, shortened."""
LONGEST: Final = {"request": 4000, "prompt": 2500, "evidence": 160, "tried": 120, "experience": 900, "remark": 600}
"""Characters at which each kind of text is cut."""


def shorten(text: str, kind: str) -> str:
    """The text, cut to the limit of its kind."""
    limit = LONGEST[kind]
    return text if len(text) <= limit else text[: limit - 1] + "…"


def find_attempt(attempts: Sequence[Attempt], attempt_id: str | None) -> Attempt | None:
    """The attempt of that id, if any."""
    return next((attempt for attempt in attempts if attempt["id"] == attempt_id), None)


def verdict_of(attempt: Attempt, requirement: str) -> VerdictName | None:
    """The verdict on one requirement; None where nobody gave one."""
    verdict = attempt.get("verdicts", {}).get(requirement)
    return verdict["verdict"] if verdict else None


def latest_attempt(state: GemsState) -> Attempt:
    """The best-scored attempt of the latest round that has any; after a follow-up the best of all, until it is drawn for."""
    attempts = state["attempts"]
    last = max(attempt["round"] for attempt in attempts)
    if last <= state.get("since", 0) and (best := find_attempt(attempts, state.get("best"))) is not None:
        return best
    return max((attempt for attempt in attempts if attempt["round"] == last), key=lambda it: it.get("score", -1.0))


def trajectory_view(state: GemsState) -> dict[str, Any]:
    """The view as JSON values, without its images: those of `latest` and `best`, in this order, go beside it.

    How much of it there is the option `memory` says, in the steps of the paper's ablation: the latest attempt alone; the
    prompts and feedback of earlier ones; their pictures, too; and with these the refiner's raw thoughts, or in their place
    the experiences.
    """
    latest, memory = latest_attempt(state), state["options"]["memory"]
    view: dict[str, Any] = {
        "request": {"prompt": shorten(state["request"]["prompt"], "request")},
        "requirements": asked(state["requirements"]),
        "round": state["round"],
    }
    if remarks := state.get("remarks"):
        view["remarks"] = [shorten(remark["text"], "remark") for remark in remarks[-RECENT:]]
    if memory == "thoughts":
        view["thoughts"] = [_dated(item) for item in state["thoughts"][-RECENT:]]
    if memory == "experience":
        experiences = state.get("experiences", [])
        view["digest"] = _digest(state, experiences[:-RECENT]) if len(experiences) > RECENT else ""
        view["experiences"] = [_dated(item) for item in experiences[-RECENT:]]
    view["latest"] = summary(latest)
    if memory != "none":
        best = find_attempt(state["attempts"], state.get("best"))
        tried = [attempt for attempt in state["attempts"] if attempt["id"] != latest["id"]][-TRIED:]
        view["best"] = summary(best) if best is not None and best["id"] != latest["id"] else "the latest is the best"
        view["tried"] = [
            {"action": it["action"], "prompt": shorten(it["prompt"], "tried"), "score": round(it.get("score", 0.0), 3)}
            for it in tried
        ]
    return view


def _dated(item: Experience | Thought) -> dict[str, Any]:
    return {"round": item["round"], "text": shorten(item["text"], "experience")}


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
        f"{item['id']} {sum(verdict_of(it, item['id']) == 'unmet' for it in judged)}" for item in state["requirements"]
    ]
    numbers = (
        f"Rounds 1-{last}: {len(judged)} pictures judged; times each requirement was unmet: {', '.join(failures)}."
    )
    return f"{numbers} {state['digest']['text']}".rstrip()
