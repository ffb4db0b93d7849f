"""The Images API through the real client: what goes over the wire to each server, and what its answers mean."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable
from contextlib import suppress
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import httpx
import pytest
from PIL import Image
from pydantic import SecretStr

from gems.backends.images.guarded import GuardedImages, image_gate
from gems.backends.images.openai import OpenAIImages
from gems.core.errors import BudgetSpent, DrawingRefused, GemsConfigError, ModelOutage
from gems.core.ports import DrawRequest
from gems.core.profiles import PRICES, DrawingOptions, Endpoint, Price
from gems.core.spending import Limits, Purses
from gems.core.state import Usage

KEY = "sk-test-0123456789"
OPENAI = "https://api.openai.com/v1"
BOX = "http://box:8000/v1"


def picture(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, kind)
    return buffer.getvalue()


PNG = picture()
B64 = base64.b64encode(PNG).decode()
DRAWN = {"created": 1, "data": [{"b64_json": B64}]}
REQUEST = DrawRequest("a cat", 7, 1024, 1024)

Answer = Callable[[httpx.Request], httpx.Response]


class Server:
    """Remembers what it was asked; says what it is at /models, and answers the rest as told."""

    def __init__(self, *answers: httpx.Response | Exception | Answer, owner: str | None = "vllm") -> None:
        self.answers = list(answers)
        self.owner = owner
        self.probes = 0
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/models"):
            self.probes += 1
            return httpx.Response(200, json={"data": [{"id": "m", "owned_by": self.owner}]})
        self.asked.append(request)
        answer = self.answers.pop(0) if self.answers else httpx.Response(200, json=DRAWN)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.asked]


def make(server: Callable[[httpx.Request], httpx.Response], model: str = "m", **changes: Any) -> OpenAIImages:
    endpoint = Endpoint(provider="openai", model=model, base_url=BOX, key_name="GEMS_IMAGES_API_KEY")
    return OpenAIImages(endpoint.model_copy(update=changes), httpx.MockTransport(server))


def options(**values: Any) -> DrawingOptions:
    return DrawingOptions(**values)


def hosted(server: Server, model: str = "gpt-image-2", **changes: Any) -> OpenAIImages:
    return make(server, model, base_url=None, api_key=SecretStr(KEY), key_name="OPENAI_API_KEY", **changes)


def form(request: httpx.Request) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
    """Fields and files of a multipart request."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    fields, files = {}, []
    for part in BytesParser(policy=HTTP).parsebytes(head + request.content).iter_parts():
        name, content = part["Content-Disposition"].params["name"], part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if part.get_filename():
            files.append((name, content))
        else:
            fields[name] = content.decode()
    return fields, files


# What goes over the wire.


async def test_openai_gets_its_own_fields_alone() -> None:
    server = Server()
    drawing = await hosted(server, drawing=options(quality="low", steps=3)).generate(REQUEST)
    assert drawing.png == PNG
    assert server.probes == 0
    assert str(server.asked[0].url) == f"{OPENAI}/images/generations"
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.bodies == [{"model": "gpt-image-2", "prompt": "a cat", "size": "1024x1024", "n": 1, "quality": "low"}]


@pytest.mark.parametrize(
    ("owner", "steps", "extra"), [("vllm", 9, {"output_format": "png"}), ("sglang", 8, {"output_format": "png"})]
)
async def test_a_server_of_ones_own_gets_seed_steps_and_guidance(owner: str, steps: int, extra: dict[str, Any]) -> None:
    server = Server(owner=owner)
    images = make(server, "Tongyi-MAI/Z-Image-Turbo")
    await images.generate(REQUEST)
    await images.generate(REQUEST)
    assert server.probes == 1
    assert server.bodies[0] == server.bodies[1]
    assert server.bodies[0] == {
        "model": "Tongyi-MAI/Z-Image-Turbo",
        "prompt": "a cat",
        "size": "1024x1024",
        "n": 1,
        "seed": 7,
        "num_inference_steps": steps,
        "guidance_scale": 0.0,
        "response_format": "b64_json",
        **extra,
    }


