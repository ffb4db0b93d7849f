"""What a person said and ruled in a run, and what it has folded away, read from its state."""

from __future__ import annotations

from gems.core.state import Attempt, Digest, GemsState


def conversation(state: GemsState) -> list[str]:
    """The user's own words, in order."""
    request = state.get("request")
    return list(request.get("said", [request["prompt"]])) if request else []


def told_digest(state: GemsState) -> Digest | None:
    """The digest of rounds that have left the window, once there is one."""
    digest = state.get("digest")
    return digest if digest and digest["text"] else None


def ruled_by_user(state: GemsState, attempt: Attempt) -> list[str]:
    """The requirements whose verdict on this attempt a person gave."""
    ruled = {ruling["requirement"] for ruling in state.get("rulings", []) if ruling["attempt"] == attempt["id"]}
    return [name for name in attempt.get("verdicts", {}) if name in ruled]
