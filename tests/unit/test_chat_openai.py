"""The real OpenAI client over a transport that answers as servers do: what is sent, what is learnt, what goes wrong."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.messages import BaseMessage
from pydantic import SecretStr

from gems.backends.chat.book import ServerBook
from gems.backends.chat.openai import make_openai_chat
from gems.backends.chat.role import LangChainRole
from gems.backends.chat.server import IMAGE_TOKENS, tokens_in
from gems.backends.serving import Gate, Turns
from gems.core.errors import BudgetSpent, GemsConfigError, ModelOutage
from gems.core.messages import EncodedImage, compose
from gems.core.ports import Answer
from gems.core.profiles import ChatOptions, Endpoint, Price
from gems.core.replies import RoundNote
from gems.core.spending import Limits, Purse, Purses, Spend
from gems.core.state import Usage

KEY = "secret-of-mine-123"
GOOD = '{"experience": "red worked"}'
MESSAGES: Sequence[BaseMessage] = compose(
    "compress", "Be short.", {"a": 1}, [EncodedImage(b"x", "image/png", "The picture:")]
)
Reply = httpx.Response | Exception


def completion(content: str | None = GOOD, **more: Any) -> httpx.Response:
    """A completion; `more` is laid over its choice, `message` over its message, `usage` over its usage."""
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    usage = more.pop("usage", {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120})
    choice = {"index": 0, "finish_reason": "stop", "message": message, **more}
    return httpx.Response(200, json={"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


def refusal(status: int, message: str, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, "type": "invalid_request_error", **more}})


class Wire(httpx.AsyncBaseTransport):
    """A server that gives its replies in order, the last one for ever, and remembers what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[dict[str, Any]] = []
        self.urls: list[str] = []
        self.keys: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(request.content))
        self.urls.append(str(request.url))
        self.keys.append(request.headers["authorization"])
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)


def endpoint(url: str | None = "http://box:8000/v1", *, price: Price | None = None, **chat: Any) -> Endpoint:
    return Endpoint(
        provider="openai",
        model="small",
        base_url=url,
        api_key=SecretStr(KEY),
        key_name="MY_KEY",
        chat=ChatOptions(**chat),
        price=price,
    )


def gate(retries: int = 0, waits: list[float] | None = None) -> Gate:
    async def sleep(seconds: float) -> None:
        if waits is not None:
            waits.append(seconds)

    return Gate("the chat model", turns=Turns(8), seconds=5, retries=retries, paid_retries=retries, sleep=sleep)


def role(
    wire: Wire,
    place: Endpoint | None = None,
    book: ServerBook | None = None,
    *,
    logprobs: bool = False,
    through: Gate | None = None,
) -> LangChainRole:
    return make_openai_chat(
        place or endpoint(), through or gate(), book or ServerBook(), logprobs=logprobs, transport=wire
    )


async def ask(wire: Wire, place: Endpoint | None = None, **options: Any) -> Answer[RoundNote]:
    return await role(wire, place, **options).ask(MESSAGES, RoundNote)


async def test_a_call_carries_what_was_set_and_nothing_more() -> None:
    wire = Wire(completion())
    answer = await ask(wire, endpoint(max_tokens=500))
    assert answer.reply == RoundNote(experience="red worked")
    sent = wire.asked[0]
    assert sorted(sent) == ["max_tokens", "messages", "model", "response_format", "stream"]
    assert (sent["model"], sent["max_tokens"], sent["stream"]) == ("small", 500, False)
    assert sent["response_format"]["json_schema"]["strict"] is True
    assert sent["response_format"]["json_schema"]["schema"]["required"] == ["experience"]
    assert sent["messages"][1]["content"][2]["image_url"]["url"].startswith("data:image/png;base64,")
    assert wire.urls == ["http://box:8000/v1/chat/completions"]
    assert wire.keys == [f"Bearer {KEY}"]


