"""One run of the measurement of lessons: a prompt, and the lessons that it may read, add to, or not have at all."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings
from gems.evals.engine import layout_of
from gems.evals.lessons_watched import WatchedLessons
from gems.evals.outcomes import Outcome, run_outcome
from gems.evals.tasks import LayoutTask
from gems.graph import OwnServices
from gems.memory.database import SqliteFile
from gems.memory.embedding import StaticEmbedding
from gems.memory.lessons import SqlLessons

OWNER: Final = "measured"
"""Whose the lessons are."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What one run is to do."""

    task: LayoutTask
    seed: int
    rounds: int
    """Most rounds."""
    store: Path | None = None
    """The file of the lessons; None: none are read and none are kept."""
    frozen: bool = False
    """Whether they are only read."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of it."""

    outcome: Outcome
    learned: int = 0
    """Lessons that the run's end was distilled to."""
    credited: Mapping[str, bool] = field(default_factory=dict)
    """Whether each lesson that was given helped, by its id, as the loop counts it."""
    computing: float = 0.0
    """Seconds of computing of this process, which others that share its cores do not stretch."""


def run_trial(trial: Trial) -> Tried:
    """Run the agent with the embedded engine, with a home folder that lasts as long as the run."""
    start = time.process_time()
    watched = watch(trial)
    with tempfile.TemporaryDirectory(prefix="gems-eval-") as home:
        settings = Settings(home=Path(home), owner=OWNER, profile="sketch", profiles=dict(BUILT_IN))
        services = OwnServices(settings, lessons=watched)
        try:
            outcome = asyncio.run(run_outcome(services, trial.task, trial.seed, context_of(trial), layout_of))
        except Exception as error:  # one broken run must not take the hours of the others along
            task = trial.task
            broken = f"{type(error).__name__}: {error}"
            outcome = Outcome(task.benchmark, task.stratum, task.prompt, trial.seed, error=broken)
    return replace(tried(outcome, watched), computing=time.process_time() - start)


def watch(trial: Trial) -> WatchedLessons | None:
    """The lessons of a trial, watched."""
    return None if trial.store is None else WatchedLessons(open_store(trial.store), frozen=trial.frozen)


def context_of(trial: Trial) -> dict[str, Any]:
    """The options of its run."""
    return {"max_rounds": trial.rounds, "lessons": trial.store is not None}


def tried(outcome: Outcome, watched: WatchedLessons | None) -> Tried:
    """An outcome with what was noted of lessons."""
    return Tried(outcome) if watched is None else Tried(outcome, watched.learned, watched.credited)


def open_store(path: Path) -> SqlLessons:
    """The lessons in a file, which is made when something is first kept."""
    return SqlLessons(SqliteFile(path), embedding())


@cache
def embedding() -> StaticEmbedding:
    """What lessons are compared by: loaded once a process, as it is where the agent lives on."""
    return StaticEmbedding()
