"""One thread as the page shows it: its state as JSON, the question that it waits with, and why it ended, in words."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from langgraph.types import StateSnapshot
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gems.app.export import image_files, labelled
from gems.app.outcome import outcome_of, spent
from gems.app.runner import is_pending
from gems.app.waiting import Question, question_of
from gems.app.web.diagnoses import Diagnoses
from gems.app.web.site import Site, WebError
from gems.app.web.untold import model_names, shown_attempt, shown_state, untold
from gems.app.wording import stopped_because
from gems.core.errors import ArtifactCorrupt, GemsConfigError
from gems.core.state import GemsState
from gems.memory.migrations import up_to_date

logger: Final = logging.getLogger(__name__)
Standing = Literal["running", "waiting", "done", "stopped", "failed"]
_LONGEST: Final = 255
"""Characters of a thread's id."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread that whoever asks may see."""

    thread_id: str
    snapshot: StateSnapshot
    state: GemsState
    """Empty where the run was refused before it began."""
    is_held: bool
    """Whether some process runs it."""

    @property
    def question(self) -> Question | None:
        """What it waits with; not while the answer is being worked in."""
        return None if self.is_held else question_of(self.snapshot)

    @property
    def error(self) -> str | None:
        """What its last step failed with, if it did."""
        return next((str(task.error) for task in self.snapshot.tasks if task.error is not None), None)

    @property
    def standing(self) -> Standing:
        """How it stands."""
        if self.is_held and (self.snapshot.tasks or self.state.get("status", "running") == "running"):
            return "running"
        if self.question is not None:
            return "waiting"
        if "request" not in self.state:
            return "failed" if self.error else "stopped"
        status = self.state["status"]
        return "stopped" if status == "running" or is_pending(self.snapshot) else status

    @property
    def because(self) -> str:
        """Why it stands so, in words."""
        question = self.question
        if self.standing == "running":
            return "it is being worked on"
        if question is not None:
            asked = "the plan" if question.is_plan else f"round {question.value['round']}"
            return f"it waits for your answer to {asked}"
        if "request" not in self.state and self.error:
            return f"it was refused: {_said(self.error)}"
        if self.standing == "stopped" and self.state.get("stop_reason") != "stopped":
            is_failed = self.error and not self.error.startswith("CancelledError")
            why = f"its last step failed: {_said(self.error)}" if is_failed else "nobody is working on it"
            return f"it is not finished, and can go on: {why}"
        outcome = outcome_of(self.thread_id, self.state, Path)
        if outcome.error is not None:
            return untold(outcome.error.message)
        return stopped_because(outcome.stop_reason, outcome.limit) if outcome.stop_reason else outcome.status

    def as_json(self) -> dict[str, Any]:
        """All of it, for whoever may see it."""
        return {
            "thread_id": self.thread_id,
            "continues": continues(self.thread_id),
            "status": self.standing,
            "state": shown_state(self.state),
            "question": self._asked(),
            "spent": spent(self.state),
            "because": self.because,
        }

    def _asked(self) -> dict[str, Any] | None:
        question = self.question
        if question is None:
            return None
        value = dict(question.value)
        if "attempts" in value:
            value["attempts"] = [shown_attempt(attempt) for attempt in value["attempts"]]
        asked = next(it for it in self.snapshot.interrupts if it.id == question.id)
        return {"id": question.id, "value": value, "response_schema": asked.response_schema}


