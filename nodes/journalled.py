"""Calls in the journal: what a node has received before its process died is not asked again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from langgraph.config import get_config

from gems.core.messages import EncodedImage, Task
from gems.core.ports import Answer, R, Token
from gems.core.state import Role, Usage

_heard: ContextVar[set[str] | None] = ContextVar("gems_heard", default=None)


def begin_hearing() -> None:
    """A node begins: what it hears from now on is counted once, however often it asks."""
    _heard.set(set())


def question_of(
    role: Role, task: Task, instructions: str, fields: Mapping[str, Any], images: Sequence[EncodedImage]
) -> dict[str, Any]:
    """A question as the journal keeps it: JSON values, images as artifact ids."""
    return {
        "role": role,
        "task": task,
        "prompt": hashlib.sha256(instructions.encode()).hexdigest()[:12],
        "instructions": instructions,
        "fields": dict(fields),
        "images": [{"label": image.label, "artifact": image.artifact} for image in images],
    }


def call_key(question: Mapping[str, Any]) -> str:
    """SHA-256 (hexadecimal) of a question and of who asks it: the node's execution, which stays the same when resumed.

    Empty where the graph keeps no threads: nothing is resumed there.
    """
    config = get_config()
    if "thread_id" not in config.get("configurable", {}):
        return ""
    execution = config["metadata"]["langgraph_checkpoint_ns"]
    asked = json.dumps([execution, question], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(asked.encode()).hexdigest()


def reply_of(answer: Answer[Any]) -> dict[str, Any]:
    """An answer as the journal keeps it."""
    return {
        "reply": answer.reply.model_dump(mode="json") if answer.reply else None,
        "usage": dict(answer.usage),
        "thoughts": answer.thoughts,
        "problem": answer.problem,
        "tokens": [[token.text, dict(token.chances)] for token in answer.tokens],
    }


def recalled(call: Mapping[str, Any] | None, reply_model: type[R]) -> Answer[R] | None:
    """The answer of a call that was kept; None where there is none that this version can read."""
    try:
        if call is None:
            return None
        reply = reply_model.model_validate(call["reply"]) if call["reply"] is not None else None
        tokens = [Token(*token) for token in call["tokens"]]
        return Answer(reply, call["usage"], call["thoughts"], call["problem"], tokens)
    except (KeyError, TypeError, ValueError):
        return None


def usage_once(key: str, usage: Usage) -> Usage:
    """The usage, the first time that this node hears this answer; nothing after that: it was paid for once."""
    heard = _heard.get()
    if heard is None:
        return usage
    if key in heard:
        return Usage()
    heard.add(key)
    return usage
