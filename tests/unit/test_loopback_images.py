"""The loopback's image servers, without a socket: fields, defaults, answers, faults, and drawings one at a time."""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from PIL import Image

from gems.evals.loopback.faults import FREE, exactly
from gems.evals.loopback.image_flavours import IMAGE_FLAVOURS, SGLANG_SEED, ImageFlavour
from gems.evals.loopback.images import IMAGE_FAULTS, MARKER, ImageServer
from gems.evals.loopback.log import Entry, Log
from gems.evals.loopback.pictures import Wish, flat, prepared
from gems.evals.loopback.wire import Reply, Request

SIZE = {"size": "1024x1024"}


def post(server: ImageServer, fields: dict[str, Any], log: Log | None = None) -> tuple[Reply, Entry]:
    told = (log or Log()).open("other", "/", 0)
    if server.flavour == "reference":
        request = Request("POST", f"/generate?prompt={fields['prompt'].replace(' ', '%20')}", {}, b"")
    else:
        content = json.dumps({"model": server.model} | fields).encode()
        request = Request("POST", "/v1/images/generations", {"authorization": "Bearer sk-mine"}, content)
    reply = server.answer(request, told)
    assert reply is not None
    return reply, told


def picture_of(reply: Reply) -> Image.Image:
    content = reply.body
    if reply.content_type == "application/json":
        content = base64.b64decode(json.loads(reply.body)["data"][0]["b64_json"], validate=True)
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize("flavour", IMAGE_FLAVOURS)
def test_a_drawing_is_answered_as_the_server_does(flavour: ImageFlavour) -> None:
    fields = {"prompt": "a red dog"} | SIZE | ({"response_format": "b64_json"} if flavour == "sglang" else {})
    reply, told = post(ImageServer(flavour, side=96), fields)
    image = picture_of(reply)
    assert image.size == ((96, 96) if flavour == "reference" else (1024, 1024))
    assert image.format == ("JPEG" if flavour == "sglang" else "PNG")
    assert told.prompt == "a red dog"
    assert told.draw_end is not None


def test_sglang_answers_with_a_place_and_one_seed_unless_told_otherwise() -> None:
    server = ImageServer("sglang")
    reply, told = post(server, {"prompt": "a red dog", "size": "64x64"})
    place = json.loads(reply.body)["data"][0]["url"]
    kept = server.answer(Request("GET", place, {}, b""), told)
    assert kept is not None
    assert picture_of(kept).size == (64, 64)
    assert told.seed == SGLANG_SEED
    assert post(server, {"prompt": "a red dog", "seed": [7]})[1].seed == 7


