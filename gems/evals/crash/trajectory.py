"""Runs one request twice: undisturbed, and killed until it has come to its end all the same."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gems.core.errors import GemsError
from gems.core.state import GemsState
from gems.evals.crash.history import Chapter, History
from gems.evals.crash.lives import PATIENCE, Order, Zygote, last_words
from gems.evals.crash.moments import describe
from gems.evals.crash.place import Glimpse, Place
from gems.evals.crash.servers import Aim, SlowServers

WINDOWS: Final = (0.5, 1.5, 4.0)
"""A life is killed at a moment chosen uniformly from its first so many seconds."""
START_SECONDS: Final = 2.5
"""What a new interpreter takes to import: its window is longer by that."""
FRESH: Final = 1 / 10
"""Share of lives that are interpreters of their own."""
AIMED: Final = 1 / 4
"""Share of lives that are killed right after a server's answer to them, which is when it is received and stored."""
AIMS: Final = ("chat", "images", "images", "distil")
AFTERMATH: Final = 0.05
"""Seconds after an answer within which such a life is killed."""
MOST_LIVES: Final = 200
"""Lives after which a trajectory is given up: resuming does not get on."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for."""

    number: int
    rounds: int = 4
    candidates: int = 3

    @property
    def prompt(self) -> str:
        """Its own for each trajectory: stored pictures tell by their wish whose they are."""
        return f"a red dog to the left of a blue car, picture {self.number}"

    def arguments(self, thread: str) -> tuple[str, ...]:
        """Of the command line, to start it."""
        numbers = {"--max-rounds": self.rounds, "--candidates": self.candidates, "--seed": 100 * self.number}
        options = [part for name, number in numbers.items() for part in (name, str(number))]
        return ("run", self.prompt, "--thread", thread, *options)


@dataclass(frozen=True, slots=True)
class Stage:
    """The zygote, the servers, and two places: one in which lives are killed, and one that is left in peace."""

    zygote: Zygote
    servers: SlowServers
    wild: Place
    calm: Place


class Killer:
    """Runs trajectories and kills them, as chance has it."""

    def __init__(self, stage: Stage, chance: random.Random, tell: Callable[[str], None]) -> None:
        """Kill on `stage`, and `tell` how it goes."""
        self._stage = stage
        self._chance = chance
        self._tell = tell

    def run(self, request: Request, kills: int) -> History:
        """Run a request undisturbed, and then kill it again and again, at most `kills` times.

        Raises:
            RuntimeError: the undisturbed run fails.
        """
        thread = f"crash-{request.number}"
        history = self._undisturbed(request, thread)
        chapters: list[Chapter] = []
        while len(chapters) < MOST_LIVES:
            kill = len(chapters) < kills
            chapters.append(self._live(request, thread, chapters, kill=kill))
            if not (kill and chapters[-1].life.killed):
                break
        self._stage.servers.settle()
        history.chapters = [self._told(chapter) for chapter in chapters]
        last = chapters[-1]
        if last.life.code == 0:
            history.ending = self._stage.wild.ending(thread)
        else:
            self._tell(f"{last.name}: {last_words(self._stage.wild.output(last.name))}")
        return history

    def _undisturbed(self, request: Request, thread: str) -> History:
        calm, servers, name = self._stage.calm, self._stage.servers, f"calm-{request.number}"
        servers.hurry = True
        try:
            life = self._stage.zygote.live(order_of(calm, name, request.arguments(thread)))
        finally:
            servers.hurry = False
        if life.code != 0:
            words = last_words(calm.output(name))
            raise RuntimeError(f"the undisturbed run of thread {thread!r} ended with {life.code}: {words}")
        return History(thread, tuple(servers.asked([name])), calm.ending(thread))

    def _live(self, request: Request, thread: str, earlier: Sequence[Chapter], *, kill: bool) -> Chapter:
        wild, name = self._stage.wild, f"{thread}-life-{len(earlier) + 1}"
        before = earlier[-1].after if earlier else wild.stored()
        began = bool(earlier) and earlier[-1].glimpse.exists
        order = order_of(wild, name, ("resume", thread) if began else request.arguments(thread))
        if kill:
            order = self._sentence(order, name)
        life = self._stage.zygote.live(order)
        self._stage.servers.aim(None)
        spoke = bool(last_words(wild.output(name)))
        return Chapter(name, life, order.fresh, before, wild.stored(), self._glimpse(thread), spoke)

    def _told(self, chapter: Chapter) -> Chapter:
        """The chapter with what its life had asked."""
        asked = tuple(self._stage.servers.asked([chapter.name]))
        if not chapter.life.killed:
            return replace(chapter, asked=asked)
        kill = describe(chapter.life, asked, chapter.glimpse, chapter.after.wishes, spoke=chapter.spoke)
        return replace(chapter, asked=asked, kill=kill)

    def _sentence(self, order: Order, name: str) -> Order:
        """Say when a life is killed."""
        chance = self._chance
        fresh = chance.random() < FRESH
        seconds = chance.uniform(0, chance.choice(WINDOWS) + START_SECONDS * fresh)
        if chance.random() >= AIMED:
            return replace(order, seconds=seconds, fresh=fresh)
        aim = Aim(chance.choice(AIMS), self._stage.wild.folder / f"{name}.aim")
        self._stage.servers.aim(aim)
        return replace(order, seconds=max(WINDOWS), aim=str(aim.file), after=chance.uniform(0, AFTERMATH))

    def _glimpse(self, thread: str) -> Glimpse:
        try:
            return self._stage.wild.glimpse(thread)
        except (GemsError, RuntimeError, sqlite3.Error) as error:
            return Glimpse(GemsState(), (), exists=True, fault=f"the checkpoints cannot be read: {error}")


def order_of(place: Place, name: str, arguments: tuple[str, ...]) -> Order:
    """A life of that name that nobody kills, unless it hangs."""
    return Order(arguments, str(place.folder), place.environment(name), str(place.output(name)), PATIENCE)
