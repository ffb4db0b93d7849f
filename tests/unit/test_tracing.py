"""What tracers and other listeners are told of models and runs."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler, get_usage_metadata_callback
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers.langchain import LangChainTracer
from langgraph.graph import END, START, StateGraph

from gems.backends.chat.rehearsal import rehearse
from gems.backends.chat.role import LangChainRole
from gems.backends.images.scripted import ScriptedImages
from gems.backends.sketch.chat import SketchChat
from gems.core.errors import ModelOutage
from gems.core.messages import EncodedImage, compose
from gems.core.replies import RoundNote
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.core.tracing import Cleaner, secrets_in
from gems.graph import OwnServices, build_graph, open_graph
from gems.graph.collectors import set_headers
from gems.graph.tracing import CleanTracer

SECRET = "correct horse battery staple"
PIXELS = bytes(range(256)) * 8
ARTIFACT = "a" * 64
GOOD = '{"experience": "red worked"}'
ASKED = compose("compress", "Be short.", {"a": 1}, [EncodedImage(PIXELS, "image/png", "The picture:", ARTIFACT)])


class Recorder:
    """In the place of LangSmith's client."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}

    def create_run(self, **run: Any) -> None:
        self.runs[str(run["id"])] = run

    def update_run(self, run_id: Any, **run: Any) -> None:
        self.runs[str(run_id)] |= {name: value for name, value in run.items() if value is not None}

    def named(self, name: str) -> dict[str, Any]:
        (run,) = [it for it in self.runs.values() if it["name"] == name]
        return run


class SayingModel(BaseChatModel):
    """A chat model that says one thing, and remembers what it heard."""

    says: Any
    heard: list[list[BaseMessage]]

    @property
    def _llm_type(self) -> str:
        return "saying"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        self.heard.append(messages)
        if isinstance(self.says, Exception):
            raise self.says
        return ChatResult(generations=[ChatGeneration(message=self.says)])


class Listener(BaseCallbackHandler):
    """What any other handler of LangChain's is told."""

    def __init__(self) -> None:
        self.heard: list[BaseMessage] = []
        self.said: list[LLMResult] = []
        self.errors: list[BaseException] = []
        self.tags: list[str] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.heard.extend(messages[0])
        self.tags.extend(kwargs["tags"] or ())

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        self.said.append(response)

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.errors.append(error)


def tracer(recorder: Recorder) -> LangChainTracer:
    return LangChainTracer(client=recorder)  # type: ignore[arg-type]


def saying(says: AIMessage | Exception, **fields: Any) -> SayingModel:
    return SayingModel(says=says, heard=[], **fields)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a red cat", "a red cat"),
        ("a torch bearer runs; a sk-ater; /r/pics; and/or", "a torch bearer runs; a sk-ater; /r/pics; and/or"),
        (f"look: data:image/png;base64,{base64.b64encode(PIXELS).decode()} there", "look: (image) there"),
        (base64.b64encode(PIXELS).decode(), "(data)"),
        ("the key sk-proj-abc123456 is wrong", "the key *** is wrong"),
        ("Authorization: Bearer abcdefgh1", "Authorization: ***"),
        ("at postgresql://gems:xyzzy@db/gems", "at postgresql://***db/gems"),
        ("![x](http://h/gems/images/ab?key=anna.1.XyZ-_) y", "![x](http://h/gems/images/ab?key=***) y"),
        (f"it is {SECRET}!", "it is ***!"),
    ],
)
def test_a_text_is_told_without_images_and_secrets(text: str, told: str) -> None:
    assert Cleaner([SECRET, "cat"]).text(text) == told, "a short secret would be found in innocent words"


def test_an_error_is_told_without_paths_of_this_machine() -> None:
    cleaner = Cleaner()
    assert cleaner.error(OSError("/home/anna/gems/a.png: disk is full")) == "OSError: (path): disk is full"
    assert cleaner.error(ValueError(r"C:\Users\anna\gems is no folder")) == "ValueError: (path) is no folder"
    assert cleaner.error("see http://host/v1/models or 1/2") == "see http://host/v1/models or 1/2"