async def test_settings_reach_the_server_and_the_users_fields_win() -> None:
    wire = Wire(completion())
    await ask(wire, endpoint(temperature=0.0, extra_body={"top_k": 1, "temperature": 0.5}), logprobs=True)
    sent = wire.asked[0]
    assert (sent["temperature"], sent["top_k"]) == (0.5, 1)
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 5)


async def test_openai_itself_is_asked_at_its_own_place_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    monkeypatch.setenv("OPENAI_API_BASE", "http://elsewhere/v1")
    wire = Wire(completion())
    await ask(wire, endpoint(None, max_tokens=500))
    assert wire.urls == ["https://api.openai.com/v1/chat/completions"]
    assert wire.asked[0]["max_completion_tokens"] == 500
    assert "max_tokens" not in wire.asked[0]


async def test_a_server_of_ones_own_gets_no_key_that_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    wire = Wire(completion())
    await ask(wire, endpoint().model_copy(update={"api_key": None}))
    assert wire.keys == ["Bearer none"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": ""}, "names no model"),
        ({"api_key": None, "base_url": None}, "set MY_KEY, or a base URL .*gems init"),
    ],
)
def test_what_is_missing_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(GemsConfigError, match=words):
        make_openai_chat(endpoint().model_copy(update=change), gate(), ServerBook())


def _form(body: dict[str, Any]) -> str:
    return str(body.get("response_format", {"type": "text"})["type"])


UNAVAILABLE = "This response_format type is unavailable now"


async def test_json_is_asked_for_in_the_first_way_the_server_takes() -> None:
    wire = Wire(refusal(400, UNAVAILABLE), refusal(422, "response_format.type: `json_object` unknown"), completion())
    book = ServerBook()
    answer = await ask(wire, book=book)
    assert answer.reply is not None
    assert [_form(body) for body in wire.asked] == ["json_schema", "json_object", "text"]
    assert all(body["messages"] == wire.asked[0]["messages"] for body in wire.asked)
    # A refused call is no answered one.
    assert answer.usage["mllm_calls"] == 1
    again = Wire(completion())
    await ask(again, book=book)
    assert [_form(body) for body in again.asked] == ["text"]


@pytest.mark.parametrize(
    "words",
    [
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
        "Invalid schema for response_format 'RoundNote': In context=(), 'minItems' is not permitted.",
        "Failed to deserialize: response_format.type `json_schema` is unavailable now",
        "JSON schema error at #/properties: cannot resolve $ref",
        "'response_format.type' must be 'text'",
    ],
)
@pytest.mark.parametrize("status", [400, 422, 500])
async def test_what_servers_say_of_a_schema_they_do_not_take(status: int, words: str) -> None:
    wire = Wire(refusal(status, words), completion())
    assert (await ask(wire)).reply is not None
    assert _form(wire.asked[1]) == "json_object"


@pytest.mark.parametrize(
    ("reply", "gone"),
    [
        (refusal(403, "You are not allowed to request logprobs from this model"), "logprobs"),
        (refusal(400, "Requested sample logprobs of 5, which is greater than max allowed: 0"), "logprobs"),
        (
            refusal(400, "Unsupported value: 'temperature' does not support 0 with this model.", param="temperature"),
            "temperature",
        ),
        (refusal(400, "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"), "max_tokens"),
        (
            refusal(400, "'max_tokens' or 'max_completion_tokens' is too large: 16384. The maximum context is 4096."),
            "max_tokens",
        ),
        (
            refusal(400, "The maximum context length is 8192 tokens. You requested 9000 (600 in the messages)."),
            "max_tokens",
        ),
        (httpx.Response(400, json={"object": "error", "message": "logprobs?", "param": None, "code": 400}), "logprobs"),
        (httpx.Response(422, json={"detail": [{"loc": ["body", "logprobs"], "msg": "not permitted"}]}), "logprobs"),
        (httpx.Response(501, text="logprobs are not implemented"), "logprobs"),
        # The field's name counts before the words, which may repeat the call.
        (refusal(400, "unknown field in {'logprobs': true, 'temperature': 0}", param="temperature"), "temperature"),
    ],
)
async def test_an_option_that_is_refused_is_left_out_and_stays_out(reply: httpx.Response, gone: str) -> None:
    wire, book = Wire(reply, completion()), ServerBook()
    place = endpoint(temperature=0.0)
    assert (await ask(wire, place, book=book, logprobs=True)).reply is not None
    before, after = wire.asked
    assert set(before) - set(after) == ({gone, "top_logprobs"} if gone == "logprobs" else {gone})
    assert after.items() <= before.items()
    again = Wire(completion())
    await ask(again, place, book=book, logprobs=True)
    assert again.asked == [after]


