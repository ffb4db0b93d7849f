"""Chat models behind OpenAI's protocol, by langchain-openai."""

from __future__ import annotations

from typing import Final

import httpx
from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from gems.backends.chat.role import LangChainRole
from gems.core.errors import GemsConfigError
from gems.core.settings import Endpoint

SECONDS: Final = 180.0
"""Time limit of one call."""


def make_openai_chat(endpoint: Endpoint) -> LangChainRole:
    """The model at an endpoint. A server of one's own (a base URL) needs no key.

    Raises:
        GemsConfigError: the model's name or the key is missing.
    """
    if not endpoint.model:
        raise GemsConfigError("GEMS_MLLM=openai names no model: write openai:MODEL, e.g. openai:gpt-5-mini")
    if endpoint.api_key is None and endpoint.base_url is None:
        raise GemsConfigError(
            f"{endpoint.name} needs a key: set GEMS_MLLM_API_KEY, or GEMS_MLLM_BASE_URL for your own server"
        )

    def make() -> BaseChatModel:
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(
            model=endpoint.model,
            base_url=endpoint.base_url,
            api_key=endpoint.api_key or SecretStr("none"),
            timeout=SECONDS,
            # langchain-openai shares its default client between models, and so between event loops.
            http_async_client=httpx.AsyncClient(timeout=SECONDS),
        )

    return LangChainRole(make, json_schema=True)
