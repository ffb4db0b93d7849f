"""The loopback's chat servers, without a socket: bodies, rejections, faults, tokens."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from gems.backends.chat.rehearsal import rehearse
from gems.core.messages import EncodedImage, compose
from gems.core.replies import Verdicts
from gems.evals.loopback.brains import QUESTIONS, WHOLE, brain_of, never, seeing, truth
from gems.evals.loopback.chat import ChatServer
from gems.evals.loopback.chat_faults import CHAT_FAULTS, HARMLESS, SPOIL
from gems.evals.loopback.chat_flavours import CHAT_FLAVOURS, LOGPROBS, ChatFlavour
from gems.evals.loopback.faults import FREE, TRANSPORT, clean, exactly, seeded
from gems.evals.loopback.log import Entry, Log
from gems.evals.loopback.pictures import Wish, flat
from gems.evals.loopback.tokens import image_tokens, log_probabilities, text_tokens
from gems.evals.loopback.wire import Reply, Request

PICTURE = flat(Wish("a red dog", 1, 64, 64))
OPENAI_KINDS = ("json_schema", "json_object")


def entry() -> Entry:
    return Log().open("other", "/", 0)


def body(**fields: Any) -> dict[str, Any]:
    asked = [{"id": f"r{number}", "question": question} for number, question in enumerate(QUESTIONS, start=1)]
    image = EncodedImage(PICTURE, "image/png", "The picture:")
    system, human = compose("judge", "Look. Answer in JSON.", {"requirements": asked}, [image])
    messages = [{"role": "system", "content": system.content}, {"role": "user", "content": human.content}]
    return {"model": "loopback", "messages": messages, **fields}


def post(server: ChatServer, content: dict[str, Any], key: str = "") -> tuple[Reply, Entry]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    told = entry()
    reply = server.answer(Request("POST", "/v1/chat/completions", headers, json.dumps(content).encode()), told)
    assert reply is not None
    return reply, told


def read(reply: Reply) -> Any:
    return json.loads(reply.body)


@pytest.mark.parametrize("flavour", CHAT_FLAVOURS)
def test_a_clean_reply_holds_what_the_brain_said(flavour: ChatFlavour) -> None:
    reply, told = post(ChatServer(seeing(), flavour), body())
    answer = read(reply)
    assert reply.status == 200
    assert answer["object"] == "chat.completion"
    assert json.loads(answer["choices"][0]["message"]["content"]) == told.said
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens"] == told.text_tokens + told.image_tokens
    assert answer["usage"]["completion_tokens"] == told.output_tokens
    assert (told.task, told.images, told.image_tokens, told.repair) == ("judge", 1, 9, False)
    assert told.asked == list(QUESTIONS)


@pytest.mark.parametrize(
    ("flavour", "where"),
    [("vllm", "reasoning_content"), ("sglang", "reasoning_content"), ("ollama", "reasoning"), ("openai", "")],
)
def test_thoughts_stand_where_the_server_puts_them(flavour: ChatFlavour, where: str) -> None:
    message = read(post(ChatServer(seeing(), flavour, thinks=True), body())[0])["choices"][0]["message"]
    assert {name for name in ("reasoning_content", "reasoning") if message.get(name)} == ({where} if where else set())


@pytest.mark.parametrize(
    ("flavour", "kind", "status", "words"),
    [
        ("deepseek", "json_schema", 400, "This response_format type is unavailable now"),
        ("lmstudio", "json_object", 400, "must be 'json_schema' or 'text'"),
        ("plain", "json_schema", 422, "Extra inputs are not permitted"),
        ("plain", "json_object", 422, "Extra inputs are not permitted"),
    ],
)
def test_an_output_form_that_is_not_known_is_refused_in_the_servers_words(
    flavour: ChatFlavour, kind: str, status: int, words: str
) -> None:
    form: dict[str, Any] = {"type": kind}
    if kind == "json_schema":
        form["json_schema"] = {"name": "Verdicts", "schema": Verdicts.model_json_schema()}
    reply, told = post(ChatServer(seeing(), flavour), body(response_format=form))
    assert reply.status == status
    assert words in reply.body.decode()
    assert told.output == kind
    assert told.said == {}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 100}, "max_tokens"),
        ({"temperature": 0.2}, "temperature"),
        ({"logprobs": True}, "logprobs"),
        ({"top_k": 3}, None),
    ],
)
def test_a_reasoning_model_of_openai_refuses_what_it_does_not_support(
    fields: dict[str, Any], param: str | None
) -> None:
    server = ChatServer(seeing(), "openai", model="gpt-5-mini")
    reply, _ = post(server, body(**fields) | {"model": "gpt-5-mini"})
    assert reply.status == 400
    assert read(reply)["error"]["param"] == param
    assert post(server, body() | {"model": "gpt-5-mini", "max_completion_tokens": 100})[0].status == 200


def test_openai_wants_the_word_json_and_strict_schemas_to_be_strict() -> None:
    server = ChatServer(seeing(), "openai")
    silent = body(response_format={"type": "json_object"})
    silent["messages"][0]["content"] = "Look."
    assert "must contain the word 'json'" in read(post(server, silent)[0])["error"]["message"]
    assert post(server, body(response_format={"type": "json_object"}))[0].status == 200
    form = {"name": "Verdicts", "schema": Verdicts.model_json_schema()}
    assert post(server, body(response_format={"type": "json_schema", "json_schema": form}))[0].status == 200
    strict = {"type": "json_schema", "json_schema": form | {"strict": True}}
    assert (
        "'additionalProperties' is required" in read(post(server, body(response_format=strict))[0])["error"]["message"]
    )


@pytest.mark.parametrize("flavour", [it for it in CHAT_FLAVOURS if it != "sglang"])
def test_another_model_is_an_error(flavour: ChatFlavour) -> None:
    assert post(ChatServer(seeing(), flavour), body() | {"model": "other"})[0].status in (400, 404)


def test_a_wrong_key_is_an_error_and_repeated_in_it() -> None:
    server = ChatServer(seeing(), "openai", key="sk-right")
    reply, _ = post(server, body(), "sk-wrong")
    assert reply.status == 401
    assert "sk-wrong" in read(reply)["error"]["message"]
    assert post(server, body(), "sk-right")[0].status == 200


def test_errors_have_the_shape_of_their_server() -> None:
    shapes = {
        flavour: read(post(ChatServer(seeing(), flavour, plan=exactly("500")), body())[0]) for flavour in CHAT_FLAVOURS
    }
    assert shapes["vllm"]["error"]["code"] == 500
    assert shapes["sglang"]["object"] == "error"
    assert shapes["ollama"]["error"]["type"] == "api_error"
    assert shapes["openrouter"]["error"]["metadata"]["provider_name"] == "Loopback"
    assert isinstance(shapes["lmstudio"]["error"], str)
    assert "detail" in shapes["plain"]


@pytest.mark.parametrize("flavour", CHAT_FLAVOURS)
def test_log_probabilities_come_where_the_server_gives_them(flavour: ChatFlavour) -> None:
    reply, told = post(ChatServer(seeing(), flavour), body(logprobs=True, top_logprobs=2))
    choice = read(reply)["choices"][0]
    if flavour not in LOGPROBS:
        assert not choice.get("logprobs")
        return
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    decided = [token for token in tokens if len(token["top_logprobs"]) == 2]
    assert [round(math.exp(it["logprob"]), 3) for it in decided] == [it["confidence"] for it in told.said["verdicts"]]
    words = {"met": "met", "unmet": "un"}
    assert [it["token"] for it in decided] == [words[it["verdict"]] for it in told.said["verdicts"]]


def test_log_probabilities_cover_any_text() -> None:
    text = '```json\n{"a": [1, 2.5], "b": "ünmet un unmet"}\n```\n'
    assert "".join(token["token"] for token in log_probabilities(text, {}, 0)) == text


@pytest.mark.parametrize("fault", CHAT_FAULTS)
def test_every_fault_is_what_it_says_and_noted(fault: str) -> None:
    server = ChatServer(seeing(), "vllm", plan=exactly(fault), slow=0.0)
    reply, told = post(server, body(), "sk-secret-of-mine")
    assert told.fault == fault
    clean_reply, _ = post(server, body())
    if fault == "slow":
        assert read(reply)["choices"] == read(clean_reply)["choices"]
    elif fault in HARMLESS:
        content = read(reply)["choices"][0]["message"]["content"]
        assert json.dumps(told.said)[:-1] in content
    elif fault in SPOIL:
        assert reply.status == 200
        assert read(reply) != read(clean_reply)
        assert (read(reply).get("choices") or [{}])[0].get("message", {}).get("content") != json.dumps(told.said)
    else:
        assert reply.status != 200 or reply.hang_up is not None or b"choices" not in reply.body
    assert (told.said == {}) == (fault in FREE)
    assert ("Retry-After" in reply.headers) == (fault in FREE)
    assert (b"sk-secret-of-mine" in reply.body) == (fault == "500")


def test_a_plan_depends_on_its_seed_alone() -> None:
    plan = seeded(7, CHAT_FAULTS)
    faults = [plan(number) for number in range(2000)]
    assert faults == [seeded(7, CHAT_FAULTS)(number) for number in range(2000)]
    assert faults != [seeded(8, CHAT_FAULTS)(number) for number in range(2000)]
    assert 0.26 < sum(map(bool, faults)) / 2000 < 0.34
    assert set(faults) == {"", *CHAT_FAULTS}
    assert set(TRANSPORT) < set(CHAT_FAULTS)
    assert clean(3) == ""


def test_tokens_are_counted_by_length_and_by_pixels() -> None:
    assert text_tokens("12345") == 2
    assert image_tokens(flat(Wish("a", 1, 1024, 1024))) == 37 * 37
    assert image_tokens(flat(Wish("a", 1, 57, 28, "jpeg"))) == 3
    with pytest.raises(ValueError, match="cannot identify"):
        image_tokens(b"no image")


def test_the_seeing_brain_says_the_truth_of_the_picture() -> None:
    _, told = post(ChatServer(seeing(), "vllm"), body())
    said = [item["verdict"] == "met" for item in told.said["verdicts"]]
    assert said == [truth(PICTURE, question) for question in QUESTIONS]
    assert truth(PICTURE, f"{WHOLE}: a dog?") == all(said)
    pictures = [flat(Wish("a", seed, 8, 8)) for seed in range(300)]
    share = sum(truth(picture, QUESTIONS[0]) for picture in pictures) / 300
    assert 0.6 < share < 0.8


def test_the_never_brain_never_finds_its_last_requirement() -> None:
    asked = [{"id": f"r{number}", "question": "?"} for number in (1, 9, 10)]
    _, told = post(ChatServer(never(10)), body())
    assert [it["verdict"] for it in told.said["verdicts"]] == ["met"] * 4
    content = body()
    human = compose("judge", "", {"requirements": asked}, [EncodedImage(PICTURE, "image/png", "")])[1]
    content["messages"][1]["content"] = human.content
    _, told = post(ChatServer(never(10)), content)
    assert [it["verdict"] for it in told.said["verdicts"]] == ["met", "met", "unmet"]


def test_a_script_can_be_the_brain() -> None:
    _, told = post(ChatServer(brain_of(rehearse(["++-+"], QUESTIONS))), body())
    assert [it["verdict"] for it in told.said["verdicts"]] == ["met", "met", "unmet", "met"]


def test_a_message_without_a_task_is_answered_too() -> None:
    reply, told = post(ChatServer(seeing()), {"model": "loopback", "messages": [{"role": "user", "content": "ready?"}]})
    assert reply.status == 200
    assert told.task == ""
