"""The way to a ComfyUI server: one request, its failures sorted, and a websocket."""

from __future__ import annotations

import re
from typing import Any, Final

import httpx
from websockets.asyncio.client import connect

from gems.backends.cleaning import clean
from gems.backends.connections import Connections
from gems.backends.images.faults import place, read_reply, sort_break, sort_reply
from gems.core.profiles import Endpoint

LOCAL: Final = "http://127.0.0.1:8188"
"""Where ComfyUI listens unless told otherwise."""
REPLY_SECONDS: Final = 60.0
"""Time limit of one request: none of them waits for a drawing."""
HANDSHAKE_SECONDS: Final = 10.0
MOST_BYTES: Final = 64 * 2**20
"""Largest websocket message taken: previews come as messages too."""


class ComfyServer:
    """A ComfyUI server. A key, if there is one, is the bearer token that a proxy before it wants."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Take its address; without one it is on this machine."""
        if endpoint.base_url is None:
            # The key at hand is then one that is meant for another server.
            endpoint = endpoint.model_copy(update={"base_url": LOCAL, "api_key": None})
        self._endpoint = endpoint
        self._url = (endpoint.base_url or LOCAL).rstrip("/")
        self._headers = {"Authorization": f"Bearer {endpoint.api_key.get_secret_value()}"} if endpoint.api_key else {}
        self._connections = Connections(REPLY_SECONDS, None)

    @property
    def place(self) -> str:
        """Its address, for people and keys of drawings."""
        return place(self._url)

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make a request and answer with whatever the server replies.

        Args:
            method: GET, HEAD or POST.
            path: Below the server's address.
            options: The request's, as httpx names them.

        Raises:
            ModelOutage: there was no reply.
            GemsConfigError: the address is none.
        """
        try:
            return await self._connections.here().request(
                method, f"{self._url}{path}", headers=self._headers, **options
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise sort_break(self._endpoint, error) from error

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make a request that has to succeed; arguments as in `send`.

        Raises:
            ModelOutage: no reply, or the server failed.
            GemsConfigError: the server refused the request.
        """
        reply = await self.send(method, path, **options)
        self.expect_success(reply)
        return reply

    def expect_success(self, reply: httpx.Response) -> None:
        """Raise what a reply that reports a failure means.

        Raises:
            ModelOutage: the server failed.
            GemsConfigError: it refused the request.
        """
        if not reply.is_success:
            raise sort_reply(self._endpoint, read_reply(reply.status_code, reply.text, reply.headers))

    def clean(self, words: str) -> str:
        """A server's words on one line, cut short, without what may be a key."""
        return clean(words, self._endpoint.api_key)

    def listen(self, client_id: str) -> connect:
        """A websocket for the messages to one client."""
        return connect(
            re.sub("^http", "ws", self._url) + f"/ws?clientId={client_id}",
            additional_headers=self._headers,
            compression=None,
            open_timeout=HANDSHAKE_SECONDS,
            close_timeout=0.5,
            max_size=MOST_BYTES,
        )

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._connections.aclose()