async def test_qwen_gets_true_cfg_and_the_negative_prompt_that_turns_it_on() -> None:
    server = Server(owner="sglang")
    await make(server, "Qwen/Qwen-Image-2512").generate(REQUEST)
    (body,) = server.bodies
    assert (body["num_inference_steps"], body["true_cfg_scale"], body["negative_prompt"]) == (50, 4.0, " ")
    assert "guidance_scale" not in body


async def test_settings_win_over_presets_and_own_fields_over_both() -> None:
    server = Server(owner="sglang")
    drawing = options(
        steps=20, guidance_scale=1.5, true_cfg_scale=2.0, negative_prompt="blur", quality="high",
        extra_body={"output_format": "webp", "enable_teacache": True, "quality": "low"},
    )  # fmt: skip
    await make(server, "Z-Image-Turbo", drawing=drawing).generate(REQUEST)
    (body,) = server.bodies
    assert body["num_inference_steps"] == 20
    assert body["guidance_scale"] == 1.5
    assert body["true_cfg_scale"] == 2.0
    assert body["negative_prompt"] == "blur"
    assert body["quality"] == "low"
    assert body["output_format"] == "webp"
    assert body["enable_teacache"] is True


@pytest.mark.parametrize(("setting", "steps"), [("vllm-omni", 9), ("sglang", 8)])
async def test_a_server_that_is_named_is_not_asked(setting: str, steps: int) -> None:
    server = Server(owner=None)
    await make(server, "Z-Image-Turbo", drawing=options(server=setting)).generate(REQUEST)
    assert server.probes == 0
    assert server.bodies[0]["num_inference_steps"] == steps


async def test_a_relay_of_gpt_image_models_is_spoken_to_like_openai() -> None:
    server = Server()
    images = make(server, "gpt-image-2")
    await images.generate(REQUEST)
    assert server.probes == 0
    assert set(server.bodies[0]) == {"model", "prompt", "size", "n"}
    assert not images.capabilities.seeds


async def test_an_unknown_server_gets_a_seed_and_is_asked_for_base64() -> None:
    server = Server(owner="somebody")
    images = make(server, "my-model")
    await images.generate(REQUEST)
    assert server.bodies[0] == {
        "model": "my-model", "prompt": "a cat", "size": "1024x1024", "n": 1, "seed": 7, "response_format": "b64_json"
    }  # fmt: skip
    assert not images.capabilities.seeds


@pytest.mark.parametrize("owner", ["vllm", "sglang", "somebody"])
@pytest.mark.parametrize("refuses", [False, True])
async def test_the_key_of_a_drawing_is_the_same_before_and_after_it(owner: str, refuses: bool) -> None:
    complaint = httpx.Response(400, json={"error": {"message": "Unknown parameter: seed"}})
    images = make(Server(*[complaint] * refuses, owner=owner))
    before = images.identity, images.capabilities
    with suppress(GemsConfigError):
        await images.generate(REQUEST)
    assert (images.identity, images.capabilities) == before


@pytest.mark.parametrize(
    ("server", "seeds"), [("vllm-omni", True), ("sglang", True), ("openai", False), ("auto", False)]
)
def test_seeds_count_where_the_server_is_named(server: str, seeds: bool) -> None:
    assert make(lambda _: pytest.fail("asked"), drawing=options(server=server)).capabilities.seeds is seeds


@pytest.mark.parametrize(
    "complaint",
    [
        httpx.Response(400, json={"error": {"message": "Unknown parameter: 'seed'.", "code": "unknown_parameter"}}),
        httpx.Response(422, json={"detail": [
            {"type": "extra_forbidden", "loc": ["body", "response_format"], "msg": "Extra inputs are not permitted"}]}),
    ],
)  # fmt: skip
async def test_a_server_that_complains_of_a_field_is_asked_without(complaint: httpx.Response) -> None:
    server = Server(complaint, owner=None)
    images = make(server, "Z-Image-Turbo", drawing=options(quality="high", extra_body={"own": 1}))
    before = images.identity
    await images.generate(REQUEST)
    await images.generate(REQUEST)
    plain = {"model": "Z-Image-Turbo", "prompt": "a cat", "size": "1024x1024", "n": 1, "quality": "high", "own": 1}
    assert "seed" in server.bodies[0]
    assert server.bodies[1:] == [plain, plain]
    assert not images.capabilities.seeds
    assert images.identity == before


