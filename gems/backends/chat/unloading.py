"""Asking a chat server to give a model's memory back. Ollama can be asked; of other servers none is known that can."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import httpx
from pydantic import SecretStr

from gems.backends.json_object import json_object
from gems.core.errors import ModelOutage
from gems.core.profiles import Endpoint

VERSION_SECONDS: Final = 2.0
"""Time limit of asking a server what it is."""
UNLOAD_SECONDS: Final = 30.0
"""Time limit of an unload, until the memory is free."""
FIRST_LOOK: Final = 0.05
"""Seconds until it is first looked again whether the model is gone; each further time twice as long."""
LATER_LOOKS: Final = 0.5
"""Seconds between two looks, at most."""

KEEPS_MEMORY: Final = (
    "give it a part of the GPU only (vLLM: --gpu-memory-utilization 0.4, SGLang: --mem-fraction-static 0.4, llama.cpp: a "
    "lower --n-gpu-layers), or serve the model with Ollama"
)
"""What to do about a server that cannot be asked."""

logger = logging.getLogger(__name__)


class ChatServers:
    """What is known of chat servers: each is asked once what it is."""

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport | None = None,
        *,
        seconds: float = UNLOAD_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Know nothing yet.

        Args:
            transport: What carries requests; None: the network.
            seconds: Time limit of an unload, until the memory is free.
            sleep: What waits between two looks.
        """
        self._transport = transport
        self._seconds = seconds
        self._sleep = sleep
        self._is_ollama: dict[str, bool] = {}

    def unloading(self, endpoint: Endpoint) -> Unloading | None:
        """How to have the model's memory given back; None where there is no server of one's own. This may read a file."""
        if endpoint.base_url is None:
            return None
        _ = self._certificates  # read here rather than in an event loop
        return Unloading(self, endpoint.base_url.rstrip("/").removesuffix("/v1"), endpoint.model, endpoint.api_key)

    async def unload(self, wanted: Unloading) -> None:
        """Have a model's memory given back, and wait until it is; a server that cannot do it is left alone.

        Raises:
            ModelOutage: the server did not answer, refused, or still holds the model.
        """
        who, key = f"the chat server at {wanted.origin}", wanted.key
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        try:
            async with (
                asyncio.timeout(self._seconds),
                # Redirects are not followed: they could lead a request, and its key, anywhere.
                httpx.AsyncClient(
                    base_url=wanted.origin,
                    headers=headers,
                    verify=self._certificates,
                    timeout=self._seconds,
                    transport=self._transport,
                    follow_redirects=False,
                ) as client,
            ):
                if not await self._ask_whether_ollama(client, wanted.origin):
                    return
                reply = await client.post("/api/generate", json={"model": wanted.model, "keep_alive": 0})
                if reply.status_code == httpx.codes.NOT_FOUND:
                    return  # what it does not have, it does not hold
                if not reply.is_success:
                    raise ModelOutage(
                        f"{who} refused to unload {wanted.model!r} ({reply.status_code}): see its own log"
                    )
                await self._wait_until_gone(client, wanted.model)
        except TimeoutError:
            raise ModelOutage(
                f"{who} still holds {wanted.model!r} after {self._seconds:g} s: see `ollama ps`"
            ) from None
        except httpx.HTTPError as error:
            raise ModelOutage(
                f"{who} did not answer when asked to unload {wanted.model!r} ({type(error).__name__})"
            ) from error

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()

    async def _ask_whether_ollama(self, client: httpx.AsyncClient, origin: str) -> bool:
        if origin not in self._is_ollama:
            reply = await client.get("/api/version", timeout=VERSION_SECONDS)
            if reply.status_code >= 500:
                raise ModelOutage(f"the chat server at {origin} does not say what it is ({reply.status_code})")
            found = isinstance(json_object(reply).get("version"), str)
            if not found and origin not in self._is_ollama:
                logger.warning(
                    "GEMS cannot ask the chat server at %s to unload its model, as it is no Ollama: it keeps its memory "
                    f"while pictures are drawn. {KEEPS_MEMORY[0].upper()}{KEEPS_MEMORY[1:]}",
                    origin,
                    extra={"server": origin},
                )
            self._is_ollama[origin] = found
        return self._is_ollama[origin]

    async def _wait_until_gone(self, client: httpx.AsyncClient, model: str) -> None:
        """Wait for the memory: Ollama answers before it is free."""
        wait = FIRST_LOOK
        while model.casefold() in _loaded(await client.get("/api/ps")):
            await self._sleep(wait)
            wait = min(2 * wait, LATER_LOOKS)


@dataclass(frozen=True)
class Unloading:
    """Has one model's memory given back when called. Two of the same model are equal."""

    servers: ChatServers
    origin: str
    """The server's base URL, without /v1."""
    model: str
    key: SecretStr | None = None

    async def __call__(self) -> None:
        """Unload the model, and wait until its memory is free.

        Raises:
            ModelOutage: the server did not answer, refused, or still holds the model.
        """
        await self.servers.unload(self)


def _loaded(reply: httpx.Response) -> set[str]:
    """Models in memory, by all their names; an Ollama that is too old to tell has given back all that it will."""
    entries = json_object(reply).get("models")
    told = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    names = {str(entry.get(field)).casefold() for entry in told for field in ("name", "model")}
    return names | {name.removesuffix(":latest") for name in names}
