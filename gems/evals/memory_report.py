"""What the ablation of memory says, beside the paper's own figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from rich.console import Console

from gems.app.terminal import one_line
from gems.core.intervals import share
from gems.core.state import MemoryMode
from gems.evals.figures import print_table
from gems.evals.outcomes import Outcome
from gems.evals.paired import Comparison, compare, mean

PAPER: Final[dict[MemoryMode, float]] = {
    "none": 52.4,
    "prompts": 55.8,
    "images": 58.9,
    "thoughts": 59.2,
    "experience": 61.4,
}
"""GenEval 2 scores of the paper (arXiv 2603.28088), in percent: of other models, on the benchmark's own prompts."""
READ: Final[dict[MemoryMode, str]] = {
    "none": "the latest attempt",
    "prompts": "+ earlier prompts, the best attempt",
    "images": "+ their pictures",
    "thoughts": "+ raw thoughts",
    "experience": "+ experiences for thoughts",
}
SKETCH: Final = (
    "Of the view the embedded engine's rules read the round's number, the requirements, the latest and the best attempt "
    "(prompt and verdicts), and the prompts already tried. They read no pictures, thoughts, experiences or digest. So "
    "here only `none` can differ from the others, and what the others show of each other is that the runs repeat."
)
_LONGEST: Final = 150


class Row(NamedTuple):
    """One value of `memory`, and its differences from `none` for the same prompts."""

    mode: MemoryMode
    true: Comparison | None
    """Right by the layout at the end; None where nobody knows."""
    satisfied: Comparison
    """By the critic."""
    score: Comparison
    """Share of requirements met at the end, by the critic."""
    rounds: Comparison
    calls: Comparison
    tokens: Comparison
    """In hundreds."""


def whole(found: Mapping[MemoryMode, Sequence[Outcome]]) -> dict[MemoryMode, list[Outcome]]:
    """Those prompts that could be run with each value.

    Raises:
        ValueError: outcomes in the same place are of different prompts or seeds.
    """
    for together in zip(*found.values(), strict=True):
        if len({(it.prompt, it.seed) for it in together}) > 1:
            raise ValueError(f"paired with others: {together[0].prompt!r}")
    keep = [not any(it.error for it in together) for together in zip(*found.values(), strict=True)]
    return {mode: [it for it, kept in zip(outcomes, keep, strict=True) if kept] for mode, outcomes in found.items()}


def rows(found: Mapping[MemoryMode, Sequence[Outcome]], seed: int, *, by_layout: bool) -> list[Row]:
    """One row a value.

    Args:
        found: Outcomes of the same prompts, in the same order, without errors.
        seed: Of the resampling.
        by_layout: Whether the truth is known.
    """
    base = found["none"]

    def against_none(outcomes: Sequence[Outcome], value: Callable[[Outcome], float]) -> Comparison:
        return compare("", [value(it) for it in base], [value(it) for it in outcomes], seed)

    return [
        Row(
            mode,
            against_none(outcomes, lambda it: float(bool(it.true))) if by_layout else None,
            against_none(outcomes, lambda it: float(it.satisfied)),
            against_none(outcomes, lambda it: it.score),
            against_none(outcomes, lambda it: it.rounds),
            against_none(outcomes, lambda it: it.calls),
            against_none(outcomes, lambda it: it.tokens / 100),
        )
        for mode, outcomes in found.items()
    ]


def print_memory(
    console: Console,
    found: Mapping[MemoryMode, Sequence[Outcome]],
    profile: str,
    seed: int,
    *,
    by_layout: bool,
    by_rules: bool,
) -> None:
    """The tables.

    Args:
        console: Where they go.
        found: Outcomes of the same prompts, in the same order.
        profile: Whose models they are of.
        seed: Of the resampling.
        by_layout: Whether the truth is known.
        by_rules: Whether the embedded engine's rules refine.
    """
    kept = whole(found)
    table = rows(kept, seed, by_layout=by_layout)
    pairs = len(kept["none"])
    _print_values(
        console, table, f"memory of {profile}: {pairs} prompts, means with 95% intervals (bootstrap over prompts)"
    )
    _print_differences(console, table)
    _print_later(console, kept)
    if not by_layout:
        console.print(
            "Nobody but the critic judged these pictures: satisfied and met are its own words.", soft_wrap=True
        )
    console.print(
        "The paper's figures are of its own models on GenEval 2's own prompts: to be compared in their order, not in their "
        "height.",
        soft_wrap=True,
    )
    if by_rules:
        console.print(SKETCH, soft_wrap=True)
    if pairs:
        console.print(f"Where no pair differs, at most {share(0, pairs).high:.1%} of prompts do (95%).", soft_wrap=True)
    _print_errors(console, found)


def _print_values(console: Console, table: Sequence[Row], title: str) -> None:
    lines = [
        [
            f"{it.mode}: {READ[it.mode]}",
            str(it.true.having) if it.true else "-",
            str(it.satisfied.having),
            str(it.score.having),
            str(it.rounds.having),
            f"{PAPER[it.mode]:.1f}",
        ]
        for it in table
    ]
    heads = ["", "true by the layout", "satisfied (critic)", "met (critic)", "rounds", "paper's, theirs"]
    print_table(console, title, heads, lines)


def _print_differences(console: Console, table: Sequence[Row]) -> None:
    lines = [
        [
            it.mode,
            it.true.told() if it.true else "-",
            it.satisfied.told(),
            it.rounds.told(),
            it.calls.told(),
            it.tokens.told(),
            f"{PAPER[it.mode] - PAPER['none']:+.1f}",
        ]
        for it in table
        if it.mode != "none"
    ]
    heads = ["", "true", "satisfied", "rounds", "calls", "tokens, hundreds", "paper's"]
    print_table(console, "differences from none, of pairs", heads, lines)


def _print_later(console: Console, kept: Mapping[MemoryMode, Sequence[Outcome]]) -> None:
    """Only a second round has anything to remember."""
    needed = [place for place, it in enumerate(kept["none"]) if it.rounds > 1]
    lines = []
    for mode, outcomes in kept.items():
        later = [outcomes[place] for place in needed]
        satisfied = share(sum(it.satisfied for it in later), len(later))
        lines.append([mode, str(satisfied), str(mean([it.rounds for it in later]))])
    title = f"of these, the {len(needed)} prompts that the first round did not satisfy without memory"
    print_table(console, title, ["", "satisfied at the end", "rounds"], lines)


def _print_errors(console: Console, found: Mapping[MemoryMode, Sequence[Outcome]]) -> None:
    broken = [(mode, it) for mode, outcomes in found.items() for it in outcomes if it.error]
    if broken:
        console.print(
            f"left out with all runs of their prompts: {len(broken)} runs that could not be made", soft_wrap=True
        )
    for mode, it in broken:
        console.print(one_line(f"  {mode}, {it.prompt}: {it.error}", _LONGEST))
