"""What the next round may spend: how many drawings, with which seeds, or nothing more."""

from __future__ import annotations

from gems.core.state import GemsState, Options, seconds_spent


def room_for(options: Options, drawn: int) -> int:
    """Drawings the next round may have: the candidates wanted, within what is left of the images allowed."""
    if options["max_images"] is None:
        return options["candidates"]
    return max(0, min(options["candidates"], options["max_images"] - drawn))


def seed_of(options: Options, ordinal: int) -> int:
    """The seed of the trajectory's drawing number `ordinal` (from 0): each has its own, and the first is the user's."""
    return (options["seed"] + ordinal) % 2**32


def budget_spent(state: GemsState) -> str:
    """The option that allows no further round, or an empty text."""
    options, usage = state["options"], state["usage"]
    # A round needs the refiner, the compressor, and the critic once for each candidate.
    calls = usage.get("mllm_calls", 0) + 2 + options["candidates"]
    if room_for(options, usage.get("images", 0)) == 0:
        return "max_images"
    if options["max_calls"] is not None and calls > options["max_calls"]:
        return "max_calls"
    if options["max_seconds"] is not None and seconds_spent(state["spans"]) >= options["max_seconds"]:
        return "max_seconds"
    return ""


def all_outages(state: GemsState) -> bool:
    """Whether every drawing of the latest round met an outage."""
    attempts = [attempt for attempt in state["attempts"] if attempt["round"] == state["round"]]
    return bool(attempts) and all(attempt.get("failure") == "outage" for attempt in attempts)
