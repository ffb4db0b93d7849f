"""What the critic's exam came to, for people and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from rich.console import Console

from gems.app.critic_exam import ExamResult, Tally
from gems.app.terminal import printable
from gems.app.wording import duration, money, plural
from gems.core.intervals import Share, share
from gems.core.state import CriticMode

CAVEAT: Final = (
    "Icons are not photographs: these figures bound how well the way to the model works and how well it sees icons, not how "
    "well it judges photographs."
)
_COUNTED: Final = ("mllm_calls", "input_tokens", "output_tokens", "images_sent")
_ROW: Final = "{:<10}{:>5}  {:<29}{:>8}{:>9}  {:<29}{:>8}"


class ExamHead(NamedTuple):
    """What was examined."""

    model: str
    profile: str
    critic: CriticMode
    pictures: int
    side: int
    """Pixels."""
    seed: int


def print_report(console: Console, head: ExamHead, result: ExamResult) -> None:
    """The table, what it took, and what it does not say."""

    def say(text: str = "") -> None:
        console.print(printable(text), soft_wrap=True)

    asked = "all questions in one call, the doubtful again" if head.critic == "batch" else "one question a call"
    say(
        f"{head.model} as the critic of the profile {head.profile!r}: "
        f"{result.judged} of {plural(head.pictures, 'picture')}, "
        f"{head.side}x{head.side} pixels, seed {head.seed}, {asked}."
    )
    if result.ending != "done":
        say(f"Ended early: {result.why}.")
    say()
    if result.judged:
        say(
            _ROW.format("", "true", "of those, rejected", "unknown", "untrue", "of those, accepted", "unknown").rstrip()
        )
        for kind, tally in result.tallies.items():
            say(_row(kind, tally, _said))
        say(_row("all", result.total, _said_alone))
        say("Shares with 95% intervals (Wilson); none for all kinds together, whose questions share their pictures.")
        say()
    for problem, number in result.problems.items():
        say(f"{plural(number, 'reply') if number == 1 else f'{number} replies'} could not be used: {problem}.")
    say(_spent(result))
    say(CAVEAT)


def as_json_object(head: ExamHead, result: ExamResult) -> dict[str, Any]:
    """The same as JSON values; a share is null where nothing was asked."""
    return {
        **head._asdict(),
        "judged": result.judged,
        "ending": result.ending,
        "why": result.why,
        "kinds": {kind: _tally_object(tally) for kind, tally in result.tallies.items()},
        "problems": dict(result.problems),
        "usage": _usage(result),
        "seconds": round(result.seconds, 3),
        "caveat": CAVEAT,
    }


def _row(kind: str, tally: Tally, said: Callable[[Share], str]) -> str:
    rejects, accepts = share(tally.false_rejects, tally.met), share(tally.false_accepts, tally.unmet)
    return _ROW.format(
        kind, tally.met, said(rejects), tally.met_unknown, tally.unmet, said(accepts), tally.unmet_unknown
    )


def _said(part: Share) -> str:
    # Of one kind a picture has one true and one untrue statement at most, so that the answers are independent.
    return f"{part.hits:>4}  {part}"


def _said_alone(part: Share) -> str:
    return f"{part.hits:>4}  {part.value:.3f}" if part.total else f"{part.hits:>4}  -"


def _tally_object(tally: Tally) -> dict[str, Any]:
    return {
        "true": tally.met,
        "false_rejects": _share_object(share(tally.false_rejects, tally.met)),
        "true_unknown": tally.met_unknown,
        "untrue": tally.unmet,
        "false_accepts": _share_object(share(tally.false_accepts, tally.unmet)),
        "untrue_unknown": tally.unmet_unknown,
    }


def _share_object(part: Share) -> dict[str, Any]:
    figures = {"value": part.value, "low": part.low, "high": part.high}
    return {"number": part.hits, **{name: round(value, 4) if part.total else None for name, value in figures.items()}}


def _usage(result: ExamResult) -> dict[str, float]:
    usage: Mapping[str, Any] = result.usage
    counted = {name: usage.get(name, 0) for name in _COUNTED}
    return {
        **counted,
        "mllm_seconds": round(usage.get("mllm_seconds", 0.0), 3),
        "cost": round(usage.get("cost", 0.0), 6),
    }


def _spent(result: ExamResult) -> str:
    usage = _usage(result)
    parts = [plural(usage["mllm_calls"], "model call")]
    parts.append(f"{usage['input_tokens']:,.0f} tokens in, {usage['output_tokens']:,.0f} out")
    if usage["cost"]:
        parts.append(f"{money(usage['cost'])} by the price table")
    return " · ".join([*parts, duration(result.seconds)])