async def test_two_drawings_at_once_may_both_learn_it() -> None:
    def judge(request: httpx.Request) -> httpx.Response:
        if "seed" in json.loads(request.content):
            return httpx.Response(400, json={"error": {"message": "unknown field seed"}})
        return httpx.Response(200, json=DRAWN)

    server = Server(judge, judge, judge, judge, owner=None)
    images = make(server)
    drawings = await asyncio.gather(images.generate(REQUEST), images.generate(REQUEST))
    assert [drawing.png for drawing in drawings] == [PNG, PNG]


async def test_other_complaints_are_for_the_user_to_mend() -> None:
    refusal = httpx.Response(400, json={"detail": "Model mismatch: server is running 'x'"})
    server = Server(refusal, owner="vllm")
    with pytest.raises(GemsConfigError, match="Model mismatch"):
        await make(server).generate(REQUEST)
    for words in ("unknown size", "the seed must be set by an administrator"):
        server = Server(httpx.Response(400, json={"detail": words}), owner=None)
        with pytest.raises(GemsConfigError, match=words):
            await make(server).generate(REQUEST)
        assert len(server.asked) == 1


async def test_a_server_that_broke_is_not_asked_again_at_once() -> None:
    server = Server(httpx.Response(500, json={"detail": "unknown field seed"}), owner=None)
    with pytest.raises(ModelOutage):
        await make(server).generate(REQUEST)
    assert len(server.asked) == 1


# Finding out what the server is.


async def test_a_dead_server_is_an_outage_that_is_not_remembered() -> None:
    server = Server()
    alive = False

    def handle(request: httpx.Request) -> httpx.Response:
        if not alive:
            raise httpx.ConnectError("refused", request=request)
        return server(request)

    images = make(handle, "Z-Image-Turbo")
    before = images.identity, images.capabilities
    with pytest.raises(ModelOutage) as caught:
        await images.generate(REQUEST)
    assert caught.value.again == "free"
    alive = True
    await images.generate(REQUEST)
    assert server.bodies[0]["num_inference_steps"] == 9
    assert (images.identity, images.capabilities) == before


@pytest.mark.parametrize("trouble", [httpx.ReadTimeout("slow"), httpx.Response(503), httpx.Response(429)])
async def test_a_server_that_cannot_say_now_is_asked_again_later(trouble: httpx.Response | Exception) -> None:
    server = Server()
    troubles = [trouble]

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/models") and troubles:
            if isinstance(first := troubles.pop(), Exception):
                raise first
            return first
        return server(request)

    images = make(handle, "Z-Image-Turbo")
    await images.generate(REQUEST)
    await images.generate(REQUEST)
    assert [body["num_inference_steps"] for body in server.bodies] == [8, 9]


@pytest.mark.parametrize(
    "models",
    [
        httpx.Response(404),
        httpx.Response(200, html="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"data": None}),
        httpx.Response(200, json={"data": ["m", {"owned_by": None}]}),
    ],
)
async def test_a_server_without_a_list_of_models_is_generic(models: httpx.Response) -> None:
    server = Server()
    images = make(lambda request: models if request.url.path.endswith("/models") else server(request))
    assert (await images.generate(REQUEST)).png == PNG


def test_nothing_is_asked_for_identity_and_capabilities() -> None:
    images = make(lambda _: pytest.fail("asked"), "FLUX.2-klein-4B")
    assert images.capabilities.edit
    assert images.capabilities.references == 4
    assert images.identity == {
        "model": "openai:FLUX.2-klein-4B",
        "server": BOX,
        "dialect": "auto",
        "num_inference_steps": 4,
        "guidance_scale": 1.0,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"base_url": "http://box:8001/v1"},
        *(
            {"drawing": options(**{name: value})}
            for name, value in [
                ("server", "sglang"), ("steps", 5), ("guidance_scale", 0.5), ("true_cfg_scale", 2.0),
                ("negative_prompt", "x"), ("quality", "low"), ("extra_body", {"lora": "a"}),
            ]
        ),
    ],
)  # fmt: skip
def test_whatever_decides_the_picture_is_in_the_identity(changes: dict[str, Any]) -> None:
    plain = make(lambda _: pytest.fail("asked"))
    changed = make(lambda _: pytest.fail("asked"), **{"model": "m", **changes})
    assert json.dumps(changed.identity, sort_keys=True) != json.dumps(plain.identity, sort_keys=True)


