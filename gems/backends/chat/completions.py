"""ChatOpenAI with what it leaves out: thoughts, refusals, cut-off replies, and answers that are no completions.

Importing this loads langchain-openai.
"""

from __future__ import annotations

from typing import Any, Final

import openai
from langchain_core.language_models import LanguageModelInput
from langchain_core.outputs import ChatResult
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from gems.backends.cleaning import clean
from gems.core.errors import ModelOutage

_KEPT: Final = ("reasoning_content", "reasoning", "refusal")
_AS_THEY_ARE: Final = ("response_format", "max_tokens")


class Completions(ChatOpenAI):
    """One chat completion a call."""

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        # With a response format the parent hands over to a parser that throws away what was cut off or filtered; and it
        # renames max_tokens, which some servers know by no other name. Neither happens to fields of the extra body.
        own = {name: kwargs.pop(name) for name in _AS_THEY_ARE if name in kwargs}
        payload = super()._get_request_payload(input_, stop=stop, **kwargs)
        if own:
            payload["extra_body"] = own | (payload.get("extra_body") or {})
        return payload

    def _create_chat_result(
        self, response: dict[str, Any] | openai.BaseModel, generation_info: dict[str, Any] | None = None
    ) -> ChatResult:
        key = self.openai_api_key if isinstance(self.openai_api_key, SecretStr) else None
        answer = _completion(response, key)
        try:
            result = super()._create_chat_result(answer, generation_info)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise _outage(answer, key) from error
        for generation, choice in zip(result.generations, answer["choices"], strict=True):
            kept = {name: choice["message"][name] for name in _KEPT if choice["message"].get(name)}
            generation.message.additional_kwargs.update(kept)
        return result


def _completion(response: object, key: SecretStr | None) -> dict[str, Any]:
    """The answer as a completion with at least one message of the assistant's.

    Raises:
        ModelOutage: it is something else, although the status was 200.
    """
    answer = response.model_dump(warnings=False) if isinstance(response, openai.BaseModel) else response
    if not isinstance(answer, dict):
        raise _outage(answer, key)
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise _outage(answer, key)
    for choice in choices:
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict) or choice.get("error"):
            raise _outage(answer, key)
        choice["message"]["role"] = "assistant"
    return answer


def _outage(answer: object, key: SecretStr | None) -> ModelOutage:
    if isinstance(answer, dict):
        kind = "an error with status 200" if answer.get("error") else "no completion"
        shown = str(answer.get("error") or answer)
    elif isinstance(answer, str):
        kind = "a web page" if "<html" in answer[:1000].lower() else "text"
        shown = answer or "(nothing)"
    else:
        kind, shown = "no completion", repr(answer)
    return ModelOutage(f"the chat server answered with {kind}: {clean(shown, key)}", again="paid")