@pytest.mark.parametrize(
    ("url", "first", "then"),
    [
        ("http://box/v1", "max_tokens", "max_completion_tokens"),
        (None, "max_completion_tokens", "max_tokens"),
    ],
)
async def test_the_limit_goes_by_the_name_that_the_server_knows(url: str | None, first: str, then: str) -> None:
    words = f"Unsupported parameter: '{first}' is not supported with this model. Use '{then}' instead."
    wire = Wire(refusal(400, words, param=first), completion())
    await ask(wire, endpoint(url, max_tokens=500))
    assert [(first in body, then in body) for body in wire.asked] == [(True, False), (False, True)]
    assert wire.asked[1][then] == 500


async def test_a_server_that_takes_neither_name_is_asked_without() -> None:
    replies = [refusal(400, f"Unrecognized request argument supplied: {it}") for it in _NAMES]
    wire = Wire(*replies, completion())
    assert (await ask(wire)).reply is not None
    assert [[it for it in _NAMES if it in body] for body in wire.asked] == [[_NAMES[0]], [_NAMES[1]], []]


_TOO_LONG = "'max_tokens' is too large: 16384. The maximum context length is 17000 tokens."


async def test_where_money_is_at_stake_no_reply_is_without_a_limit() -> None:
    wire = Wire(*(refusal(400, f"Unrecognized request argument supplied: {it}") for it in _NAMES), completion())
    with pytest.raises(GemsConfigError, match=r"max_completion_tokens; without a limit .*\[prices\.\"openai:small\"\]"):
        await ask(wire, endpoint(price=PRICE))
    assert [[it for it in _NAMES if it in body] for body in wire.asked] == [[_NAMES[0]], [_NAMES[1]]]


@pytest.mark.parametrize(
    "words",
    [
        _TOO_LONG,
        "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
        "`max_tokens` must be less than or equal to `8192`",
        "max_tokens: 16384 > 8192, which is the maximum allowed number of output tokens",
        "This model supports at most 4096 completion tokens",
        "This model's context length is 8192 tokens. You requested 9000",
    ],
)
async def test_a_limit_above_the_servers_own_may_be_left_to_the_server(words: str) -> None:
    wire = Wire(refusal(400, words), completion())
    assert (await ask(wire, endpoint(price=PRICE))).reply is not None
    assert ["max_tokens" in body for body in wire.asked] == [True, False]


async def test_a_model_that_got_a_price_is_asked_with_the_limit_it_refused_before() -> None:
    book = ServerBook()
    await ask(Wire(refusal(400, _TOO_LONG), completion()), book=book)
    free, dear = Wire(completion()), Wire(completion())
    await ask(free, book=book)
    await ask(dear, endpoint(price=PRICE), book=book)
    assert ["max_tokens" in wire.asked[0] for wire in (free, dear)] == [False, True]


async def test_where_money_is_at_stake_the_limit_is_tried_every_time() -> None:
    wire, place = Wire(refusal(400, _TOO_LONG), completion()), endpoint(price=PRICE)
    asking = role(wire, place)
    await asking.ask(MESSAGES, RoundNote)
    await asking.ask(MESSAGES, RoundNote)
    assert ["max_tokens" in body for body in wire.asked] == [True, False, True]


