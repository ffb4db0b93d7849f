"""Chat servers as they differ: what they reject in which words, and the bodies they answer with.

Shapes from the servers' sources and published replies: OpenAI's API reference; vLLM `entrypoints/openai`; SGLang
`srt/entrypoints/openai`; Ollama `openai/openai.go`; OpenRouter's and DeepSeek's documentation; LM Studio's error texts.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from gems.evals.loopback.tokens import message_texts
from gems.evals.loopback.wire import Reply, as_json

ChatFlavour = Literal["openai", "vllm", "sglang", "ollama", "openrouter", "deepseek", "lmstudio", "plain"]
CHAT_FLAVOURS: Final[tuple[ChatFlavour, ...]] = (
    "openai",
    "vllm",
    "sglang",
    "ollama",
    "openrouter",
    "deepseek",
    "lmstudio",
    "plain",
)
Body = dict[str, Any]

OUTPUTS: Final[Mapping[ChatFlavour, frozenset[str]]] = {
    "deepseek": frozenset({"json_object"}),
    "lmstudio": frozenset({"json_schema"}),
    "plain": frozenset(),
}
"""The `response_format` types of those that do not know both."""
LOGPROBS: Final = frozenset({"openai", "vllm", "sglang", "deepseek"})
THOUGHTS: Final[Mapping[ChatFlavour, str]] = {
    "vllm": "reasoning_content",
    "sglang": "reasoning_content",
    "deepseek": "reasoning_content",
    "lmstudio": "reasoning_content",
    "ollama": "reasoning",
    "openrouter": "reasoning",
}
"""Where thoughts stand. OpenAI keeps its own."""
OWNERS: Final[Mapping[ChatFlavour, str]] = {"ollama": "library", "lmstudio": "organization_owner", "plain": "me"}
_REASONING_MODEL: Final = re.compile(r"^(gpt-5|o\d)")
_OPENAI_FIELDS: Final = frozenset(
    [
        "model",
        "messages",
        "response_format",
        "temperature",
        "top_p",
        "n",
        "stream",
        "stream_options",
        "stop",
        "seed",
        "logprobs",
        "top_logprobs",
        "max_tokens",
        "max_completion_tokens",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "user",
        "store",
        "metadata",
        "reasoning_effort",
        "verbosity",
        "service_tier",
        "modalities",
        "prediction",
        "safety_identifier",
        "prompt_cache_key",
    ]
)


class Counts(NamedTuple):
    """Tokens of a request and its reply; the images' are among the prompt's."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class Said:
    """What the model says, as far as all servers agree."""

    content: str | None
    thoughts: str = ""
    refusal: str | None = None
    tool_calls: Sequence[Body] = ()
    finish_reason: str = "stop"
    logprobs: list[Body] | None = None
    extra: Body = field(default_factory=dict)
    """Fields of the whole body that replace what would stand there."""


def output_of(body: Body) -> str:
    """How JSON is asked for."""
    return str((body.get("response_format") or {}).get("type", "text"))


def error(flavour: ChatFlavour, status: int, message: str, param: str | None = None, code: str | None = None) -> Reply:
    """An error in the server's own shape."""
    kind = {400: "BadRequestError", 401: "Unauthorized", 404: "NotFoundError", 429: "RateLimitError"}.get(
        status, "InternalServerError"
    )
    if flavour == "vllm":
        return as_json({"error": {"message": message, "type": kind, "param": param, "code": status}}, status)
    if flavour == "sglang":
        return as_json({"object": "error", "message": message, "type": kind, "param": param, "code": status}, status)
    if flavour == "openrouter":
        detail = {"message": message, "code": status, "metadata": {"provider_name": "Loopback", "raw": message}}
        return as_json({"error": detail, "user_id": "user_1"}, status)
    if flavour == "lmstudio":
        return as_json({"error": message}, status)
    if flavour == "plain":
        return as_json({"detail": message}, status)
    kinds = {400: "invalid_request_error", 401: "invalid_request_error", 404: "not_found_error", 429: "requests"}
    detail = {"message": message, "type": kinds.get(status, "api_error"), "param": param, "code": code}
    return as_json({"error": detail}, status)