def routes(site: Site) -> list[Route]:
    """`GET /gems/threads/<id>`, and the pictures of its attempts as downloads."""
    diagnoses = Diagnoses(site.services)

    async def thread(request: Request) -> Response:
        found = await read_thread(site, request)
        with readable(found.thread_id):
            told = found.as_json() | {"diagnoses": await diagnoses.of(found.state, site.owners_of(request))}
            return JSONResponse(told, headers={"cache-control": "no-store"})

    async def download(request: Request) -> Response:
        found = await read_thread(site, request)
        attempt_id = request.path_params["attempt"]
        with readable(found.thread_id):
            attempts = found.state.get("attempts", [])
            attempt = next((it for it in attempts if it["id"] == attempt_id and "artifact" in it), None)
        if attempt is None:
            raise WebError(404, f"the thread has no picture {attempt_id[:20]!r}: its attempts are called 1.1, 2.1, ...")
        try:
            content = await site.artifacts_of(request).get(attempt["artifact"])
        except ArtifactCorrupt as error:
            raise WebError(404, "this image is lost or damaged on the server") from error
        with readable(found.thread_id):
            models = model_names(found.state["options"]["models"])
            png = await asyncio.to_thread(labelled, content, found.thread_id, found.state, attempt, models)
            name = f"{re.sub('[^A-Za-z0-9_-]', '_', found.thread_id)[:64]}-{image_files(attempts)[attempt_id]}"
        headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
        return Response(png, media_type="image/png", headers=headers)

    return [
        Route("/gems/threads/{thread}", thread, methods=["GET"]),
        Route("/gems/threads/{thread}/attempts/{attempt}.png", download, methods=["GET"]),
    ]


async def read_thread(site: Site, request: Request) -> Thread:
    """The thread that the request's path names.

    Raises:
        WebError: nobody is known to ask, there is none that they may see, or a newer version of GEMS wrote it.
    """
    owners = site.owners_of(request)
    thread_id: str = request.path_params["thread"]
    if len(thread_id) > _LONGEST or not thread_id.isprintable():
        raise _unknown(thread_id)
    index = await asyncio.to_thread(lambda: site.services.runs)
    run = await index.find(thread_id)
    if run is not None and owners is not None and run.owner not in owners:
        raise _unknown(thread_id)
    thread = await _read(site, thread_id)
    # A run that was refused at once has no line in the index; but the server notes with each checkpoint whose it is.
    noted = (thread.snapshot.metadata or {}).get("langgraph_auth_user_id", "")
    if run is None and owners is not None and noted not in owners:
        raise _unknown(thread_id)
    if not (thread.snapshot.values or thread.snapshot.tasks):
        raise _unknown(thread_id)
    return thread


@contextmanager
def readable(thread_id: str) -> Iterator[None]:
    """Around what is made of a thread's state. LangGraph lets its owner write anything into that.

    Raises:
        WebError: nothing can be made of it.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        logger.warning("thread %r cannot be shown", thread_id, exc_info=True)
        raise WebError(409, "the state of this thread is one that no run has made: it was changed by hand") from error


async def stands(site: Site, thread_id: str) -> Standing:
    """How a thread stands that whoever asks may see."""
    try:
        thread = await _read(site, thread_id)
        with readable(thread_id):
            return thread.standing
    except WebError:
        return "stopped"


def continues(thread_id: str) -> bool:
    """Whether the server can go on with it: it takes no thread ids but UUIDs."""
    try:
        return str(uuid.UUID(thread_id)) == thread_id.lower()
    except ValueError:
        return False


async def _read(site: Site, thread_id: str) -> Thread:
    # The lock first: a run that ends meanwhile is then called running, not one that died.
    is_held = await asyncio.to_thread(lambda: site.services.stores.locks.is_held(thread_id))
    snapshot = await site.threads.read(thread_id)
    try:
        with readable(thread_id):
            state = up_to_date(cast("GemsState", dict(snapshot.values or {})))
    except GemsConfigError as error:
        raise WebError(409, str(error)) from error
    return Thread(thread_id, snapshot, state, is_held)


def _said(error: str | None) -> str:
    """The words of an exception that a checkpoint keeps as `Name('words')`."""
    found = re.fullmatch(r"\w+\((['\"])(.*)\1,?\)", error or "", re.DOTALL)
    return untold(found[2] if found else error or "")


def _unknown(thread_id: str) -> WebError:
    return WebError(404, f"there is no thread {thread_id[:60]!r}")
