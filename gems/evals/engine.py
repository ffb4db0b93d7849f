"""`python -m gems.evals.engine`: how good the embedded engine is, alone and in the loop, true by its layouts."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

import click

from gems.app.terminal import make_console
from gems.backends.sketch.images import load_pipeline
from gems.backends.sketch.scene import Scene
from gems.backends.sketch.vocabulary import MAX_OBJECTS
from gems.core.errors import GemsError
from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings
from gems.evals import engine_report, geneval, geneval2
from gems.evals.phrasing import Phrasing, compare_phrasings
from gems.evals.runs import MeasuredRun, measure_run
from gems.evals.speed import Timing, time_engine
from gems.evals.tasks import LayoutTask

Benchmark = Literal["geneval", "geneval2"]
SIZES: Final[dict[Benchmark, int]] = {"geneval": 553, "geneval2": 800}
"""Prompts of the real benchmarks, and of a run when no number is given."""
_SEED_STEP: Final = 1000
"""Between the seeds of two runs: rounds and candidates count on from a run's seed."""
_TIMED: Final = 24
"""Prompts that drawing and looking are timed on."""


class Split(NamedTuple):
    """The prompts within the engine's reach, and those that ask for more things than a scene holds."""

    within: list[LayoutTask]
    beyond: list[LayoutTask]


def split(tasks: Sequence[LayoutTask]) -> Split:
    """Put the prompts that no scene can satisfy apart. A prompt refused for any other reason is a failure of the engine."""
    return Split(
        [task for task in tasks if task.things <= MAX_OBJECTS],
        [task for task in tasks if task.things > MAX_OBJECTS],
    )


def read_file(path: Path) -> list[LayoutTask]:
    """The prompts of a benchmark's own file; which one it is, is read off its first row.

    Raises:
        GemsConfigError: the file cannot be read, or a line does not fit.
    """
    try:
        is_second = '"vqa_list"' in path.read_text(encoding="utf-8").split("\n", 1)[0]
    except (OSError, UnicodeDecodeError):
        is_second = False  # the loader says what is wrong
    return [*geneval2.load(path)] if is_second else [*geneval.load(path)]


def generate(benchmark: Benchmark, number: int | None, seed: int) -> list[LayoutTask]:
    """Fresh prompts in a benchmark's grammar."""
    number = SIZES[benchmark] if number is None else number
    return [*geneval.generate(number, seed)] if benchmark == "geneval" else [*geneval2.generate(number, seed)]


# One run, in a process of its own pool


def layout_of(prompt: str, seed: int) -> Scene:
    """The layout behind the picture that the embedded engine draws for a prompt and a seed."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return load_pipeline()(prompt, generator=generator, output_type="layout").scenes[0]


def use_one_thread() -> None:
    """Compute on one thread: the processes of a pool must not fight for the cores, and small tensors gain nothing."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one run is to do."""

    task: LayoutTask
    seed: int
    rounds: int


def run_one(assignment: Assignment) -> MeasuredRun:
    """Run the agent with the embedded engine, with a home folder that lasts as long as the run."""
    from langgraph.checkpoint.memory import InMemorySaver

    from gems.graph import build_graph, make_services

    task, seed = assignment.task, assignment.seed
    with tempfile.TemporaryDirectory(prefix="gems-eval-") as home:
        services = make_services(Settings(home=Path(home), profile="sketch", profiles=dict(BUILT_IN)))
        graph = build_graph(services, checkpointer=InMemorySaver())
        context = {"profile": "sketch", "max_rounds": assignment.rounds, "lessons": False}
        try:
            return asyncio.run(measure_run(graph, task, seed, layout_of, context))
        except Exception as error:  # one broken run must not take the hours of the others along
            return MeasuredRun(
                task.benchmark, task.stratum, task.prompt, seed, error=f"{type(error).__name__}: {error}"
            )


def run_all(assignments: Sequence[Assignment], jobs: int) -> Iterator[MeasuredRun]:
    """The runs as they end."""
    if jobs == 1:
        use_one_thread()
        yield from map(run_one, assignments)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=use_one_thread) as pool:
        for future in as_completed([pool.submit(run_one, assignment) for assignment in assignments]):
            yield future.result()


def _measure(tasks: Sequence[LayoutTask], seed: int, rounds: int, jobs: int) -> list[MeasuredRun]:
    assignments = [Assignment(task, seed + _SEED_STEP * place, rounds) for place, task in enumerate(tasks)]
    runs: dict[str, MeasuredRun] = {}
    with click.progressbar(length=len(assignments), label="runs", file=sys.stderr) as bar:
        for run in run_all(assignments, jobs):
            runs[run.prompt] = run
            bar.update(1)
    return [runs[task.prompt] for task in tasks]


# The command


@click.command()
@click.option(
    "--prompts", type=click.IntRange(min=1), help="Prompts a benchmark; default: as many as the real one has."
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Most rounds of a run.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the prompts and the runs.")
@click.option("--benchmark", type=click.Choice(["geneval", "geneval2", "both"]), default="both", show_default=True)
@click.option("--file", type=click.Path(path_type=Path), help="A benchmark's own JSON lines file instead.")
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write every run there.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Processes.")
def main(
    prompts: int | None, rounds: int, seed: int, benchmark: str, file: Path | None, out: Path | None, jobs: int
) -> None:
    """Measure the embedded engine on prompts in the grammars of GenEval and GenEval 2."""
    try:
        if file is not None:
            tasks = read_file(file)[:prompts]
        else:
            names: tuple[Benchmark, ...] = ("geneval", "geneval2")
            tasks = [task for name in names if benchmark in (name, "both") for task in generate(name, prompts, seed)]
        _report(tasks, seed, rounds, jobs, out)
    except GemsError as error:
        raise click.ClickException(str(error)) from error


def _report(tasks: Sequence[LayoutTask], seed: int, rounds: int, jobs: int, out: Path | None) -> None:
    console = make_console(stderr=False)
    parts = split(tasks)
    runs = _measure(parts.within, seed, rounds, jobs)
    figures = []
    for benchmark in dict.fromkeys(run.benchmark for run in runs):
        figures += engine_report.print_runs(console, benchmark, [run for run in runs if run.benchmark == benchmark])
    if parts.beyond:
        console.print(f"beyond the engine's {MAX_OBJECTS} things, and not run: {len(parts.beyond)} prompts")
        for task in parts.beyond:
            console.print(f"  {task.things} things: {task.prompt}")
    use_one_thread()
    phrasings = compare_phrasings(load_pipeline(), parts.within, seed)
    timings = time_engine([task.prompt for task in parts.within[:: max(1, len(parts.within) // _TIMED)]], seed)
    figures += engine_report.print_phrasings(console, phrasings)
    figures += engine_report.print_speed(console, timings)
    engine_report.print_targets(console, figures)
    if out is not None:
        out.write_text(_as_json(runs, parts.beyond, phrasings, timings), encoding="utf-8")


def _as_json(
    runs: Sequence[MeasuredRun], beyond: Sequence[LayoutTask], phrasings: Sequence[Phrasing], timings: Sequence[Timing]
) -> str:
    record = {
        "runs": [
            asdict(run) | {"first_true": run.first_true, "best_true": run.best_true, "any_true": run.any_true}
            for run in runs
        ],
        "beyond": [{"prompt": task.prompt, "things": task.things} for task in beyond],
        "phrasings": [
            {"kind": it.kind, "seen": it.seen._asdict(), "held_out": it.held_out._asdict()} for it in phrasings
        ],
        "seconds": [timing._asdict() for timing in timings],
    }
    return json.dumps(record, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    main()
