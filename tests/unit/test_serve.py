"""The image server over a scripted studio: what it draws, what it refuses, and what becomes of drawings on the way."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from PIL import Image
from pydantic import SecretStr
from starlette.applications import Starlette

from gems.app.serve.access import Access
from gems.app.serve.desk import Desk, Limits
from gems.app.serve.routes import make_app
from gems.app.serve.served import ServedModel, serve_model
from gems.backends.local.orders import Order
from gems.backends.local.pipelines import PipelineFacts, facts_of
from gems.backends.local.scripted import ScriptedStudio
from gems.core.errors import DrawingRefused, GemsConfigError, ModelOutage
from gems.core.profiles import DrawingOptions, Endpoint

GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"
TURBO = "stabilityai/sd-turbo"


def model(source: str = TURBO, facts: PipelineFacts | None = None, **drawing: Any) -> ServedModel:
    endpoint = Endpoint(provider="diffusers", model=source, drawing=DrawingOptions(**drawing))
    return serve_model(endpoint, facts or facts_of("StableDiffusionPipeline"))


class Served:
    """A server in this process, and a client of it."""

    def __init__(
        self, studio: ScriptedStudio, *models: ServedModel, access: Access | None = None, **limits: Any
    ) -> None:
        self.studio = studio
        self.desk = Desk(studio, models or (model(),), Limits(**limits), ("cpu",))
        self.app: Starlette = make_app(self.desk, access or Access())
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://localhost:8000", timeout=20.0
        )

    async def draw(self, path: str = GENERATIONS, **fields: Any) -> httpx.Response:
        return await self.client.post(path, json={"prompt": "a cat", "size": "64x64"} | fields)

    async def edit(self, *pictures: bytes, field: str = "image", **fields: Any) -> httpx.Response:
        files = [(field, (f"{number}.png", content)) for number, content in enumerate(pictures)]
        return await self.client.post(EDITS, data={"prompt": "a dog"} | fields, files=files)


Serve = Callable[..., Served]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Makes servers, and closes their clients."""
    made: list[Served] = []

    def make(studio: ScriptedStudio | None = None, *models: ServedModel, **settings: Any) -> Served:
        made.append(Served(studio or ScriptedStudio(), *models, **settings))
        return made[-1]

    yield make
    for server in made:
        await server.client.aclose()


class Call:
    """A request whose client reads as things come, and can hang up."""

    def __init__(self, app: Starlette, path: str, **fields: Any) -> None:
        self._body: bytes | None = json.dumps({"prompt": "a cat", "size": "64x64"} | fields).encode()
        self._gone = asyncio.Event()
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        path, _, query = path.partition("?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(b"host", b"localhost")], "server": ("localhost", 8000), "client": ("127.0.0.1", 1),
        }  # fmt: skip
        self.task = asyncio.create_task(app(scope, self._receive, self.sent.put))  # type: ignore[arg-type]

    async def _receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    def hang_up(self) -> None:
        self._gone.set()

    async def event(self) -> dict[str, Any]:
        """The next event."""
        while True:
            message = await self.sent.get()
            if content := message.get("body"):
                head, _, data = content.decode().partition("\ndata: ")
                event: dict[str, Any] = json.loads(data)
                assert head == f"event: {event['type']}"
                return event


def png(width: int = 64, height: int = 64, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, kind)
    return buffer.getvalue()


def opened(part: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(part["b64_json"])))


