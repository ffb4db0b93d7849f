"""An image server in the manner of a real one, which draws one picture at a time while others wait."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Final, NamedTuple

from gems.evals.loopback.faults import FREE, TRANSPORT, Plan, broken, clean
from gems.evals.loopback.image_flavours import (
    ImageFlavour,
    Order,
    Rejected,
    answer,
    error,
    moderation,
    read_order,
)
from gems.evals.loopback.log import Entry
from gems.evals.loopback.pictures import Painter, Wish, flat
from gems.evals.loopback.wire import HTML, Reply, Request, as_json

MARKER: Final = "forbidden"
"""A prompt with this word in it is refused by moderation."""

_FILES: Final = frozenset({"image", "image[]", "mask", "mask_image"})
_SPOIL_BYTES: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "wrong_bytes": lambda _: HTML,
    "truncated": lambda picture: picture[: len(picture) // 2],
}
_SPOIL_BODY: Final[Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "null_data": lambda body: body | {"data": None},
    "no_data": lambda body: body | {"data": []},
    "bad_base64": lambda body: body | {"data": [body["data"][0] | {"b64_json": "***no base64***"}]},
}
IMAGE_FAULTS: Final = (*TRANSPORT, "moderation", *_SPOIL_BYTES, *_SPOIL_BODY)


class _Picture(NamedTuple):
    content: bytes
    seconds: float


class ImageServer:
    """Draws; it is asked for its routes by a `Loopback`."""

    def __init__(
        self,
        flavour: ImageFlavour = "vllm-omni",
        *,
        model: str = "loopback-image",
        paint: Painter = flat,
        seconds: float = 0.0,
        plan: Plan = clean,
        slow: float = 1.0,
        key: str = "",
        side: int = 64,
    ) -> None:
        """Set it up.

        Args:
            flavour: Which server it behaves like.
            model: The model it serves.
            paint: What it draws.
            seconds: How long one drawing takes. Drawings wait for each other.
            plan: Its faults.
            slow: Further seconds of a `slow` reply; the drawing itself is not longer.
            key: The key that it wants; empty for none.
            side: Pixels along the side of what the reference protocol draws, which is asked for no size.
        """
        self.flavour = flavour
        self.model = model
        self._paint = paint
        self._seconds = seconds
        self._plan = plan
        self._slow = slow
        self._key = key
        self._side = side
        self._numbers = itertools.count()
        self._chance = itertools.count(1)
        self._worker = ThreadPoolExecutor(1, "drawing")
        self._kept: dict[str, _Picture] = {}

    def answer(self, request: Request, entry: Entry) -> Reply | None:
        """The reply, or None where the path is not one of this server's."""
        if request.method == "GET":
            return self._told(request.path)
        routes = ("/generate",) if self.flavour == "reference" else ("/v1/images/generations", "/v1/images/edits")
        if request.path not in routes:
            return None
        entry.kind = "images"
        if self._key and request.key != self._key:
            return error(self.flavour, 401, f"Incorrect API key provided: {request.key}", code="invalid_api_key")
        try:
            order, sources = self._read(request)
        except Rejected as rejected:
            return rejected.reply
        entry.prompt, entry.images, entry.received = order.prompt, len(sources), len(request.body)
        entry.fault = fault = self._plan(next(self._numbers))
        if fault in FREE:
            return broken(fault, request.key, Reply(), self._error)
        if fault == "moderation" or MARKER in order.prompt:
            return moderation(self.flavour)
        picture = self._worker.submit(self._draw, order, sources, entry).result()
        if fault == "slow":
            time.sleep(self._slow)
        elif fault in TRANSPORT:
            return broken(fault, request.key, self._deliver(order, picture, ""), self._error)
        return self._deliver(order, picture, fault)

    def _draw(self, order: Order, sources: tuple[bytes, ...], entry: Entry) -> _Picture:
        entry.draw_start = time.monotonic()
        # A server without seeds draws something else each time.
        entry.seed = next(self._chance) if order.seed is None else order.seed
        content = self._paint(Wish(order.prompt, entry.seed, order.width, order.height, order.encoding, sources))
        time.sleep(max(0.0, entry.draw_start + self._seconds - time.monotonic()))
        entry.draw_end = time.monotonic()
        return _Picture(content, entry.draw_end - entry.draw_start)

    def _deliver(self, order: Order, picture: _Picture, fault: str) -> Reply:
        if spoil := _SPOIL_BYTES.get(fault):
            picture = picture._replace(content=spoil(picture.content))
        if self.flavour == "reference":
            content = b"" if fault in _SPOIL_BODY else picture.content
            return Reply(200, content, "image/png")
        body = answer(self.flavour, order, picture.content, picture.seconds)
        if order.url and fault not in _SPOIL_BODY:
            place = f"/v1/images/{body['id']}/content"
            self._kept[place] = picture
            body["data"][0] |= {"b64_json": None, "url": place}
        return as_json(_SPOIL_BODY[fault](body) if fault in _SPOIL_BODY else body)

    def _read(self, request: Request) -> tuple[Order, tuple[bytes, ...]]:
        if self.flavour == "reference":
            prompt = request.query.get("prompt", [""])[0]
            if not prompt:
                problem = {"type": "missing", "loc": ["query", "prompt"], "msg": "Field required"}
                raise Rejected(as_json({"detail": [problem]}, 422))
            return Order(prompt, self._side, self._side, "png", None, url=False), ()
        if request.path.endswith("/generations"):
            return read_order(self.flavour, self.model, json.loads(request.body)), ()
        form = _read_form(request)
        sources = tuple(content for name, content in form if name in ("image", "image[]"))
        if not sources:
            raise Rejected(error(self.flavour, 400, "Field 'image' or 'url' is required", "image"))
        fields = {name: content.decode() for name, content in form if name not in _FILES}
        return read_order(self.flavour, self.model, fields), sources

    def _told(self, path: str) -> Reply | None:
        """What a GET is answered with."""
        if kept := self._kept.get(path):
            return Reply(200, kept.content, "image/jpeg")
        if path == "/health" and self.flavour != "openai":
            return as_json({"status": "healthy"})
        if path == "/v1/models" and self.flavour != "reference":
            entry = {"id": self.model, "object": "model", "created": 1_760_000_000, "owned_by": self.flavour}
            return as_json({"object": "list", "data": [entry]})
        return None

    def _error(self, status: int, message: str) -> Reply:
        return error(self.flavour, status, message)


def _read_form(request: Request) -> list[tuple[str, bytes]]:
    """The parts of a multipart form by their names."""
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    parts = BytesParser(policy=HTTP).parsebytes(head + request.body).iter_parts()
    return [
        (str(part.get_param("name", header="content-disposition")), bytes(part.get_payload(decode=True) or b""))
        for part in parts
    ]
