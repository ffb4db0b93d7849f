"""An image generator that draws a flat colour at once, for tests, examples and the bench."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from gems.core.ports import Capabilities, Drawing, DrawRequest, Progress


class ScriptedImages:
    """Draws a colour that depends on prompt and seed, and remembers what it was asked for."""

    name = "scripted"

    def __init__(
        self,
        failures: Callable[[DrawRequest], Exception | None] = lambda _: None,
        capabilities: Capabilities = Capabilities(edit=True),  # noqa: B008  # frozen
    ) -> None:
        """Take what should fail.

        Args:
            failures: An exception to raise for a request, or None to draw it.
            capabilities: What it claims it can do.
        """
        self._failures = failures
        self.capabilities = capabilities
        self.history: list[DrawRequest] = []

    @property
    def identity(self) -> Mapping[str, Any]:
        """Nothing but its name decides the picture."""
        return {"model": self.name}

    def check(self, prompt: str, width: int, height: int) -> list[str]:  # noqa: ARG002
        """It can draw anything."""
        return []

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        """A flat PNG of the size asked for."""
        self.history.append(request)
        if (error := self._failures(request)) is not None:
            raise error
        if progress:
            progress(1, 1)
        digest = hashlib.sha256(f"{request.prompt}\0{request.seed}".encode()).digest()
        buffer = io.BytesIO()
        Image.new("RGB", (request.width, request.height), tuple(digest[:3])).save(buffer, "PNG", compress_level=1)
        return Drawing(buffer.getvalue(), 0.0)
