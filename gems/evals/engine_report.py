"""The figures of measured runs of the embedded engine: by line of a benchmark, in all, against the targets."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from rich.console import Console

from gems.app.terminal import one_line
from gems.core.intervals import Share, share
from gems.evals.figures import Figure, Target, print_figures, print_table
from gems.evals.phrasing import Phrasing
from gems.evals.runs import MeasuredRun, Verdicts
from gems.evals.speed import DRAWING, LOOKING, Timing

AFTER_LOOP: Final = {"geneval": 0.98, "geneval2": 0.70}
"""Least mean share of true pictures after the loop, over the lines of each benchmark."""
FALSE_SATISFIED: Final = 0.02
SECONDS: Final = {DRAWING: 0.25, LOOKING: 0.5}
KEPT: Final = 0.9
_SHOWN: Final = 12
"""False runs listed."""
_LONGEST: Final = 200
"""Characters of such a line."""


class Line(NamedTuple):
    """The runs of one tag, or of one number of atoms."""

    label: str
    once: Share
    """True when the request itself is drawn once."""
    first: Share
    """True in the run's first picture."""
    best: Share
    """True at the end."""
    exact: Share
    """True at the end, with no more of each thing than was asked for."""
    reachable: Share
    """True in any picture of the run."""
    rounds: float
    satisfied: Share
    false_satisfied: Share
    """Of the satisfied runs, those that are false."""


def summarize(label: str, runs: Sequence[MeasuredRun]) -> Line:
    """The figures of some runs. A run that ended in an error is false in all of them."""
    satisfied = [run for run in runs if run.satisfied]
    rounds = [run.rounds for run in runs if not run.error]
    return Line(
        label,
        once=share(sum(run.once for run in runs), len(runs)),
        first=share(sum(run.first_true for run in runs), len(runs)),
        best=share(sum(run.best_true for run in runs), len(runs)),
        exact=share(sum(run.best_exact for run in runs), len(runs)),
        reachable=share(sum(run.any_true for run in runs), len(runs)),
        rounds=statistics.fmean(rounds) if rounds else float("nan"),
        satisfied=share(len(satisfied), len(runs)),
        false_satisfied=share(sum(not run.best_true for run in satisfied), len(satisfied)),
    )


def by_stratum(runs: Sequence[MeasuredRun]) -> list[Line]:
    """One line a stratum, in the order of first appearance."""
    strata = dict.fromkeys(run.stratum for run in runs)
    return [summarize(stratum, [run for run in runs if run.stratum == stratum]) for stratum in strata]


class Means(NamedTuple):
    """Shares as means over lines, each line counting once however many runs it has."""

    once: float
    first: float
    best: float


def mean_of(lines: Sequence[Line]) -> Means:
    """The means that the benchmarks themselves report as their score."""
    return Means(
        once=statistics.fmean(line.once.value for line in lines),
        first=statistics.fmean(line.first.value for line in lines),
        best=statistics.fmean(line.best.value for line in lines),
    )


def print_runs(console: Console, benchmark: str, runs: Sequence[MeasuredRun]) -> list[Figure]:
    """The table of one benchmark; the figures that have targets are returned."""
    lines = by_stratum(runs)
    total = summarize("all", runs)
    means = mean_of(lines)
    heads = [
        "",
        "runs",
        "request once",
        "first picture",
        "after the loop",
        "exact counts",
        "any picture",
        "rounds",
        "satisfied",
        "of them false",
    ]
    rows = [_row(line) for line in [*lines, total]]
    rows.append(["mean of the lines", "", f"{means.once:.3f}", f"{means.first:.3f}", f"{means.best:.3f}", *[""] * 5])
    print_table(console, f"{benchmark}: true by the layout, with 95% intervals", heads, rows)
    _print_ends(console, runs)
    return [
        Figure(f"{benchmark}: after the loop, mean", means.best, "", Target("at least", AFTER_LOOP[benchmark])),
        Figure(
            f"{benchmark}: satisfied but false", total.false_satisfied.value, "", Target("under", FALSE_SATISFIED),
            f"{total.false_satisfied.hits} of {total.false_satisfied.total}",
        ),
    ]  # fmt: skip


def _row(line: Line) -> list[str]:
    return [
        line.label,
        str(line.best.total),
        f"{line.once.value:.3f}",
        str(line.first),
        str(line.best),
        f"{line.exact.value:.3f}",
        f"{line.reachable.value:.3f}",
        f"{line.rounds:.2f}",
        f"{line.satisfied.value:.3f}",
        f"{line.false_satisfied.hits} of {line.false_satisfied.total}",
    ]


def _print_ends(console: Console, runs: Sequence[MeasuredRun]) -> None:
    reasons = Counter(run.stop_reason or "error" for run in runs)
    console.print("ends: " + ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()))
    tally = sum((run.verdicts for run in runs), Verdicts())
    console.print(
        f"critic against the layout, of {tally.asked} verdicts: {tally.accepted} accepted wrongly, "
        f"{tally.rejected} rejected wrongly, {tally.unknown} unknown"
    )
    for run in [run for run in runs if not run.best_true][:_SHOWN]:
        console.print(one_line(f"  false: {run.prompt} (seed {run.seed}): {_why(run)}", _LONGEST))
    console.print()


def _why(run: MeasuredRun) -> str:
    if run.error:
        return run.error
    mistakes = next((attempt.mistakes for attempt in run.attempts if attempt.id == run.best), ())
    trues = sum(attempt.true for attempt in run.attempts)
    seen = f"{trues} of {len(run.attempts)} pictures true"
    return f"{run.stop_reason}, {seen}" + (f"; critic {mistakes[0]}" if mistakes else "")


def print_speed(console: Console, timings: Sequence[Timing]) -> list[Figure]:
    """The table of times; the figures that have targets are returned."""
    rows = [[it.step, f"{it.median:.3f}", f"{it.longest:.3f}", f"{it.wall:.3f}"] for it in timings]
    print_table(
        console, "CPU seconds a picture of 1024 px, one thread", ["", "median", "longest", "median by the clock"], rows
    )
    return [
        Figure(f"{it.step}, CPU time", it.median, "s", Target("under", SECONDS[it.step]))
        for it in timings
        if it.step in SECONDS
    ]


def print_phrasings(console: Console, phrasings: Sequence[Phrasing]) -> list[Figure]:
    """The table of phrasings; the figures that have targets are returned."""
    rows = [[it.kind, str(it.seen), str(it.held_out), f"{it.kept:.3f}"] for it in phrasings]
    print_table(
        console,
        "right layouts, one drawing each, by the frame around the request",
        ["", "frames of the training", "frames held out", "kept"],
        rows,
    )
    return [
        Figure(f"{it.kind} phrasings held out, part of seen", it.kept, "", Target("at least", KEPT)) for it in phrasings
    ]


def print_targets(console: Console, figures: Sequence[Figure]) -> None:
    """All figures with targets."""
    print_figures(console, "targets", figures)