def test_what_does_not_decide_it_is_not_and_own_fields_are_hidden() -> None:
    plain = make(lambda _: pytest.fail("asked"))
    other = make(lambda _: pytest.fail("asked"), drawing=options(concurrency=1, seconds=3, retries=0, notes="x"))
    assert other.identity == plain.identity
    secret = make(lambda _: pytest.fail("asked"), drawing=options(extra_body={"token": "hush"}), api_key=SecretStr(KEY))
    assert "hush" not in str(secret.identity)
    assert KEY not in str(secret.identity)


@pytest.mark.parametrize(
    ("model", "setting", "edit", "references"),
    [
        ("gpt-image-2", None, True, 16),
        ("Z-Image-Turbo", None, False, 0),
        ("Qwen-Image-Edit-2511", None, True, 4),
        ("Qwen-Image-Edit-2511", False, False, 0),
        ("my-model", None, False, 0),
        ("my-model", True, True, 1),
    ],
)
def test_what_a_model_can_do(model: str, setting: bool | None, edit: bool, references: int) -> None:
    can = make(lambda _: pytest.fail("asked"), model, drawing=options(edit=setting)).capabilities
    assert (can.edit, can.references) == (edit, references)


def test_own_notes_win() -> None:
    assert "negative prompt" in make(lambda _: pytest.fail("asked"), "gpt-image-2").capabilities.notes
    noted = make(lambda _: pytest.fail("asked"), "gpt-image-2", drawing=options(notes="mine"))
    assert noted.capabilities.notes == "mine"


# Editing.


async def test_an_edit_sends_the_source_first_and_all_fields() -> None:
    server = Server()
    request = DrawRequest("make it blue", 7, 1024, 1024, source=PNG, references=(picture("PNG") + b"2", PNG + b"3"))
    images = make(server, "Qwen-Image-Edit-2511", drawing=options(extra_body={"lora": {"name": "x"}}))
    await images.generate(request)
    assert server.asked[0].url.path == "/v1/images/edits"
    fields, files = form(server.asked[0])
    assert files == [("image[]", PNG), ("image[]", PNG + b"2"), ("image[]", PNG + b"3")]
    assert fields == {
        "model": "Qwen-Image-Edit-2511",
        "prompt": "make it blue",
        "size": "1024x1024",
        "n": "1",
        "seed": "7",
        "num_inference_steps": "40",
        "true_cfg_scale": "4.0",
        "negative_prompt": " ",
        "response_format": "b64_json",
        "output_format": "png",
        "lora": '{"name": "x"}',
    }


async def test_references_alone_are_an_edit_too_and_one_image_is_called_image() -> None:
    server = Server()
    await hosted(server).generate(DrawRequest("like this", 7, 1024, 1024, references=(PNG,)))
    fields, files = form(server.asked[0])
    assert str(server.asked[0].url) == f"{OPENAI}/images/edits"
    assert files == [("image", PNG)]
    assert fields == {"model": "gpt-image-2", "prompt": "like this", "size": "1024x1024", "n": "1"}


async def test_no_more_images_are_sent_than_the_model_takes() -> None:
    server = Server()
    request = DrawRequest("x", 7, 1024, 1024, source=PNG, references=(PNG + b"2",))
    await make(server, "FLUX.1-Kontext-dev").generate(request)
    assert form(server.asked[0])[1] == [("image", PNG)]


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_server_without_edits_is_remembered(status: int) -> None:
    server = Server(httpx.Response(status, json={"detail": "Not Found"}))
    images = make(server, "FLUX.2-klein-4B")
    edit = DrawRequest("x", 7, 1024, 1024, source=PNG)
    for _ in range(2):
        with pytest.raises(DrawingRefused, match="cannot edit"):
            await images.generate(edit)
    assert len(server.asked) == 1
    assert not images.capabilities.edit
    assert images.capabilities.references == 0
    assert (await images.generate(REQUEST)).png == PNG


