"""Image models behind OpenAI's Images API: one generation a call."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping
from typing import Any, Final

import httpx

from gems.core.errors import DrawingRefused, GemsConfigError, ModelOutage
from gems.core.ports import Capabilities, Drawing, DrawRequest, Progress
from gems.core.settings import Endpoint

SECONDS: Final = 300.0
"""Time limit of one drawing."""
RETRIES: Final = 1
"""A drawing that timed out may have been paid for: it is repeated once at most."""
HOSTED: Final = "https://api.openai.com"


class OpenAIImages:
    """Draws with `POST /v1/images/generations`, at OpenAI or at a server that speaks the same protocol."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Take the endpoint. Nothing is called before the first drawing.

        Raises:
            GemsConfigError: the model's name or the key is missing.
        """
        if not endpoint.model:
            raise GemsConfigError("GEMS_IMAGES=openai names no model: write openai:MODEL, e.g. openai:gpt-image-1-mini")
        if endpoint.api_key is None and endpoint.base_url is None:
            raise GemsConfigError(f"{endpoint.name} needs a key: set GEMS_IMAGES_API_KEY, or GEMS_IMAGES_BASE_URL")
        self._endpoint = endpoint
        self.hosted = (endpoint.base_url or HOSTED).startswith(HOSTED)
        # OpenAI takes no seed; servers of one's own do.
        self.capabilities = Capabilities(seeds=not self.hosted)

    @property
    def name(self) -> str:
        """`openai:MODEL`."""
        return self._endpoint.name

    @property
    def identity(self) -> Mapping[str, Any]:
        """Model and server."""
        return {"model": self.name, "server": _place(self._endpoint.base_url or HOSTED)}

    def check(self, prompt: str, width: int, height: int) -> list[str]:
        """Any prompt; servers judge sizes themselves."""
        del prompt, width, height
        return []

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        """Draw one image.

        Raises:
            ModelOutage: no answer, a server error, or an answer without an image.
            DrawingRefused: the server's moderation blocked the prompt.
            GemsConfigError: the key, the model or the size was refused.
        """
        del progress
        import openai

        started = time.monotonic()
        key = self._endpoint.api_key.get_secret_value() if self._endpoint.api_key else "none"
        extra: dict[str, Any] = {} if self.hosted else {"seed": request.seed, "response_format": "b64_json"}
        async with openai.AsyncOpenAI(
            api_key=key, base_url=self._endpoint.base_url, timeout=SECONDS, max_retries=RETRIES
        ) as client:
            try:
                answer = await client.images.generate(
                    model=self._endpoint.model,
                    prompt=request.prompt,
                    size=f"{request.width}x{request.height}",
                    n=1,
                    extra_body=extra,
                )
            except openai.APIStatusError as error:
                raise _explained(error) from error
            except openai.OpenAIError as error:
                raise ModelOutage(f"{self.name} did not answer: {type(error).__name__}") from error
        return Drawing(_content(answer, self.name), time.monotonic() - started)


def _explained(error: Any) -> Exception:
    code = getattr(error, "code", None) or ""
    if "moderation" in code or "content_policy" in code:
        return DrawingRefused(f"the image server refused the prompt: {code}")
    if error.status_code in (408, 409, 429) or error.status_code >= 500:
        return ModelOutage(f"the image server did not answer: status {error.status_code}")
    return GemsConfigError(
        f"the image server refused the call ({error.status_code} {code}): check key, model, size and URL"
    )


def _content(answer: Any, name: str) -> bytes:
    """The picture's bytes; servers also answer 200 with a page, or with no image at all."""
    entries = getattr(answer, "data", None)
    encoded = getattr(entries[0], "b64_json", None) if entries else None
    try:
        content = base64.b64decode(encoded or "", validate=True)
    except binascii.Error:
        content = b""
    if not content:
        raise ModelOutage(f"{name} answered without an image")
    return content


def _place(url: str) -> str:
    """A server's address without what may be a secret."""
    parts = httpx.URL(url)
    return f"{parts.scheme}://{parts.host}{f':{parts.port}' if parts.port else ''}{parts.path}"
