"""What the next round may spend: how many drawings, with which seeds, or nothing more."""

from __future__ import annotations

from gems.core.spending import tokens_of
from gems.core.state import GemsState, Options, Proposal, Usage, seconds_spent


def images_left(options: Options, usage: Usage) -> int | None:
    """Drawings that `max_images` still allows; None: any number.

    What the ledger gave back counts too: this trajectory paid for it before it was interrupted.
    """
    if options["max_images"] is None:
        return None
    return max(0, options["max_images"] - usage.get("images", 0) - usage.get("reused", 0))


def room_for(options: Options, usage: Usage, ahead: int = 0) -> int:
    """Drawings the next round may have: the candidates wanted, as far as they may be drawn and looked at.

    Args:
        options: The trajectory's options.
        usage: What it has spent.
        ahead: Calls that come before anybody looks.
    """
    most = options["candidates"]
    if (left := images_left(options, usage)) is not None:
        most = min(most, left)
    if options["max_calls"] is not None:
        most = min(most, max(1, options["max_calls"] - usage.get("mllm_calls", 0) - ahead))
    return most


def seed_of(options: Options, ordinal: int) -> int:
    """The seed of the trajectory's drawing number `ordinal` (from 0): each has its own, and the first is the user's."""
    return (options["seed"] + ordinal) % 2**32


def budget_spent(state: GemsState) -> str:
    """The option that allows no further round, or an empty text."""
    options, usage = state["options"], state["usage"]
    # A round needs the refiner, the compressor, and the critic: once a candidate, or once a requirement.
    looks = options["candidates"] * (len(state["requirements"]) if options["critic"] == "single" else 1)
    calls = usage.get("mllm_calls", 0) + 2 + looks
    if room_for(options, usage) == 0:
        return "max_images"
    if options["max_calls"] is not None and calls > options["max_calls"]:
        return "max_calls"
    if options["max_tokens"] is not None and tokens_of(usage) >= options["max_tokens"]:
        return "max_tokens"
    if options["max_cost"] is not None and usage.get("cost", 0.0) >= options["max_cost"]:
        return "max_cost"
    if options["max_seconds"] is not None and seconds_spent(state["spans"]) >= options["max_seconds"]:
        return "max_seconds"
    return ""


def undrawn(state: GemsState) -> list[Proposal]:
    """Proposals of the round that have neither a picture nor a refusal: not yet drawn, or failed."""
    closed = {it["id"] for it in state["attempts"] if "artifact" in it or it.get("failure") == "refused"}
    return [proposal for proposal in state["proposals"] if proposal["id"] not in closed]


def nothing_drawn(state: GemsState) -> bool:
    """Whether every drawing of the round failed, for reasons that may pass."""
    failed = {it["id"] for it in state["attempts"] if it.get("failure") == "outage"}
    return bool(state["proposals"]) and all(proposal["id"] in failed for proposal in state["proposals"])
