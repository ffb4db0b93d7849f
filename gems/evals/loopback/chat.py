"""A chat server: `POST /v1/chat/completions` in the manner of a real one, with a scripted brain behind it."""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
import time
from collections.abc import Container
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final

from langchain_core.messages import convert_to_messages

from gems.core.messages import TaskInput, read_task
from gems.evals.loopback.brains import REPLIES, Brain
from gems.evals.loopback.chat_faults import SPOIL
from gems.evals.loopback.chat_flavours import (
    LOGPROBS,
    ChatFlavour,
    Counts,
    Said,
    completion,
    error,
    models,
    output_of,
    rejection,
)
from gems.evals.loopback.faults import FREE, TRANSPORT, Plan, broken, clean
from gems.evals.loopback.log import Entry
from gems.evals.loopback.ollama import OllamaNative
from gems.evals.loopback.tokens import image_tokens, log_probabilities, message_texts, text_tokens
from gems.evals.loopback.wire import Reply, Request, as_json

THOUGHT: Final = "I look at what is asked, and answer."
TASKS: Final = frozenset({*REPLIES, ""})
"""All tasks, and what carries none."""


class ChatServer:
    """Answers chat requests; it is asked for its routes by a `Loopback`."""

    def __init__(
        self,
        brain: Brain,
        flavour: ChatFlavour = "vllm",
        *,
        model: str = "loopback",
        seconds: float = 0.0,
        plan: Plan = clean,
        dirty_tasks: Container[str] = TASKS,
        slow: float = 1.0,
        key: str = "",
        thinks: bool = False,
        native: OllamaNative | None = None,
    ) -> None:
        """Set it up.

        Args:
            brain: Who answers.
            flavour: Which server it behaves like.
            model: The model it serves; another name is an error, as with that server.
            seconds: How long an answer takes, from the request's last byte.
            plan: Its faults.
            dirty_tasks: Tasks that the plan is for; all others are answered well.
            slow: Further seconds of a `slow` reply.
            key: The key that it wants; empty for none.
            thinks: Whether the model thinks aloud, where the server shows thoughts.
            native: Ollama's own paths, which that flavour has in any case.
        """
        self.flavour = flavour
        self.model = model
        self._brain = brain
        self._seconds = seconds
        self._plan = plan
        self._dirty_tasks = dirty_tasks
        self._slow = slow
        self._key = key
        self._thinks = thinks
        self._native = native or (OllamaNative() if flavour == "ollama" else None)
        self._numbers = itertools.count()
        # Brains are plain functions with a memory; one thread at a time asks them.
        self._thinking = threading.Lock()

    def answer(self, request: Request, entry: Entry) -> Reply | None:
        """The reply, or None where the path is not one of this server's."""
        if self._native and (reply := self._native.answer(request, entry, self.model)):
            return reply
        if request.method == "GET":
            return self._told(request.path)
        if request.path != "/v1/chat/completions":
            return None
        entry.kind = "chat"
        if self._key and request.key != self._key:
            return error(self.flavour, 401, f"Incorrect API key provided: {request.key}", code="invalid_api_key")
        body = json.loads(request.body)
        task = self._note(body, entry)
        if refused := rejection(self.flavour, self.model, body):
            return refused
        entry.fault = fault = self._plan(next(self._numbers)) if task.task in self._dirty_tasks else ""
        if fault in FREE:
            return broken(fault, request.key, Reply(), self._error)
        with self._native.using(self.model) if self._native else nullcontext():
            return self._infer(body, task, entry, request.key)

    def _infer(self, body: dict[str, Any], task: TaskInput, entry: Entry, key: str) -> Reply:
        with self._thinking:
            # What carries no task of ours is somebody trying whether the server answers.
            entry.said = self._brain(task) if task.task else {"ok": True}
        reply, fault = self._complete(body, entry), entry.fault
        if fault in TRANSPORT and fault != "slow":
            reply = broken(fault, key, reply, self._error)
        # All the work of this server is within its fixed time.
        time.sleep(max(0.0, entry.start + self._seconds + self._slow * (fault == "slow") - time.monotonic()))
        return reply

    def _complete(self, body: dict[str, Any], entry: Entry) -> Reply:
        said = Said(json.dumps(entry.said, ensure_ascii=False), THOUGHT if self._thinks else "")
        if spoil := SPOIL.get(entry.fault):
            said = spoil(entry.said, said)
        entry.output_tokens = text_tokens((said.content or "") + said.thoughts)
        if body.get("logprobs") and self.flavour in LOGPROBS:
            tokens = log_probabilities(said.content or "", entry.said, body.get("top_logprobs") or 0)
            said = replace(said, logprobs=tokens)
        counts = Counts(entry.text_tokens + entry.image_tokens, entry.output_tokens)
        return as_json(
            completion(self.flavour, self.model, said, counts), headers={"x-request-id": f"req_{entry.number}"}
        )

    def _note(self, body: dict[str, Any], entry: Entry) -> TaskInput:
        messages = body["messages"]
        try:
            task = read_task(convert_to_messages(messages))
        except ValueError:
            task = TaskInput("", {}, [])
        entry.task = task.task
        entry.repair = any(message["role"] == "assistant" for message in messages)
        entry.output = output_of(body)
        if task.task == "judge":
            entry.asked = [item["question"] for item in task.fields["requirements"]]
        entry.images = len(task.images)
        entry.image_tokens = sum(image_tokens(content) for content in task.images)
        entry.picture = hashlib.sha256(b"".join(task.images)).hexdigest()[:16] if task.images else ""
        entry.text_tokens = sum(text_tokens(text) for text in message_texts(messages))
        return task

    def _told(self, path: str) -> Reply | None:
        """What a GET is answered with."""
        if path == "/v1/models":
            return as_json(models(self.flavour, self.model))
        if path == "/health" and self.flavour in ("vllm", "sglang"):
            return Reply(200, b"", "text/plain")
        return None

    def _error(self, status: int, message: str) -> Reply:
        return error(self.flavour, status, message)