_NAMES = ("max_tokens", "max_completion_tokens")


async def test_what_a_complaint_was_not_about_is_not_learnt() -> None:
    wire, book = Wire(refusal(400, "the grammar of your question is odd")), ServerBook()
    with pytest.raises(GemsConfigError, match=r"cannot take the call \(400\): the grammar"):
        await ask(wire, book=book)
    assert [_form(body) for body in wire.asked] == ["json_schema", "json_object", "text"]
    again = Wire(completion())
    await ask(again, book=book)
    assert _form(again.asked[0]) == "json_schema"


async def test_a_chosen_way_is_kept_and_teaches_others_nothing() -> None:
    with pytest.raises(GemsConfigError, match="unavailable"):
        await ask(wire := Wire(refusal(400, UNAVAILABLE)), endpoint(output="json_object"))
    assert [_form(body) for body in wire.asked] == ["json_object"]
    book = ServerBook()
    wire = Wire(refusal(400, "logprobs?"), completion())
    await ask(wire, endpoint(output="text"), book=book, logprobs=True)
    again = Wire(completion())
    await ask(again, book=book, logprobs=True)
    assert _form(again.asked[0]) == "json_schema"
    assert "logprobs" not in again.asked[0]


async def test_what_was_learnt_of_one_model_is_in_the_file_without_its_key(tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    await ask(Wire(completion()), book=ServerBook(path))
    assert not path.exists()
    await ask(Wire(refusal(400, UNAVAILABLE), completion()), book=ServerBook(path))
    assert KEY not in path.read_text()
    other = Wire(completion())
    await ask(other, book=ServerBook(path))
    assert _form(other.asked[0]) == "json_object"
    await ask(other, endpoint().model_copy(update={"model": "large"}), book=ServerBook(path))
    assert _form(other.asked[1]) == "json_schema"


async def test_roles_learn_from_each_other_at_the_same_time() -> None:
    book = ServerBook()
    one = role(Wire(refusal(400, UNAVAILABLE), completion()), book=book)
    other = role(Wire(refusal(400, "logprobs?"), completion()), book=book, logprobs=True)
    thought = other._server.abilities
    await one.ask(MESSAGES, RoundNote)
    await other._server.learn(thought, thought.model_copy(update={"logprobs": False}))
    assert book.find("http://box:8000/v1", "small") == thought.model_copy(
        update={"output": "json_object", "logprobs": False}
    )


@pytest.mark.parametrize("content", ["prose", ""])
async def test_two_questions_of_rubbish_in_a_row_lead_to_the_next_way(content: str) -> None:
    rubbish, calls = completion(content), 2 if content else 1
    wire = Wire(*[rubbish] * calls, completion(), *[rubbish] * 2 * calls, completion())
    asking = role(wire)
    problems = [(await asking.ask(MESSAGES, RoundNote)).problem for _ in range(5)]
    bad = "unreadable" if content else "empty"
    assert problems == [bad, "", bad, bad, ""]
    assert {_form(body) for body in wire.asked[:-1]} == {"json_schema"}
    assert _form(wire.asked[-1]) == "json_object"


async def test_after_a_step_the_count_begins_anew() -> None:
    asking = role(wire := Wire(completion("")))
    for _ in range(5):
        await asking.ask(MESSAGES, RoundNote)
    assert [_form(body) for body in wire.asked] == ["json_schema"] * 2 + ["json_object"] * 2 + ["text"]


async def test_rubbish_in_a_chosen_way_teaches_nothing() -> None:
    book = ServerBook()
    asking = role(Wire(completion("")), endpoint(output="json_schema"), book)
    for _ in range(3):
        await asking.ask(MESSAGES, RoundNote)
    assert book.find("http://box:8000/v1", "small") is None


async def test_a_busy_server_is_not_taken_at_its_word() -> None:
    wire = Wire(refusal(429, "Limit of tokens a minute: lower max_tokens"))
    with pytest.raises(ModelOutage):
        await ask(wire)
    assert len(wire.asked) == 1


async def test_a_refusal_is_no_rubbish() -> None:
    wire = Wire(completion(None, message={"refusal": "I will not"}))
    asking = role(wire)
    assert [(await asking.ask(MESSAGES, RoundNote)).problem for _ in range(3)] == ["refused"] * 3
    assert _form(wire.asked[-1]) == "json_schema"


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (completion(None, finish_reason="content_filter"), "refused"),
        (completion('{"experience": "re', finish_reason="length"), "cut off"),
        (completion(GOOD, finish_reason="length"), ""),
        (completion(None), "empty"),
        (completion(None, message={"reasoning_content": f"so: {GOOD}"}), ""),
        (completion("as above", message={"reasoning": GOOD}), "unreadable"),
        (completion("", message={"reasoning": GOOD}, finish_reason="length"), "cut off"),
        (completion(None, message={"reasoning": GOOD, "refusal": "no"}), "refused"),
        (completion(GOOD, message={"role": None, "tool_calls": None}), ""),
        (
            completion(
                None, message={"tool_calls": [{"type": "function", "function": {"name": "x", "arguments": GOOD}}]}
            ),
            "",
        ),
        (refusal(400, "Your request was rejected", code="content_policy_violation"), "refused"),
        (refusal(403, "Your input was flagged", metadata={"reasons": ["violence"]}), "refused"),
    ],
)
async def test_replies_are_told_apart(reply: httpx.Response, problem: str) -> None:
    answer = await ask(Wire(reply))
    assert answer.problem == problem
    assert (answer.reply is None) is bool(problem)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thoughts_are_kept(field: str) -> None:
    assert (await ask(Wire(completion(message={field: "hm"})))).thoughts == "hm"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (httpx.Response(200, text="<html><body>Log in</body></html>"), "a web page: <html><body>Log in"),
        (httpx.Response(200, text="ok"), "text: ok"),
        (httpx.Response(200, text=""), r"text: \(nothing\)"),
        (httpx.Response(200, json={"error": {"message": f"no, {KEY}? sk-abcdef"}}), "an error with status 200: .*no, "),
        (httpx.Response(200, json={"choices": None}), "no completion"),
        (httpx.Response(200, json={"choices": []}), "no completion"),
        (httpx.Response(200, json={"choices": [None]}), "no completion"),
        (httpx.Response(200, json={"choices": [{"message": None}]}), "no completion"),
        (httpx.Response(200, json={"id": "1"}), "no completion"),
        (httpx.Response(200, json=[1]), r"no completion: \[1\]"),
        (completion(error={"message": "upstream died"}), "no completion: .*upstream died"),
        (
            completion(5),  # type: ignore[arg-type]
            "no completion",
        ),
        (
            httpx.Response(200, text="{", headers={"content-type": "application/json"}),
            "did not answer: JSONDecodeError",
        ),
    ],
)
async def test_what_is_no_completion_is_an_outage_that_may_have_been_paid(reply: httpx.Response, words: str) -> None:
    with pytest.raises(ModelOutage, match=words) as caught:
        await ask(Wire(reply))
    assert caught.value.again == "paid"
    assert "sk-abc" not in str(caught.value)


