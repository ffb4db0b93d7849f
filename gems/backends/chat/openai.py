"""Chat models behind OpenAI's protocol, by langchain-openai."""

from __future__ import annotations

import warnings

import httpx
from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from gems.backends.chat.book import ServerBook
from gems.backends.chat.errors import HOSTED
from gems.backends.chat.role import LangChainRole
from gems.backends.chat.server import Server, Wishes
from gems.backends.connections import Connections
from gems.backends.serving import Gate
from gems.core.errors import GemsConfigError
from gems.core.profiles import Endpoint


def make_openai_chat(
    endpoint: Endpoint,
    gate: Gate,
    book: ServerBook,
    *,
    logprobs: bool = False,
    transport: httpx.AsyncBaseTransport | None = None,
) -> LangChainRole:
    """The model at an endpoint. A server of one's own (a base URL) needs no key.

    This loads langchain-openai and may block.

    Args:
        endpoint: The model.
        gate: The way to its server.
        book: What is known of servers.
        logprobs: Whether log-probabilities are wanted, if they can be had.
        transport: What carries requests; default: the network.

    Raises:
        GemsConfigError: the model's name or the key is missing.
    """
    if not endpoint.model:
        raise GemsConfigError("openai names no model: write openai:MODEL, e.g. openai:gpt-5-mini")
    if endpoint.api_key is None and endpoint.base_url is None:
        raise GemsConfigError(
            f"{endpoint.name} needs a key: set {endpoint.key_name}, or a base URL for your own server; "
            "`gems init` writes either"
        )

    from gems.backends.chat.completions import Completions
    from gems.backends.openai_client import make_client

    chat = endpoint.chat
    connections = Connections(chat.seconds, transport)
    unused = httpx.Client(verify=connections.certificates)

    def make() -> BaseChatModel:
        # A server that takes no schema is asked in another way; langchain-openai's advice on it would mislead.
        warnings.filterwarnings("ignore", ".*OpenAI's structured output feature", UserWarning)
        # Named outright: langchain-openai would look for a URL in variables that are not ours.
        url, key = endpoint.base_url or HOSTED, endpoint.api_key or SecretStr("none")
        # langchain-openai's own would be shared between models, and so between event loops.
        client = make_client(url, key.get_secret_value(), connections.here(), chat.seconds)
        return Completions(
            model=endpoint.model,
            base_url=url,
            api_key=key,
            timeout=chat.seconds,
            max_retries=0,
            extra_body=chat.extra_body or None,
            use_responses_api=False,
            # The same question is asked twice on purpose; a cache of the host's would answer the second.
            cache=False,
            # Without this it warns of proxies, which these clients do heed.
            http_socket_options=(),
            http_client=unused,
            root_async_client=client,
            async_client=client.chat.completions,
        )

    wishes = Wishes(chat.output, logprobs, chat.temperature, chat.max_tokens)
    return LangChainRole(make, gate=gate, server=Server(wishes, endpoint, book), close=connections.aclose)
