"""Faults of the model rather than the server: replies that hold less, more, or something else than the JSON asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from gems.evals.loopback.chat_flavours import Said
from gems.evals.loopback.faults import TRANSPORT

_OPPOSITE: Final = {"met": "unmet", "unmet": "met", "unknown": "unmet"}


def _draft(reply: Mapping[str, Any]) -> str:
    """What a model thinks before it knows better: every verdict turned round."""
    turned = {
        name: [item | {"verdict": _OPPOSITE[item["verdict"]]} for item in value] if name == "verdicts" else value
        for name, value in reply.items()
    }
    return f"At first sight I would say {json.dumps(turned)}. But no, let me look again."


def _wrong_schema(reply: Mapping[str, Any]) -> str:
    if "verdicts" in reply:
        return json.dumps({"verdicts": {item["id"]: "unmet" for item in reply["verdicts"]}})
    return json.dumps({"result": dict(reply)})


def _nulls(reply: Mapping[str, Any]) -> str:
    if "verdicts" in reply:
        empty = {"evidence": None, "verdict": None, "confidence": None}
        return json.dumps({"verdicts": [item | empty for item in reply["verdicts"]]})
    return json.dumps(dict.fromkeys(reply))


def _tool_call(reply: Mapping[str, Any], said: Said) -> Said:
    function = {"name": "reply", "arguments": json.dumps(reply)}
    call = {"id": "call_1", "type": "function", "function": function, "index": 0}
    return replace(said, content=None, tool_calls=(call,), finish_reason="tool_calls")


SPOIL: Final[Mapping[str, Callable[[Mapping[str, Any], Said], Said]]] = {
    "fence": lambda _, said: replace(said, content=f"```json\n{said.content}\n```"),
    "think": lambda reply, said: replace(said, content=f"<think>\n{_draft(reply)}\n</think>\n\n{said.content}"),
    "think_unopened": lambda reply, said: replace(said, content=f"{_draft(reply)}\n</think>\n\n{said.content}"),
    "words": lambda _, said: replace(said, content=f"Sure! {{Here}} is my answer:\n\n{said.content}\n\nAnything else?"),
    "tool_call": _tool_call,
    "in_reasoning": lambda _, said: replace(said, content=None, thoughts=f"I look. {said.content}"),
    "null_content": lambda _, said: replace(said, content=None),
    "nulls": lambda reply, said: replace(said, content=_nulls(reply)),
    "trailing_comma": lambda _, said: replace(said, content=(said.content or "")[:-1] + ",}"),
    "wrong_schema": lambda reply, said: replace(said, content=_wrong_schema(reply)),
    "empty": lambda _, said: replace(said, content=""),
    "cut_off": lambda _, said: replace(
        said, content=(said.content or "")[: len(said.content or "") // 2], finish_reason="length"
    ),
    "refusal": lambda _, said: replace(said, content=None, refusal="I'm sorry, but I can't help with that."),
    "content_filter": lambda _, said: replace(said, content="", finish_reason="content_filter"),
    "no_choices": lambda _, said: replace(said, extra={"choices": []}),
    "null_choices": lambda _, said: replace(said, extra={"choices": None}),
    "null_usage": lambda _, said: replace(said, extra={"usage": None}),
}

CHAT_FAULTS: Final = (*TRANSPORT, *SPOIL)
HARMLESS: Final = frozenset({"fence", "think", "think_unopened", "words", "trailing_comma", "null_usage"})
"""Replies that still hold the whole answer where it belongs, so that a tolerant reader needs no second call."""
