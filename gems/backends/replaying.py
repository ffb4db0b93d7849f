"""Models that answer what a journal and a state tell of a run: each call as it was answered then, and none besides."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import BaseMessage

from gems.backends.chat.counted import CountedRole
from gems.backends.images.guarded import GuardedImages, image_gate
from gems.core.errors import DrawingRefused, GemsRunError, ModelOutage
from gems.core.messages import read_task
from gems.core.ports import Answer, Capabilities, ChatRole, Drawing, DrawRequest, Models, Prices, Progress, R, Token
from gems.core.profiles import DrawingOptions
from gems.core.spending import refuse_again
from gems.core.state import ROLES, Attempt, GemsState

WHOLE: Final = 10**9
"""Longest side, in pixels, of images that are shown: what a node does not scale down by itself is known by its digest."""
_NOT_ANSWERED: Final = "the critic did not answer: "
_MOST_REFERENCES: Final = 16

Load = Callable[[str], Awaitable[bytes]]
"""The bytes of an artifact."""


class Record:
    """What is known of a run's calls. It counts those that are asked again, and notes those that it has no answer to."""

    def __init__(
        self, state: GemsState, calls: Sequence[Mapping[str, Any]], shown_as: Mapping[str, str] | None = None
    ) -> None:
        """Take what was recorded.

        Args:
            state: The run's last state.
            calls: Its journal, in recorded order.
            shown_as: Artifacts by the SHA-256 of the scaled-down images that stand for them in questions.
        """
        self._shown_as = dict(shown_as or {})
        self.calls = 0
        self.images = 0
        self.unanswered: list[str] = []
        """Tasks, and ids of drawings, that were not answered, or not asked, when the run was made."""
        self._limit = str(state["result"].get("limit", "")) if state["stop_reason"] == "budget" else ""
        self._answers: dict[str, deque[Mapping[str, Any]]] = defaultdict(deque)
        for call in calls:
            shown = [image["artifact"] for image in call["images"]]
            self._answers[_key(call["task"], call["fields"], shown)].append(call)
        self._outages = {
            attempt["artifact"]: verdict["evidence"].removeprefix(_NOT_ANSWERED)
            for attempt in state["attempts"]
            for verdict in attempt.get("verdicts", {}).values()
            if "artifact" in attempt and verdict["evidence"].startswith(_NOT_ANSWERED)
        }
        drawn = {it["id"]: it.get("artifact") for it in state["attempts"]}
        self._drawings: dict[str, Attempt] = {}
        for attempt in state["attempts"]:
            source = drawn.get(attempt["parent"] or "") if attempt["action"] == "edit" else None
            self._drawings.setdefault(_drawing_key(attempt["prompt"], attempt["seed"], source), attempt)

    @property
    def left(self) -> int:
        """Recorded calls that were not asked again."""
        return sum(map(len, self._answers.values()))

    def answer(self, task: str, fields: Mapping[str, Any], images: Sequence[bytes]) -> Mapping[str, Any]:
        """The next answer to a question.

        Raises:
            ModelOutage: there is none, as when the model did not answer.
            BudgetSpent: there is none, and a limit ended the run.
        """
        digests = map(_digest, images)
        shown = [self._shown_as.get(digest, digest) for digest in digests]
        answers = self._answers[_key(task, fields, shown)]
        if answers:
            self.calls += 1
            return answers.popleft()
        self.unanswered.append(task)
        outage = next((self._outages[artifact] for artifact in shown if artifact in self._outages), "")
        raise self._failure(outage or f"the record holds no answer to this question ({task})")

    def drawing(self, request: DrawRequest) -> Attempt:
        """The recorded attempt that asked for the same drawing and got it.

        Raises:
            DrawingRefused: the image model refused it then.
            ModelOutage: there is none, or it failed then.
            BudgetSpent: there is none, and a limit ended the run.
        """
        source = _digest(request.source) if request.source else None
        attempt = self._drawings.get(_drawing_key(request.prompt, request.seed, source))
        if attempt is not None and "artifact" in attempt:
            self.images += 1
            return attempt
        if attempt is None:
            self.unanswered.append("a drawing")
            raise self._failure("the record holds no such drawing")
        if attempt.get("failure") == "refused":
            raise DrawingRefused(attempt.get("error", ""))
        raise self._failure(attempt.get("error", ""))

    def _failure(self, message: str) -> GemsRunError:
        # Time is not recorded: a run that it ended goes on, and is compared as far as it went then.
        if self._limit and self._limit != "max_seconds":
            return refuse_again(self._limit, message)
        return ModelOutage(message)


def replaying_models(record: Record, state: GemsState, calls: Sequence[Mapping[str, Any]], load: Load) -> Models:
    """Models that answer from a record, by the names of those that answered then.

    Args:
        record: Gives the answers.
        state: The run's last state.
        calls: Its journal.
        load: Reads an image.
    """
    options, usage = state["options"], state["usage"]
    paid = usage.get("cost", 0.0) - sum(call["usage"].get("cost", 0.0) for call in calls)
    # What one drawing cost is not recorded, only all together.
    price = max(0.0, paid) / max(1, usage.get("images", 0))
    images = _RecordedImages(record, options["models"]["images"], _capabilities(state, calls), price, load)
    role: ChatRole = CountedRole(_RecordedRole(record))
    return Models(
        roles=dict.fromkeys(ROLES, role),
        images=GuardedImages(images, image_gate(DrawingOptions(retries=0)), price),
        mllm=options["models"]["mllm"],
        overlap=options["overlap"],
        image_side=WHOLE,
        prices=Prices(0.0, 0.0, price),
    )


def _capabilities(state: GemsState, calls: Sequence[Mapping[str, Any]]) -> Capabilities:
    """What the image model could do, as far as the run has shown."""
    told = [call["fields"] for call in calls if call["task"] in ("write_prompts", "refine")]
    notes = next((fields["image_model"]["notes"] for fields in told), "")
    edits = any("edit" in fields.get("actions", []) for fields in told)
    edits = edits or any(attempt["action"] == "edit" for attempt in state["attempts"])
    return Capabilities(edit=edits, references=_MOST_REFERENCES, notes=notes)


class _RecordedRole:
    def __init__(self, record: Record) -> None:
        self._record = record

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        asked = read_task(messages)
        said = self._record.answer(asked.task, asked.fields, asked.images)
        reply = reply_model.model_validate(said["reply"]) if said["reply"] is not None else None
        return Answer(reply, said["usage"], said["thoughts"], said["problem"], [Token(*it) for it in said["tokens"]])


class _RecordedImages:
    def __init__(self, record: Record, name: str, capabilities: Capabilities, price: float, load: Load) -> None:
        self._record = record
        self._price = price
        self._load = load
        self.name = name
        self.capabilities = capabilities
        self.identity: Mapping[str, Any] = {"record of": name}

    def check(self, prompt: str, width: int, height: int) -> list[str]:  # noqa: ARG002
        """It was drawn before."""
        return []

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        """The recorded picture."""
        del progress
        attempt = self._record.drawing(request)
        return Drawing(await self._load(attempt["artifact"]), 0.0, self._price)


def _key(task: str, fields: Mapping[str, Any], images: Sequence[str]) -> str:
    """A question, without who asked it, in which words it was instructed, and when."""
    return _digest(json.dumps([task, fields, list(images)], sort_keys=True).encode())


def _drawing_key(prompt: str, seed: int, source: str | None) -> str:
    return _digest(json.dumps([prompt, seed, source]).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
