"""The reference implementation's image server."""

from __future__ import annotations

import io
from collections.abc import Callable

import httpx
import pytest
from PIL import Image
from pydantic import SecretStr

from gems.backends.images.reference import MOST_PROMPT_BYTES, ReferenceImages
from gems.core.errors import DrawingRefused, GemsConfigError, ModelOutage
from gems.core.ports import DrawRequest
from gems.core.profiles import DrawingOptions, Endpoint, Price


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return buffer.getvalue()


PNG = png()
REQUEST = DrawRequest("a cat & a dog? ü", 7, 1024, 1024)


def make(handle: Callable[[httpx.Request], httpx.Response], **changes: object) -> ReferenceImages:
    endpoint = Endpoint(
        provider="reference", model="z-image-turbo", base_url="http://box:8000/", key_name="GEMS_IMAGES_API_KEY"
    ).model_copy(update=changes)
    return ReferenceImages(endpoint, httpx.MockTransport(handle))


def answering(reply: httpx.Response) -> ReferenceImages:
    return make(lambda _: reply)


async def test_the_prompt_is_all_that_is_sent() -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=PNG, headers={"content-type": "image/png"})

    images = make(handle, price=Price(image=0.02))
    drawing = await images.generate(REQUEST)
    assert drawing.png == PNG
    assert drawing.cost == 0.02
    (request,) = seen
    assert request.method == "POST"
    assert request.url.path == "/generate"
    assert list(request.url.params.multi_items()) == [("prompt", REQUEST.prompt)]
    assert request.content == b""
    assert "authorization" not in request.headers


async def test_a_key_goes_where_one_was_given() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer secret-key"
        return httpx.Response(200, content=PNG, headers={"content-type": "image/png"})

    await make(handle, api_key=SecretStr("secret-key")).generate(REQUEST)


def test_it_takes_neither_seed_nor_picture() -> None:
    images = answering(httpx.Response(200))
    assert not images.capabilities.seeds
    assert not images.capabilities.edit
    assert images.capabilities.references == 0
    assert "English and Chinese" in images.capabilities.notes
    assert make(lambda _: httpx.Response(200), drawing=DrawingOptions(notes="mine")).capabilities.notes == "mine"
    assert images.identity == {"model": "reference:z-image-turbo", "server": "http://box:8000"}


async def test_an_edit_is_refused_unasked() -> None:
    images = make(lambda _: pytest.fail("asked"))
    with pytest.raises(DrawingRefused, match="cannot edit"):
        await images.generate(DrawRequest("a", 1, 8, 8, source=PNG))
    with pytest.raises(GemsConfigError, match="choose another profile"):
        await images.generate(DrawRequest("a", 1, 8, 8, references=(PNG,)))


async def test_a_prompt_that_no_address_holds_is_refused() -> None:
    images = make(lambda _: pytest.fail("asked"))
    fits, too_long = "a" * MOST_PROMPT_BYTES, "ü" * (MOST_PROMPT_BYTES // 6 + 1)
    images.check(fits, 1024, 1024)
    with pytest.raises(GemsConfigError, match="bytes in an address"):
        images.check(too_long, 1024, 1024)
    with pytest.raises(DrawingRefused, match="bytes in an address"):
        await images.generate(DrawRequest(too_long, 1, 8, 8))


async def test_the_longest_prompt_can_be_sent() -> None:
    reply = httpx.Response(200, content=PNG, headers={"content-type": "image/png"})
    await answering(reply).generate(DrawRequest("a" * MOST_PROMPT_BYTES, 1, 8, 8))


def test_a_size_that_is_not_told_is_warned_of() -> None:
    images = answering(httpx.Response(200))
    assert images.check("a cat", 1024, 1024) == []
    assert "1536x1024 is not told" in images.check("a cat", 1536, 1024)[0]


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(504, json={"detail": "Generation timed out"}),
        httpx.Response(500, json={"detail": "CUDA out of memory"}),
        httpx.Response(200, json={"detail": "no worker"}),
        httpx.Response(200, html="<html>hello</html>"),
        httpx.Response(200, content=PNG[:30], headers={"content-type": "image/png"}),
        httpx.Response(200, content=b"", headers={"content-type": "image/png"}),
    ],
)
async def test_what_is_no_picture_may_have_been_drawn(reply: httpx.Response) -> None:
    with pytest.raises(ModelOutage) as caught:
        await answering(reply).generate(REQUEST)
    assert caught.value.again == "paid"


async def test_the_servers_words_are_passed_on() -> None:
    with pytest.raises(ModelOutage, match="Generation timed out"):
        await answering(httpx.Response(504, json={"detail": "Generation timed out"})).generate(REQUEST)
    with pytest.raises(DrawingRefused, match="safety system"):
        await answering(httpx.Response(200, json={"detail": "blocked by our safety system"})).generate(REQUEST)


async def test_a_server_that_is_not_there_costs_nothing() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(ModelOutage) as caught:
        await make(handle).generate(REQUEST)
    assert caught.value.again == "free"


def test_an_address_is_needed() -> None:
    with pytest.raises(GemsConfigError, match="images_base_url"):
        ReferenceImages(Endpoint(provider="reference"))
