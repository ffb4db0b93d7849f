"""Any LangChain chat model as a role: asks for JSON, validates it, asks once for a repair, counts what it cost."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from gems.backends.chat.parsing import UnreadableReply, parse_reply
from gems.core.errors import GemsConfigError, ModelOutage
from gems.core.ports import Answer, R
from gems.core.state import Usage, add_usage

REPAIR: Final = (
    "Your reply could not be read: {problem}. Reply again with one JSON object that fits the schema, and nothing else."
)
SCHEMA: Final = "Reply with one JSON object that fits this JSON schema, and nothing else:\n{schema}"


class _Said(NamedTuple):
    message: AIMessage
    usage: Usage


class LangChainRole:
    """A `ChatRole` over a `BaseChatModel`."""

    def __init__(self, model: BaseChatModel, *, json_schema: bool = False) -> None:
        """Wrap a model.

        Args:
            model: Any chat model of LangChain; for the critic it must read images.
            json_schema: Whether the model takes OpenAI's `response_format` of type `json_schema`. Otherwise the schema is
                written into the instructions, which every model understands.
        """
        self.model = model
        self._json_schema = json_schema

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        """Answer with a validated reply; ask once more when the first cannot be read.

        Raises:
            ModelOutage: the model did not answer at all.
            GemsConfigError: the key or the model's name was refused.
        """
        schema = reply_model.model_json_schema()
        options: dict[str, Any] = {}
        if self._json_schema:
            form = {"name": reply_model.__name__, "schema": schema}
            options["response_format"] = {"type": "json_schema", "json_schema": form}
            asked = list(messages)
        else:
            asked = [SystemMessage(SCHEMA.format(schema=json.dumps(schema))), *messages]
            if isinstance(messages[0], SystemMessage):
                asked = [SystemMessage(f"{messages[0].text}\n\n{asked[0].text}"), *messages[1:]]
        first = await self._call(asked, options)
        problem = _problem(first.message)
        if problem:
            return Answer(None, first.usage, _thoughts(first.message), problem)
        try:
            return Answer(parse_reply(first.message.text, reply_model), first.usage, _thoughts(first.message))
        except UnreadableReply as error:
            repair = HumanMessage(REPAIR.format(problem=error))
        second = await self._call([*asked, first.message, repair], options)
        usage = add_usage(first.usage, second.usage)
        try:
            return Answer(parse_reply(second.message.text, reply_model), usage, _thoughts(second.message))
        except UnreadableReply:
            return Answer(None, usage, _thoughts(second.message), _problem(second.message) or "unreadable")

    async def _call(self, messages: Sequence[BaseMessage], options: dict[str, Any]) -> _Said:
        started = time.monotonic()
        try:
            message = await self.model.ainvoke(list(messages), **options)
        except Exception as error:
            raise _explained(error) from error
        tokens = message.usage_metadata
        usage = Usage(
            mllm_calls=1,
            input_tokens=tokens["input_tokens"] if tokens else 0,
            output_tokens=tokens["output_tokens"] if tokens else 0,
            images_sent=sum(_images_in(part) for part in messages),
            mllm_seconds=time.monotonic() - started,
        )
        return _Said(message, usage)


def _images_in(message: BaseMessage) -> int:
    if isinstance(message.content, str):
        return 0
    return sum(isinstance(part, dict) and part.get("type") == "image_url" for part in message.content)


def _problem(message: AIMessage) -> Any:
    """Why there is nothing to read, told apart: a refusal, a reply cut off at the token limit, an empty one."""
    if message.additional_kwargs.get("refusal"):
        return "refused"
    if message.response_metadata.get("finish_reason") == "length":
        return "cut off"
    return "" if message.text.strip() else "empty"


def _thoughts(message: AIMessage) -> str:
    extra = message.additional_kwargs
    return str(extra.get("reasoning_content") or extra.get("reasoning") or "")


def _explained(error: Exception) -> Exception:
    """An error of a client library as one of ours, by its status; a programming error stays what it is."""
    status = getattr(error, "status_code", None)
    if status in (401, 403, 404):
        return GemsConfigError(f"the chat model refused the call ({status}): check its key, base URL and model name")
    is_api_error = status is not None or type(error).__name__ in ("APIConnectionError", "APITimeoutError")
    if is_api_error or isinstance(error, httpx.HTTPError | OSError | TimeoutError):
        return ModelOutage(f"the chat model did not answer: {type(error).__name__}" + (f" {status}" if status else ""))
    return error