def rejection(flavour: ChatFlavour, model: str, body: Body) -> Reply | None:
    """The error that the server answers such a request with, or None: it takes it."""
    wanted = body.get("model")
    if wanted != model and flavour != "sglang":
        return _unknown_model(flavour, str(wanted))
    if (output := output_of(body)) != "text" and output not in OUTPUTS.get(flavour, {"json_schema", "json_object"}):
        return _unknown_output(flavour, body["response_format"])
    if flavour == "vllm" and (body.get("top_logprobs") or 0) > 20:
        most = body["top_logprobs"]
        return error(
            flavour, 400, f"Requested sample logprobs of {most}, which is greater than max allowed: 20", "logprobs"
        )
    if flavour == "ollama" and any(not _is_inline(url) for url in image_urls(body["messages"])):
        return error(flavour, 400, "invalid image input")
    return _openai_rejection(body) if flavour == "openai" else None


def image_urls(messages: Sequence[Body]) -> list[str]:
    """The URLs of the images sent along."""
    parts = [part for message in messages if isinstance(message.get("content"), list) for part in message["content"]]
    return [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]


def completion(flavour: ChatFlavour, model: str, said: Said, counts: Counts) -> Body:
    """The body of a reply."""
    message: Body = {"role": "assistant", "content": said.content}
    choice: Body = {"index": 0, "message": message, "finish_reason": said.finish_reason}
    usage: Body = {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": sum(counts),
    }
    body: Body = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": usage,
    }
    if (thoughts := THOUGHTS.get(flavour)) and (said.thoughts or flavour in ("vllm", "sglang")):
        message[thoughts] = said.thoughts or None
    if said.tool_calls:
        message["tool_calls"] = list(said.tool_calls)
    if flavour in LOGPROBS:
        choice["logprobs"] = None if said.logprobs is None else {"content": said.logprobs}
    _ADORN.get(flavour, _nothing)(body, message, choice, usage, said)
    return body | said.extra


def models(flavour: ChatFlavour, model: str) -> Body:
    """`GET /v1/models`."""
    entry: Body = {
        "id": model,
        "object": "model",
        "created": 1_760_000_000,
        "owned_by": OWNERS.get(flavour, flavour),
    }
    if flavour in ("vllm", "sglang"):
        entry |= {"root": model, "max_model_len": 32_768}
    return {"object": "list", "data": [entry]}


def _is_inline(url: str) -> bool:
    return re.match(r"data:(image/(jpeg|jpg|png|webp))?;base64,", url) is not None


def _unknown_model(flavour: ChatFlavour, model: str) -> Reply:
    if flavour == "ollama":
        return error(flavour, 404, f'model "{model}" not found, try pulling it first')
    if flavour == "openrouter":
        return error(flavour, 400, f"{model} is not a valid model ID")
    message = f"The model `{model}` does not exist."
    if flavour == "openai":
        message = f"The model `{model}` does not exist or you do not have access to it."
    return error(flavour, 404, message, "model", "model_not_found")


def _unknown_output(flavour: ChatFlavour, response_format: Body) -> Reply:
    if flavour == "deepseek":
        return error(flavour, 400, "This response_format type is unavailable now", code="invalid_request_error")
    if flavour == "lmstudio":
        return error(flavour, 400, "'response_format.type' must be 'json_schema' or 'text'")
    problem = {"type": "extra_forbidden", "loc": ["body", "response_format"], "msg": "Extra inputs are not permitted"}
    return as_json({"detail": [problem | {"input": response_format}]}, 422)


