"""What OpenAI's package reads from the environment by itself reaches OpenAI alone."""

from __future__ import annotations

import httpx
import pytest
from pydantic import SecretStr

from gems.backends.chat.book import ServerBook
from gems.backends.chat.openai import make_openai_chat
from gems.backends.images.openai import OpenAIImages
from gems.backends.serving import Gate, Turns
from gems.core.errors import GemsConfigError
from gems.core.messages import compose
from gems.core.ports import DrawRequest
from gems.core.profiles import DrawingOptions, Endpoint
from gems.core.replies import RoundNote

KEY = "sk-of-this-server"
TOLD = {
    "OPENAI_ORG_ID": "org-SECRET",
    "OPENAI_PROJECT_ID": "proj-SECRET",
    "OPENAI_CUSTOM_HEADERS": "X-Team: SECRET\nAuthorization: Bearer SECRET",
    "OPENAI_ADMIN_KEY": "sk-admin-SECRET",
    "OPENAI_API_KEY": "sk-SECRET",
}
ALL = {"openai-organization", "openai-project", "x-team"}


class Wire:
    """Refuses everything, and keeps the headers."""

    def __init__(self) -> None:
        self.headers: list[httpx.Headers] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.headers.append(request.headers)
        return httpx.Response(400, json={"error": {"message": "no"}})


async def ask_and_draw(url: str | None, key: str | None) -> Wire:
    wire = Wire()
    carrier = httpx.MockTransport(wire)
    endpoint = Endpoint(
        provider="openai",
        model="m",
        base_url=url,
        api_key=SecretStr(key) if key else None,
        drawing=DrawingOptions(server="openai"),
    )
    gate = Gate("the chat model", turns=Turns(1), seconds=5, retries=0, paid_retries=0)
    with pytest.raises(GemsConfigError):
        await make_openai_chat(endpoint, gate, ServerBook(), transport=carrier).ask(
            compose("compress", "Do.", {}), RoundNote
        )
    images = OpenAIImages(endpoint, carrier)
    for source in (None, b"png"):
        with pytest.raises(GemsConfigError):
            await images.generate(DrawRequest("p", 1, 64, 64, source=source))
    assert len(wire.headers) == 3
    return wire


@pytest.mark.parametrize("url", ["http://third.party/v1", "https://api.openai.com.third.party/v1"])
@pytest.mark.parametrize("key", [KEY, None])
async def test_another_server_is_told_nothing_of_it(monkeypatch: pytest.MonkeyPatch, url: str, key: str | None) -> None:
    for name, value in TOLD.items():
        monkeypatch.setenv(name, value)
    for headers in (await ask_and_draw(url, key)).headers:
        assert "SECRET" not in str(headers.raw)
        assert not ALL & set(headers)
        assert headers["authorization"] == f"Bearer {key or 'none'}"


@pytest.mark.parametrize("url", [None, "https://api.openai.com/v1", "https://eu.api.openai.com/v1"])
async def test_openai_is_told(monkeypatch: pytest.MonkeyPatch, url: str | None) -> None:
    for name, value in TOLD.items():
        monkeypatch.setenv(name, value)
    for headers in (await ask_and_draw(url, KEY)).headers:
        assert set(headers) >= ALL


@pytest.mark.parametrize("url", ["http://third.party/v1", None])
async def test_bodies_are_sent_as_what_they_are(url: str | None) -> None:
    asked, drawn, edited = (
        headers["content-type"].partition(";")[0] for headers in (await ask_and_draw(url, KEY)).headers
    )
    assert (asked, drawn, edited) == ("application/json", "application/json", "multipart/form-data")
