"""Pictures on the server: sent, shown, scaled down, and nobody else's business."""

from __future__ import annotations

import asyncio
import io
import threading
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from blockbuster import blockbuster_ctx
from PIL import Image
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from gems.app.decoding import AT_ONCE, decoded
from gems.app.web import images, uploads
from gems.app.web.site import Site, make_app
from gems.app.web.thumbnails import SIDES, Thumbnails, scaled
from gems.core.errors import ArtifactCorrupt
from gems.core.settings import Settings
from gems.graph import MachineServices
from gems.graph.serving import Threads
from gems.memory.png import export_png, read_png_text
from gems.memory.references import MOST_BYTES, MOST_SIDE

TOKENS = {"anna": SecretStr("a" * 20), "bob": SecretStr("b" * 20)}
RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def plain(width: int, height: int, colour: tuple[int, ...] = RED, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (width, height), colour)


@asynccontextmanager
async def visit(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """A client of these routes; `x-user` says whom the auth handler has recognised."""
    app = make_app(site, [images.routes, uploads.routes])

    async def recognised(scope: Scope, receive: Receive, send: Send) -> None:
        user = httpx.Headers(scope["headers"]).get("x-user")
        scope["user"] = SimpleNamespace(identity=user) if user else None
        await app(scope, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(recognised), base_url="http://gems") as client:
        yield client


def site_of(settings: Settings) -> Site:
    services = MachineServices(settings)
    return Site(services, Threads(services))


@pytest.fixture
def site(settings: Settings) -> Site:
    return site_of(settings)


@pytest.fixture
async def client(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with visit(site) as client:
        yield client


async def sent(client: httpx.AsyncClient, content: bytes, kind: str = "image/png", **headers: str) -> httpx.Response:
    return await client.post("/gems/images", files={"image": ("cat.png", content, kind)}, headers=headers)


async def kept(client: httpx.AsyncClient, content: bytes, kind: str = "image/png") -> Image.Image:
    """What a picture that is sent becomes."""
    answer = await sent(client, content, kind)
    assert answer.status_code == 201, answer.text
    shown = await client.get(f"/gems/images/{answer.json()['id']}")
    image = opened(shown.content)
    assert (image.format, image.mode, shown.headers["content-type"]) == ("PNG", "RGB", "image/png")
    assert image.size == (answer.json()["width"], answer.json()["height"])
    assert not image.info
    return image


def gif_that_moves() -> bytes:
    return encoded(plain(8, 8), "GIF", save_all=True, append_images=[plain(8, 8, BLUE)], duration=50, loop=0)


def webp_that_moves() -> bytes:
    return encoded(plain(8, 8), "WEBP", save_all=True, append_images=[plain(8, 8, BLUE)], duration=50, lossless=True)


def turned_photo() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    return encoded(plain(40, 20), "JPEG", exif=exif, quality=100)


def grey_of_sixteen_bits() -> bytes:
    return encoded(Image.new("I;16", (4, 4), 0x9C9C))


def palette_with_a_hole() -> bytes:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    image.putpixel((0, 0), 0)
    return encoded(image, transparency=0)


@pytest.mark.parametrize(
    ("content", "size", "corner", "middle"),
    [
        (encoded(plain(1, 1)), (1, 1), RED, RED),
        (encoded(plain(30_000, 1)), (MOST_SIDE, 1), RED, RED),
        (encoded(plain(8, 6, (0, 255, 255, 0), "CMYK"), "JPEG", quality=100), (8, 6), (255, 0, 0), (255, 0, 0)),
        (encoded(plain(8, 6, (0, 255, 255, 0), "CMYK"), "TIFF"), (8, 6), RED, RED),
        (grey_of_sixteen_bits(), (4, 4), (0x9C,) * 3, (0x9C,) * 3),
        (palette_with_a_hole(), (4, 4), (255, 255, 255), RED),
        (encoded(plain(8, 8, (255, 0, 0, 0), "RGBA")), (8, 8), (255, 255, 255), (255, 255, 255)),
        (encoded(plain(8, 8, (0, 128), "LA")), (8, 8), (127, 127, 127), (127, 127, 127)),
        (turned_photo(), (20, 40), (254, 0, 0), (254, 0, 0)),
        (gif_that_moves(), (8, 8), RED, RED),
        (webp_that_moves(), (8, 8), RED, RED),
        (encoded(plain(8, 8), "BMP"), (8, 8), RED, RED),
    ],
    ids=[
        "one pixel",
        "a line",
        "CMYK JPEG",
        "CMYK TIFF",
        "16 bits",
        "palette",
        "transparent",
        "half transparent",
        "turned by EXIF",
        "GIF that moves: its first frame",
        "WebP that moves: its first frame",
        "BMP",
    ],
)
async def test_a_picture_is_kept_upright_in_plain_rgb(
    client: httpx.AsyncClient, content: bytes, size: tuple[int, int], corner: Any, middle: Any
) -> None:
    image = await kept(client, content)
    assert image.size == size
    for place, colour in (((0, 0), corner), ((size[0] // 2, size[1] // 2), middle)):
        seen = image.getpixel(place)
        assert all(abs(a - b) <= 3 for a, b in zip(seen, colour, strict=True)), (place, seen)  # type: ignore[arg-type]


async def test_what_a_picture_is_decides_and_not_what_it_is_called(client: httpx.AsyncClient) -> None:
    image = await kept(client, encoded(plain(8, 8, BLUE), "WEBP", lossless=True), "image/png")
    assert image.getpixel((0, 0)) == BLUE


async def test_metadata_stays_behind(site: Site, client: httpx.AsyncClient) -> None:
    told = export_png(encoded(plain(8, 8)), {"prompt": "my secret garden", "place": "52.5 N"})
    answer = await sent(client, told)
    stored = await site.services.store.get(answer.json()["id"])
    assert read_png_text(stored) == {}
    assert b"secret" not in stored


async def test_the_body_itself_may_be_the_picture(client: httpx.AsyncClient) -> None:
    content = encoded(plain(8, 6))
    raw = await client.post("/gems/images", content=content, headers={"content-type": "image/png"})
    assert (raw.status_code, raw.json()) == (201, (await sent(client, content)).json())
    assert raw.json()["url"] == raw.headers["location"] == f"/gems/images/{raw.json()['id']}"
    assert (raw.json()["width"], raw.json()["height"]) == (8, 6)


async def test_the_url_is_one_that_others_reach(settings: Settings) -> None:
    site = site_of(settings.model_copy(update={"public_url": "https://gems.example"}))
    async with visit(site) as client:
        answer = (await sent(client, encoded(plain(8, 8)))).json()
    assert answer["url"] == f"https://gems.example/gems/images/{answer['id']}"


def cut_off(form: str) -> bytes:
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    content = encoded(noise, form)
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 400, "empty"),
        (b"three red apples", 415, "no PNG, JPEG, WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 415, "no PNG, JPEG, WebP"),
        (b"<!doctype html><script>alert(1)</script>", 415, "no PNG, JPEG, WebP"),
        (b"%PDF-1.7\n%%EOF", 415, "no PNG, JPEG, WebP"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", 415, "no PNG, JPEG, WebP"),
        (cut_off("PNG"), 415, "no picture that can be read"),
        (cut_off("JPEG"), 415, "no picture that can be read"),
        (cut_off("WEBP"), 415, "no picture that can be read"),
        (b"\x89PNG\r\n\x1a\n", 415, "PNG"),
        (encoded(Image.new("1", (20_000, 20_000))), 413, "far too many pixels; the limit is 40 million"),
        (encoded(Image.new("1", (8_000, 8_000))), 413, "8000x8000 pixels; the limit is 40 million"),
    ],
    ids=["empty", "text", "svg", "html", "pdf", "eps", "cut png", "cut jpeg", "cut webp", "no more", "bomb", "large"],
)
async def test_what_is_no_picture_is_refused_in_words(
    settings: Settings, client: httpx.AsyncClient, content: bytes, status: int, words: str
) -> None:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        answer = await sent(client, content)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert words in answer.json()["error"]
    assert "object at" not in answer.text
    assert warned == []
    assert list((settings.home / "artifacts").rglob("*.png")) == []


async def test_too_many_bytes_are_not_read_to_their_end(client: httpx.AsyncClient) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 2**20
            yield bytes(2**20)

    answer = await client.post("/gems/images", content=endless(), headers={"content-type": "image/png"})
    assert (answer.status_code, "longer than" in answer.json()["error"]) == (413, True)
    assert read <= MOST_BYTES + 2 * 2**20
    told = {"content-type": "image/png", "content-length": str(MOST_BYTES + 1)}
    assert (await client.post("/gems/images", content=b"", headers=told)).status_code == 413


@pytest.mark.parametrize(
    ("sending", "status", "words"),
    [
        ({"json": {"url": "http://169.254.169.254/"}}, 415, "content-type 'application/json'"),
        ({"data": {"image": "/etc/passwd"}}, 415, "content-type 'application/x-www-form-urlencoded'"),
        ({"files": {"picture": b"x"}}, 400, "0 files called 'image'"),
        ({"files": [("image", b"x"), ("image", b"y")]}, 400, "2 files called 'image'"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "form cannot be read"),
    ],
    ids=["json", "a form without files", "another name", "two", "no boundary"],
)
async def test_other_bodies_are_refused(
    client: httpx.AsyncClient, sending: dict[str, Any], status: int, words: str
) -> None:
    answer = await client.post("/gems/images", **sending)
    assert answer.status_code == status
    assert words in answer.json()["error"]


async def test_few_pictures_are_received_at_once(client: httpx.AsyncClient) -> None:
    hold = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await hold.wait()
        yield encoded(plain(1, 1))

    headers = {"content-type": "image/png"}
    waiting = [
        asyncio.create_task(client.post("/gems/images", content=slow(), headers=headers))
        for _ in range(uploads.MOST_AT_ONCE)
    ]
    await asyncio.sleep(0.05)
    assert (await sent(client, encoded(plain(1, 1)))).status_code == 429
    hold.set()
    assert {(await answer).status_code for answer in waiting} == {201}
    assert (await sent(client, encoded(plain(1, 1)))).status_code == 201


async def test_a_store_that_cannot_be_written_names_no_folder(settings: Settings, client: httpx.AsyncClient) -> None:
    settings.home.mkdir()
    (settings.home / "artifacts").write_text("in the way")
    answer = await sent(client, encoded(plain(8, 8)))
    assert (answer.status_code, str(settings.home) in answer.text) == (507, False)


async def test_a_picture_is_cached_for_ever_and_known_again(client: httpx.AsyncClient) -> None:
    address = f"/gems/images/{(await sent(client, encoded(plain(300, 200)))).json()['id']}"
    for query in ("", "?side=128"):
        whole = await client.get(address + query)
        assert whole.headers["cache-control"] == "private, max-age=31536000, immutable"
        tag = whole.headers["etag"]
        for told in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = await client.get(address + query, headers={"if-none-match": told})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        changed = await client.get(address + query, headers={"if-none-match": '"other"'})
        assert (changed.status_code, changed.content) == (200, whole.content)
        head = await client.head(address + query)
        assert (head.status_code, head.content) == (200, b"")
        assert {name: head.headers[name] for name in ("content-length", "content-type", "etag")} == {
            name: whole.headers[name] for name in ("content-length", "content-type", "etag")
        }
    assert (await client.get(address)).headers["etag"] != (await client.get(f"{address}?side=128")).headers["etag"]


@pytest.mark.parametrize(("side", "size"), [(128, (128, 85)), (256, (256, 171)), (512, (300, 200)), (1024, (300, 200))])
async def test_a_thumbnail_is_never_larger_than_the_picture(
    client: httpx.AsyncClient, side: int, size: tuple[int, int]
) -> None:
    address = f"/gems/images/{(await sent(client, encoded(plain(300, 200)))).json()['id']}"
    shown = await client.get(f"{address}?side={side}")
    assert shown.headers["content-type"] == "image/webp"
    image = opened(shown.content)
    assert (image.format, image.size) == ("WEBP", size)


@pytest.mark.parametrize("side", ["0", "-128", "129", "128.0", "1e2", "", "２５６", "256%20", "9" * 5000])
async def test_other_sides_are_refused(client: httpx.AsyncClient, side: str) -> None:
    address = f"/gems/images/{(await sent(client, encoded(plain(8, 8)))).json()['id']}"
    answer = await client.get(f"{address}?side={side}")
    assert (answer.status_code, len(answer.text) < 200) == (400, True)
    assert ", ".join(map(str, SIDES)) in answer.json()["error"]


ARTIFACT = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "path",
    [
        ARTIFACT,
        ARTIFACT.upper(),
        ARTIFACT[:-1],
        ARTIFACT + "0",
        f"{ARTIFACT}.png",
        f"{ARTIFACT}%0a",
        f"{ARTIFACT}%00",
        "..",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%2f..%2fcheckpoints.sqlite",
        "..%5c..%5ccheckpoints.sqlite",
        "/etc/passwd",
        f"{ARTIFACT[:2]}/{ARTIFACT}.png",
        "file:%2f%2f%2fetc%2fpasswd",
        "０" * 64,
    ],
)
async def test_nothing_but_an_id_of_a_picture_is_answered(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/gems/images/{path}")
    assert (answer.status_code, list(answer.json())) == (404, ["error"])


async def test_a_path_trick_reaches_no_store(settings: Settings, client: httpx.AsyncClient) -> None:
    outside = settings.home / "secret.png"
    outside.parent.mkdir()
    outside.write_bytes(encoded(plain(8, 8)))
    for path in ("..%2fsecret.png", "..%2fsecret", "%2e%2e/secret.png", str(outside).replace("/", "%2f")):
        assert (await client.get(f"/gems/images/{path}")).status_code == 404
    assert not (settings.home / "artifacts").exists()


@pytest.mark.parametrize("query", ["", "?side=256"])
async def test_a_lost_or_damaged_file_is_said_without_its_path(
    settings: Settings, client: httpx.AsyncClient, query: str
) -> None:
    artifact = (await sent(client, encoded(plain(8, 8)))).json()["id"]
    (file,) = (settings.home / "artifacts").rglob("*.png")
    file.write_bytes(b"\x89PNG\r\n\x1a\nscribbled")
    damaged = await client.get(f"/gems/images/{artifact}{query}")
    assert (damaged.status_code, "damaged" in damaged.json()["error"]) == (404, True)
    assert str(settings.home) not in damaged.text
    file.unlink()
    assert (await client.get(f"/gems/images/{artifact}{query}")).status_code == 404


async def test_a_picture_of_another_owner_is_not_there(settings: Settings) -> None:
    site = site_of(settings.model_copy(update={"tokens": TOKENS, "public_url": "http://gems"}))
    async with visit(site) as client:
        answer = (await sent(client, encoded(plain(8, 8)), **{"x-user": "anna"})).json()
        address = f"/gems/images/{answer['id']}"

        async def status(url: str, user: str = "") -> int:
            headers = {"x-user": user} if user else {}
            found = [(await client.get(f"{url}{more}", headers=headers)).status_code for more in ("", "&side=128")]
            assert found[0] == found[1]
            return found[0]

        whole = f"{address}?"
        assert [await status(whole, user) for user in ("anna", "bob", "")] == [200, 404, 404]
        # Whoever has the signed address may see this picture, and no other.
        assert answer["url"].startswith("http://gems" + address + "?key=anna.")
        assert [await status(answer["url"], user) for user in ("anna", "bob", "")] == [200, 200, 200]
        for forged in (
            answer["url"][:-1] + ("A" if answer["url"][-1] != "A" else "B"),
            answer["url"].replace("key=anna", "key=bob"),
            f"{address}?key=anna.99999999999.{answer['url'].rpartition('.')[2]}",
            f"{address}?key=anna",
            f"{address}?key=..",
        ):
            assert await status(forged) == 404
        assert (await sent(client, encoded(plain(8, 8)))).status_code == 401
        other = (await sent(client, encoded(plain(9, 9)), **{"x-user": "anna"})).json()["id"]
        assert await status(f"/gems/images/{other}?{answer['url'].partition('?')[2]}") == 404
        # The same bytes sent by two belong to both.
        await sent(client, encoded(plain(8, 8)), **{"x-user": "bob"})
        assert await status(whole, "bob") == 200
        shown = await client.get(address, headers={"x-user": "bob"})
        assert shown.headers["vary"] == "Authorization, Cookie"


async def test_what_nobody_holds_is_the_machines_owners(settings: Settings) -> None:
    site = site_of(settings.model_copy(update={"tokens": TOKENS, "owner": "anna"}))
    artifact = await site.services.store.put(encoded(plain(8, 8)))
    async with visit(site) as client:
        seen = [
            (await client.get(f"/gems/images/{artifact}", headers={"x-user": user})).status_code
            for user in ("anna", "bob")
        ]
    assert seen == [200, 404]


async def test_nothing_blocks_the_loop(client: httpx.AsyncClient) -> None:
    # LangGraph's development server refuses to run what does.
    content = encoded(Image.effect_noise((1200, 1200), 80).convert("RGB"))
    assert len(content) > 2**20  # so large that a form puts it into a file
    with blockbuster_ctx():
        answer = await sent(client, content)
        address = f"/gems/images/{answer.json()['id']}"
        found = [await client.get(address + query) for query in ("", "?side=256", "?side=1024")]
    assert [answer.status_code, *(it.status_code for it in found)] == [201, 200, 200, 200]


async def test_the_latest_thumbnails_are_kept_as_far_as_they_fit() -> None:
    pictures = [encoded(Image.effect_noise((200, 200), 60 + number)) for number in range(3)]
    one = len(scaled(pictures[0], 128))
    thumbnails = Thumbnails(most_bytes=int(2.5 * one))
    made = [await thumbnails.of(str(number), 128, content) for number, content in enumerate(pictures[:2])]
    # Kept: nothing is decoded any more, so these bytes do not matter.
    assert [await thumbnails.of(name, 128, b"") for name in ("1", "0")] == [made[1], made[0]]
    await thumbnails.of("2", 128, pictures[2])
    assert thumbnails.size <= 2.5 * one
    assert await thumbnails.of("0", 128, b"") == made[0]
    with pytest.raises(ArtifactCorrupt):
        await thumbnails.of("1", 128, b"")


async def test_a_thumbnail_that_is_asked_for_twice_is_made_once() -> None:
    thumbnails = Thumbnails()
    content = encoded(plain(200, 200))
    # The second one's bytes are no picture: it gets what the first one makes.
    first, second = await asyncio.gather(thumbnails.of("a", 128, content), thumbnails.of("a", 128, b""))
    assert first == second
    with pytest.raises(ArtifactCorrupt):
        await thumbnails.of("b", 128, b"")
    assert await thumbnails.of("b", 128, content)  # a failure is not kept


async def test_who_leaves_does_not_take_the_thumbnail_along() -> None:
    thumbnails = Thumbnails()
    content = encoded(plain(200, 200))
    leaver = asyncio.create_task(thumbnails.of("a", 128, content))
    await asyncio.sleep(0)
    stayer = asyncio.create_task(thumbnails.of("a", 128, b""))
    await asyncio.sleep(0)
    leaver.cancel()
    assert opened(await stayer).size == (128, 128)


@pytest.mark.parametrize(
    ("content", "colour"),
    [
        (encoded(plain(300, 300, (255, 0, 0, 0), "RGBA")), None),
        (grey_of_sixteen_bits(), (0x9C,) * 3),
        (palette_with_a_hole(), RED),
    ],
    ids=["transparent", "16 bits", "palette"],
)
def test_thumbnails_of_other_kinds_of_pictures(content: bytes, colour: tuple[int, int, int] | None) -> None:
    image = opened(scaled(content, 128)).convert("RGBA")
    *seen, alpha = image.getpixel((image.width // 2, image.height // 2))  # type: ignore[misc]
    if colour is None:
        assert alpha == 0
    else:
        assert alpha == 255
        assert all(abs(a - b) <= 12 for a, b in zip(seen, colour, strict=True))


def test_a_picture_too_large_to_be_decoded_gets_no_thumbnail() -> None:
    with pytest.raises(ArtifactCorrupt, match="9000x9000 pixels are too many"):
        scaled(encoded(Image.new("1", (9_000, 9_000))), 128)


async def test_two_pictures_at_most_are_decoded_at_once() -> None:
    lock, now, most, gate = threading.Lock(), 0, 0, threading.Barrier(AT_ONCE, timeout=10)

    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        gate.wait()  # until as many as may are at it
        with lock:
            now -= 1

    await asyncio.gather(*(decoded(work) for _ in range(3 * AT_ONCE)))
    assert most == AT_ONCE
