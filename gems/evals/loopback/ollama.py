"""Ollama's own paths: what it is, which models it holds in memory, and the request that unloads one.

From Ollama's `server/routes.go` and `server/sched.go`: an unload is answered at once, begins when the model's last request
is over, and is done when `/api/ps` no longer lists the model; whether the model was loaded makes no difference to the
answer.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gems.evals.loopback.log import Entry
from gems.evals.loopback.wire import Reply, Request, as_json

SIZE: Final = 6_100_000_000
"""Bytes of a model."""
KEPT: Final = timedelta(minutes=5)
"""For how long an unused model stays in memory."""
DETAILS: Final = {"format": "gguf", "family": "qwen3vl", "parameter_size": "8.8B", "quantization_level": "Q4_K_M"}


@dataclass(slots=True)
class _Runner:
    """A model in memory. `gone` is when it no longer is, as `time.monotonic()` reads."""

    busy: int = 0
    expiring: bool = False
    gone: float | None = None


class OllamaNative:
    """The paths below `/api`, for one model that can be loaded."""

    def __init__(self, *, version: str = "0.13.0", unload_seconds: float = 0.0, refusal: int = 0) -> None:
        """Set it up.

        Args:
            version: What it says it is.
            unload_seconds: How long it takes until the memory of a model is free.
            refusal: The status with which it refuses to unload; 0: it does not.
        """
        self._version = version
        self._unload_seconds = unload_seconds
        self._refusal = refusal
        self._lock = threading.Lock()
        self._runners: dict[str, _Runner] = {}

    @property
    def loaded(self) -> list[str]:
        """The models in memory."""
        with self._lock:
            return [name for name, runner in self._runners.items() if _is_there(runner)]

    @contextmanager
    def using(self, model: str) -> Iterator[None]:
        """A request to the model, which is loaded for it, and stays when the request is over."""
        with self._lock:
            known = self._runners.get(model)
            if known is None or known.gone is not None:
                self._runners[model] = known = _Runner()
            known.busy += 1
        try:
            yield
        finally:
            with self._lock:
                known.busy -= 1
                self._settle(known)

    def answer(self, request: Request, entry: Entry, model: str) -> Reply | None:
        """The reply, or None where the path is none of these."""
        if request.method == "GET":
            return self._told(request.path, model)
        if request.path != "/api/generate":
            return None
        body = json.loads(request.body)
        if body.get("prompt") or body.get("keep_alive") != 0:
            raise ValueError(f"of /api/generate only unloading is imitated, not {body!r}")
        entry.kind = "unload"
        if self._refusal:
            return as_json({"error": "not allowed"}, self._refusal)
        if body["model"] != model:
            return as_json({"error": f"model '{body['model']}' not found"}, 404)
        with self._lock:
            if runner := self._runners.get(model):
                runner.expiring = True
                self._settle(runner)
        now = datetime.now(UTC).isoformat()
        return as_json({"model": model, "created_at": now, "response": "", "done": True, "done_reason": "unload"})

    def _settle(self, runner: _Runner) -> None:
        if runner.expiring and not runner.busy and runner.gone is None:
            runner.gone = time.monotonic() + self._unload_seconds

    def _told(self, path: str, model: str) -> Reply | None:
        if path == "/api/version":
            return as_json({"version": self._version})
        if path == "/api/tags":
            return as_json({"models": [_card(model)]})
        if path == "/api/ps":
            until = (datetime.now(UTC) + KEPT).isoformat()
            held = [name if ":" in name else f"{name}:latest" for name in self.loaded]
            return as_json({"models": [_card(name) | {"size_vram": SIZE, "expires_at": until} for name in held]})
        return None


def _is_there(runner: _Runner) -> bool:
    return runner.gone is None or time.monotonic() < runner.gone


def _card(name: str) -> dict[str, Any]:
    return {"name": name, "model": name, "size": SIZE, "details": DETAILS}
