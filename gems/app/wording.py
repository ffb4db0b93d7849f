"""What a person reads for the codes of the state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gems.core.events import Estimate
from gems.core.state import StopReason, VerdictName

STOPPED_BECAUSE: Final[Mapping[StopReason, str]] = {
    "satisfied": "every requirement is met",
    "accepted": "you took the best image as it is",
    "unverified": "nothing is known to be wrong, but not every requirement could be verified",
    "max_rounds": "the limit of rounds is reached",
    "budget": "the budget is used up",
    "stalled": "the last rounds brought nothing better",
    "stopped": "you stopped it",
    "failed": "the run failed",
}
TICKS: Final[Mapping[VerdictName, str]] = {"met": "✓", "unmet": "✗", "unknown": "?", "skipped": "–"}
ASCII_TICKS: Final[Mapping[VerdictName, str]] = {"met": "+", "unmet": "x", "unknown": "?", "skipped": "-"}


def stopped_because(reason: StopReason, limit: str | None) -> str:
    """Why a run ended; where a limit did that, which one."""
    return f"the limit {limit} is reached" if reason == "budget" and limit else STOPPED_BECAUSE[reason]


def finished_because(reason: StopReason) -> str:
    """Why nothing more is to be done, and what can be."""
    return f"{STOPPED_BECAUSE[reason]}; `gems follow-up` changes the picture"


def raised(limit: str | None, rounds: int) -> str:
    """The option that lets a run go on, as it is typed."""
    if limit in (None, "max_rounds"):
        return f"--max-rounds {rounds + 3}"
    return f"--{limit.replace('_', '-')} with more than before"


def plural(count: float, noun: str) -> str:
    """`1 image`, `12,300 images`."""
    return f"{count:,.0f} {noun}" if count == 1 else f"{count:,.0f} {noun}s"


def percent(score: float | None) -> str:
    """A share in [0, 1] as whole percent; 100% only when nothing is missing."""
    if score is None:
        return "–"
    return f"{min(round(score * 100), 99) if score < 1 else 100}%"


def duration(seconds: float) -> str:
    """`0.42 s`, `12 s`, `3 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def money(dollars: float) -> str:
    """`$0.0042`, `$1.25`: US dollars."""
    return f"${dollars:.4f}" if dollars < 0.1 else f"${dollars:,.2f}"


def expected(estimate: Estimate) -> str:
    """What a run may come to, in one line."""
    text = f"at most {plural(estimate['images'], 'image')}, about {plural(estimate['calls'], 'model call')}"
    if estimate["cost"] is None:
        return f"{text}; what they cost is not known"
    if estimate["cost"]:
        text += f", about {money(estimate['cost'])}"
    return f"{text}; never more than {money(estimate['max_cost'])}" if estimate["max_cost"] else text


def cost(usage: Mapping[str, Any]) -> str:
    """What a run spent, in one line. `seconds` is the time it was worked on, not the sum of its parts."""
    drawn = plural(usage["images"], "image")
    if usage["reused"]:
        drawn += f" and {usage['reused']:,.0f} found again"
    tokens = usage["input_tokens"], usage["output_tokens"]
    spent = [f"{tokens[0]:,.0f} tokens in, {tokens[1]:,.0f} out"] if any(tokens) else []
    parts = [
        _with(drawn, _timed(usage["image_seconds"])),
        _with(plural(usage["mllm_calls"], "model call"), [*spent, *_timed(usage["mllm_seconds"])]),
        f"{duration(usage['seconds'])} in all",
    ]
    if usage["cost"]:
        parts.append(money(usage["cost"]))
    return " · ".join(parts)


def _timed(seconds: float) -> list[str]:
    return [duration(seconds)] if seconds else []


def _with(text: str, details: list[str]) -> str:
    return f"{text} ({', '.join(details)})" if details else text
