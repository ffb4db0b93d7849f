"""A reply that tells of each step while the pictures are drawn: server-sent events in OpenAI's forms, and one of ours."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, Final, Literal

from starlette.types import Send

from gems.app.serve.fields import ImagesFields
from gems.app.serve.job import Job
from gems.app.serve.pictures import NO_TOKENS, common_part, picture_part
from gems.app.serve.refusals import Refusal
from gems.app.serve.tickets import Finished, Standing, Ticket
from gems.app.serve.wanted import Wanted
from gems.backends.images.events import EVENTS

Kind = Literal["image_generation", "image_edit"]

ALIVE_SECONDS: Final = 15.0
"""After so long without an event a comment is sent: a proxy may cut off what is silent."""
_HEADERS: Final = [
    (b"content-type", EVENTS.encode()),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """The reply of one request."""

    def __init__(self, kind: Kind, fields: ImagesFields, wanted: Wanted, send: Send) -> None:
        """Begin nothing yet."""
        self._kind = kind
        self._fields = fields
        self._wanted = wanted
        self._send = send
        self.is_begun = False

    async def begin(self) -> None:
        """Send the head."""
        self.is_begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})

    async def tell(self, job: Job) -> None:
        """Tell of drawings until all are done.

        Raises:
            Exception: one of them failed.
        """
        standings: dict[Ticket, Standing] = {}
        left = dict(enumerate(job.tickets))
        while left:
            for index, ticket in list(left.items()):
                standing = job.desk.standing(ticket)
                if standing != standings.get(ticket):
                    standings[ticket] = standing
                    await self._progress(index, ticket, standing)
                if ticket.is_over:
                    await self._completed(index, ticket.result())
                    del left[index]
            if left and not await job.change(ALIVE_SECONDS):
                await self._write(b": still drawing\n\n")

    async def fail(self, refusal: Refusal) -> None:
        """Tell of an error, in place of what is not done."""
        await self._event("error", {"error": refusal.as_event()})

    async def end(self) -> None:
        """End the reply."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _progress(self, index: int, ticket: Ticket, standing: Standing) -> None:
        told = {"index": index, "seed": ticket.order.seed, **standing._asdict()}
        await self._event(f"{self._kind}.progress", told)

    async def _completed(self, index: int, done: Finished) -> None:
        part = await asyncio.to_thread(picture_part, self._fields, self._wanted, done)
        common = common_part(self._fields, self._wanted)
        more = {"index": index, "created_at": int(time.time()), "quality": "auto", "usage": NO_TOKENS}
        await self._event(f"{self._kind}.completed", part | common | more)

    async def _event(self, kind: str, content: Mapping[str, Any]) -> None:
        data = json.dumps({"type": kind, **content})
        await self._write(f"event: {kind}\ndata: {data}\n\n".encode())

    async def _write(self, content: bytes) -> None:
        await self._send({"type": "http.response.body", "body": content, "more_body": True})