async def test_references_on_a_server_without_edits_are_for_the_user_to_mend() -> None:
    server = Server(httpx.Response(404, json={"detail": "Not Found"}))
    images = make(server, "FLUX.2-klein-4B")
    for source in (None, PNG):
        with pytest.raises(
            GemsConfigError, match="cannot follow reference images: choose another profile, or start with"
        ):
            await images.generate(DrawRequest("x", 7, 1024, 1024, source, references=(PNG,)))
    assert len(server.asked) == 1


async def test_a_missing_model_is_no_missing_edit() -> None:
    missing = httpx.Response(
        404, json={"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}
    )
    images = make(Server(missing), "FLUX.2-klein-4B")
    with pytest.raises(GemsConfigError):
        await images.generate(DrawRequest("x", 7, 1024, 1024, source=PNG))
    assert images.capabilities.edit
    with pytest.raises(GemsConfigError):
        await make(Server(httpx.Response(404))).generate(REQUEST)


# Sizes.


def test_sizes_that_the_model_cannot_draw_are_refused_with_those_it_can() -> None:
    asked = lambda _: pytest.fail("asked")  # noqa: E731
    with pytest.raises(GemsConfigError, match="1000x1024; it can draw 1024x1024, 1536x1024, 1024x1536"):
        make(asked, "gpt-image-1-mini").check("a cat", 1000, 1024)
    assert make(asked, "gpt-image-1-mini").check("a cat", 1536, 1024) == []
    assert make(asked, "gpt-image-2").check("a cat", 1280, 720) == []
    with pytest.raises(GemsConfigError, match=r"it can draw (992|1008)x1024"):
        make(asked, "Z-Image-Turbo").check("a cat", 1000, 1024)
    assert make(asked, "my-model").check("a cat", 999, 333) == []
    assert "reads 77" in make(asked, "sdxl").check("a cat sits " * 60, 1024, 1024)[0]


# Answers.


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_any_kind_of_picture_will_do(kind: str) -> None:
    content = picture(kind)
    answer = httpx.Response(200, json={"data": [{"b64_json": base64.b64encode(content).decode()}]})
    assert (await make(Server(answer)).generate(REQUEST)).png == content


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"data": [{"b64_json": f"data:image/png;base64,{B64}"}]}),
        httpx.Response(200, json={"data": [{"b64_json": f"{B64[:40]}\n{B64[40:]}"}]}),
        httpx.Response(200, json={"data": [{"b64_json": None, "url": f"data:image/png;base64,{B64}"}]}),
        httpx.Response(200, content=PNG, headers={"content-type": "image/png"}),
    ],
)
async def test_pictures_come_in_many_wrappings(answer: httpx.Response) -> None:
    assert (await make(Server(answer)).generate(REQUEST)).png == PNG


@pytest.mark.parametrize("url", ["/v1/images/abc/content", f"{BOX}/images/abc/content"])
async def test_a_picture_at_the_same_server_is_fetched(url: str) -> None:
    server = Server(httpx.Response(200, json={"data": [{"url": url}]}), httpx.Response(200, content=PNG))
    images = make(server, api_key=SecretStr(KEY))
    assert (await images.generate(REQUEST)).png == PNG
    assert str(server.asked[1].url) == "http://box:8000/v1/images/abc/content"
    assert server.asked[1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest", "http://box:9000/x.png", "https://box:8000/x.png", "https://cdn.example/x.png",
     "//cdn.example/x.png", "file:///etc/passwd"],
)  # fmt: skip
async def test_a_picture_elsewhere_is_not_fetched(url: str) -> None:
    server = Server(httpx.Response(200, json={"data": [{"url": url}]}))
    with pytest.raises(ModelOutage, match="b64_json") as caught:
        await make(server).generate(REQUEST)
    assert caught.value.again == "never"
    assert len(server.asked) == 1


