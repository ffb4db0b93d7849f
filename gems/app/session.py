"""What may be done with a thread: begin a run, go on with it, change its picture, answer its question."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langgraph.types import Command, StateSnapshot
from rich.console import Console

from gems.app.changed_settings import agree_on_changes
from gems.app.outcome import Outcome
from gems.app.review_terminal import Person, person_at_terminal
from gems.app.runner import ENTRY, OPTIONS, is_pending
from gems.app.thread_run import Ending, Standing, Target, ThreadRun
from gems.app.waiting import Question
from gems.app.wording import finished_because, raised, stopped_because
from gems.core.context import GemsContext
from gems.core.errors import GemsConfigError
from gems.core.ports import ArtifactStore, Services
from gems.core.settings import load_settings
from gems.core.state import GemsState
from gems.graph import MachineServices, open_graph
from gems.memory.references import keep_reference
from gems.memory.stores import images_of

__all__ = ["Session", "Target", "open_session"]

Answering = Callable[[Question], dict[str, Any]]
"""From a question to its answer, as the graph takes it.

Raises:
    GemsConfigError: what was said does not fit the question.
"""


class Session:
    """A thread, opened to be run."""

    def __init__(
        self, run: ThreadRun, services: Services, artifacts: ArtifactStore, target: Target, context: Mapping[str, Any]
    ) -> None:
        """Work on `run` with the options in `context`."""
        self._run = run
        self._services = services
        self._artifacts = artifacts
        self._thread_id = target.thread_id
        self._given = {name: value for name, value in context.items() if name != "accept_changes"}
        run.context = dict(context)

    async def start(self, prompt: str, references: Sequence[Path] = ()) -> Outcome:
        """Start a run, with reference images from these files.

        Raises:
            GemsConfigError: the input cannot work, or the thread holds a run already.
        """
        before = await self._run.standing()
        if unfinished := self._unfinished(before):
            raise GemsConfigError(f"thread {self._thread_id!r} holds a run that {unfinished}, or give another --thread")
        if "request" in before.state:
            raise GemsConfigError(
                f"thread {self._thread_id!r} holds a run already, and it stays: change its picture with "
                f'`gems follow-up {self._thread_id} "..."`, or give another --thread'
            )
        return await self._finish({"prompt": prompt, "references": await self._keep(references)})

    async def follow_up(self, message: str, references: Sequence[Path] = ()) -> Outcome:
        """Change the picture of a run that has ended.

        Raises:
            GemsConfigError: there is no such run, it has not ended or has no picture, or the message cannot work.
        """
        before = await self._known()
        if not message.strip():
            raise GemsConfigError("the message is empty: say what to change")
        if (unfinished := self._unfinished(before)) or "request" not in before.state or _is_entering(before.snapshot):
            unfinished = unfinished or f"is not finished: continue it with `gems resume {self._thread_id}`"
            raise GemsConfigError(f"the run on thread {self._thread_id!r} {unfinished} first")
        if not before.state["best"]:
            raise GemsConfigError(
                f"the run on thread {self._thread_id!r} has no picture yet that a message could change: "
                f"go on with `gems resume {self._thread_id}`, or begin anew with `gems run`"
            )
        await self._agree(before.state)
        kept = await self._keep(references)
        self._run.view.changing(before.state, message.strip())
        return await self._finish({"prompt": message, "references": kept})

    async def answer(self, answering: Answering | None = None) -> Outcome:
        """Answer the question that the run waits with, and go on; without an answer, put the question to the person.

        Raises:
            GemsConfigError: the run does not wait, or the answer does not fit: then the question stays.
        """
        before = await self._known()
        if before.question is None:
            raise GemsConfigError(
                f"the run on thread {self._thread_id!r} waits for no answer: `gems show {self._thread_id}` tells how it "
                "stands"
            )
        if answering is None:
            return await self._ask(before)
        answer = answering(before.question)
        await self._agree(before.state)
        self._run.view.resumed(before.state)
        return await self._finish(Command(resume=answer))

    async def resume(self) -> Outcome:
        """Finish what was begun; a finished run goes on when a limit was raised.

        Raises:
            GemsConfigError: there is no such run, nothing is left for it to do, or what it was made with has changed.
        """
        before = await self._known()
        if before.question is not None and not self._skips(before.question):
            return await self._ask(before)
        if "request" in before.state and _is_entering(before.snapshot) and before.state.get("prompt"):
            self._run.view.changing(before.state, before.state["prompt"])
        else:
            self._run.view.resumed(before.state)
        if not is_pending(before.snapshot):
            return await self._run.finish(await self._go_on(before))
        await self._agree(before.state)
        # A task that waits is not run again without an answer, not even where it would no longer ask.
        ending = await self._run.go(Command(resume={"action": "approve"}) if before.question else None)
        state = (await self._run.standing()).state
        if ending == Ending() and self._given and state.get("stop_reason") not in (None, "satisfied", "accepted"):
            further = await self._run.go({"prompt": ""})
            # What was given may lower a limit, or raise none: then the run has ended as it should.
            ending = Ending() if isinstance(further.error, GemsConfigError) else further
        return await self._run.finish(ending)

    async def _go_on(self, before: Standing) -> Ending:
        state = before.state
        if "request" not in state or _is_entering(before.snapshot):
            # Killed before its first step: the options are not in the state yet, but beside the input.
            self._run.context = _given_options(before.snapshot) | self._run.context
            if "request" in state:
                await self._agree(state)
            return await self._run.go(None)
        reason = state.get("stop_reason")
        if reason in ("satisfied", "accepted"):
            self._run.view.say(f"This run is finished: {finished_because(reason)}.")
            return Ending()
        if not self._given and reason not in ("failed", "stopped"):
            if not self._run.has_results(state):
                self._run.view.say("This run is finished; its results are written now.")
                return Ending()
            limit = state.get("result", {}).get("limit")
            why = stopped_because(reason, limit) if reason else "it is finished"
            raise GemsConfigError(
                f"nothing is left to do: {why}. Raise a limit to go on: "
                f"gems resume {self._thread_id} {raised(limit, state['options']['max_rounds'])}"
            )
        await self._agree(state)
        return await self._run.go({"prompt": ""})

    async def _ask(self, before: Standing) -> Outcome:
        if self._run.person is not None:
            await self._agree(before.state)
        self._run.view.resumed(before.state)
        return await self._run.finish(Ending())

    async def _finish(self, given: Mapping[str, Any] | Command[Any]) -> Outcome:
        return await self._run.finish(await self._run.go(given))

    async def _known(self) -> Standing:
        standing = await self._run.standing()
        if not standing.is_known:
            raise GemsConfigError(f"there is no run on thread {self._thread_id!r}; `gems runs` lists them")
        return standing

    async def _agree(self, state: GemsState) -> None:
        if not self._run.context.get("accept_changes") and await agree_on_changes(
            self._services, state, self._run.person
        ):
            self._run.context["accept_changes"] = True

    async def _keep(self, references: Sequence[Path]) -> list[str]:
        return [await keep_reference(self._artifacts, path) for path in references]

    def _unfinished(self, standing: Standing) -> str:
        """Why nothing new can begin, with the remedy; empty where it can."""
        if standing.question is not None:
            return f"waits for your answer: give it with `gems review {self._thread_id}`"
        if is_pending(standing.snapshot):
            return f"is not finished: continue it with `gems resume {self._thread_id}`"
        return ""

    def _skips(self, question: Question) -> bool:
        """Whether the options that were given take the question away."""
        review = self._given.get("review")
        return review is not None and review != "round" and not (review == "plan" and question.is_plan)


@asynccontextmanager
async def open_session(
    target: Target,
    options: Mapping[str, Any],
    console: Console,
    services: Services | None = None,
    person: Person | None = None,
) -> AsyncIterator[Session]:
    """Open a thread to be run.

    Args:
        target: The thread, and how to answer.
        options: Fields of `GemsContext`; those that are None were not given.
        console: Where the run is shown.
        services: What the nodes use; default: what this machine's settings say.
        person: Who is asked where the run waits; default: whoever sits at the terminal, if there is one.

    Raises:
        GemsConfigError: an option or the machine's settings cannot work.
    """
    settings = load_settings()
    given = {name: value for name, value in options.items() if value is not None}
    GemsContext(**given)
    used = services or MachineServices(settings)
    artifacts = images_of(settings)
    asked = person or person_at_terminal(console, artifacts.place, as_json=target.as_json)
    async with open_graph(settings, services=used) as graph:
        run = ThreadRun(graph, artifacts, target, console, asked)
        yield Session(run, used, artifacts, target, given)


def _is_entering(snapshot: StateSnapshot) -> bool:
    """Whether a process died in its first step; one that was refused there has said so."""
    return any(task.name in ENTRY and task.error is None for task in snapshot.tasks)


def _given_options(snapshot: StateSnapshot) -> dict[str, Any]:
    """The options of the call that made the snapshot."""
    kept: dict[str, Any] = json.loads(str((snapshot.metadata or {}).get(OPTIONS, "{}")))
    return kept
