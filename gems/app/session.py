"""One run on one thread, from the first step or onwards, with its folder of results."""

from __future__ import annotations

import json
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from langgraph.types import StateSnapshot
from pydantic import ValidationError
from rich.console import Console

from gems.app.export import OutFolder, export_run
from gems.app.outcome import Outcome, outcome_of
from gems.app.progress import ProgressView
from gems.app.runner import OPTIONS, Call, drive, thread_config
from gems.app.wording import raised, stopped_because
from gems.core.context import GemsContext, explain
from gems.core.errors import GemsConfigError
from gems.core.ports import Services
from gems.core.settings import Settings, load_settings
from gems.core.state import GemsState
from gems.graph import GemsGraph, open_graph
from gems.memory import FileArtifacts
from gems.memory.references import keep_reference

_ENTRY: Final = frozenset({"__start__", "intake"})
"""Steps at which a run has spent nothing: one that waits there was refused, or killed before it began."""


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


class Session:
    """A thread, opened to be run."""

    def __init__(
        self, graph: GemsGraph, settings: Settings, target: Target, context: Mapping[str, Any], console: Console
    ) -> None:
        """Run `target` on `graph` with the options in `context`, and show it on `console`."""
        self._graph = graph
        self._settings = settings
        self._target = target
        self._context = dict(context)
        self._console = console
        self._artifacts = FileArtifacts(settings.home / "artifacts")
        self._folder = OutFolder(target.folder)
        self._view = ProgressView(console, target.thread_id, self._artifacts.path)

    async def start(self, prompt: str, references: Sequence[Path] = ()) -> Outcome:
        """Start a run, with reference images from these files.

        Raises:
            GemsConfigError: the input cannot work, or the thread holds a run that is not finished.
        """
        thread_id = self._target.thread_id
        if _is_pending(await self._snapshot()):
            raise GemsConfigError(
                f"thread {thread_id!r} holds a run that is not finished: continue it with `gems resume {thread_id}`, "
                "or give another --thread"
            )
        kept = [await keep_reference(self._artifacts, path) for path in references]
        return await self._answer(await self._go({"prompt": prompt, "references": kept}))

    async def resume(self) -> Outcome:
        """Finish what was begun; a finished run goes on when a limit was raised.

        Raises:
            GemsConfigError: there is no such run, or nothing is left for it to do.
        """
        before = await self._snapshot()
        state = _state(before)
        if not before.tasks and "request" not in state:
            raise GemsConfigError(f"there is no run on thread {self._target.thread_id!r}; `gems runs` lists them")
        self._view.resumed(state)
        if not _is_pending(before):
            return await self._answer(await self._go_on(before))
        ending = await self._go(None)
        state = _state(await self._snapshot())
        if ending == _Ending() and self._context and state.get("stop_reason") not in (None, "satisfied"):
            further = await self._go({"prompt": ""})
            # What was given may lower a limit, or raise none: then the run has ended as it should.
            ending = _Ending() if isinstance(further.error, GemsConfigError) else further
        return await self._answer(ending)

    async def _go_on(self, before: StateSnapshot) -> _Ending:
        state = _state(before)
        if "request" not in state:
            # Killed before its first step: the options are not in the state yet, but beside the input.
            self._context = _given_options(before) | self._context
            return await self._go(None)
        reason = state.get("stop_reason")
        if reason == "satisfied":
            self._view.say("This run is finished: every requirement is met.")
            return _Ending()
        if not self._context and reason != "failed":
            limit = state.get("result", {}).get("limit")
            why = stopped_because(reason, limit) if reason else "it is finished"
            raise GemsConfigError(
                f"nothing is left to do: {why}. Raise a limit to go on: "
                f"gems resume {self._target.thread_id} {raised(limit, state['options']['max_rounds'])}"
            )
        return await self._go({"prompt": ""})

    async def _go(self, given: Mapping[str, Any] | None) -> _Ending:
        self._folder.prepare()
        try:
            return _Ending(
                stopped=await drive(self._graph, Call(self._target.thread_id, given, self._context), self._view)
            )
        except Exception as error:
            if isinstance(error, GemsConfigError) and not self._view.has_begun:
                raise
            # Whatever happened on the way, what was drawn so far is still handed over.
            if self._target.debug:
                self._view.close()
                traceback.print_exception(error)
            return _Ending(error=error)
        finally:
            self._view.close()
            self._folder.withdraw()

    async def _answer(self, ending: _Ending) -> Outcome:
        state = _state(await self._snapshot())
        outcome = outcome_of(self._target.thread_id, state, self._artifacts.path, stopped=ending.stopped)
        if outcome.best is not None:
            self._folder.prepare()
            names = state["options"]["models"]
            exported = await export_run(self._folder, self._target.thread_id, state, self._artifacts, names)
            outcome = outcome.exported(exported.folder, exported.best, exported.problems)
        return outcome if ending.error is None else outcome.with_error(ending.error)

    async def _snapshot(self) -> StateSnapshot:
        return await self._graph.aget_state(thread_config(self._target.thread_id))


@dataclass(frozen=True, slots=True)
class _Ending:
    """How one invocation ended; with neither, by itself."""

    stopped: bool = False
    error: Exception | None = None


@asynccontextmanager
async def open_session(
    target: Target, options: Mapping[str, Any], console: Console, services: Services | None = None
) -> AsyncIterator[Session]:
    """Open a thread to be run.

    Args:
        target: The thread, and how to answer.
        options: Fields of `GemsContext`; those that are None were not given.
        console: Where the run is shown.
        services: What the nodes use; default: what this machine's settings say.

    Raises:
        GemsConfigError: an option or the machine's settings cannot work.
    """
    settings = load_settings()
    given = {name: value for name, value in options.items() if value is not None}
    try:
        GemsContext.model_validate(given)
    except ValidationError as error:
        raise explain(error, "option") from error
    async with open_graph(settings, services=services) as graph:
        yield Session(graph, settings, target, given, console)


def _state(snapshot: StateSnapshot) -> GemsState:
    return snapshot.values or {}  # type: ignore[return-value]


def _is_pending(snapshot: StateSnapshot) -> bool:
    # Not `next`: it leaves out tasks that have written when the process died before their step was closed.
    return any(task.name not in _ENTRY for task in snapshot.tasks)


def _given_options(snapshot: StateSnapshot) -> dict[str, Any]:
    """The options of the call that made the snapshot."""
    kept: dict[str, Any] = json.loads(str((snapshot.metadata or {}).get(OPTIONS, "{}")))
    return kept
