"""Invocations of the graph on one thread, and what they leave: answers to its questions, and the folder of results."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from langgraph.types import Command, StateSnapshot
from rich.console import Console

from gems.app.export import OutFolder, export_run
from gems.app.outcome import Outcome, outcome_of
from gems.app.progress import ProgressView
from gems.app.question_view import show_question
from gems.app.review_terminal import Person
from gems.app.runner import Call, drive, thread_config
from gems.app.waiting import Question, question_of
from gems.core.errors import GemsConfigError, GemsError
from gems.core.ports import ArtifactStore
from gems.core.state import GemsState
from gems.graph import GemsGraph
from gems.memory.migrations import up_to_date


@dataclass(frozen=True, slots=True)
class Target:
    """Which thread a command is about, where its files go (None: the default), and how it answers."""

    thread_id: str
    out: Path | None = None
    as_json: bool = False
    debug: bool = False

    @property
    def folder(self) -> Path:
        """The folder of results."""
        return self.out or Path("gems-out") / self.thread_id


@dataclass(frozen=True, slots=True)
class Ending:
    """How one invocation ended; with neither, by itself."""

    stopped: bool = False
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a thread stands."""

    snapshot: StateSnapshot
    state: GemsState
    question: Question | None

    @property
    def is_known(self) -> bool:
        """Whether there is a run at all."""
        return bool(self.snapshot.tasks) or "request" in self.state


class ThreadRun:
    """A thread that the graph is run on."""

    def __init__(
        self,
        graph: GemsGraph,
        artifacts: ArtifactStore,
        target: Target,
        console: Console,
        person: Person | None,
    ) -> None:
        """Run `target` on `graph`, show it on `console`, and put its questions to `person`, if there is one."""
        self._graph = graph
        self._target = target
        self._console = console
        self._artifacts = artifacts
        self._folder = OutFolder(target.folder)
        self.person = person
        self.view = ProgressView(console, target.thread_id, artifacts.place)
        self.context: dict[str, Any] = {}
        """Options of every invocation."""

    async def standing(self) -> Standing:
        """Where the thread stands now.

        Raises:
            GemsConfigError: it was written by a newer version.
        """
        snapshot = await self._graph.aget_state(thread_config(self._target.thread_id))
        state = up_to_date(cast("GemsState", snapshot.values or {}))
        return Standing(snapshot, state, question_of(snapshot))

    async def go(self, given: Mapping[str, Any] | Command[Any] | None) -> Ending:
        """Run the graph until it ends, waits or is stopped.

        Raises:
            GemsConfigError: it was refused before anything was spent.
        """
        self._folder.prepare()
        try:
            return Ending(
                stopped=await drive(self._graph, Call(self._target.thread_id, given, self.context), self.view)
            )
        except Exception as error:
            if isinstance(error, GemsConfigError) and not self.view.has_begun:
                raise
            # Whatever happened on the way, what was drawn so far is still handed over.
            if self._target.debug:
                self.view.close()
                traceback.print_exception(error)
            return Ending(error=error)
        finally:
            self.view.close()
            self._folder.withdraw()

    def has_results(self, state: GemsState) -> bool:
        """Whether the folder holds what the run has come to; not when its process died before it was written."""
        return state["best"] is None or self._folder.holds(state)

    async def finish(self, ending: Ending) -> Outcome:
        """Ask the person as long as the run waits for one and goes on by the answers; then write the folder."""
        now = await self.standing()
        while now.question is not None and ending == Ending():
            await _bring_here(self._artifacts, [it["artifact"] for it in now.question.shown if "artifact" in it])
            if self.person is None:
                show_question(now.question, self._console, self._artifacts.place)
                break
            asked = now.question.id
            answer = self.person.answer(now.question)
            now = await self.standing()
            if answer is None:
                break
            if now.question is None or now.question.id != asked:
                self.view.say("Another process has answered this meanwhile.")
                continue
            ending = await self.go(Command(resume=answer))
            now = await self.standing()
        waiting = now.question.value if now.question else None
        outcome = outcome_of(
            self._target.thread_id, now.state, self._artifacts.place, stopped=ending.stopped, waiting=waiting
        )
        if outcome.best is not None:
            self._folder.prepare()
            names = now.state["options"]["models"]
            exported = await export_run(self._folder, self._target.thread_id, now.state, self._artifacts, names)
            outcome = outcome.exported(exported.folder, exported.best, exported.problems)
        return outcome if ending.error is None else outcome.with_error(ending.error)


async def _bring_here(artifacts: ArtifactStore, pictures: Iterable[str]) -> None:
    """Have files of the pictures that a person is asked about, where another machine drew them; one that is lost is not."""
    for artifact in pictures:
        with suppress(GemsError):
            await artifacts.get(artifact)
