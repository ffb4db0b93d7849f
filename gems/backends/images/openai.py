"""Image models behind OpenAI's Images API: OpenAI's own, vLLM-Omni, SGLang, `gems serve`, and what else speaks it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx

from gems.backends.cleaning import clean
from gems.backends.connections import Connections
from gems.backends.images.answers import Answer, read_picture
from gems.backends.images.costs import worst_cost
from gems.backends.images.dialects import (
    BY_SETTING,
    GENERIC,
    NO_EDITS,
    OPENAI,
    Dialect,
    complains_of,
    fields_for,
    picture_settings,
    recognise,
)
from gems.backends.images.events import EVENTS, read_events
from gems.backends.images.faults import Reply, place, read_reply, sort_break, sort_reply
from gems.backends.images.picture import MOST_BYTES
from gems.backends.images.presets import Dimensions, family_of, length_warning
from gems.core.errors import DrawingRefused, GemsConfigError, GemsError, ModelOutage
from gems.core.ports import Capabilities, Drawing, DrawRequest, Progress
from gems.core.profiles import Endpoint

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

HOSTED: Final = "https://api.openai.com/v1"
PROBE_SECONDS: Final = 10.0
"""Time limit of asking a server what it is."""


class OpenAIImages:
    """Draws with `POST images/generations`, edits with `POST images/edits`: one drawing a call, made once.

    Neither `identity` nor `capabilities` asks the server: address, model and settings decide what a server's dialect
    makes of a request, so both are right before the first drawing, and while the server is down. Seeds count only where the
    settings name the server: what it turns out to be later must not change the keys of drawings.
    """

    def __init__(self, endpoint: Endpoint, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Take the endpoint. Nothing is called before the first drawing.

        Args:
            endpoint: Server, model, key and how to draw.
            transport: What carries the requests, in place of the network.

        Raises:
            GemsConfigError: the model's name or the key is missing, or the key cannot be sent.
        """
        if not endpoint.model:
            raise GemsConfigError(f"{endpoint.provider!r} names no image model: write openai:MODEL")
        key = endpoint.api_key.get_secret_value() if endpoint.api_key else ""
        if not key and endpoint.base_url is None:
            raise GemsConfigError(
                f"{endpoint.name} needs a key: set {endpoint.key_name}, or a base URL for a server of your own"
            )
        if not key.isascii() or not key.isprintable() or " " in key:
            raise GemsConfigError(f"{endpoint.key_name} holds characters that no key has: set it again")
        self._endpoint = endpoint
        self._base_url = (endpoint.base_url or HOSTED).rstrip("/")
        self._key = key
        self._family = family_of(endpoint.model)
        self._connections = Connections(endpoint.drawing.seconds, transport)
        self._dialect = self._dialect_unasked()
        self._seeds = self._dialect is not None and self._dialect.seeds
        self._plain = False
        """The server refuses fields that were only presumed."""
        self._edits_missing = False
        """The server has no images/edits."""

    @property
    def name(self) -> str:
        """`openai:MODEL`."""
        return self._endpoint.name

    @property
    def identity(self) -> Mapping[str, Any]:
        """Model, server, and every setting that is sent. Of fields of the server's own only a digest: any may be secret."""
        options = self._endpoint.drawing
        own = json.dumps(options.extra_body, sort_keys=True, ensure_ascii=False)
        return {
            "model": self.name,
            "server": place(self._base_url),
            "dialect": options.server,
            **picture_settings(options, self._family),
            **({"extra_body": hashlib.sha256(own.encode()).hexdigest()} if options.extra_body else {}),
        }

    @property
    def capabilities(self) -> Capabilities:
        """By the settings, else by the model's name, and by what the server has refused so far."""
        options, family = self._endpoint.drawing, self._family
        known = family.inputs if family else 0
        edit = (bool(known) if options.edit is None else options.edit) and not self._edits_missing
        return Capabilities(
            edit=edit,
            references=max(known, 1) if edit else 0,
            seeds=self._seeds,
            notes=options.notes or (family.notes if family else ""),
        )

    def check(self, prompt: str, width: int, height: int) -> list[str]:
        """Refuse sizes that the model cannot draw; warn of a prompt that is too long. Unknown models can draw any.

        Raises:
            GemsConfigError: the size is none of the model's.
        """
        family, size = self._family, Dimensions(width, height)
        if family is None:
            return []
        if not family.sizes.allows(size):
            nearest = ", ".join(map(str, family.sizes.nearest(size)))
            raise GemsConfigError(f"{self.name} cannot draw {size}; it can draw {nearest}")
        warning = length_warning(prompt, family)
        return [warning] if warning else []

    def worst_cost(self, request: DrawRequest) -> float:
        """What a drawing costs at most, in US dollars."""
        return worst_cost(self._endpoint, request, len(self._inputs(request)))

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        """Draw one image, or edit `source`. References beyond what the model takes are left out, the last first.

        Raises:
            ModelOutage: no answer, a server error, or an answer without an image.
            DrawingRefused: the prompt was blocked or is too long, or the server cannot edit.
            GemsConfigError: the key, the model or a field was refused, or the server cannot follow references.
        """
        if self._edits_missing and self._inputs(request):
            raise self._no_edits(request)
        started = time.monotonic()
        dialect = self._dialect or await self._ask_dialect()
        fields = fields_for(dialect, self._endpoint.drawing, self._family, request.seed)
        plain = self._plain  # a drawing beside this one may learn it meanwhile
        answer = await self._post(request, fields.asked if plain else fields.presumed | fields.asked, progress)
        if isinstance(answer, Reply) and dialect is GENERIC and not plain and complains_of(answer, fields):
            # Nothing was drawn for the first request, so this is still one drawing.
            self._plain = True
            answer = await self._post(request, fields.asked, progress)
        if isinstance(answer, Reply):
            raise self._explained(answer, request)
        picture = await read_picture(self._endpoint, answer, self._fetch)
        return Drawing(picture.content, time.monotonic() - started, picture.cost, picture.warnings)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._connections.aclose()

    def _dialect_unasked(self) -> Dialect | None:
        """The dialect, where it need not be asked for."""
        setting = self._endpoint.drawing.server
        if setting != "auto":
            return BY_SETTING[setting]
        host = urlsplit(self._base_url).hostname or ""
        # GPT image models are OpenAI's, whoever passes the requests on.
        of_openai = self._family is not None and self._family.name.startswith("gpt-image")
        return OPENAI if of_openai or host == "api.openai.com" or host.endswith(".api.openai.com") else None

    async def _ask_dialect(self) -> Dialect:
        """Ask the server what it is. Only what a server that is up has answered is remembered."""
        try:
            reply = await self._connections.here().get(
                f"{self._base_url}/models", headers=self._authorization(), timeout=PROBE_SECONDS
            )
        except (httpx.HTTPError, httpx.InvalidURL):
            return GENERIC  # the drawing itself will tell what is wrong
        if reply.status_code >= 500 or reply.status_code == 429:
            return GENERIC
        try:
            self._dialect = recognise(reply.json())
        except (ValueError, RecursionError):
            self._dialect = GENERIC
        return self._dialect

    async def _post(self, request: DrawRequest, fields: Mapping[str, Any], progress: Progress | None) -> Answer | Reply:
        """Make the one request."""
        import openai

        images = self._client().images.with_streaming_response
        common: dict[str, Any] = {
            "model": self._endpoint.model,
            "prompt": request.prompt,
            "size": f"{request.width}x{request.height}",
            "n": 1,
        }
        try:
            if inputs := self._inputs(request):
                files = [(f"image-{number}.png", content, "image/png") for number, content in enumerate(inputs, 1)]
                asked = images.edit(**common, image=files[0] if len(files) == 1 else files, extra_body=_as_form(fields))
            else:
                asked = images.generate(**common, extra_body=dict(fields))
            async with asked as reply:
                kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind == EVENTS:
                    return await read_events(reply.iter_lines(), progress)
                return Answer(kind, await reply.read())
        except openai.APIStatusError as error:
            return _reply(error)
        except openai.APIConnectionError as error:
            raise sort_break(self._endpoint, error.__cause__ or error) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise sort_break(self._endpoint, error) from None

    async def _fetch(self, url: str) -> bytes:
        """The picture at an address of the same server. No other is asked: an answer must not choose whom we call."""
        try:
            target = httpx.URL(self._base_url + "/").join(url)
        except httpx.InvalidURL:
            raise ModelOutage(f"{self.name} answered with an address that is none", again="paid") from None
        if _origin(target) != _origin(httpx.URL(self._base_url)):
            elsewhere = clean(target.host, self._endpoint.api_key)
            raise ModelOutage(
                f"{self.name} answered with a picture on another server, {elsewhere}, which is not asked: "
                "have it answer b64_json"
            )
        content = bytearray()
        try:
            async with self._connections.here().stream("GET", target, headers=self._authorization()) as reply:
                if reply.status_code != 200:
                    raise ModelOutage(f"{self.name} does not hand out its picture ({reply.status_code})", again="paid")
                async for chunk in reply.aiter_bytes():
                    content += chunk
                    if len(content) > MOST_BYTES:
                        raise ModelOutage(f"{self.name} hands out more than {MOST_BYTES} bytes", again="paid")
        except httpx.HTTPError as error:
            raise ModelOutage(
                f"{self.name} did not hand out its picture: {type(error).__name__}", again="paid"
            ) from None
        return bytes(content)

    def _client(self) -> AsyncOpenAI:
        from gems.backends.openai_client import make_client

        return make_client(self._base_url, self._key, self._connections.here(), self._endpoint.drawing.seconds)

    def _authorization(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._key}"} if self._key else {}

    def _explained(self, reply: Reply, request: DrawRequest) -> GemsError:
        of_model = "model" in f"{reply.code} {reply.words}".lower()
        lacks_route = reply.status in (405, 501) or (reply.status == 404 and not of_model)
        if self._inputs(request) and (lacks_route or NO_EDITS in reply.code):
            self._edits_missing = True
            return self._no_edits(request)
        return sort_reply(self._endpoint, reply)

    def _no_edits(self, request: DrawRequest) -> GemsError:
        where = f"{self.name} at {place(self._base_url)}"
        if request.references:  # every further drawing would have them too
            return GemsConfigError(
                f"{where} has no images/edits, so it cannot follow reference images: choose another profile, or start "
                "without references"
            )
        return DrawingRefused(f"{where} cannot edit images")

    def _inputs(self, request: DrawRequest) -> list[bytes]:
        """The images that are sent along, the one that is edited first; no more than the model takes."""
        images = [*([] if request.source is None else [request.source]), *request.references]
        return images[: max(1, self._family.inputs if self._family else 0)]


def _reply(error: APIStatusError) -> Reply:
    return read_reply(error.status_code, error.response.text, error.response.headers)


def _as_form(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a form are flat: vLLM-Omni and SGLang take what is nested as JSON."""
    return {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in fields.items()}


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
