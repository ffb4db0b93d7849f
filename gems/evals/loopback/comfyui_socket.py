"""HTTP replies and websockets on one port, over asyncio's streams and the protocol part of `websockets`."""

from __future__ import annotations

import asyncio
from typing import Final

from websockets.frames import Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol

from gems.evals.loopback.wire import Reply

STATUS: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Socket:
    """The server's end of a websocket."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        """Take the connection that asked for it."""
        self._writer = writer
        self._protocol = ServerProtocol()

    def shake_hands(self, head: bytes, *, accepted: bool) -> bool:
        """Answer the request that asks for a websocket; whether it is open now."""
        self._protocol.receive_data(head)
        request = self._protocol.events_received()[0]
        if not isinstance(request, Handshake):
            raise TypeError(f"no handshake, but {request!r}")
        protocol = self._protocol
        protocol.send_response(protocol.accept(request) if accepted else protocol.reject(403, "no websockets here"))
        self._flush()
        return protocol.state is State.OPEN

    def send(self, message: bytes, *, binary: bool = False) -> None:
        """Send a message, if anyone still listens."""
        if self._protocol.state is not State.OPEN:
            return
        if binary:
            self._protocol.send_binary(message)
        else:
            self._protocol.send_text(message)
        self._flush()

    def take(self, content: bytes) -> bool:
        """Answer pings and the closing; whether it was closed."""
        self._protocol.receive_data(content)
        closing = any(getattr(event, "opcode", None) is Opcode.CLOSE for event in self._protocol.events_received())
        self._flush()
        return closing

    def abort(self) -> None:
        """Break the connection without a word."""
        self._writer.transport.abort()

    def _flush(self) -> None:
        for part in self._protocol.data_to_send():
            if part and not self._writer.is_closing():
                self._writer.write(part)


async def send_reply(writer: asyncio.StreamWriter, reply: Reply, *, with_body: bool) -> None:
    """Send an HTTP reply; the connection stays open."""
    headers = {"Content-Type": reply.content_type, "Content-Length": str(len(reply.body)), **reply.headers}
    head = f"HTTP/1.1 {reply.status} {STATUS[reply.status]}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    writer.write(head.encode() + b"\r\n" + (reply.body if with_body else b""))
    await writer.drain()