def error_of(reply: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def until(condition: Callable[[], bool]) -> None:
    """Let everything that is ready run until a condition holds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came")


# Drawing.


async def test_a_picture_comes_in_the_shape_of_openai_with_its_seed(serve: Serve) -> None:
    server = serve()
    reply = await server.draw(seed=7)
    assert reply.status_code == 200
    body = reply.json()
    assert (body["size"], body["output_format"], body["background"]) == ("64x64", "png", "opaque")
    (part,) = body["data"]
    assert part["seed"] == 7
    assert "warnings" not in part
    assert opened(part).format == "PNG"
    assert opened(part).size == (64, 64)
    (order,) = server.studio.drawn
    assert (order.prompt, order.seed, order.width, order.height, order.images) == ("a cat", 7, 64, 64, ())
    assert order.sampling.steps == 4


async def test_n_pictures_take_the_seeds_from_the_first_on(serve: Serve) -> None:
    server = serve()
    data = (await server.draw(seed=7, n=3)).json()["data"]
    assert [part["seed"] for part in data] == [7, 8, 9]
    alone = [(await server.draw(seed=seed)).json()["data"][0]["b64_json"] for seed in (7, 8, 9)]
    assert [part["b64_json"] for part in data] == alone


async def test_without_a_seed_each_request_draws_something_else(serve: Serve) -> None:
    server = serve()
    seeds = [(await server.draw()).json()["data"][0]["seed"] for _ in range(4)]
    assert len(set(seeds)) == 4


async def test_what_decides_a_picture_reaches_the_studio(serve: Serve) -> None:
    server = serve()
    await server.draw(
        steps=3,
        guidance_scale=1.5,
        true_cfg_scale=2,
        negative_prompt="blur",
        size=None,
        width=72,
        height=128,
        model="SD-Turbo",
    )
    (order,) = server.studio.drawn
    assert order.sampling == (3, 1.5, 2.0, "blur", 0.6)
    assert (order.width, order.height) == (72, 128)


async def test_what_is_left_out_is_the_models_own(serve: Serve) -> None:
    server = serve(None, model(steps=9, guidance_scale=0.5, strength=0.4, negative_prompt="fog"))
    await server.client.post(GENERATIONS, json={"prompt": "a cat", "seed": None, "size": "auto"})
    (order,) = server.studio.drawn
    assert order.sampling == (9, 0.5, None, "fog", 0.4)
    assert (order.width, order.height) == (512, 512)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_the_format_can_be_chosen(serve: Serve, kind: str) -> None:
    (part,) = (await serve().draw(output_format=kind, output_compression=80)).json()["data"]
    assert opened(part).format == kind.upper()


async def test_harmless_fields_are_taken(serve: Serve) -> None:
    harmless = {"quality": "high", "user": "u", "background": "opaque", "moderation": "low", "partial_images": 0}
    reply = await serve().draw(**harmless, response_format="b64_json", stream=False, output_format=None)
    assert reply.status_code == 200


async def test_what_was_lost_is_told_under_the_models_public_name(serve: Serve) -> None:
    served = model("/home/ann/models/sd-turbo")
    server = serve(ScriptedStudio(warnings=("/home/ann/models/sd-turbo read 75 of 90 tokens",)), served)
    (part,) = (await server.draw()).json()["data"]
    assert part["warnings"] == ["sd-turbo read 75 of 90 tokens"]


async def test_eight_at_once_draw_what_one_alone_does(serve: Serve) -> None:
    server = serve(ScriptedStudio(devices=2))
    together = await asyncio.gather(*(server.draw(seed=seed) for seed in range(8)))
    alone = [await server.draw(seed=seed) for seed in range(8)]
    assert [it.json()["data"][0]["b64_json"] for it in together] == [it.json()["data"][0]["b64_json"] for it in alone]
    assert len({it.json()["data"][0]["b64_json"] for it in together}) == 8


async def test_each_request_gets_the_model_that_it_names(serve: Serve) -> None:
    server = serve(None, model(), model("Tongyi-MAI/Z-Image-Turbo", facts_of("ZImagePipeline")))
    for name in ("z-image-turbo", "Tongyi-MAI/Z-Image-Turbo", None):
        await server.draw(model=name)
    assert [order.model.source for order in server.studio.drawn] == ["Tongyi-MAI/Z-Image-Turbo"] * 2 + [TURBO]


# Editing.


@pytest.mark.parametrize("field", ["image", "image[]"])
async def test_an_edit_starts_from_the_picture_and_keeps_its_shape(serve: Serve, field: str) -> None:
    server = serve()
    reply = await server.edit(png(200, 100), field=field, seed="3", steps="4", strength="0.5", n="2")
    assert [part["seed"] for part in reply.json()["data"]] == [3, 4]
    order = server.studio.drawn[0]
    assert order.images[0].size == (200, 100)
    assert order.images[0].mode == "RGB"
    assert (order.width, order.height) == (728, 360)
    assert (order.sampling.steps, order.sampling.strength) == (4, 0.5)


async def test_several_pictures_come_in_their_order(serve: Serve) -> None:
    server = serve(None, model("black-forest-labs/FLUX.2-klein-4B", facts_of("Flux2KleinPipeline")))
    reply = await server.edit(png(64, 64), png(80, 64, "JPEG"), png(96, 64, "WEBP"), field="image[]", size="64x64")
    assert reply.status_code == 200
    assert [image.width for image in server.studio.drawn[0].images] == [64, 80, 96]
    too_many = await server.edit(*[png()] * 5, field="image[]")
    assert error_of(too_many)["param"] == "image"


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"no picture", "no whole"), (png()[:60], "no whole"), (png(8192, 4104), "pixels are more than")],
)
async def test_a_picture_that_cannot_be_used_is_refused(serve: Serve, content: bytes, says: str) -> None:
    server = serve()
    reply = await server.edit(content)
    assert (reply.status_code, error_of(reply)["param"]) == (400, "image")
    assert says in error_of(reply)["message"]
    assert server.studio.orders == []


async def test_edits_that_cannot_be_made_are_refused(serve: Serve) -> None:
    server = serve(None, model(), model("me/unknown", PipelineFacts()))
    replies = {
        "no picture": await server.client.post(EDITS, data={"prompt": "a"}, files={"other": b"x"}),
        "nothing": await server.client.post(EDITS, data={"prompt": "a"}, files={"user": (None, b"x")}),
        "mask": await server.client.post(EDITS, data={"prompt": "a"}, files={"image": png(), "mask": png()}),
        "json": await server.client.post(EDITS, json={"prompt": "a"}),
        "few": await server.edit(png(), steps="1"),
        "form": await server.client.post(EDITS, content=b"x", headers={"content-type": "multipart/form-data"}),
        "model": await server.edit(png(), model="me/unknown"),
    }
    assert {name: reply.status_code for name, reply in replies.items()} == dict.fromkeys(replies, 400)
    assert {name: error_of(reply)["param"] for name, reply in replies.items()} == {
        "no picture": "other", "nothing": "image", "mask": "mask", "json": None, "few": "strength", "form": None,
        "model": "image",
    }  # fmt: skip
    assert error_of(replies["model"])["code"] == "edits_not_supported"
    assert server.studio.orders == []


# What is refused.


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "  \n"}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": "x" * 20_001}, "prompt"),
        ({"negative_prompt": "x" * 20_001}, "negative_prompt"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"n": "many"}, "n"),
        ({"n": "2"}, "n"),
        ({"n": True}, "n"),
        ({"steps": "4"}, "steps"),
        ({"size": "100x100"}, "size"),
        ({"size": "32x32"}, "size"),
        ({"size": "8192x64"}, "size"),
        ({"size": "big"}, "size"),
        ({"width": 64}, "width"),
        ({"size": None, "width": 100, "height": 100}, "width"),
        ({"width": 64, "height": 128}, "size"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 2**63 - 1, "n": 2}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"steps": 0}, "steps"),
        ({"steps": 2, "num_inference_steps": 3}, "steps"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"strength": 0}, "strength"),
        ({"strength": 1.1}, "strength"),
        ({"response_format": "url"}, "response_format"),
        ({"background": "transparent"}, "background"),
        ({"partial_images": 2}, "partial_images"),
        ({"output_format": "gif"}, "output_format"),
        ({"mask": "abc"}, "mask"),
        ({"style": "vivid"}, "style"),
        ({"sed": 7}, "sed"),
    ],
)
async def test_a_wrong_field_is_named_before_anything_is_drawn(
    serve: Serve, fields: dict[str, Any], param: str
) -> None:
    server = serve()
    reply = await server.draw(**fields)
    error = error_of(reply)
    assert (reply.status_code, error["param"], error["type"]) == (400, param, "invalid_request_error")
    assert param in error["message"]
    assert server.studio.orders == []
    assert server.desk.tally.refused == {400: 1}


@pytest.mark.parametrize("body", [b"", b"no json", b"[1]", b'{"prompt": "a"', b"[" * 100_000, b"\xff\xfe"])
async def test_a_body_that_is_no_object_is_refused(serve: Serve, body: bytes) -> None:
    reply = await serve().client.post(GENERATIONS, content=body)
    assert (reply.status_code, error_of(reply)["code"]) == (400, "invalid_json")


async def test_numbers_that_json_has_not_are_refused(serve: Serve) -> None:
    reply = await serve().client.post(GENERATIONS, content=b'{"prompt": "a", "guidance_scale": NaN}')
    assert (reply.status_code, error_of(reply)["param"]) == (400, "guidance_scale")


async def test_a_model_that_is_not_served_is_not_found(serve: Serve) -> None:
    reply = await serve().draw(model="gpt-image-1")
    assert (reply.status_code, error_of(reply)["code"]) == (404, "model_not_found")
    assert TURBO in error_of(reply)["message"]


async def test_a_model_that_only_edits_draws_nothing_from_a_prompt(serve: Serve) -> None:
    server = serve(None, model("Qwen/Qwen-Image-Edit-2511", facts_of("QwenImageEditPlusPipeline")))
    reply = await server.draw()
    assert (reply.status_code, error_of(reply)["param"]) == (400, "model")
    assert (await server.edit(png())).status_code == 200


async def test_a_body_that_is_too_long_is_read_no_further(serve: Serve) -> None:
    server = serve(json_bytes=100, form_bytes=1000)
    assert (await server.draw(user="u" * 100)).status_code == 413

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 10
        raise AssertionError("it read on")

    assert (await server.client.post(GENERATIONS, content=endless())).status_code == 413
    reply = await server.edit(png() + bytes(1000))
    assert (reply.status_code, error_of(reply)["code"]) == (413, "request_too_large")


async def test_other_addresses_and_methods_are_refused_in_the_form_of_their_protocol(serve: Serve) -> None:
    client = serve().client
    assert (await client.get("/v1/chat")).json()["error"]["code"] == "unknown_url"
    assert "detail" in (await client.get("/nope")).json()
    reply = await client.get(GENERATIONS)
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")


# Failures.


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (DrawingRefused("held for unsafe"), 400, "moderation_blocked"),
        (ModelOutage("out of memory"), 500, "drawing_failed"),
        (ModelOutage("later", again="free", wait=3.0), 503, "unavailable"),
        (GemsConfigError("/home/ann/weights are gone"), 500, "internal_error"),
        (ZeroDivisionError("/home/ann/secret"), 500, "internal_error"),
    ],
)
async def test_a_failed_drawing_is_told_by_what_can_be_done(
    serve: Serve, failure: Exception, status: int, code: str
) -> None:
    server = serve(ScriptedStudio(failures=lambda _: failure))
    reply = await server.draw()
    assert (reply.status_code, error_of(reply)["code"]) == (status, code)
    assert reply.headers.get("retry-after") == ("3" if status == 503 else None)
    assert "/home/ann" not in reply.text
    assert server.desk.tally.failed == 1


async def test_one_that_fails_ends_those_beside_it(serve: Serve) -> None:
    def fail_second(order: Order) -> Exception | None:
        return ModelOutage("broken") if order.seed == 8 else None

    server = serve(ScriptedStudio(failures=fail_second))
    assert (await server.draw(seed=7, n=4)).status_code == 500
    assert [order.seed for order in server.studio.drawn] == [7]
    assert [stopped.order.seed for stopped in server.studio.cancelled] == [9, 10]


async def test_a_drawing_that_takes_too_long_is_504(serve: Serve) -> None:
    server = serve(ScriptedStudio(step_seconds=30), seconds=0.01)
    reply = await server.draw()
    assert (reply.status_code, error_of(reply)["code"]) == (504, "timeout")


# The queue.


async def test_a_full_queue_sends_away_with_the_time_to_come_again(serve: Serve) -> None:
    server = serve(queue=3)
    server.studio.hold()
    first = asyncio.create_task(server.draw(n=2, seed=1))
    await until(lambda: len(server.studio.orders) == 2)
    many = await server.draw(n=2)
    assert (many.status_code, error_of(many)["type"]) == (429, "rate_limit_error")
    assert many.headers["retry-after"] == "5", "one place more, of which nobody knows yet how long it takes"
    third = asyncio.create_task(server.draw(seed=3))
    await until(lambda: len(server.studio.orders) == 3)
    assert (await server.draw()).status_code == 429
    server.studio.allow(100)
    assert [(await task).status_code for task in (first, third)] == [200, 200]
    assert (await server.draw()).status_code == 200
    assert (await server.draw(n=4)).json()["error"]["param"] == "n"


async def test_a_refused_request_leaves_its_place(serve: Serve) -> None:
    server = serve(queue=1)
    for _ in range(3):
        assert (await server.draw(n=99)).status_code == 400
    assert (await server.draw()).status_code == 200


async def test_a_client_that_hangs_up_cancels_its_drawings(serve: Serve) -> None:
    server = serve()
    server.studio.hold()
    call = Call(server.app, GENERATIONS, n=2, seed=1)
    await until(lambda: len(server.studio.begun) == 1)
    call.hang_up()
    await call.task
    assert [(stopped.order.seed, stopped.steps) for stopped in server.studio.cancelled] == [(1, 0), (2, None)]
    assert call.sent.empty()
    assert server.desk.tally.cancelled == 2
    server.studio.allow(100)
    assert (await server.draw()).status_code == 200


@pytest.mark.parametrize("path", [GENERATIONS, "/generate?prompt=a&size=64x64"])
async def test_one_that_hangs_up_does_not_disturb_others(serve: Serve, path: str) -> None:
    server = serve(ScriptedStudio(devices=2))
    server.studio.hold()
    call = Call(server.app, path, stream=True)
    other = asyncio.create_task(server.draw(seed=5))
    await until(lambda: len(server.studio.begun) == 2)
    call.hang_up()
    await call.task
    server.studio.allow(100)
    assert (await other).json()["data"][0]["seed"] == 5
    assert server.desk.tally.refused == {499: 1}


# Streaming.


async def test_a_stream_tells_of_places_and_steps_and_then_the_picture(serve: Serve) -> None:
    server = serve()
    server.studio.hold()
    busy = asyncio.create_task(server.draw(seed=1, steps=1))
    await until(lambda: len(server.studio.begun) == 1)
    call = Call(server.app, GENERATIONS, stream=True, seed=7, steps=2)
    assert await call.event() == {
        "type": "image_generation.progress", "index": 0, "seed": 7, "step": 0, "steps": None, "position": 0
    }  # fmt: skip
    server.studio.allow(1)
    assert (await busy).status_code == 200
    seen = [await call.event()]
    for _ in range(2):
        server.studio.allow(1)
        seen.append(await call.event())
    assert [(event["step"], event["steps"], event["position"]) for event in seen] == [
        (0, 2, None),
        (1, 2, None),
        (2, 2, None),
    ]
    done = await call.event()
    assert done["type"] == "image_generation.completed"
    assert (done["seed"], done["size"], done["output_format"]) == (7, "64x64", "png")
    await call.task
    assert (await call.sent.get())["more_body"] is False
    server.studio.allow(2)
    again = await server.draw(seed=7, steps=2)
    assert done["b64_json"] == again.json()["data"][0]["b64_json"]


async def test_each_picture_of_a_stream_comes_when_it_is_done(serve: Serve) -> None:
    reply = await serve().draw(stream=True, n=2, seed=4)
    assert reply.headers["content-type"] == "text/event-stream"
    events = [json.loads(part.partition("\ndata: ")[2]) for part in reply.text.split("\n\n") if part]
    done = [event for event in events if event["type"] == "image_generation.completed"]
    assert [(event["index"], event["seed"]) for event in done] == [(0, 4), (1, 5)]
    places = [event["position"] for event in events if event["index"] == 1 and event not in done]
    assert places[0] == 1
    assert 0 in places


async def test_a_stream_that_fails_ends_with_an_error(serve: Serve) -> None:
    server = serve(ScriptedStudio(failures=lambda _: ModelOutage("broken")))
    reply = await server.draw(stream=True)
    assert reply.status_code == 200
    last = json.loads(reply.text.strip().rpartition("data: ")[2])
    assert last["type"] == "error"
    assert (last["error"]["status"], last["error"]["message"]) == (500, "broken")


async def test_what_is_refused_before_a_stream_has_its_own_status(serve: Serve) -> None:
    reply = await serve().draw(stream=True, size="100x100")
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/json"


async def test_edits_stream_under_their_own_names(serve: Serve) -> None:
    reply = await serve().edit(png(), stream="true")
    kinds = {line.removeprefix("event: ") for line in reply.text.splitlines() if line.startswith("event: ")}
    assert kinds == {"image_edit.progress", "image_edit.completed"}


async def test_a_client_of_a_stream_that_hangs_up_stops_the_drawing_within_a_step(serve: Serve) -> None:
    server = serve()
    server.studio.hold()
    call = Call(server.app, GENERATIONS, stream=True, steps=50)
    await until(lambda: len(server.studio.begun) == 1)
    server.studio.allow(2)
    while (await call.event())["step"] < 2:
        pass
    call.hang_up()
    await call.task
    assert [stopped.steps for stopped in server.studio.cancelled] == [2]


# The protocol of the paper's servers.


async def test_the_reference_protocol_answers_a_png_and_the_seed(serve: Serve) -> None:
    server = serve()
    reply = await server.client.post("/generate", params={"prompt": "a red dog & a cat"})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(reply.content)).size == (512, 512)
    (order,) = server.studio.drawn
    assert order.prompt == "a red dog & a cat"
    assert reply.headers["x-seed"] == str(order.seed)
    again = await server.client.post("/generate", params={"prompt": order.prompt, "seed": order.seed})
    assert again.content == reply.content


async def test_the_reference_protocol_tells_errors_in_its_own_form(serve: Serve) -> None:
    server = serve(ScriptedStudio(step_seconds=30), queue=1, seconds=0.01)
    missing = await server.client.post("/generate")
    assert (missing.status_code, missing.json()) == (
        400,
        {"detail": "prompt is missing: it stands in the address, as in /generate?prompt=a+red+dog"},
    )
    late = await server.client.post("/generate", params={"prompt": "a cat"})
    assert late.status_code == 504
    assert "0.01 s" in late.json()["detail"]
    assert len(server.studio.cancelled) == 1


# What watches the server.


async def test_models_are_told_with_what_a_client_needs(serve: Serve) -> None:
    client = serve().client
    (card,) = (await client.get("/v1/models")).json()["data"]
    assert (await client.get(f"/v1/models/{card['id']}")).json() == card
    for path in ("/v1/models/no/such", "/v1/models/"):
        unknown = await client.get(path)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    odd = await client.get("/v1/models", headers={"origin": "http://["})
    assert odd.status_code == 403
    form = {"content-type": "multipart/form-data; boundary=a; charset=undefined"}
    body = b'--a\r\ncontent-disposition: form-data; name="prompt"\r\n\r\na cat\r\n--a--\r\n'
    assert (await client.post(EDITS, content=body, headers=form)).status_code == 400
    assert (card["id"], card["object"], card["owned_by"]) == (TURBO, "model", "gems")
    assert (card["defaults"]["size"], card["defaults"]["num_inference_steps"]) == ("512x512", 4)
    assert (card["sizes"]["multiple"], card["max_input_images"]) == (8, 1)


async def test_health_follows_the_life_of_the_server(serve: Serve) -> None:
    server = serve()

    async def health() -> tuple[int, str]:
        reply = await server.client.get("/health")
        return reply.status_code, reply.json()["status"]

    assert await health() == (503, "loading")
    await server.desk.load()
    assert await health() == (200, "ready")
    server.desk.stop()
    assert await health() == (503, "stopping")


async def test_weights_that_cannot_be_loaded_leave_it_unready(serve: Serve) -> None:
    server = serve(ScriptedStudio(broken=GemsConfigError("damaged")))
    with pytest.raises(GemsConfigError, match="damaged"):
        await server.desk.load()
    assert not server.desk.is_ready


async def test_metrics_count_what_was_done(serve: Serve) -> None:
    def fail(order: Order) -> Exception | None:
        return ModelOutage("broken") if order.prompt == "bad" else None

    server = serve(ScriptedStudio(failures=fail, step_seconds=0.001))
    await server.desk.load()
    await server.draw(n=2)
    await server.draw(prompt="bad")
    await server.draw(n=0)
    server.studio.hold()
    gone = Call(server.app, GENERATIONS, n=2)
    await until(lambda: len(server.studio.begun) == 4)
    numbers = await read_metrics(server)
    assert (numbers["gems_drawing"], numbers["gems_waiting"]) == (1, 1)
    gone.hang_up()
    await gone.task
    numbers = await read_metrics(server)
    assert numbers.pop("gems_busy_seconds_total") > 0
    assert numbers.pop("gems_drawing_seconds_total") > 0
    assert numbers == {
        "gems_ready": 1, "gems_waiting": 0, "gems_drawing": 0, "gems_drawings_total": 2, "gems_failures_total": 1,
        "gems_cancelled_total": 2, "gems_batches_total": 2, 'gems_refused_total{status="400"}': 1,
        'gems_refused_total{status="499"}': 1, 'gems_refused_total{status="500"}': 1,
    }  # fmt: skip


async def read_metrics(server: Served) -> dict[str, float]:
    reply = await server.client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line.rpartition(" ") for line in reply.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


# The end.


async def test_a_server_that_stops_finishes_what_is_drawn_and_sends_away_the_rest(serve: Serve) -> None:
    server = serve()
    server.studio.hold()
    drawn = asyncio.create_task(server.draw(seed=1))
    await until(lambda: len(server.studio.begun) == 1)
    waiting = asyncio.create_task(server.draw(seed=2))
    await until(lambda: len(server.studio.orders) == 2)
    server.desk.stop()
    assert (await waiting).status_code == 503
    late = await server.draw()
    assert (late.status_code, late.headers["retry-after"]) == (503, "5")
    server.studio.allow(100)
    await server.desk.finish(10)
    assert (await drawn).status_code == 200


async def test_what_is_not_finished_in_time_is_cut_off(serve: Serve) -> None:
    server = serve()
    server.studio.hold()
    drawn = asyncio.create_task(server.draw())
    await until(lambda: len(server.studio.begun) == 1)
    server.desk.stop()
    await server.desk.finish(0)
    assert error_of(await drawn)["message"] == "the server is stopping"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_came_in_a_moment_before_the_end_is_answered(serve: Serve, stream: bool) -> None:
    server = serve()
    server.studio.hold()
    calls = [asyncio.create_task(server.draw(stream=stream)) for _ in range(3)]
    await until(lambda: server.desk.is_busy)
    assert server.studio.orders == []
    server.desk.stop()
    for call in calls:
        reply = await call
        assert "the server is stopping" in reply.text
    assert not server.desk.is_busy


class _Silent(ScriptedStudio):
    """Tells of no step before the first is made, as pipelines do."""

    async def _make(self, order: Order) -> None:
        await self._make_step()


async def test_a_drawing_at_its_first_step_is_finished_too(serve: Serve) -> None:
    server = serve(_Silent())
    server.studio.hold()
    drawn = asyncio.create_task(server.draw(seed=1))
    waiting = asyncio.create_task(server.draw(seed=2))
    await until(lambda: len(server.studio.orders) == 2)
    server.desk.stop()
    assert (await waiting).status_code == 503
    server.studio.allow(1)
    assert (await drawn).status_code == 200


# Who may ask.


async def test_tokens_are_wanted_everywhere_but_for_health(serve: Serve) -> None:
    token = "t" * 16
    server = serve(access=Access((SecretStr(token), SecretStr("u" * 16)), own_names_only=False))
    await server.desk.load()
    refused = await server.draw()
    assert (refused.status_code, error_of(refused)["code"]) == (401, "invalid_api_key")
    assert refused.headers["www-authenticate"] == "Bearer"
    wrong = await server.client.get("/v1/models", headers={"authorization": f"Bearer {token}x"})
    assert wrong.status_code == 401
    assert token not in wrong.text
    assert (await server.client.get("/metrics")).status_code == 401
    assert (await server.client.get("/health")).status_code == 200
    server.client.headers["authorization"] = f"Bearer {token}"
    assert (await server.draw()).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:9000"}, 200),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "evil.example"}, 400),
        ({"host": "localhost.evil.example"}, 400),
        ({"origin": "http://localhost:8000"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
async def test_without_tokens_pages_of_other_sites_are_kept_out(
    serve: Serve, headers: dict[str, str], status: int
) -> None:
    reply = await serve().client.post(GENERATIONS, json={"prompt": "a", "size": "64x64"}, headers=headers)
    assert reply.status_code == status
