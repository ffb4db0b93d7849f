"""Recording and replaying model calls: a tape is a folder with `calls.jsonl` and the images that were drawn.

A call is found again by what was asked, not by when, so that parallel calls may come in any order. A question asked twice is
answered in the order recorded. Images inside questions are named by their digests.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, cast

from langchain_core.messages import BaseMessage

from gems.core.errors import BudgetSpent, DrawingRefused, GemsConfigError, GemsRunError, ModelOutage
from gems.core.messages import read_task
from gems.core.ports import (
    Answer,
    Capabilities,
    ChatRole,
    Drawing,
    DrawRequest,
    ImageGenerator,
    Models,
    Prices,
    Progress,
    R,
    Token,
)
from gems.core.spending import refuse_again
from gems.core.state import ROLES

CALLS: Final = "calls.jsonl"
_ERRORS: Final[Mapping[str, type[GemsRunError]]] = {"ModelOutage": ModelOutage, "DrawingRefused": DrawingRefused}


def record(models: Models, folder: Path) -> Models:
    """The same models, with every call written to a tape as it is answered.

    Raises:
        GemsConfigError: the folder cannot be written.
    """
    tape = _Tape(folder)
    images = models.images
    tape.write(
        "models",
        "",
        {
            "name": images.name,
            "identity": dict(images.identity),
            "capabilities": asdict(images.capabilities),
            "mllm": models.mllm,
            "overlap": models.overlap,
            "image_side": models.image_side,
            "prices": models.prices,
        },
    )
    # Roles that share a model share its recorder, so that equal questions stay in one order.
    recorders = {id(role): _RecordingRole(role, tape) for role in models.roles.values()}
    roles = {name: cast("ChatRole", recorders[id(role)]) for name, role in models.roles.items()}
    return replace(models, roles=roles, images=_RecordingImages(images, tape))


def replay(folder: Path) -> Models:
    """Models that answer from a tape alone.

    Raises:
        GemsConfigError: there is no readable tape.
    """
    try:
        lines = list(_read(folder / CALLS))
        head = next(line["answer"] for line in lines if line["kind"] == "models")
    except (OSError, ValueError, KeyError, StopIteration) as error:
        raise GemsConfigError(f"{folder} holds no readable tape: {error}") from error
    answers: dict[str, deque[dict[str, Any]]] = defaultdict(deque)
    for line in lines:
        answers[line["key"]].append(line["answer"])
    role = _ReplayingRole(answers)
    return Models(
        roles=dict.fromkeys(ROLES, cast("ChatRole", role)),
        images=_ReplayingImages(folder, head, answers),
        mllm=head["mllm"],
        overlap=head["overlap"],
        image_side=head["image_side"],
        prices=Prices(*head["prices"]) if head["prices"] else None,
    )


def _read(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):  # a process that was killed may leave half a line at the end
            yield json.loads(line)


class _Tape:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writing = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GemsConfigError(f"cannot record to {folder}: {error.strerror or error}") from error

    def write(self, kind: str, key: str, answer: Mapping[str, Any]) -> None:
        line = json.dumps({"kind": kind, "key": key, "answer": answer}, ensure_ascii=False)
        with self._writing, (self.folder / CALLS).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def write_image(self, key: str, drawing: Drawing) -> None:
        name = f"{hashlib.sha256(drawing.png).hexdigest()}.png"
        (self.folder / name).write_bytes(drawing.png)
        self.write("image", key, {"file": name, "seconds": drawing.seconds, "cost": drawing.cost})


def _question_key(messages: Sequence[BaseMessage], reply_model: type[R]) -> str:
    task = read_task(messages)
    digests = [hashlib.sha256(image).hexdigest() for image in task.images]
    return _digest([task.task, task.fields, digests, reply_model.__name__])


def _drawing_key(request: DrawRequest) -> str:
    source = hashlib.sha256(request.source).hexdigest() if request.source else None
    references = [hashlib.sha256(reference).hexdigest() for reference in request.references]
    return _digest([request.prompt, request.seed, request.width, request.height, source, references])


def _digest(facts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _error(error: GemsRunError) -> dict[str, str]:
    limit = {"limit": error.limit} if isinstance(error, BudgetSpent) else {}
    return {"error": type(error).__name__, "message": str(error), **limit}


class _RecordingRole:
    def __init__(self, inner: ChatRole, tape: _Tape) -> None:
        self._inner = inner
        self._tape = tape

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        key = _question_key(messages, reply_model)
        try:
            answer = await self._inner.ask(messages, reply_model)
        except (ModelOutage, BudgetSpent) as error:
            await asyncio.to_thread(self._tape.write, "chat", key, _error(error))
            raise
        reply = answer.reply.model_dump(mode="json") if answer.reply else None
        spoken = {
            "reply": reply,
            "usage": answer.usage,
            "thoughts": answer.thoughts,
            "problem": answer.problem,
            "tokens": [[token.text, dict(token.chances)] for token in answer.tokens],
        }
        await asyncio.to_thread(self._tape.write, "chat", key, spoken)
        return answer


class _RecordingImages:
    def __init__(self, inner: ImageGenerator, tape: _Tape) -> None:
        self._tape = tape
        self._inner = inner
        self.name = inner.name
        self.check: Callable[[str, int, int], list[str]] = inner.check

    @property
    def identity(self) -> Mapping[str, Any]:
        return self._inner.identity

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        key = _drawing_key(request)
        try:
            drawing = await self._inner.generate(request, progress)
        except (ModelOutage, DrawingRefused, BudgetSpent) as error:
            await asyncio.to_thread(self._tape.write, "image", key, _error(error))
            raise
        await asyncio.to_thread(self._tape.write_image, key, drawing)
        return drawing


def _next(answers: dict[str, deque[dict[str, Any]]], key: str, what: str) -> dict[str, Any]:
    if not answers[key]:
        raise GemsRunError(
            f"the tape holds no answer to this {what}: give the prompt, seed and options it was recorded with"
        )
    # The last answer stays, so that a run can be replayed more than once.
    answer = answers[key].popleft() if len(answers[key]) > 1 else answers[key][0]
    if "limit" in answer:
        raise refuse_again(answer["limit"], answer["message"])
    if "error" in answer:
        raise _ERRORS[answer["error"]](answer["message"])
    return answer


class _ReplayingRole:
    def __init__(self, answers: dict[str, deque[dict[str, Any]]]) -> None:
        self._answers = answers

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        said = _next(self._answers, _question_key(messages, reply_model), "question")
        reply = reply_model.model_validate(said["reply"]) if said["reply"] is not None else None
        tokens = [Token(*token) for token in said["tokens"]]
        return Answer(reply, said["usage"], said["thoughts"], said["problem"], tokens)


class _ReplayingImages:
    def __init__(self, folder: Path, head: dict[str, Any], answers: dict[str, deque[dict[str, Any]]]) -> None:
        self._folder = folder
        self._answers = answers
        self.name: str = head["name"]
        self.identity: Mapping[str, Any] = head["identity"]
        self.capabilities = Capabilities(**head["capabilities"])

    def check(self, prompt: str, width: int, height: int) -> list[str]:  # noqa: ARG002
        return []

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        del progress
        drawn = _next(self._answers, _drawing_key(request), "drawing")
        png = await asyncio.to_thread((self._folder / drawn["file"]).read_bytes)
        return Drawing(png, drawn["seconds"], drawn["cost"])
