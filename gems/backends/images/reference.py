"""The image server of the paper's reference implementation: a prompt in the address, a PNG back, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote_plus

import httpx

from gems.backends.cleaning import clean
from gems.backends.connections import Connections
from gems.backends.images.faults import place, read_reply, sort_break, sort_reply
from gems.backends.images.picture import check_picture
from gems.backends.images.presets import Dimensions, family_of, length_warning
from gems.core.errors import DrawingRefused, GemsConfigError, ModelOutage
from gems.core.ports import Capabilities, Drawing, DrawRequest, Progress
from gems.core.profiles import Endpoint

MOST_PROMPT_BYTES: Final = 60_000
"""Longest prompt as it stands in an address; httpx refuses addresses of 64 KiB and more."""


class ReferenceImages:
    """Draws with `POST generate?prompt=`: the server chooses seed, size and steps itself."""

    def __init__(self, endpoint: Endpoint, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Take the endpoint. Nothing is called before the first drawing.

        Args:
            endpoint: The server; the model's name only tells how to prompt it.
            transport: What carries the requests, in place of the network.

        Raises:
            GemsConfigError: there is no address.
        """
        if endpoint.base_url is None:
            raise GemsConfigError(f"{endpoint.name} needs the address of your image server: set images_base_url")
        self._endpoint = endpoint
        self._base_url = endpoint.base_url.rstrip("/")
        self._family = family_of(endpoint.model)
        self._connections = Connections(endpoint.drawing.seconds, transport)

    @property
    def name(self) -> str:
        """`reference:MODEL`."""
        return self._endpoint.name

    @property
    def identity(self) -> Mapping[str, Any]:
        """Model and server: nothing else can be told to it."""
        return {"model": self.name, "server": place(self._base_url)}

    @property
    def capabilities(self) -> Capabilities:
        """No seeds and no edits."""
        notes = self._endpoint.drawing.notes or (self._family.notes if self._family else "")
        return Capabilities(seeds=False, notes=notes)

    def check(self, prompt: str, width: int, height: int) -> list[str]:
        """Refuse prompts that do not fit into an address; warn of a size that the server is not told.

        Raises:
            GemsConfigError: the prompt is too long.
        """
        if (size := _in_address(prompt)) > MOST_PROMPT_BYTES:
            raise GemsConfigError(_too_long(size))
        warnings = [length_warning(prompt, self._family)] if self._family else []
        usual = self._family.size if self._family else Dimensions(1024, 1024)
        if (width, height) != usual:
            warnings.append(f"{self.name} draws in a size of its own: {width}x{height} is not told to it")
        return [warning for warning in warnings if warning]

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        """Draw one image.

        Raises:
            ModelOutage: no answer, a server error, or an answer that is no image.
            DrawingRefused: the prompt does not fit into an address, or is not allowed, or an edit was asked for.
            GemsConfigError: the address is wrong, the key was refused, or there are references.
        """
        del progress
        if request.references:
            raise GemsConfigError(
                f"{self.name} cannot follow reference images: choose another profile, or start without references"
            )
        if request.source is not None:
            raise DrawingRefused(f"{self.name} cannot edit images")
        if (size := _in_address(request.prompt)) > MOST_PROMPT_BYTES:
            raise DrawingRefused(_too_long(size))
        started = time.monotonic()
        key = self._endpoint.api_key.get_secret_value() if self._endpoint.api_key else ""
        try:
            reply = await self._connections.here().post(
                f"{self._base_url}/generate",
                params={"prompt": request.prompt},
                headers={"authorization": f"Bearer {key}"} if key else {},
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise sort_break(self._endpoint, error) from None
        if reply.status_code != 200:
            raise sort_reply(self._endpoint, read_reply(reply.status_code, reply.text, reply.headers))
        if not reply.headers.get("content-type", "image/").startswith("image/"):
            told = read_reply(200, reply.text, {})
            if told.refuses_prompt:
                raise sort_reply(self._endpoint, told)
            said = clean(told.words, self._endpoint.api_key)
            raise ModelOutage(f"{self.name} answered without an image{said and f': {said}'}", again="paid")
        content = await asyncio.to_thread(check_picture, reply.content, self.name)
        price = self._endpoint.price
        return Drawing(content, time.monotonic() - started, price.image if price else 0.0)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._connections.aclose()


def _in_address(prompt: str) -> int:
    return len(quote_plus(prompt))


def _too_long(size: int) -> str:
    return f"the prompt takes {size} bytes in an address; the reference server's protocol leaves {MOST_PROMPT_BYTES}"