def _waiting(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(
        status, json={"error": {"message": "later"}}, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


@pytest.mark.parametrize(
    ("reply", "again", "wait"),
    [
        (_waiting(429, retry_after="7"), "free", 7),
        (_waiting(429, retry_after="7", retry_after_ms="1500"), "free", 1.5),
        (_waiting(503, retry_after="3"), "free", 3),
        (_waiting(529), "free", None),
        (_waiting(408), "free", None),
        (_waiting(409), "free", None),
        (_waiting(500), "paid", None),
        (_waiting(502, retry_after="3"), "paid", 3),
        (_waiting(504), "paid", None),
        (httpx.ConnectError("refused"), "free", None),
        (httpx.ConnectTimeout("slow"), "free", None),
        (httpx.ReadTimeout("slow"), "paid", None),
        (httpx.RemoteProtocolError("Server disconnected"), "paid", None),
        (httpx.ReadError("reset"), "paid", None),
    ],
)
async def test_outages_say_whether_a_repeat_may_cost(reply: Reply, again: str, wait: float | None) -> None:
    wire = Wire(reply)
    with pytest.raises(ModelOutage) as caught:
        await ask(wire)
    assert (caught.value.again, caught.value.wait) == (again, wait)
    # The gate repeats, nobody else.
    assert len(wire.asked) == 1


async def test_a_date_to_wait_for_is_understood() -> None:
    with pytest.raises(ModelOutage) as caught:
        await ask(Wire(_waiting(429, retry_after=formatdate(time.time() + 30, usegmt=True))))
    assert caught.value.wait == pytest.approx(30, abs=3)


async def test_who_cannot_be_reached_is_named() -> None:
    with pytest.raises(ModelOutage, match=r"openai:small cannot be reached .* http://box:8000/v1 runs$"):
        await ask(Wire(httpx.ConnectError("refused")))


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            refusal(401, "Incorrect API key provided: sk-a***z."),
            "box:8000/v1 refused the key of openai:small .*MY_KEY: its value is refused; `gems init`",
        ),
        (refusal(403, "no"), r"\(403\): no; check MY_KEY"),
        (refusal(404, "The model `small` does not exist"), "does not serve openai:small .*does not exist.*base URL"),
        (httpx.Response(307, headers={"location": "http://box/login"}), "base URL"),
        (httpx.Response(405, text="no"), "base URL"),
        (refusal(402, "Insufficient credits"), "no credit left .*Insufficient credits"),
        (refusal(429, "You exceeded your current quota", code="insufficient_quota"), "no credit left .*current quota"),
        (refusal(429, "You exceeded your current quota", type="insufficient_quota"), "no credit left"),
        (refusal(400, "bad picture"), r"cannot take the call \(400\): bad picture$"),
        (refusal(413, "too big"), r"cannot take the call \(413\): too big"),
        (
            httpx.Response(422, json={"detail": [{"msg": "odd"}]}),
            r"cannot take the call \(422\): \[\{'msg': 'odd'\}\]$",
        ),
        (refusal(400, "x", code="context_length_exceeded"), "cannot take the call"),
        (refusal(400, "This model's maximum context length is 8192 tokens"), "lower image_side .*longer context"),
    ],
)
async def test_what_is_the_users_to_mend_says_how(reply: httpx.Response, words: str) -> None:
    waits: list[float] = []
    with pytest.raises(GemsConfigError, match=words) as caught:
        await ask(Wire(reply), through=gate(3, waits))
    assert waits == []
    assert "sk-a" not in str(caught.value)


