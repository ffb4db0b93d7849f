"""`python -m gems.evals.lessons`: whether lessons of some prompts help with others, on the embedded engine.

Lessons are learned on some prompts, beginning with none. Other prompts of the same grammar are then run twice, with the same
seeds: without lessons, and with those learned. These are frozen meanwhile, so that the order does not matter; with
`--keep-learning` the prompts are run a third time, one after the other, and their lessons are kept, too. Nothing is chosen
by what the held-out prompts show: retrieval and its thresholds are those of the program.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import click

from gems.app.terminal import make_console
from gems.core.errors import GemsError
from gems.core.ports import Lesson
from gems.evals import lessons_report
from gems.evals.by_atoms import EASIEST, HARDEST, prompts_of
from gems.evals.chains import run_chains
from gems.evals.engine import Benchmark, generate
from gems.evals.lessons_trial import OWNER, Trial, Tried, open_store, run_trial
from gems.evals.tasks import LayoutTask

BENCHMARKS: Final[tuple[Benchmark, ...]] = ("geneval", "geneval2")
SEED_STEP: Final = 1000
"""Between the seeds of two prompts: rounds and candidates count on from a run's seed."""


class Halves(NamedTuple):
    """Prompts to learn on, and others to measure with."""

    learning: Sequence[LayoutTask]
    held_out: Sequence[LayoutTask]


@dataclass(slots=True)
class Measured:
    """What came of one benchmark. The lists of the held-out prompts are in the same order."""

    benchmark: Benchmark
    learning: list[Tried]
    lessons: list[Lesson]
    """As they stood when the learning was done."""
    without: list[Tried] = field(default_factory=list)
    having: list[Tried] = field(default_factory=list)
    """With the lessons frozen."""
    keeping: list[Tried] = field(default_factory=list)
    """With lessons that go on being learned; empty where that was not asked for."""


@dataclass(frozen=True, slots=True)
class Study:
    """How it is measured."""

    seed: int
    rounds: int
    """Most rounds of a run."""
    jobs: int
    """Processes."""
    keep_learning: bool = False
    work: Callable[[Trial], Tried] = run_trial
    """Makes one run."""
    done: Callable[[], None] = lambda: None
    """Called after each run."""


def halves(benchmark: Benchmark, prompts: int, seed: int, least_atoms: int = EASIEST) -> Halves:
    """Twice so many different prompts of a grammar; no prompt is in both halves.

    Args:
        benchmark: Whose grammar.
        prompts: Prompts of a half.
        seed: Same seed, same prompts.
        least_atoms: Leaves out easier prompts of GenEval 2.
    """
    hard = benchmark == "geneval2" and least_atoms > EASIEST
    tasks = prompts_of(2 * prompts, least_atoms, seed) if hard else generate(benchmark, 2 * prompts, seed)
    return Halves(tasks[:prompts], tasks[prompts:])


def measure(named: dict[Benchmark, Halves], folder: Path, study: Study) -> list[Measured]:
    """Learn, then run the held-out prompts.

    Args:
        named: The prompts of each benchmark. Each has lessons of its own.
        folder: Where the lessons are kept.
        study: How it is measured.
    """
    stores = {name: folder / f"{name}.sqlite" for name in named}
    chains = [
        [
            Trial(task, study.seed + SEED_STEP * place, study.rounds, stores[name])
            for place, task in enumerate(it.learning)
        ]
        for name, it in named.items()
    ]
    learned = run_chains(study.work, chains, study.jobs, study.done)
    measured = [
        Measured(name, tried, asyncio.run(open_store(stores[name]).all(OWNER)))
        for name, tried in zip(named, learned, strict=True)
    ]
    for it in measured:
        _run_held_out(it, named[it.benchmark], stores[it.benchmark], study)
    return measured


def _run_held_out(measured: Measured, parts: Halves, store: Path, study: Study) -> None:
    seeds = [study.seed + SEED_STEP * (len(parts.learning) + place) for place in range(len(parts.held_out))]
    tasks = list(zip(parts.held_out, seeds, strict=True))
    # In turn one kind of run and the other goes first: what a process does but once falls on both.
    chains = [_both(task, seed, study, store)[:: -1 if place % 2 else 1] for place, (task, seed) in enumerate(tasks)]
    if study.keep_learning:
        grown = store.with_name(f"grown-{store.name}")
        _copy(store, grown)
        # The longest chain begins first.
        chains.insert(0, [Trial(task, seed, study.rounds, grown) for task, seed in tasks])
    results = run_chains(study.work, chains, study.jobs, study.done)
    if study.keep_learning:
        measured.keeping = results.pop(0)
    both = [pair[:: -1 if place % 2 else 1] for place, pair in enumerate(results)]
    measured.without = [without for without, _ in both]
    measured.having = [having for _, having in both]


def _copy(store: Path, copy: Path) -> None:
    """Copy a database with what has not come from its log into the file yet."""
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def _both(task: LayoutTask, seed: int, study: Study, store: Path) -> list[Trial]:
    return [Trial(task, seed, study.rounds), Trial(task, seed, study.rounds, store, frozen=True)]


@click.command()
@click.option(
    "--prompts", type=click.IntRange(min=1), default=100, show_default=True, help="To learn on, and as many more."
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Most rounds of a run.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the prompts and the runs.")
@click.option("--benchmark", type=click.Choice([*BENCHMARKS, "both"]), default="both", show_default=True)
@click.option(
    "--least-atoms",
    type=click.IntRange(EASIEST, HARDEST),
    default=EASIEST,
    show_default=True,
    help="Leave out GenEval 2's easier prompts: what is right at once needs no lesson.",
)
@click.option("--keep-learning", is_flag=True, help="Run the held-out prompts a third time, in a row, and learn on.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Processes.")
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write every run there.")
def main(
    prompts: int,
    rounds: int,
    seed: int,
    benchmark: str,
    least_atoms: int,
    keep_learning: bool,
    jobs: int,
    out: Path | None,
) -> None:
    """Measure whether lessons of some prompts help with others, on the embedded engine."""
    named = {name: halves(name, prompts, seed, least_atoms) for name in BENCHMARKS if benchmark in (name, "both")}
    runs = len(named) * prompts * (4 if keep_learning else 3)
    start = time.perf_counter()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="gems-lessons-") as folder,
            click.progressbar(length=runs, label="runs", file=sys.stderr) as bar,
        ):
            study = Study(seed, rounds, jobs, keep_learning, done=lambda: bar.update(1))
            measured = measure(named, Path(folder), study)
        if out is not None:
            out.write_text(_as_json(measured), encoding="utf-8")
        console = make_console(stderr=False)
        for it in measured:
            lessons_report.print_measured(console, it, rounds, seed)
        lessons_report.print_end(console, time.perf_counter() - start, runs)
    except GemsError as error:
        raise click.ClickException(str(error)) from error


def _as_json(measured: Sequence[Measured]) -> str:
    return json.dumps([asdict(it) for it in measured], ensure_ascii=False, indent=1)


if __name__ == "__main__":
    main()
