"""Where traces are sent: LangSmith's ingestion and an OpenTelemetry collector, which take all and keep it to be searched.

As langsmith 0.15 and OpenTelemetry's HTTP exporter 1.45 see them. What was sent compressed is kept as it was before.
"""

from __future__ import annotations

import threading
import zlib
from typing import Final

from gems.evals.loopback.log import Entry
from gems.evals.loopback.wire import Reply, Request, as_json

_INFO: Final = {
    "version": "0.12.0",
    "batch_ingest_config": {
        "use_multipart_endpoint": True,
        "size_limit": 100,
        "size_limit_bytes": 20_971_520,
        "scale_up_nthreads_limit": 1,
        "scale_up_qsize_trigger": 1000,
    },
    "instance_flags": {},
}
_LANGSMITH: Final = "/runs"
_COLLECTOR: Final = "/v1/traces"
_GZIP: Final = 31
"""The window by which zlib knows gzip."""


class TraceServer:
    """Takes traces; it is asked for its routes by a `Loopback`."""

    def __init__(self) -> None:
        """Have received nothing yet."""
        self._lock = threading.Lock()
        self._requests: list[tuple[Request, bytes]] = []

    @property
    def langsmith(self) -> bytes:
        """All that was sent as to LangSmith."""
        return self._bodies(_LANGSMITH)

    @property
    def collector(self) -> bytes:
        """All that was sent as to a collector: serialised protocol buffers, in which texts stand as they are."""
        return self._bodies(_COLLECTOR)

    @property
    def headers(self) -> list[dict[str, str]]:
        """The headers of what came for the collector."""
        with self._lock:
            return [dict(it.headers) for it, _ in self._requests if it.path == _COLLECTOR]

    def answer(self, request: Request, entry: Entry) -> Reply | None:  # noqa: ARG002
        """Take what is sent."""
        if request.path == "/info":
            return as_json(_INFO)
        if request.path != _COLLECTOR and not request.path.startswith(_LANGSMITH):
            return None
        zipped = request.headers.get("content-encoding") == "gzip"
        body = zlib.decompress(request.body, _GZIP) if zipped else request.body
        with self._lock:
            self._requests.append((request, body))
        return Reply(200, b"", "application/x-protobuf") if request.path == _COLLECTOR else as_json({}, 202)

    def _bodies(self, path: str) -> bytes:
        with self._lock:
            return b"\n".join(body for it, body in self._requests if it.path.startswith(path))