async def test_a_missing_key_is_told_from_a_wrong_one() -> None:
    with pytest.raises(GemsConfigError, match="MY_KEY: it is not set"):
        await ask(Wire(refusal(401, "no")), endpoint().model_copy(update={"api_key": None}))


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
async def test_a_server_that_repeats_the_key_does_not_tell_it(status: int) -> None:
    words = f"key {KEY} and Bearer abc.def and sk-proj_1-2 of it " + "x" * 1000
    with pytest.raises((GemsConfigError, ModelOutage)) as caught:
        await ask(Wire(refusal(status, words)))
    told = str(caught.value)
    assert not any(secret in told for secret in (KEY, "abc.def", "proj_1"))
    assert len(told) < 600


async def _purse(**limits: Any) -> Purse:
    """A purse with these limits, open in this test."""
    return await Purses().open("t", Limits(**limits), Usage(), 0.0)


PRICE = Price(input=10.0, output=100.0)


async def test_money_is_counted_by_what_the_server_reports() -> None:
    purse = await _purse()
    answer = await ask(Wire(completion()), endpoint(price=PRICE))
    assert answer.usage["cost"] == pytest.approx(100 * 10e-6 + 20 * 100e-6)
    assert purse._spent == Spend(1, 0, answer.usage["cost"], tokens=120)
    assert (answer.usage["input_tokens"], answer.usage["output_tokens"], answer.usage["images_sent"]) == (100, 20, 1)
    thinking = completion(usage={"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 520})
    answer = await ask(Wire(thinking), endpoint(price=PRICE))
    assert answer.usage["cost"] == pytest.approx(100 * 10e-6 + 420 * 100e-6)


async def test_without_a_price_there_is_no_cost() -> None:
    assert "cost" not in (await ask(Wire(completion()))).usage


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}])
async def test_where_nothing_is_reported_the_money_is_estimated(usage: Any) -> None:
    reply = completion(GOOD, usage=usage, message={"reasoning": "h" * 300})
    cost = (await ask(Wire(reply), endpoint(price=PRICE))).usage["cost"]
    said = math.ceil((len(GOOD) + 300) / 3) * 100e-6
    assert IMAGE_TOKENS * 10e-6 + said < cost < (IMAGE_TOKENS + 1000) * 10e-6 + said


