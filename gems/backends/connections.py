"""HTTP clients, one for each event loop: their connections are reused, and cannot be shared between loops."""

from __future__ import annotations

import asyncio
from typing import Final

import httpx

CONNECT_SECONDS: Final = 15.0
"""A server that is there accepts a connection at once."""


class Connections:
    """The clients of one endpoint."""

    def __init__(self, seconds: float, transport: httpx.AsyncBaseTransport | None) -> None:
        """Set the time limit of one request, in seconds, and what carries it (None: the network). This reads a file."""
        # Here, not in `here`: reading certificates takes a while, and must not hold up an event loop.
        self.certificates = httpx.create_ssl_context()
        self._timeout = httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))
        self._transport = transport
        self._clients: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}

    def here(self) -> httpx.AsyncClient:
        """The client of the running event loop."""
        for loop in [loop for loop in self._clients if loop.is_closed()]:
            self._clients.pop(loop, None)
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            # Redirects are not followed: they could lead a request, and its key, anywhere.
            self._clients[loop] = httpx.AsyncClient(
                verify=self.certificates, timeout=self._timeout, transport=self._transport, follow_redirects=False
            )
        return self._clients[loop]

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()
