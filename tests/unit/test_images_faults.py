"""What failures mean, whose words are shown, and which bytes are pictures."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pytest
from PIL import Image
from pydantic import SecretStr

from gems.backends.cleaning import MOST_WORDS, clean
from gems.backends.images import picture
from gems.backends.images.faults import place, read_reply, sort_break, sort_reply
from gems.backends.images.picture import check_picture
from gems.core.errors import DrawingRefused, GemsConfigError, ModelOutage
from gems.core.profiles import Endpoint

KEY = "my-very-own-key"
ENDPOINT = Endpoint(
    provider="openai", model="m", base_url="http://box:8000/v1", api_key=SecretStr(KEY), key_name="GEMS_IMAGES_API_KEY"
)


def sort(status: int, body: Any = "", headers: dict[str, str] | None = None) -> Exception:
    text = body if isinstance(body, str) else json.dumps(body)
    return sort_reply(ENDPOINT, read_reply(status, text, httpx.Headers(headers or {})))


@pytest.mark.parametrize(
    ("status", "headers", "again", "wait"),
    [
        (408, {}, "free", None),
        (409, {}, "free", None),
        (429, {"Retry-After": "7"}, "free", 7.0),
        (503, {"Retry-After": "3"}, "free", 3.0),
        (503, {}, "paid", None),
        (500, {}, "paid", None),
        (502, {}, "paid", None),
        (504, {}, "paid", None),
        (501, {}, "never", None),
    ],
)
def test_outages_say_whether_to_ask_again(status: int, headers: dict[str, str], again: str, wait: float | None) -> None:
    error = sort(status, {"detail": "no"}, headers)
    assert isinstance(error, ModelOutage)
    assert (error.again, error.wait) == (again, wait)


@pytest.mark.parametrize(
    ("status", "body", "named"),
    [
        (401, {"error": {"message": "Incorrect API key"}}, "GEMS_IMAGES_API_KEY"),
        (403, {"detail": "Forbidden"}, "GEMS_IMAGES_API_KEY"),
        (404, {"detail": "Not Found"}, "http://box:8000/v1"),
        (402, "", "GEMS_IMAGES_API_KEY"),
        (
            429,
            {"error": {"message": "You exceeded", "type": "insufficient_quota", "code": "insufficient_quota"}},
            "credit",
        ),
        (400, {"error": {"message": "limit", "code": "billing_hard_limit_reached"}}, "credit"),
        (400, {"error": {"message": "Invalid size 3x3", "code": "invalid_value"}}, "Invalid size 3x3"),
        (422, {"detail": [{"type": "x", "loc": ["body", "size"], "msg": "bad"}]}, "body.size: bad"),
        (413, "too large", "too large"),
        (307, "", "elsewhere"),
    ],
)
def test_what_the_user_can_mend_is_named(status: int, body: Any, named: str) -> None:
    error = sort(status, body)
    assert isinstance(error, GemsConfigError)
    assert named in str(error)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "Your request was rejected by the safety system. safety_violations=[violence].",
                   "type": "image_generation_user_error", "code": "moderation_blocked"}},
        {"error": {"message": "no", "code": "content_policy_violation"}},
        {"error": {"message": "Filtered", "code": "content_filter"}},
        {"detail": "Guardrail blocked the prompt"},
        {"error": {"message": "NSFW content detected", "type": "BadRequestError", "param": None, "code": 400}},
    ],
)  # fmt: skip
def test_moderation_is_a_refusal_with_its_reason(body: dict[str, Any]) -> None:
    error = sort(400, body)
    assert isinstance(error, DrawingRefused)
    words = body.get("detail") or body["error"]["message"]
    assert words.rstrip(".") in str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": "Prompt must be length 1000 or less. Your prompt length is 1192.", "code": None}}),
        (400, {"error": {"message": "Invalid 'prompt': string too long. Expected a string with maximum length 32000",
                         "type": "invalid_request_error", "param": "prompt", "code": "string_above_max_length"}}),
        (400, {"error": {"message": "Too much text", "code": "string_above_max_length"}}),
        (400, {"error": {"message": "This model's maximum context length is 512 tokens", "code": 400}}),
        (400, {"detail": "Malformed input request: expected maxLength: 512, actual: 548"}),
        (400, {"detail": "Input exceeds 512 tokens"}),
        (422, {"detail": [{"type": "string_too_long", "loc": ["body", "prompt"],
                           "msg": "String should have at most 1000 characters"}]}),
        (413, {"detail": "the prompt is too large"}),
        (414, "<html>Request-URI Too Large</html>"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_prompt_alone_is_a_refusal(status: int, body: Any) -> None:
    assert isinstance(sort(status, body), DrawingRefused)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (422, {"detail": [{"type": "missing", "loc": ["query", "prompt"], "msg": "Field required"}]}),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "prompt"], "msg": "Extra inputs are not permitted"}]}),
        (400, {"error": {"message": "Unknown parameter: 'prompt'.", "code": "unknown_parameter"}}),
        (400, {"error": {"message": "negative_prompt is too long"}}),
        (400, {"error": {"message": "Invalid size 9999x9999: at most 4096 pixels a side"}}),
        (404, {"detail": "no route takes a prompt"}),
        (401, {"detail": "prompt the user for a key"}),
    ],
)  # fmt: skip
def test_what_no_other_prompt_mends_is_no_refusal(status: int, body: Any) -> None:
    assert isinstance(sort(status, body), GemsConfigError)


def test_a_server_that_broke_on_a_prompt_may_answer_later() -> None:
    assert isinstance(sort(500, {"detail": "the prompt is too long"}), ModelOutage)


def test_a_field_called_moderation_is_no_refusal() -> None:
    error = sort(400, {"error": {"message": "Unknown parameter: 'moderation'.", "code": "unknown_parameter"}})
    assert isinstance(error, GemsConfigError)
    assert isinstance(sort(500, {"detail": "safety system crashed"}), ModelOutage)


def test_a_page_is_not_quoted() -> None:
    assert "<html" not in str(sort(502, "<html><body>Bad gateway</body></html>"))


def test_words_are_cleaned_of_keys_and_cut() -> None:
    words = clean(
        f"bad key {KEY}\nor sk-abcdef123456, Bearer xyz, http://me:pw@host\x1b[31m {'a' * 400}", ENDPOINT.api_key
    )
    for secret in (KEY, "sk-abc", "xyz", "me:pw", "\n", "\x1b"):
        assert secret not in words
    assert len(words) == MOST_WORDS


def test_a_key_is_in_no_error() -> None:
    for status in (400, 401, 404, 429, 500):
        assert KEY not in str(sort(status, {"error": {"message": f"token {KEY} is bad", "code": KEY}}))


def test_an_address_is_shown_without_what_may_be_secret() -> None:
    assert place("https://me:pw@host:8443/v1/?key=abc") == "https://host:8443/v1"


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (httpx.ConnectError("refused"), "free"),
        (httpx.ConnectTimeout("slow"), "free"),
        (httpx.PoolTimeout("full"), "free"),
        (httpx.ReadTimeout("slow"), "paid"),
        (httpx.ReadError("reset"), "paid"),
        (httpx.RemoteProtocolError("gone"), "paid"),
        (None, "paid"),
    ],
)
def test_a_broken_connection_is_free_only_before_anything_was_sent(error: Exception | None, again: str) -> None:
    fault = sort_break(ENDPOINT, error)
    assert isinstance(fault, ModelOutage)
    assert fault.again == again


def test_what_cannot_be_sent_is_for_the_user_to_mend() -> None:
    fault = sort_break(ENDPOINT, httpx.LocalProtocolError(f"Illegal header value {KEY}"))
    assert isinstance(fault, GemsConfigError)
    assert KEY not in str(fault)


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 48), 50).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_whole_pictures_pass_and_broken_ones_do_not(kind: str) -> None:
    content = encoded(kind)
    assert check_picture(content, "m") is content
    for broken in (content[: len(content) // 2], content[:20], b"", b"no picture at all"):
        with pytest.raises(ModelOutage) as caught:
            check_picture(broken, "m")
        assert caught.value.again == "paid"


def test_a_changed_byte_of_a_png_is_seen() -> None:
    content = bytearray(encoded("PNG"))
    content[len(content) // 2] ^= 1
    with pytest.raises(ModelOutage, match="no whole picture"):
        check_picture(bytes(content), "m")


def test_what_is_too_big_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded("PNG")
    monkeypatch.setattr(picture, "MOST_PIXELS", 64 * 48 - 1)
    with pytest.raises(ModelOutage, match="64x48 pixels"):
        check_picture(content, "m")
    monkeypatch.setattr(picture, "MOST_BYTES", len(content) - 1)
    with pytest.raises(ModelOutage, match=f"{len(content)} bytes"):
        check_picture(content, "m")


def test_the_size_of_a_bomb_is_enough() -> None:
    """A few bytes that claim 20000x20000 pixels are refused before they are decoded."""
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    with pytest.raises(ModelOutage):
        check_picture(buffer.getvalue(), "m")


def test_other_formats_are_no_pictures_to_us() -> None:
    with pytest.raises(ModelOutage, match="no whole picture"):
        check_picture(encoded("BMP"), "m")