async def test_the_worst_case_is_reserved_before_the_call() -> None:
    most = 1000 * 100e-6 + (IMAGE_TOKENS + 1000) * 10e-6
    wire = Wire(completion())
    await _purse(max_cost=1000 * 100e-6 + IMAGE_TOKENS * 10e-6)
    with pytest.raises(BudgetSpent):
        await ask(wire, endpoint(price=PRICE, max_tokens=1000))
    assert wire.asked == []
    await _purse(max_cost=most)
    assert (await ask(wire, endpoint(price=PRICE, max_tokens=1000))).reply is not None


async def test_a_repair_shows_the_reply_and_not_the_thoughts() -> None:
    wire = Wire(completion("prose", message={"reasoning": "hm"}), completion())
    assert (await ask(wire)).usage["mllm_calls"] == 2
    assert wire.asked[1]["messages"][-2] == {"role": "assistant", "content": "prose"}
    assert "no JSON object" in wire.asked[1]["messages"][-1]["content"]


async def test_a_refused_option_takes_no_call_of_the_budget() -> None:
    purse = await _purse(max_calls=1)
    assert (await ask(Wire(refusal(400, UNAVAILABLE), completion()))).reply is not None
    assert purse._spent.calls == 1


async def test_a_repair_beyond_the_budget_is_not_asked_for() -> None:
    await _purse(max_calls=1)
    answer = await ask(wire := Wire(completion("prose")))
    assert (answer.problem, answer.usage["mllm_calls"], len(wire.asked)) == ("over budget", 1, 1)


async def test_an_answer_tells_of_its_own_attempt_and_the_purse_of_those_that_failed() -> None:
    purse, waits = await _purse(), list[float]()
    wire = Wire(_waiting(429, retry_after="2"), _waiting(500), completion())
    usage = (await ask(wire, endpoint(price=PRICE, max_tokens=1000), through=gate(3, waits))).usage
    assert waits[0] == 2
    assert (usage["mllm_calls"], usage["images_sent"], usage["input_tokens"]) == (1, 1, 100)
    assert usage["cost"] == pytest.approx(100 * 10e-6 + 20 * 100e-6)
    lost = purse.take_lost()
    # The 429 was free; the 500 may have cost all that it could.
    assert lost["mllm_calls"] == 1
    assert lost["cost"] > 1000 * 100e-6
    assert purse._spent.calls == 2
    assert purse._spent.cost == pytest.approx(usage["cost"] + lost["cost"])


async def test_the_seconds_of_an_answer_are_those_of_its_own_attempt() -> None:
    class Slow(Wire):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(0 if self.asked else 1)
            return await super().handle_async_request(request)

    wire = Slow(_waiting(500), completion())
    assert (await ask(wire, through=gate(1))).usage["mllm_seconds"] < 1


