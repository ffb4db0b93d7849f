"""Any LangChain chat model as a role: asks for JSON, validates it, asks once for a repair, counts what it cost."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

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

_PROGRAMMING: Final = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError)
_SECRET: Final = re.compile(r"\b(sk|key)-[\w-]+|Bearer\s+\S+", re.IGNORECASE)
# The openai client raises these where others answer; they are answers all the same.
_UNFINISHED: Final = {
    "LengthFinishReasonError": AIMessage("", response_metadata={"finish_reason": "length"}),
    "ContentFilterFinishReasonError": AIMessage("", additional_kwargs={"refusal": "content filter"}),
}


class _Said(NamedTuple):
    message: AIMessage
    usage: Usage


class LangChainRole:
    """A `ChatRole` over a `BaseChatModel`."""

    def __init__(self, model: BaseChatModel | Callable[[], BaseChatModel], *, json_schema: bool = False) -> None:
        """Wrap a model.

        Args:
            model: Any chat model of LangChain; for the critic it must read images. A function makes one for each event loop:
                HTTP clients cannot be used from a second one.
            json_schema: Whether the model takes OpenAI's `response_format` of type `json_schema`. Otherwise the schema is
                written into the instructions, which every model understands.
        """
        self._model = model
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, BaseChatModel] = WeakKeyDictionary()
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

    def _model_here(self) -> BaseChatModel:
        if isinstance(self._model, BaseChatModel):
            return self._model
        loop = asyncio.get_running_loop()
        if loop not in self._made:
            self._made[loop] = self._model()
        return self._made[loop]

    async def _call(self, messages: Sequence[BaseMessage], options: dict[str, Any]) -> _Said:
        started = time.monotonic()
        try:
            message = await self._model_here().ainvoke(list(messages), **options)
        except Exception as error:
            unfinished = _UNFINISHED.get(type(error).__name__)
            if unfinished is None:
                raise _explained(error) from error
            message = unfinished
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
    if status in (400, 413, 422):
        said = _SECRET.sub("…", str(getattr(error, "message", error)))[:300]
        return GemsConfigError(f"the chat model cannot take the call ({status}): {said}")
    if status is None and isinstance(error, _PROGRAMMING):
        return error
    return ModelOutage(f"the chat model did not answer: {type(error).__name__}" + (f" {status}" if status else ""))
