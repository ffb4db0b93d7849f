"""Bodies of requests and messages of WebSockets, handed on no further than they may be long."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

TOO_BIG: Final = 1009
"""The code a WebSocket is closed with after too long a message."""


class BodyLimit:
    """Stands between a client and the application for one request.

    A length that is told is believed where it is too much; one that is not told, or wrong, is counted as it comes. The
    application then learns that the client has gone, and whatever it answers gives way to the refusal.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, most: int, refusal: Response) -> None:
        """Let `most` bytes through, and answer `refusal` where there are more."""
        self._scope = scope
        self._receive = receive
        self._send = send
        self._most = most
        self._refusal = refusal
        self._bytes = 0
        self._is_over = False
        self._has_begun = False
        self._is_answered = False

    async def receive(self) -> Message:
        """The next message for the application."""
        if self._is_over:
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            if self._bytes > self._most:
                self._is_over = True
                return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        """The next message of the application."""
        if self._is_over and not self._has_begun:
            await self.settle()
            return
        if message["type"] == "http.response.start":
            self._has_begun = True
        await self._send(message)

    async def settle(self) -> bool:
        """Answer the refusal, if it is due and has not been answered.

        Returns:
            Whether the body was too long.
        """
        if self._is_over and not self._has_begun and not self._is_answered:
            self._is_answered = True
            await self._refusal(self._scope, self._receive, self._send)
        return self._is_over


def told_length(length: str) -> int:
    """Bytes that a Content-Length header tells; 0 where it tells none."""
    return int(length) if length.isdecimal() and len(length) < 20 else 0


def message_length(message: Message) -> int:
    """Bytes of a message of a WebSocket."""
    return len((message.get("text") or "").encode()) + len(message.get("bytes") or b"")
