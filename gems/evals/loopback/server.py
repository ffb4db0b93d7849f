"""The HTTP server of the loopback: keep-alive, a thread for each connection, every request logged."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Protocol, Self

from gems.evals.loopback.log import Entry, Log
from gems.evals.loopback.wire import Reply, Request

_NOT_FOUND: Final = Reply(404, b'{"detail":"Not Found"}')


class Part(Protocol):
    """A server's answers to some paths."""

    def answer(self, request: Request, entry: Entry) -> Reply | None:
        """The reply, or None where the path is not one of its own."""
        ...


class Loopback:
    """A server on 127.0.0.1, at a port of the system's choosing, for as long as it is entered.

    `GET /_log` answers with the log, so that another process can read it; that request is not logged.
    """

    def __init__(self, *parts: Part) -> None:
        """Serve these; the first that knows a path answers."""
        self.log = Log()
        self.failures: list[Exception] = []
        self._parts = parts
        self._http = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it is; the Images and chat APIs are below `/v1` of it."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; connections that are open are dropped.

        Raises:
            RuntimeError: an answer could not be made, for a reason that is this server's own.
        """
        self._http.shutdown()
        self._http.server_close()
        if self.failures and error is None:
            raise RuntimeError(f"the loopback server failed: {self.failures[0]!r}") from self.failures[0]

    def answer(self, request: Request) -> Reply:
        """The reply to a request, logged."""
        if request.path == "/_log":
            return Reply(200, self.log.dump())
        entry = self.log.open("other", request.path, len(request.body))
        try:
            replies = (part.answer(request, entry) for part in self._parts)
            reply = next((reply for reply in replies if reply), _NOT_FOUND)
        except Exception as error:  # whatever it is, it must be seen, and the client must not wait
            self.failures.append(error)
            reply = Reply(500, b"the loopback server failed", "text/plain")
        entry.status, entry.sent = reply.status, len(reply.body)
        entry.end = time.monotonic()
        return reply


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
    # A slow reply that nobody waits for any more must not hold the end up.
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up: that is theirs to do."""


def _handler(loopback: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(length)
            if len(body) < length:  # the client has hung up
                self.close_connection = True
                return
            self._send(loopback.answer(Request(self.command, self.path, headers, body)))

        do_GET = do_HEAD = do_POST = _serve  # noqa: N815

        def _send(self, reply: Reply) -> None:
            if reply.hang_up == 0:
                self.close_connection = True
                return
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body if reply.hang_up is None else reply.body[: reply.hang_up])
            if reply.hang_up is not None:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """The log is ours."""

    return Handler
