"""One call of a chat model, told to whoever listens to LangChain's callbacks: LangSmith, OpenTelemetry, event streams.

They are told of the role's question and answer with artifact ids in place of images. The model itself is called beneath the
callbacks, where nobody can see what is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables.config import ensure_config
from langgraph.constants import TAG_NOSTREAM

from gems.core.errors import GemsRunError
from gems.core.tracing import Cleaner, secrets_in, told_messages


async def call_model(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    options: Mapping[str, Any],
    *,
    name: str,
    explain: Callable[[Exception], Exception],
) -> AIMessage:
    """Ask the model once, and answer with its message.

    Args:
        model: The model.
        messages: The question, images and all.
        options: Keyword arguments of the call.
        name: What the call is called in a trace.
        explain: An exception of the model's as one whose words may be told.

    Raises:
        Exception: whatever the model raises.
    """
    # Its answers are JSON for us: a chat front end that shows what models say must not show them. The call's parameters are
    # left out: a person may have written a key into `extra_body`.
    manager = AsyncCallbackManager.configure(
        ensure_config().get("callbacks"),
        model.callbacks,
        local_tags=[*(model.tags or ()), TAG_NOSTREAM],
        local_metadata={**(model.metadata or {}), **model._get_ls_params(**options)},
    )
    if not manager.handlers:
        return await _call(model, messages, options)
    cleaner = Cleaner(secrets_in())
    serialized = {
        "lc": 1,
        "type": "not_implemented",
        "id": [type(model).__module__, type(model).__name__],
        "name": name,
    }
    (run,) = await manager.on_chat_model_start(serialized, [told_messages(messages, cleaner)], name=name)
    try:
        answer = await _call(model, messages, options)
    except Exception as error:
        # Made here, it has no traceback and no cause, whose words a tracer would repeat.
        await run.on_llm_error(GemsRunError(cleaner.error(explain(error))))
        raise
    except BaseException as error:
        await run.on_llm_error(type(error)())
        raise
    (told,) = told_messages([answer], cleaner)
    await run.on_llm_end(LLMResult(generations=[[ChatGeneration(message=told)]]))
    return answer


async def _call(model: BaseChatModel, messages: Sequence[BaseMessage], options: Mapping[str, Any]) -> AIMessage:
    # What `ainvoke` does beneath its callbacks: caches, limits of rate and all that a model adds to its replies.
    result = await model._agenerate_with_cache(list(messages), **options)
    message = result.generations[0].message
    if not isinstance(message, AIMessage):
        raise TypeError(f"{type(model).__name__} answered with a {type(message).__name__}, not with an AIMessage")
    return message