def test_a_server_without_seeds_draws_something_else_each_time() -> None:
    server = ImageServer("openai")
    first, second = (picture_of(post(server, {"prompt": "a"} | SIZE)[0]).getpixel((0, 0)) for _ in range(2))
    assert first != second
    seeded = ImageServer("vllm-omni")
    first, second = (picture_of(post(seeded, {"prompt": "a", "seed": 3} | SIZE)[0]).getpixel((0, 0)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("flavour", "fields", "code"),
    [
        ("openai", {"response_format": "b64_json"}, "unknown_parameter"),
        ("openai", {"seed": 1}, "unknown_parameter"),
        ("openai", {"n": 11}, "integer_out_of_range"),
        ("openai", {"model": "other"}, "invalid_value"),
        ("vllm-omni", {"response_format": "url"}, 400),
        ("vllm-omni", {"model": "other"}, 400),
        ("vllm-omni", {"num_inference_steps": 500}, 400),
        ("vllm-omni", {"prompt": ""}, 400),
    ],
)
def test_fields_are_rejected_as_the_server_does(flavour: ImageFlavour, fields: dict[str, Any], code: object) -> None:
    reply, told = post(ImageServer(flavour), {"prompt": "a"} | fields)
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["code"] == code
    assert told.draw_end is None


def test_unknown_fields_are_ignored_where_the_server_ignores_them() -> None:
    for flavour in ("vllm-omni", "sglang"):
        assert post(ImageServer(flavour), {"prompt": "a", "sparkle": 3, "size": "64x64"})[0].status == 200


def test_openai_draws_three_sizes_with_its_first_models() -> None:
    assert post(ImageServer("openai", model="gpt-image-1-mini"), {"prompt": "a", "size": "512x512"})[0].status == 400
    assert post(ImageServer("openai", model="gpt-image-1-mini"), {"prompt": "a", "size": "auto"})[0].status == 200
    assert post(ImageServer("openai", model="gpt-image-2"), {"prompt": "a", "size": "512x512"})[0].status == 200


def edit(server: ImageServer, *names: str) -> tuple[Reply, Entry]:
    source = flat(Wish("source", 1, 16, 16))
    parts = [b'--xx\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nmake it blue\r\n']
    parts.append(f'--xx\r\nContent-Disposition: form-data; name="model"\r\n\r\n{server.model}\r\n'.encode())
    for name in names:
        head = f'--xx\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        parts.append(head.encode() + source + b"\r\n")
    told = Log().open("other", "/", 0)
    headers = {"content-type": "multipart/form-data; boundary=xx"}
    reply = server.answer(Request("POST", "/v1/images/edits", headers, b"".join(parts) + b"--xx--\r\n"), told)
    assert reply is not None
    return reply, told


@pytest.mark.parametrize("flavour", ["openai", "vllm-omni", "sglang"])
def test_edits_take_their_images_from_the_form(flavour: ImageFlavour) -> None:
    reply, told = edit(ImageServer(flavour), "image[]", "image[]")
    assert reply.status == 200
    assert told.images == 2
    assert told.prompt == "make it blue"
    assert edit(ImageServer(flavour), "image")[1].images == 1
    assert edit(ImageServer(flavour))[0].status == 400


def test_moderation_blocks_what_carries_the_marker() -> None:
    reply, told = post(ImageServer("openai"), {"prompt": f"a {MARKER} dog"} | SIZE)
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["code"] == "moderation_blocked"
    assert told.draw_end is None


@pytest.mark.parametrize("flavour", IMAGE_FLAVOURS)
@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_every_fault_is_what_it_says_and_noted(flavour: ImageFlavour, fault: str) -> None:
    server = ImageServer(flavour, plan=exactly(fault), slow=0.0)
    fields = {"prompt": "a"} | SIZE | ({"response_format": "b64_json"} if flavour == "sglang" else {})
    reply, told = post(server, fields)
    assert told.fault == fault
    assert (told.draw_end is None) == (fault in FREE or fault == "moderation")
    assert ("Retry-After" in reply.headers) == (fault in FREE)
    if fault == "slow":
        picture_of(reply)
    elif reply.status == 200 and reply.hang_up is None:
        with pytest.raises((OSError, ValueError, KeyError, TypeError, IndexError)):
            picture_of(reply)
    picture_of(post(server, fields)[0])


def test_drawings_wait_for_each_other_in_order() -> None:
    server, log = ImageServer("vllm-omni", seconds=0.02, paint=prepared(flat(Wish("a", 1, 8, 8)))), Log()
    with ThreadPoolExecutor(4) as clients:
        entries = [it[1] for it in clients.map(lambda seed: post(server, {"prompt": "a", "seed": seed}, log), range(6))]
    spans = sorted((it.draw_start, it.draw_end) for it in entries if it.draw_start and it.draw_end)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert all(end - start >= 0.02 for start, end in spans)
    assert 0.9 < log.busy_share <= 1.0
    assert log.drawing_seconds == pytest.approx(spans[-1][1] - spans[0][0])


def test_the_log_can_be_read_by_another_process() -> None:
    log = Log()
    post(ImageServer("vllm-omni"), {"prompt": "a", "size": "64x64"}, log)
    again = Log.load(log.dump())
    assert again.drawn == log.drawn
    assert len(again.drawn) == 1
    assert Log().busy_share == 0.0