def test_values_are_copied_as_json() -> None:
    given = {"api_key": "abc", "n": 1, "parts": [SECRET, {"b": PIXELS}], "input_tokens": 3, "x": None}
    told = Cleaner([SECRET]).value(given)
    assert told == {"api_key": "***", "n": 1, "parts": ["***", {"b": "(bytes)"}], "input_tokens": 3, "x": None}
    assert given["parts"] == [SECRET, {"b": PIXELS}]


def test_secrets_are_found_by_the_names_of_variables() -> None:
    environ = {
        "GEMS_TOKENS": "anna:token-1,bob:token-2",
        "OPENAI_API_KEY": "k",
        "MONKEY": "no",
        "TOKENIZERS_PARALLELISM": "no",
    }
    found = set(secrets_in(environ))
    assert {"token-1", "token-2", "k"} <= found
    assert "no" not in found


async def ask(model: SayingModel, *handlers: BaseCallbackHandler) -> Any:
    """As a node asks: what listens has come down to it."""
    from langchain_core.runnables import RunnableLambda

    async def node(_: Any) -> Any:
        return await LangChainRole(model).ask(ASKED, RoundNote)

    return await RunnableLambda(node).ainvoke("go", RunnableConfig(callbacks=list(handlers)))


async def test_the_model_sees_the_image_and_listeners_its_artifact() -> None:
    usage: Any = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
    model, listener = saying(AIMessage(GOOD, usage_metadata=usage)), Listener()
    answer = await ask(model, listener)
    assert answer.reply.experience == "red worked"
    assert "data:image/png;base64" in str(model.heard[0])
    told = str(listener.heard)
    assert f"(gems artifact {ARTIFACT})" in told
    assert "base64" not in told
    assert listener.said[0].generations[0][0].text == GOOD
    assert "nostream" in listener.tags, "a chat front end does not show what roles say"


async def test_a_chat_front_end_is_streamed_the_chat_and_not_what_roles_say(settings: Settings) -> None:
    own = OwnServices(settings, chat=SketchChat(), images=ScriptedImages())
    streamed = build_graph(own).astream(
        {"messages": [HumanMessage("two red dogs")]}, stream_mode="messages", context=CONTEXT  # type: ignore[arg-type]
    )  # fmt: skip
    nodes = [metadata["langgraph_node"] async for _, metadata in streamed]  # type: ignore[misc, str-unpack, index, call-overload]
    assert nodes
    assert set(nodes) == {"finish"}


async def test_usage_is_counted_once_by_a_host_that_counts() -> None:
    usage: Any = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}
    said = AIMessage(GOOD, usage_metadata=usage, response_metadata={"model_name": "m"})
    with get_usage_metadata_callback() as counted:
        await ask(saying(said))
    assert counted.usage_metadata["m"]["total_tokens"] == 9


async def test_a_failure_is_told_in_our_words_without_traceback_and_cause() -> None:
    listener, own = Listener(), Listener()
    with pytest.raises(ModelOutage):
        await ask(saying(ConnectionError(f"Bearer {SECRET}1"), callbacks=[own]), listener)
    for errors in (listener.errors, own.errors):
        (error,) = errors
        assert str(error).startswith("ModelOutage: the chat model")
        assert error.__traceback__ is error.__cause__ is error.__context__ is None


def services(settings: Settings, **scripts: Any) -> OwnServices:
    return OwnServices(settings, chat=rehearse(["+++"], **scripts), images=ScriptedImages())


THREAD = RunnableConfig(configurable={"thread_id": "t"})
CONTEXT: Any = {"max_rounds": 1, "seed": 1, "size": "64x64"}


@pytest.mark.parametrize("sync", [True, False])
async def test_a_tracer_that_is_given_is_told_of_a_clean_state(settings: Settings, sync: bool) -> None:
    recorder = Recorder()
    graph = build_graph(services(settings))
    config = RunnableConfig(callbacks=[tracer(recorder)])
    given: Any = {"prompt": f"two dogs, sk-{'1' * 20}"}
    if sync:
        output = graph.invoke(given, config, context=CONTEXT)
    else:
        output = await graph.ainvoke(given, config, context=CONTEXT)
    assert output["stop_reason"] == "satisfied"
    root = recorder.named("gems")
    assert root["inputs"]["prompt"] == "two dogs, ***"
    assert root["outputs"]["result"]["image"] == output["result"]["image"], "an id is no secret"
    assert recorder.named("critic")["parent_run_id"] == root["id"]


