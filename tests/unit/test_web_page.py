from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from importlib.resources import files

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from gems.app.web import page
from gems.app.web.site import Site, WebError, answer
from gems.backends.sketch.images import SketchImages

STATIC = files("gems.app.web").joinpath("static")
NAMES = sorted(entry.name for entry in STATIC.iterdir())
SCRIPTS = [name for name in NAMES if name.endswith(".js")]
MOST_BYTES = 64 * 1024
"""Of the whole page, as it is sent."""


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, WebError)
    return answer(error.status, error.message)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    site: Site = None  # type: ignore[assignment]  # the page asks nothing of it
    app = Starlette(routes=list(page.routes(site)), exception_handlers={WebError: _refused})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gems") as opened:
        yield opened


def text_of(name: str) -> str:
    return STATIC.joinpath(name).read_text(encoding="utf-8")


async def test_the_page_comes_with_a_policy_that_allows_its_own_files_alone(client: httpx.AsyncClient) -> None:
    response = await client.get("/gems/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-content-type-options"] == "nosniff"
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    assert response.text == text_of("index.html")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_without_its_slash_it_is_found_too(client: httpx.AsyncClient, method: str) -> None:
    response = await client.request(method, "/gems")
    assert (response.status_code, response.headers["location"]) == (308, "gems/")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "index.html"])
async def test_each_file_has_its_type_and_is_sent_packed_to_who_takes_that(
    client: httpx.AsyncClient, name: str
) -> None:
    plain = await client.get(f"/gems/static/{name}", headers={"Accept-Encoding": "identity"})
    packed = await client.get(f"/gems/static/{name}", headers={"Accept-Encoding": "br, gzip;q=0.8"})
    kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}[name.rsplit(".", 1)[1]]
    assert plain.headers["content-type"].split(";")[0] == kind
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content == STATIC.joinpath(name).read_bytes()
    assert packed.headers["etag"] != plain.headers["etag"]
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"


async def test_who_refuses_gzip_gets_none(client: httpx.AsyncClient) -> None:
    for refused in ("gzip;q=0", "gzip; q=0.0, br", ""):
        response = await client.get("/gems/", headers={"Accept-Encoding": refused})
        assert "content-encoding" not in response.headers


async def test_what_is_known_is_not_sent_again(client: httpx.AsyncClient) -> None:
    tag = (await client.get("/gems/static/main.js")).headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = await client.get("/gems/static/main.js", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["content-security-policy"] == page.POLICY
    changed = await client.get("/gems/static/main.js", headers={"If-None-Match": '"other"'})
    assert changed.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "nothing.js",
        "index.html",
        "../page.py",
        "..%2fpage.py",
        "%2e%2e/page.py",
        "..%5cpage.py",
        "%2fetc%2fpasswd",
        "MAIN.JS",
        "main.js%00.svg",
        "",
    ],
)
async def test_only_the_files_that_were_read_at_the_start_are_given_out(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(f"/gems/static/{path}")
    assert response.status_code == 404
    assert b"def routes" not in response.content


def test_the_whole_page_is_small() -> None:
    sizes = {name: len(file.packed.content) for name, file in page.read_files().items()}
    assert set(sizes) == set(NAMES)
    assert sum(sizes.values()) < MOST_BYTES, sizes
    assert gzip.decompress(page.read_files()["main.js"].packed.content) == text_of("main.js").encode()


def test_no_script_can_set_html_or_leave_the_policy() -> None:
    for name in SCRIPTS:
        text = text_of(name)
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "cssText",
        ):
            assert way not in text, (name, way)
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), name
    page_text = text_of("index.html")
    assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=|\sstyle=|<style", page_text)
    assert not re.search(r"https?://", page_text)


def test_every_file_that_is_named_is_there() -> None:
    for name in SCRIPTS:
        named = re.findall(r'(?:from|import\()\s*"\./([^"]+)"', text_of(name))
        assert set(named) <= set(SCRIPTS), name
    named = re.findall(r'(?:src|href)="static/([^"]+)"', text_of("index.html"))
    assert set(named) == {"icon.svg", "style.css", "components.css", "main.js"}
    assert set(named) <= set(NAMES)


def test_the_examples_can_be_drawn_without_any_model_of_ones_own() -> None:
    examples = re.findall(r'"(.+)",', re.findall(r"const EXAMPLES = \[(.*?)\];", text_of("composer.js"), re.DOTALL)[0])
    assert len(examples) >= 3
    assert [SketchImages().check(example, 1024, 1024) for example in examples] == [[]] * len(examples)