async def test_no_redirect_is_followed() -> None:
    away = httpx.Response(302, headers={"location": "http://169.254.169.254/"})
    server = Server(httpx.Response(200, json={"data": [{"url": "/x.png"}]}), away)
    with pytest.raises(ModelOutage, match="302"):
        await make(server).generate(REQUEST)
    assert len(server.asked) == 2
    server = Server(httpx.Response(307, headers={"location": "http://evil/v1/images/generations"}))
    with pytest.raises(GemsConfigError, match="elsewhere"):
        await make(server, api_key=SecretStr(KEY)).generate(REQUEST)
    assert len(server.asked) == 1


async def test_an_endless_picture_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gems.backends.images.openai.MOST_BYTES", 50)
    server = Server(httpx.Response(200, json={"data": [{"url": "/x.png"}]}), httpx.Response(200, content=PNG))
    with pytest.raises(ModelOutage, match="more than 50 bytes"):
        await make(server).generate(REQUEST)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<html>Welcome</html>"),
        httpx.Response(200, json={"error": {"message": "CUDA out of memory"}}),
        httpx.Response(200, json={"data": None}),
        httpx.Response(200, json={"data": []}),
        httpx.Response(200, json={"data": [{}]}),
        httpx.Response(200, json={"data": [None]}),
        httpx.Response(200, json=[1]),
        httpx.Response(200, content=b""),
        httpx.Response(200, json={"data": [{"b64_json": base64.b64encode(b"no picture").decode()}]}),
        httpx.Response(200, json={"data": [{"b64_json": base64.b64encode(PNG[:-20]).decode()}]}),
        httpx.Response(200, json={"data": [{"url": "data:text/html,<html>"}]}),
        httpx.Response(200, json={"data": [{"url": "/" + "x" * 100_000}]}),
    ],
)
async def test_an_answer_without_a_picture_may_have_been_paid(answer: httpx.Response) -> None:
    server = Server(answer)
    with pytest.raises(ModelOutage) as caught:
        await make(server).generate(REQUEST)
    assert caught.value.again == "paid"
    assert len(server.asked) == 1


async def test_broken_base64_is_told_from_a_broken_picture() -> None:
    for encoded in ("?abcd?", "bÖse"):
        with pytest.raises(ModelOutage, match="cannot be decoded"):
            await make(Server(httpx.Response(200, json={"data": [{"b64_json": encoded}]}))).generate(REQUEST)


async def test_words_of_a_false_success_are_passed_on() -> None:
    with pytest.raises(ModelOutage, match="CUDA out of memory"):
        await make(Server(httpx.Response(200, json={"error": {"message": "CUDA out of memory"}}))).generate(REQUEST)
    blocked = {"error": {"message": "rejected by the safety system", "code": "moderation_blocked"}}
    with pytest.raises(DrawingRefused, match="safety system"):
        await make(Server(httpx.Response(200, json=blocked))).generate(REQUEST)


# Failures.


async def test_moderation_is_fed_back() -> None:
    body = {"error": {"message": "Your request was rejected by the safety system. safety_violations=[violence].",
                      "type": "image_generation_user_error", "param": None, "code": "moderation_blocked"}}  # fmt: skip
    server = Server(httpx.Response(400, json=body))
    with pytest.raises(DrawingRefused, match="violence"):
        await hosted(server).generate(REQUEST)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "again", "wait"),
    [
        (httpx.Response(429, headers={"retry-after": "4"}, json={"error": {"message": "slow down"}}), "free", 4.0),
        (httpx.Response(503, headers={"retry-after": "2"}), "free", 2.0),
        (httpx.Response(500, json={"detail": "boom"}), "paid", None),
        (httpx.ConnectError("refused"), "free", None),
        (httpx.ConnectTimeout("slow"), "free", None),
        (httpx.ReadTimeout("slow"), "paid", None),
        (httpx.RemoteProtocolError("gone"), "paid", None),
    ],
)
async def test_one_request_is_made_and_the_error_says_whether_to_repeat_it(
    answer: httpx.Response | Exception, again: str, wait: float | None
) -> None:
    server = Server(answer)
    with pytest.raises(ModelOutage) as caught:
        await hosted(server).generate(REQUEST)
    assert (caught.value.again, caught.value.wait) == (again, wait)
    assert len(server.asked) == 1


