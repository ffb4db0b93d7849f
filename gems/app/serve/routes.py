"""The addresses of the server."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gems.app.serve.access import Access, Doorkeeper
from gems.app.serve.desk import Desk
from gems.app.serve.fields import ImagesFields, PictureFields, read_fields
from gems.app.serve.hanging_up import unless_gone
from gems.app.serve.job import Job
from gems.app.serve.metrics import CONTENT_TYPE, render
from gems.app.serve.pictures import common_part, picture_part
from gems.app.serve.reading import open_pictures, read_form, read_json
from gems.app.serve.refusals import GONE, ClientGone, Refusal, refusal_for
from gems.app.serve.served import ServedModel, find_model
from gems.app.serve.streaming import EventStream, Kind
from gems.app.serve.tickets import Finished
from gems.app.serve.wanted import Wanted, chosen_model, make_wanted
from gems.backends.local.images import encode
from gems.core.errors import DrawingRefused, ModelOutage

logger: Final = logging.getLogger(__name__)


def make_app(desk: Desk, access: Access) -> Starlette:
    """The application: OpenAI's Images API, the protocol of the paper's reference implementation, and what watches it."""
    created = int(time.time())

    async def models(_: Request) -> Response:
        cards = [served.card(created) for served in desk.models]
        return JSONResponse({"object": "list", "data": cards})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        served = find_model(desk.models, name) if name else None
        if served is None:
            return Refusal(
                404, "no such model is served: see /v1/models", param="model", code="model_not_found"
            ).response(request.url.path)
        return JSONResponse(served.card(created))

    async def health(_: Request) -> Response:
        ready = desk.is_ready and not desk.is_stopping
        status = "stopping" if desk.is_stopping else "ready" if ready else "loading"
        names = [served.name for served in desk.models]
        return JSONResponse({"status": status, "models": names, "devices": desk.devices}, 200 if ready else 503)

    async def metrics(_: Request) -> Response:
        return Response(render(desk), headers={"content-type": CONTENT_TYPE})

    async def missing(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = error.headers if isinstance(error, HTTPException) else None
        words = f"{request.method} {request.url.path[:80]} is nothing that this server answers"
        return Refusal(status, words, code="unknown_url", headers=headers).response(request.url.path)

    return Starlette(
        routes=[
            Route("/v1/images/generations", _Images(desk, "image_generation"), methods=["POST"]),
            Route("/v1/images/edits", _Images(desk, "image_edit"), methods=["POST"]),
            Route("/generate", _Reference(desk), methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            Route("/health", health),
            Route("/metrics", metrics),
        ],
        middleware=[Middleware(Doorkeeper, access=access)],
        exception_handlers={HTTPException: missing},
    )


class _Images:
    """Draws for OpenAI's Images API."""

    def __init__(self, desk: Desk, kind: Kind) -> None:
        self._desk = desk
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope, receive)
        stream: EventStream | None = None
        served: ServedModel | None = None
        try:
            with self._desk.place() as place:
                fields, wanted = await self._read(request)
                served = wanted.served
                place.widen(len(wanted.orders))
                if fields.stream:
                    stream = EventStream(self._kind, fields, wanted, send)
                    await unless_gone(self._tell(wanted, stream), receive)
                else:
                    response = await unless_gone(self._draw(fields, wanted), receive)
        except Exception as error:
            refusal = _refused(self._desk, error, served)
            if refusal is None:
                return
            if stream is not None and stream.is_begun:
                await stream.fail(refusal)
            else:
                stream, response = None, refusal.response(request.url.path)
        if stream is not None:
            await stream.end()
        else:
            await response(scope, receive, send)

    async def _read(self, request: Request) -> tuple[ImagesFields, Wanted]:
        limits = self._desk.limits
        if self._kind == "image_generation":
            fields = read_fields(ImagesFields, await read_json(request, limits.json_bytes), strict=True)
            served = chosen_model(self._desk, fields, edits=False)
            return fields, make_wanted(self._desk, served, fields, n=fields.n)
        form = await read_form(request, limits.form_bytes)
        fields = read_fields(ImagesFields, form.texts)
        served = chosen_model(self._desk, fields, edits=True)
        pictures = await open_pictures(form.pictures)
        return fields, make_wanted(self._desk, served, fields, pictures, fields.n)

    async def _draw(self, fields: ImagesFields, wanted: Wanted) -> Response:
        async with Job(self._desk, wanted.orders) as job:
            drawn = await job.all()
        pictures = await asyncio.gather(*(asyncio.to_thread(picture_part, fields, wanted, done) for done in drawn))
        return JSONResponse({"created": int(time.time()), **common_part(fields, wanted), "data": pictures})

    async def _tell(self, wanted: Wanted, stream: EventStream) -> None:
        await stream.begin()
        async with Job(self._desk, wanted.orders) as job:
            await stream.tell(job)


class _Reference:
    """Draws for clients of the paper's reference implementation: the prompt in the address, a PNG back."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. What decides the picture may stand in the address too."""
        request = Request(scope, receive)
        served: ServedModel | None = None
        try:
            with self._desk.place():
                fields = read_fields(PictureFields, dict(request.query_params))
                served = chosen_model(self._desk, fields, edits=False)
                wanted = make_wanted(self._desk, served, fields)
                response = await unless_gone(self._draw(wanted), receive)
        except Exception as error:
            refusal = _refused(self._desk, error, served)
            if refusal is None:
                return
            response = refusal.response(request.url.path)
        await response(scope, receive, send)

    async def _draw(self, wanted: Wanted) -> Response:
        done = await self._in_time(wanted)
        content = await asyncio.to_thread(encode, done.painted.image)
        return Response(content, media_type="image/png", headers={"x-seed": str(done.seed)})

    async def _in_time(self, wanted: Wanted) -> Finished:
        """The drawing. Waiting for its turn counts too: this protocol has no way to tell of it."""
        seconds = self._desk.limits.seconds
        try:
            async with asyncio.timeout(seconds), Job(self._desk, wanted.orders) as job:
                return (await job.all())[0]
        except TimeoutError:
            raise Refusal(504, f"the picture was not done within {seconds:g} s", code="timeout") from None


def _refused(desk: Desk, error: Exception, served: ServedModel | None) -> Refusal | None:
    """What is answered in place of a picture; None where nobody listens. It is counted, and what is our fault logged."""
    if isinstance(error, ClientGone):
        desk.tally.refused[GONE] += 1
        return None
    if not isinstance(error, Refusal | ModelOutage | DrawingRefused):
        logger.error("a drawing failed", exc_info=error)
    refusal = refusal_for(error, served.told if served else str)
    desk.tally.refused[refusal.status] += 1
    return refusal