async def test_errors_are_traced_without_tracebacks(settings: Settings) -> None:
    recorder = Recorder()
    failing = services(
        settings, decompose=lambda _: ModelOutage(f"no answer to {'sk-' + '1' * 20} from /srv/models/big")
    )
    async with open_graph(settings, services=failing) as graph:
        with pytest.raises(ModelOutage):
            await graph.ainvoke({"prompt": "a dog"}, {**THREAD, "callbacks": [tracer(recorder)]}, context=CONTEXT)  # type: ignore[call-overload]
    assert recorder.named("decomposer")["error"] == recorder.named("gems")["error"]
    assert recorder.named("gems")["error"] == "ModelOutage: no answer to *** from (path)"


async def test_what_is_written_into_a_state_is_traced_clean(settings: Settings) -> None:
    recorder = Recorder()
    async with open_graph(settings, services=services(settings)) as graph:
        await graph.ainvoke({"prompt": "a dog"}, THREAD, context=CONTEXT)  # type: ignore[call-overload]
        config = RunnableConfig(configurable={"thread_id": "t"}, callbacks=[tracer(recorder)])
        await graph.aupdate_state(config, {"warnings": [f"sk-{'1' * 20}"]}, as_node="review")
        assert (await graph.aget_state(THREAD)).values["warnings"][-1] == f"sk-{'1' * 20}"
    assert recorder.runs
    assert "sk-1" not in str(recorder.runs)


async def test_inside_another_graph_only_our_part_is_cleaned(settings: Settings) -> None:
    recorder, secret = Recorder(), f"sk-{'1' * 20}"
    inner = build_graph(services(settings), name="inner")

    async def host(state: GemsState) -> Mapping[str, Any]:
        output = await inner.ainvoke({"prompt": f"two dogs {secret}"}, context=CONTEXT)  # type: ignore[call-overload]
        return {"result": output["result"]}

    builder = StateGraph(GemsState)
    builder.add_node("host", host)
    builder.add_edge(START, "host")
    builder.add_edge("host", END)
    outer: Any = builder.compile(name="outer")
    await outer.ainvoke({"prompt": secret}, RunnableConfig(callbacks=[tracer(recorder)]))
    assert recorder.named("outer")["inputs"]["prompt"] == secret, "a host's own traces are its own"
    assert recorder.named("inner")["inputs"]["prompt"] == "two dogs ***"
    assert recorder.named("inner")["parent_run_id"] == recorder.named("host")["id"]
    assert recorder.named("inner")["trace_id"] == recorder.named("outer")["id"]
    ours = [it for it in recorder.runs.values() if it["name"] not in ("outer", "host")]
    assert len(ours) > 5
    assert secret not in str([it["inputs"] for it in ours])


async def test_a_clean_tracer_stays_the_one_it_is(settings: Settings) -> None:
    recorder = Recorder()
    mine = CleanTracer(client=recorder)  # type: ignore[arg-type]
    await build_graph(services(settings)).ainvoke({"prompt": "two dogs"}, {"callbacks": [mine]}, context=CONTEXT)  # type: ignore[call-overload]
    assert recorder.named("gems")


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, "x-sent-by=gems"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, "x-sent-by=gems"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, "a=b"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://api.smith.langchain.com/otel"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://own/otel", "LANGSMITH_ENDPOINT": "https://own"}, None),
    ],
)
def test_a_collector_is_not_sent_the_key_of_langsmith(environ: dict[str, str], told: str | None) -> None:
    assert set_headers(environ) is (told == "x-sent-by=gems")
    assert environ.get("OTEL_EXPORTER_OTLP_HEADERS") == told


def test_a_message_without_images_is_sent_as_it_was() -> None:
    assert compose("decompose", "Do.", {})[1] == HumanMessage(
        [{"type": "text", "text": '<gems task="decompose">\n{\n\n}\n</gems>'}]
    )
