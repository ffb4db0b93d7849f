"""Kills until there were kills enough, and says what was found."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gems.app.cli_threads import threads
from gems.evals.crash.checks import Finding, check, check_lessons
from gems.evals.crash.history import History
from gems.evals.crash.lives import Zygote, last_words
from gems.evals.crash.place import Place
from gems.evals.crash.servers import SlowServers
from gems.evals.crash.trajectory import Killer, Request, Stage, order_of

MOST_A_TRAJECTORY: Final = 40
"""Kills of one trajectory; most are at their end before."""


@dataclass(slots=True)
class Record:
    """All that happened."""

    histories: list[History] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    parts: int = 0
    """Half-written files that kills have left among the artifacts."""
    litter: int = 0
    """Half-written files that kills have left in folders of results."""
    unpruned: int | None = None
    """How many of the former `gems prune` has left; None where there is no such command."""
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        """How many lives were killed."""
        return sum(len(history.kills) for history in self.histories)


def harry(
    folder: Path,
    kills: int,
    seed: int = 0,
    *,
    database: str = "",
    rounds: int = 4,
    tell: Callable[[str], None] = lambda _: None,
) -> Record:
    """Start trajectory after trajectory, and kill each until it has come to its end all the same.

    Args:
        folder: Where everything is put; must be empty.
        kills: How many lives are killed.
        seed: Decides when, and how slow the servers are; how far a life gets meanwhile is this machine's affair.
        database: A Postgres URL that checkpoints, ledger and index are kept in; empty for SQLite.
        rounds: Of each trajectory.
        tell: Hears a line a trajectory, and one a finding.

    Raises:
        RuntimeError: the servers, or a run that nobody disturbs, fail.
    """
    record, started = Record(), time.monotonic()
    with SlowServers(seed) as servers, Zygote() as zygote:
        wild = Place(folder / "wild", servers.url, database)
        # Undisturbed runs have tables of their own: their threads are called the same.
        stage = Stage(zygote, servers, wild, Place(folder / "calm", servers.url))
        killer = Killer(stage, random.Random(seed), tell)
        for number in itertools.count(1):
            history = killer.run(Request(number, rounds), min(kills - record.kills, MOST_A_TRAJECTORY))
            record.histories.append(history)
            found = check(history)
            record.findings += found
            tell(f"{history.thread}: {len(history.kills)} kills, {record.kills} so far")
            for finding in found:
                tell(f"FOUND {finding}")
            if record.kills >= kills:
                break
        record.findings += check_lessons(wild.lessons(), stage.calm.lessons())
        record.parts = wild.stored().parts
        _prune(stage, record)
    record.litter = sum(len(it.ending.litter) for it in record.histories if it.ending)
    record.seconds = time.monotonic() - started
    return record


def _prune(stage: Stage, record: Record) -> None:
    """Have `gems prune` reclaim what the kills have orphaned, and see that it takes nothing else."""
    if "prune" not in threads.commands:
        return
    before = stage.wild.stored()
    stage.wild.age()
    life = stage.zygote.live(order_of(stage.wild, "prune", ("prune",)))
    after = stage.wild.stored()
    record.unpruned = after.parts
    if life.code != 0 or after.parts or after.artifacts != before.artifacts:
        words = last_words(stage.wild.output("prune"))
        lost = len(before.artifacts - after.artifacts)
        text = f"it ended with {life.code}, left {after.parts} half-written files and took {lost} images: {words}"
        record.findings.append(Finding("", "prune", text))
