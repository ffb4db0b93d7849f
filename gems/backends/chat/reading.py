"""What a message of a chat model holds: a reply, thoughts, probabilities, or the reason why there is nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage

from gems.backends.chat.parsing import part, storable
from gems.core.ports import Problem, Token

_CUT_OFF: Final = {"length", "max_tokens", "model_length"}
_REFUSED: Final = {"content_filter", "safety", "refusal", "prohibited_content"}


def places_of(message: AIMessage) -> Sequence[str]:
    """Where a reply may stand: in the text, in a tool call's arguments; the likeliest first.

    In the thoughts only where a model came to its end without a word. Else they hold drafts: those of a model that was cut
    off, that refuses, or that said something besides are not its answer.
    """
    spoken = _spoken(message)
    return [thoughts_of(message)] if problem_of(message) == "empty" else spoken


def thoughts_of(message: AIMessage) -> str:
    """Thoughts from the server's own field, or from the text before `</think>`."""
    extra = message.additional_kwargs
    told = extra.get("reasoning_content") or extra.get("reasoning")
    return storable(told if isinstance(told, str) else part(message.text).thoughts)


def problem_of(message: AIMessage) -> Problem:
    """Why there is nothing to read, told apart: a refusal, a reply cut off at the token limit, an empty one."""
    reason = message.response_metadata.get("finish_reason") or message.response_metadata.get("stop_reason")
    reason = str(reason).lower()
    if message.additional_kwargs.get("refusal") or reason in _REFUSED:
        return "refused"
    if reason in _CUT_OFF:
        return "cut off"
    return "" if any(place.strip() for place in _spoken(message)) else "empty"


def tokens_of(message: AIMessage) -> Sequence[Token]:
    """The tokens of the reply with their probabilities; none where the server does not tell."""
    try:
        return tuple(_token(item) for item in message.response_metadata["logprobs"]["content"])
    except (LookupError, TypeError, ValueError, AttributeError):
        return ()


def _spoken(message: AIMessage) -> list[str]:
    calls = [json.dumps(call["args"]) for call in message.tool_calls]
    broken = [call["args"] or "" for call in message.invalid_tool_calls]
    return [storable(place) for place in (part(message.text).reply, *calls, *broken)]


def _token(item: dict[str, Any]) -> Token:
    told = [*(item.get("top_logprobs") or ()), item]
    return Token(storable(item["token"]), {storable(it["token"]): math.exp(min(0.0, it["logprob"])) for it in told})


def images_in(messages: Sequence[BaseMessage]) -> int:
    """How many images the messages show."""
    parts = [it for message in messages if isinstance(message.content, list) for it in message.content]
    return sum(isinstance(it, dict) and it.get("type") == "image_url" for it in parts)
