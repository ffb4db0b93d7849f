"""`python -m gems.evals.memory`: the paper's ablation of memory, on the models of any profile.

The same prompts are run with the same seeds and without lessons, once with each value of the option `memory`: what the
refiner reads of earlier rounds. It needs no more than the option, so it can be run on models of one's own.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, get_args

import click

from gems.app.terminal import make_console
from gems.core.errors import GemsError
from gems.core.settings import Settings, load_settings
from gems.core.state import MemoryMode
from gems.evals import memory_report
from gems.evals.by_atoms import EASIEST, HARDEST, prompts_of
from gems.evals.chains import run_chains
from gems.evals.engine import layout_of
from gems.evals.outcomes import Outcome, run_outcome
from gems.evals.tasks import LayoutTask
from gems.graph import OwnServices

MODES: Final[tuple[MemoryMode, ...]] = get_args(MemoryMode)
SEED_STEP: Final = 1000
"""Between the seeds of two prompts: rounds and candidates count on from a run's seed."""
SKETCH: Final = "sketch"


@dataclass(frozen=True, slots=True)
class Trial:
    """What one run is to do."""

    task: LayoutTask
    seed: int
    rounds: int
    """Most rounds."""
    memory: MemoryMode
    profile: str


@dataclass(frozen=True, slots=True)
class Study:
    """How it is measured."""

    seed: int
    rounds: int
    jobs: int
    """Processes."""
    profile: str = SKETCH
    done: Callable[[], None] = lambda: None
    """Called after each run."""


def run_trial(trial: Trial) -> Outcome:
    """Run the agent with the models of a profile, with a home folder that lasts as long as the run."""
    with tempfile.TemporaryDirectory(prefix="gems-eval-") as home:
        settings = aside(load_settings(), Path(home))
        sees = layout_of if draws_layouts(settings, trial.profile) else None
        try:
            services = OwnServices(settings)
            return asyncio.run(run_outcome(services, trial.task, trial.seed, context_of(trial), sees))
        except Exception as error:  # one broken run must not take the hours of the others along
            task = trial.task
            broken = f"{type(error).__name__}: {error}"
            return Outcome(task.benchmark, task.stratum, task.prompt, trial.seed, error=broken)


def context_of(trial: Trial) -> dict[str, object]:
    """The options of its run."""
    return {"profile": trial.profile, "max_rounds": trial.rounds, "memory": trial.memory, "lessons": False}


def aside(settings: Settings, home: Path) -> Settings:
    """The machine's settings, with a home of its own: what is measured is not kept among the user's runs."""
    return settings.model_copy(update={"home": home, "database_url": None})


def draws_layouts(settings: Settings, profile: str) -> bool:
    """Whether the embedded engine draws, so that the truth of its pictures is known.

    Raises:
        GemsConfigError: there is no such profile.
    """
    return settings.images(settings.resolve(profile)).provider == SKETCH


def measure(
    tasks: Sequence[LayoutTask], study: Study, work: Callable[[Trial], Outcome] = run_trial
) -> dict[MemoryMode, list[Outcome]]:
    """Run the prompts with each value of `memory`; the outcomes of each are in the order of the prompts."""
    chains = []
    for place, task in enumerate(tasks):
        # Each prompt begins with another mode: what a process does but once falls on all.
        turn = [MODES[(place + step) % len(MODES)] for step in range(len(MODES))]
        seed = study.seed + SEED_STEP * place
        chains.append([Trial(task, seed, study.rounds, mode, study.profile) for mode in turn])
    found = run_chains(work, chains, study.jobs, study.done)
    return {
        mode: [it[(number - place) % len(MODES)] for place, it in enumerate(found)] for number, mode in enumerate(MODES)
    }


@click.command()
@click.option("--prompts", type=click.IntRange(min=1), default=100, show_default=True, help="In GenEval 2's grammar.")
@click.option(
    "--least-atoms",
    type=click.IntRange(EASIEST, HARDEST),
    default=EASIEST,
    show_default=True,
    help="Leave out easier ones: what the first round satisfies needs no memory.",
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Most rounds of a run.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the prompts and the runs.")
@click.option("--profile", default=SKETCH, show_default=True, help="Whose models are measured.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="Processes.")
@click.option("--json", "out", type=click.Path(path_type=Path, dir_okay=False), help="Write every run there.")
def main(prompts: int, least_atoms: int, rounds: int, seed: int, profile: str, jobs: int, out: Path | None) -> None:
    """Measure what the refiner's memory of earlier rounds is worth."""
    start = time.perf_counter()
    try:
        settings = load_settings()
        by_layout = draws_layouts(settings, profile)
        by_rules = settings.chat(settings.resolve(profile), "refiner").provider == SKETCH
        runs = prompts * len(MODES)
        with click.progressbar(length=runs, label="runs", file=sys.stderr) as bar:
            study = Study(seed, rounds, jobs, profile, done=lambda: bar.update(1))
            found = measure(prompts_of(prompts, least_atoms, seed), study)
        if out is not None:
            record = {mode: [asdict(it) for it in outcomes] for mode, outcomes in found.items()}
            out.write_text(json.dumps(record, ensure_ascii=False, indent=1), encoding="utf-8")
        console = make_console(stderr=False)
        memory_report.print_memory(console, found, profile, seed, by_layout=by_layout, by_rules=by_rules)
        console.print(f"{runs} runs in {time.perf_counter() - start:.0f} s.")
    except GemsError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