async def test_no_error_shows_the_key() -> None:
    leak = {"error": {"message": f"Incorrect API key provided: {KEY}.", "code": "invalid_api_key"}}
    with pytest.raises(GemsConfigError, match="OPENAI_API_KEY") as caught:
        await hosted(Server(httpx.Response(401, json=leak))).generate(REQUEST)
    assert KEY not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_what_is_missing_is_named_before_anything_is_asked() -> None:
    with pytest.raises(GemsConfigError, match="openai:MODEL"):
        OpenAIImages(Endpoint(provider="openai", base_url=BOX))
    with pytest.raises(GemsConfigError, match="OPENAI_API_KEY"):
        OpenAIImages(Endpoint(provider="openai", model="m", key_name="OPENAI_API_KEY"))
    for bad in ("sk-ä", "sk a", "sk\nb"):
        with pytest.raises(GemsConfigError, match="OPENAI_API_KEY") as caught:
            OpenAIImages(Endpoint(provider="openai", model="m", key_name="OPENAI_API_KEY", api_key=SecretStr(bad)))
        assert bad not in str(caught.value)


async def test_an_address_in_the_environment_gets_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    server = Server()
    await hosted(server).generate(REQUEST)
    assert server.asked[0].url.host == "api.openai.com"


# Cost.


@pytest.mark.parametrize(
    ("price", "usage", "cost"),
    [
        (Price(input=5.0, output=30.0, image=0.2), {"input_tokens": 1000, "output_tokens": 2000}, 0.065),
        (Price(input=5.0, output=30.0), {"prompt_tokens": 1000, "completion_tokens": 2000}, 0.065),
        (Price(input=5.0, output=30.0, image=0.2), None, 0.2),
        (Price(input=5.0, output=30.0, image=0.2), {"input_tokens": 5}, 0.2),
        (Price(image=0.2), {"input_tokens": 1000, "output_tokens": 2000}, 0.2),
        (None, {"input_tokens": 1000, "output_tokens": 2000}, 0.0),
    ],
)
async def test_a_drawing_says_what_it_cost(price: Price | None, usage: dict[str, int] | None, cost: float) -> None:
    server = Server(httpx.Response(200, json=DRAWN | {"usage": usage}))
    drawing = await hosted(server, price=price).generate(REQUEST)
    assert drawing.cost == pytest.approx(cost)


@pytest.mark.parametrize(
    ("model", "quality", "size", "tokens"),
    [
        ("gpt-image-1-mini", "low", (1024, 1024), 272),
        ("gpt-image-1-mini", "medium", (1024, 1024), 1056),
        ("gpt-image-1-mini", "high", (1024, 1024), 4160),
        ("gpt-image-1", "low", (1024, 1536), 408),
        ("gpt-image-1", "medium", (1024, 1536), 1584),
        ("gpt-image-1", "high", (1024, 1536), 6240),
        ("gpt-image-1", "low", (1536, 1024), 400),
        ("gpt-image-1", "medium", (1536, 1024), 1568),
        ("gpt-image-1", "high", (1536, 1024), 6208),
        ("gpt-image-1", None, (1536, 1024), 6208),
        ("gpt-image-1", "auto", (1024, 1024), 4160),
        ("gpt-image-1.5", "high", (1024, 1024), 4160),
        ("gpt-image-2", "low", (1024, 1024), 196),
        ("gpt-image-2", "medium", (1024, 1024), 1756),
        ("gpt-image-2", "high", (1024, 1024), 7024),
        ("gpt-image-2", "high", (1536, 1024), 5488),
        ("gpt-image-2", "high", (1792, 1024), 5063),
        ("gpt-image-2", "high", (3584, 2048), 12_329),
        ("gpt-image-3", None, (1024, 1024), 7024),
        ("my-model", None, (3584, 2048), 12_329),
    ],
)  # fmt: skip
def test_no_more_is_billed_than_the_worst_case(
    model: str, quality: str | None, size: tuple[int, int], tokens: int
) -> None:
    """The tokens of OpenAI's guide, and for gpt-image-2 of the calculator in it."""
    price = Price(output=1_000_000.0)
    images = make(lambda _: pytest.fail("asked"), model, price=price, drawing=options(quality=quality))
    worst = images.worst_cost(DrawRequest("a cat", 7, *size))
    assert tokens <= worst
    if model in ("gpt-image-1", "gpt-image-1-mini"):
        assert worst <= 1.02 * tokens