@pytest.mark.parametrize(("status", "calls"), [(400, 0), (422, 0), (500, 1), (501, 1)])
async def test_a_server_that_failed_over_an_option_may_have_charged_for_it(status: int, calls: int) -> None:
    purse = await _purse()
    answer = await ask(Wire(refusal(status, UNAVAILABLE), completion()), endpoint(price=PRICE), through=gate(3))
    assert answer.usage["mllm_calls"] == 1
    lost = purse.take_lost()
    assert lost.get("mllm_calls", 0) == calls
    assert (lost.get("cost", 0.0) > IMAGE_TOKENS * 10e-6) is bool(calls)
    assert purse._spent.calls == 1 + calls


async def test_no_way_of_asking_is_tried_beyond_the_budget() -> None:
    await _purse(max_calls=1)
    with pytest.raises(BudgetSpent):
        await ask(wire := Wire(refusal(500, UNAVAILABLE), completion()))
    assert len(wire.asked) == 1


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("red", 1), ("reds", 2), ("é", 2), ("a 🦊", 1 + 4), ("ᚠᛇᚻ", 9), ("\ud83d", 1)]
)
def test_what_a_tokenizer_may_not_know_counts_byte_by_byte(text: str, tokens: int) -> None:
    assert tokens_in(text) == tokens


def _told(token: str, **others: float) -> dict[str, Any]:
    chances = {token: 1 - sum(others.values()), **others}
    told = [{"token": it, "logprob": math.log(chance), "bytes": None} for it, chance in chances.items()]
    return {**told[0], "top_logprobs": told}


async def test_log_probabilities_become_probabilities() -> None:
    tokens = {"content": [_told('{"experience": "'), _told("red", blue=0.25), _told(' worked"}')]}
    answer = await ask(Wire(completion(logprobs=tokens)), logprobs=True)
    assert "".join(token.text for token in answer.tokens) == GOOD
    assert answer.tokens[1].chances == pytest.approx({"red": 0.75, "blue": 0.25})


@pytest.mark.parametrize(
    "logprobs", [None, {}, {"content": None}, {"content": [None]}, {"content": [{"token": "a"}]}, {"content": 5}, "no"]
)
async def test_log_probabilities_that_are_not_there_do_no_harm(logprobs: Any) -> None:
    answer = await ask(Wire(completion(logprobs=logprobs)), logprobs=True)
    assert answer.reply is not None
    assert answer.tokens == ()


async def test_a_token_without_alternatives_is_a_token() -> None:
    tokens = {"content": [{"token": GOOD, "logprob": 1e-9, "top_logprobs": None}]}
    assert (await ask(Wire(completion(logprobs=tokens)), logprobs=True)).tokens[0].chances == {GOOD: 1.0}


async def test_a_cache_of_the_host_does_not_answer_the_second_question() -> None:
    from langchain_core.caches import InMemoryCache
    from langchain_core.globals import set_llm_cache

    set_llm_cache(InMemoryCache())
    try:
        asking = role(wire := Wire(completion()))
        await asking.ask(MESSAGES, RoundNote)
        await asking.ask(MESSAGES, RoundNote)
    finally:
        set_llm_cache(None)
    assert len(wire.asked) == 2


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "image input is not supported - hint: you may need to provide the mmproj"),
        (404, "No endpoints found that support image input"),
        (400, "At most 0 image(s) may be provided in one prompt."),
        (400, "m is not a multimodal model"),
    ],
)
async def test_a_model_without_eyes_is_named_and_not_asked_again(status: int, words: str) -> None:
    wire = Wire(refusal(status, words), completion())
    with pytest.raises(GemsConfigError, match=r"cannot see pictures \(\d+\): .*; choose a model that can"):
        await ask(wire, endpoint("http://box/v1"))
    assert len(wire.asked) == 1