def _openai_rejection(body: Body) -> Reply | None:
    if strange := sorted(body.keys() - _OPENAI_FIELDS):
        return error("openai", 400, f"Unrecognized request argument supplied: {strange[0]}")
    if _REASONING_MODEL.match(body["model"]):
        if "max_tokens" in body:
            message = (
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead."
            )
            return error("openai", 400, message, "max_tokens", "unsupported_parameter")
        if body.get("temperature") not in (None, 1):
            message = (
                f"Unsupported value: 'temperature' does not support {body['temperature']} with this model. "
                "Only the default (1) value is supported."
            )
            return error("openai", 400, message, "temperature", "unsupported_value")
        if body.get("logprobs") or body.get("top_logprobs"):
            message = "Unsupported parameter: 'logprobs' is not supported with this model."
            return error("openai", 400, message, "logprobs", "unsupported_parameter")
    if output_of(body) == "json_object" and not any("json" in text.lower() for text in message_texts(body["messages"])):
        message = (
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        )
        return error("openai", 400, message, "messages")
    form = body["response_format"]["json_schema"] if output_of(body) == "json_schema" else {}
    if form.get("strict") and (problem := _not_strict(form["schema"])):
        message = f"Invalid schema for response_format '{form['name']}': In context=(), {problem}"
        return error("openai", 400, message, "response_format")
    return None


def _not_strict(schema: Any) -> str:
    """What OpenAI's strict mode finds wrong with a schema."""
    if isinstance(schema, list):
        return next((problem for part in schema if (problem := _not_strict(part))), "")
    if not isinstance(schema, dict):
        return ""
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return "'additionalProperties' is required to be supplied and to be false."
    if "properties" in schema and set(schema.get("required", ())) != set(schema["properties"]):
        return "'required' is required to be supplied and to be an array including every key in properties."
    return _not_strict(list(schema.values()))


def _nothing(body: Body, message: Body, choice: Body, usage: Body, said: Said) -> None:
    del body, message, choice, usage, said


def _adorn_openai(body: Body, message: Body, choice: Body, usage: Body, said: Said) -> None:
    del choice
    message |= {"refusal": said.refusal, "annotations": []}
    thought = usage["completion_tokens"] // 2 if _REASONING_MODEL.match(body["model"]) else 0
    usage["prompt_tokens_details"] = {"cached_tokens": 0, "audio_tokens": 0}
    usage["completion_tokens_details"] = {
        "reasoning_tokens": thought,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }
    body |= {"service_tier": "default", "system_fingerprint": "fp_loopback"}


def _adorn_vllm(body: Body, message: Body, choice: Body, usage: Body, said: Said) -> None:
    message |= {"refusal": said.refusal, "annotations": None, "audio": None, "function_call": None}
    message.setdefault("tool_calls", [])
    choice |= {"stop_reason": None, "token_ids": None}
    usage["prompt_tokens_details"] = None
    body |= {"service_tier": None, "system_fingerprint": None, "prompt_logprobs": None, "kv_transfer_params": None}


def _adorn_sglang(body: Body, message: Body, choice: Body, usage: Body, said: Said) -> None:
    del said
    body["id"] = body["id"].removeprefix("chatcmpl-")
    message.setdefault("tool_calls", None)
    choice["matched_stop"] = 151_645
    usage |= {"prompt_tokens_details": None, "reasoning_tokens": 0}
    body["metadata"] = {"weight_version": "default"}


def _adorn_ollama(body: Body, message: Body, choice: Body, usage: Body, said: Said) -> None:
    del choice, usage, said
    body["id"] = f"chatcmpl-{body['created'] % 1000}"
    body["system_fingerprint"] = "fp_ollama"
    message["content"] = message["content"] or ""


def _adorn_openrouter(body: Body, message: Body, choice: Body, usage: Body, said: Said) -> None:
    body["id"] = f"gen-{body['created']}-{body['id'][-20:]}"
    body["provider"] = "Loopback"
    message |= {"refusal": said.refusal}
    message.setdefault("reasoning", None)
    choice |= {"logprobs": None, "native_finish_reason": said.finish_reason}
    usage |= {"cost": 0.0001, "is_byok": False}


_ADORN: Final = {
    "openai": _adorn_openai,
    "vllm": _adorn_vllm,
    "sglang": _adorn_sglang,
    "ollama": _adorn_ollama,
    "openrouter": _adorn_openrouter,
}
