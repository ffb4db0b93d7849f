"""The embedded engine as a chat model: an expert system that answers the roles' messages within the vocabulary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import BaseModel, ConfigDict, PrivateAttr

from gems.backends.sketch.amending import amend
from gems.backends.sketch.decomposing import decompose
from gems.backends.sketch.distilling import distil
from gems.backends.sketch.judging import Looks, compare, judge
from gems.backends.sketch.planning import choose_skills, write_prompts
from gems.backends.sketch.refining import compress, refine
from gems.core.messages import TaskInput, read_task

NO_TASK: Final = (
    "I am the expert system of GEMS' embedded engine, not a language model: I answer the messages of GEMS' own roles, "
    "and nothing else. Set GEMS_MLLM to `provider:model` for a real model."
)
_CHARACTERS_PER_TOKEN: Final = 4

_TEXT_TASKS: Final[dict[str, Callable[[dict[str, Any]], BaseModel]]] = {
    "choose_skills": choose_skills,
    "write_prompts": write_prompts,
    "decompose": decompose,
    "amend": amend,
    "refine": refine,
    "compress": compress,
    "distil": distil,
}
_PICTURE_TASKS: Final[dict[str, Callable[[dict[str, Any], Sequence[bytes], Looks], BaseModel]]] = {
    "judge": judge,
    "compare": compare,
}


class SketchChat(BaseChatModel):
    """Answers the messages that `gems.core.messages.compose` makes with the JSON of their reply models.

    It reads the tagged block and ignores the instructions. Tokens are estimated at four characters each; pictures count
    none, since their pixels are read by classical vision.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    looks: Looks | None = None
    """What has been seen; a new memory by default."""
    _looks: Looks = PrivateAttr(default_factory=Looks)

    @property
    def _llm_type(self) -> str:
        return "gems-sketch"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": "sketch"}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002  (LangChain's signature)
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResult:
        text = self._answer(messages)
        message = AIMessage(text, usage_metadata=_usage(messages, text), response_metadata={"model_name": "sketch"})
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResult:
        # Looking takes a good part of a second of computing, which would hold up the event loop.
        return await asyncio.to_thread(self._generate, messages)

    def _answer(self, messages: Sequence[BaseMessage]) -> str:
        try:
            task = read_task(messages)
        except ValueError:
            return NO_TASK
        reply = self._reply(task)
        return NO_TASK if reply is None else reply.model_dump_json()

    def _reply(self, task: TaskInput) -> BaseModel | None:
        if task.task in _TEXT_TASKS:
            return _TEXT_TASKS[task.task](task.fields)
        if task.task in _PICTURE_TASKS:
            return _PICTURE_TASKS[task.task](task.fields, task.images, self.looks or self._looks)
        return None


def _usage(messages: Sequence[BaseMessage], reply: str) -> UsageMetadata:
    asked = -(-sum(len(message.text) for message in messages) // _CHARACTERS_PER_TOKEN)
    said = -(-len(reply) // _CHARACTERS_PER_TOKEN)
    return UsageMetadata(input_tokens=asked, output_tokens=said, total_tokens=asked + said)
