"""Our own image adapters against our own server: they find out what it is, and hear of each step."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.applications import Starlette

from gems.app.serve.access import Access
from gems.app.serve.desk import Desk, Limits
from gems.app.serve.routes import make_app
from gems.app.serve.served import serve_model
from gems.backends.images.dialects import GEMS, picture_settings, recognise
from gems.backends.images.events import read_events
from gems.backends.images.openai import OpenAIImages
from gems.backends.images.presets import family_of
from gems.backends.images.reference import ReferenceImages
from gems.backends.local.orders import Order
from gems.backends.local.pipelines import PipelineFacts, facts_of
from gems.backends.local.scripted import ScriptedStudio
from gems.core.errors import DrawingRefused, GemsConfigError, ModelOutage
from gems.core.ports import DrawRequest
from gems.core.profiles import DrawingOptions, Endpoint

REQUEST = DrawRequest("a cat", 7, 64, 64)
SERVER = "http://localhost:8000"


def serve(
    studio: ScriptedStudio, model: str = "sd-turbo", facts: PipelineFacts | None = None, **limits: Any
) -> Starlette:
    served = serve_model(Endpoint(provider="diffusers", model=model), facts or facts_of("StableDiffusionPipeline"))
    return make_app(Desk(studio, [served], Limits(**limits), ["cpu"]), Access())


def client(app: Starlette, model: str = "sd-turbo", **drawing: Any) -> OpenAIImages:
    options = DrawingOptions(**drawing)
    endpoint = Endpoint(provider="openai", model=model, base_url=f"{SERVER}/v1", drawing=options, key_name="K")
    return OpenAIImages(endpoint, httpx.ASGITransport(app))


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("server", ["auto", "gems"])
async def test_a_drawing_tells_of_its_steps(server: str) -> None:
    studio, steps = ScriptedStudio(warnings=("sd-turbo read 75 of 90 tokens",)), []
    images = client(serve(studio), server=server)
    drawing = await images.generate(REQUEST, lambda step, of: steps.append((step, of)))
    assert Image.open(io.BytesIO(drawing.png)).size == (64, 64)
    assert drawing.warnings == ("sd-turbo read 75 of 90 tokens",)
    assert steps[-1] == (4, 4)
    assert steps == sorted(steps)
    (order,) = studio.drawn
    assert (order.seed, order.sampling.steps, order.sampling.guidance_scale) == (7, 4, 0.0)
    assert images.capabilities.seeds is (server == "gems")


async def test_an_edit_is_sent_with_its_settings() -> None:
    studio = ScriptedStudio()
    images = client(serve(studio), server="gems", edit=True, strength=0.5, steps=10, negative_prompt="fog")
    request = DrawRequest("a dog", 7, 64, 64, source=png())
    drawing = await images.generate(request, lambda *_: None)
    (order,) = studio.drawn
    assert (order.sampling.strength, order.sampling.steps, order.sampling.negative_prompt) == (0.5, 10, "fog")
    assert order.images[0].size == (64, 64)
    assert Image.open(io.BytesIO(drawing.png)).size == (64, 64)


async def test_a_strength_that_nobody_set_is_the_servers() -> None:
    studio = ScriptedStudio()
    served = serve_model(
        Endpoint(provider="diffusers", model="sd-turbo", drawing=DrawingOptions(strength=0.9)),
        facts_of("StableDiffusionPipeline"),
    )
    app = make_app(Desk(studio, [served], Limits(), ["cpu"]), Access())
    await client(app, edit=True).generate(DrawRequest("a", 1, 64, 64, source=png()))
    assert studio.drawn[0].sampling.strength == 0.9
    assert "strength" not in client(app).identity
    assert client(app, strength=0.9).identity["strength"] == 0.9


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (DrawingRefused("held for unsafe"), DrawingRefused, "held for unsafe"),
        (ModelOutage("out of memory"), ModelOutage, "out of memory"),
    ],
)
async def test_a_failure_in_the_stream_is_sorted_like_any_other(
    failure: Exception, error: type[Exception], words: str
) -> None:
    images = client(serve(ScriptedStudio(failures=lambda _: failure)))
    with pytest.raises(error, match=words):
        await images.generate(REQUEST)


async def test_a_server_that_is_busy_says_for_how_long() -> None:
    app = serve(ScriptedStudio(failures=lambda _: ModelOutage("later", again="free", wait=3.0)))
    with pytest.raises(ModelOutage) as caught:
        await client(app).generate(REQUEST)
    assert (caught.value.again, caught.value.wait) == ("free", 3.0)


async def test_a_size_that_the_server_does_not_draw_is_yours_to_mend() -> None:
    studio = ScriptedStudio()
    with pytest.raises(GemsConfigError, match="multiples of 8"):
        await client(serve(studio, "me/own"), "me/own").generate(DrawRequest("a cat", 7, 100, 100))
    assert studio.orders == []


async def test_a_model_that_cannot_edit_is_remembered() -> None:
    images = client(serve(ScriptedStudio(), "me/own", PipelineFacts()), "me/own", edit=True)
    assert images.capabilities.edit
    with pytest.raises(DrawingRefused, match="cannot edit"):
        await images.generate(DrawRequest("a", 1, 64, 64, source=png()))
    assert not images.capabilities.edit


async def test_the_reference_adapter_draws_here_too() -> None:
    studio = ScriptedStudio()
    endpoint = Endpoint(provider="reference", model="sd-turbo", base_url=SERVER)
    images = ReferenceImages(endpoint, httpx.ASGITransport(serve(studio)))
    drawing = await images.generate(DrawRequest("a cat", 7, 512, 512))
    assert Image.open(io.BytesIO(drawing.png)).size == (512, 512)
    assert [order.prompt for order in studio.drawn] == ["a cat"]


async def test_the_reference_adapter_hears_of_a_late_drawing() -> None:
    endpoint = Endpoint(provider="reference", model="sd-turbo", base_url=SERVER)
    app = serve(ScriptedStudio(step_seconds=30), seconds=0.01)
    with pytest.raises(ModelOutage, match="504"):
        await ReferenceImages(endpoint, httpx.ASGITransport(app)).generate(REQUEST)


def test_the_server_is_known_by_its_models() -> None:
    assert recognise({"data": [{"id": "m", "owned_by": "gems"}]}) is GEMS
    assert recognise({"data": [{"id": "m", "owned_by": "gemsbok"}]}).name == "generic"


# The paper's preset.


def test_the_papers_preset_leaves_true_cfg_off() -> None:
    family = family_of("Qwen/Qwen-Image")
    assert picture_settings(DrawingOptions(), family)["true_cfg_scale"] == 4.0
    papers = picture_settings(DrawingOptions(preset="paper"), family)
    assert papers == {"num_inference_steps": 50, "true_cfg_scale": 1.0}
    assert picture_settings(DrawingOptions(preset="paper", true_cfg_scale=3.0), family)["true_cfg_scale"] == 3.0


async def test_the_papers_preset_is_sent_and_keyed() -> None:
    def settings(order: Order) -> tuple[float | None, str | None]:
        return order.sampling.true_cfg_scale, order.sampling.negative_prompt

    studio = ScriptedStudio()
    app = serve(studio, "Qwen/Qwen-Image", facts_of("QwenImagePipeline"))
    images = [client(app, "qwen-image", preset=preset) for preset in ("recommended", "paper")]
    for it in images:
        await it.generate(REQUEST)
    assert [settings(order) for order in studio.drawn] == [(4.0, " "), (1.0, " ")]
    assert images[0].identity != images[1].identity


def test_the_papers_preset_of_a_served_model_holds_for_the_reference_protocol() -> None:
    endpoint = Endpoint(provider="diffusers", model="Qwen/Qwen-Image", drawing=DrawingOptions(preset="paper"))
    defaults = serve_model(endpoint, facts_of("QwenImagePipeline")).defaults
    assert (defaults.true_cfg_scale, defaults.negative_prompt) == (1.0, None)


# Streams of servers that are not as they should be.


def lines(*events: str) -> Callable[[], AsyncIterator[str]]:
    async def give() -> AsyncIterator[str]:
        for event in events:
            for line in event.split("\n"):
                yield line
            yield ""

    return give


@pytest.mark.parametrize(
    "events",
    [(), ("data: no json",), ("data: [1]",), (": a comment",), ('data: {"type": "image_generation.progress"}',)],
)
async def test_a_stream_without_an_end_is_an_answer_without_a_picture(events: tuple[str, ...]) -> None:
    answer = await read_events(lines(*events)(), lambda *_: pytest.fail("no step was told"))
    assert answer == ("application/json", b"{}")


async def test_a_stream_is_read_past_what_is_unknown() -> None:
    steps = []
    stream = lines(
        'event: other.kind\ndata: {"type": "other.kind", "step": 9, "steps": 9}',
        'data: {"type": "image_generation.progress",\ndata:  "step": 1, "steps": 2}',
        'data: {"type": "image_generation.completed", "b64_json": "QQ=="}',
        'data: {"type": "error", "error": {"message": "too late"}}',
    )
    kind, body = await read_events(stream(), lambda *step: steps.append(step))  # type: ignore[misc]
    assert kind == "application/json"
    assert json.loads(body)["data"][0]["b64_json"] == "QQ=="
    assert steps == [(1, 2)]