def test_own_fields_count_in_the_worst_case() -> None:
    asked = options(quality="low", extra_body={"quality": "high"})
    images = make(lambda _: pytest.fail("asked"), "gpt-image-1", price=Price(output=1_000_000.0), drawing=asked)
    assert images.worst_cost(REQUEST) == 4160


def test_what_is_read_counts_in_the_worst_case() -> None:
    images = make(lambda _: pytest.fail("asked"), "gpt-image-1", price=Price(input=1_000_000.0))
    plain, longer, edit = (
        images.worst_cost(request)
        for request in (
            DrawRequest("a cat", 7, 1024, 1024),
            DrawRequest("a cat" + "\N{CAT FACE}" * 10 + "\ud83d", 7, 1024, 1024),
            DrawRequest("a cat", 7, 1024, 1024, PNG, (PNG, PNG)),
        )
    )
    assert plain >= 5
    assert longer == plain + 43
    assert edit >= plain + 3 * (65 + 16 * 129 + 6240)
    one = make(lambda _: pytest.fail("asked"), "FLUX.1-Kontext-dev", price=Price(input=1_000_000.0))
    assert one.worst_cost(DrawRequest("x", 7, 8, 8, PNG, (PNG,))) == one.worst_cost(DrawRequest("x", 7, 8, 8, PNG))


@pytest.mark.parametrize(
    ("price", "worst"), [(None, 0.0), (Price(image=0.2), 0.2), (Price(input=2.5, output=8.0, image=0.2), 0.2)]
)
def test_the_worst_case_is_never_below_the_price_of_an_image(price: Price | None, worst: float) -> None:
    assert hosted(Server(), "gpt-image-1-mini", price=price).worst_cost(REQUEST) == worst


async def test_what_is_billed_by_tokens_never_passes_max_cost() -> None:
    usage = {"input_tokens": 50, "output_tokens": 6208}
    server = Server(*[httpx.Response(200, json=DRAWN | {"usage": usage})] * 4)
    price = PRICES["openai:gpt-image-1-mini"]
    guarded = GuardedImages(hosted(server, "gpt-image-1-mini", price=price), image_gate(options()), price.image)
    await Purses().open("t", Limits(max_cost=0.1), Usage(), 0.0)
    wide = DrawRequest("a cat", 7, 1536, 1024)
    results = await asyncio.gather(*(guarded.generate(wide) for _ in range(4)), return_exceptions=True)
    drawn = [result for result in results if not isinstance(result, BaseException)]
    assert sum(isinstance(result, BudgetSpent) for result in results) == 2
    assert sum(drawing.cost for drawing in drawn) == pytest.approx(0.099578)
    assert len(server.asked) == 2


# Connections.


def test_every_event_loop_has_its_own_client_and_keeps_it() -> None:
    images = make(Server())

    async def clients() -> list[httpx.AsyncClient]:
        await images.generate(REQUEST)
        first = images._connections.here()
        await images.generate(REQUEST)
        return [first, images._connections.here()]

    one, two = asyncio.run(clients()), asyncio.run(clients())
    assert one[0] is one[1]
    assert two[0] is two[1]
    assert one[0] is not two[0]
    assert list(images._connections._clients.values()) == [two[0]]


async def test_connections_can_be_closed_and_opened_again() -> None:
    images = make(Server())
    await images.generate(REQUEST)
    client = images._connections.here()
    await images.aclose()
    assert client.is_closed
    assert (await images.generate(REQUEST)).png == PNG
