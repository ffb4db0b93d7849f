"""Messages as chat front ends send them: all forms of text, and what is no text."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError
from gems.core.settings import Settings
from gems.core.state import LONGEST_PART, merge_messages
from gems.graph import OwnServices, build_graph

THREAD: Any = {"configurable": {"thread_id": "t"}}
CONTEXT: Any = {"size": "64x64"}
PICTURE = {"type": "image", "base64": "A" * 9000, "mime_type": "image/png"}


def make_graph(settings: Settings) -> Any:
    services = OwnServices(settings, chat=rehearse(["+++"]), images=ScriptedImages())
    return build_graph(services, checkpointer=InMemorySaver())


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "a red dog"}],
        [{"type": "human", "content": "a red dog"}],
        [{"role": "user", "content": [{"type": "text", "text": "a red "}, {"type": "text", "text": "dog"}]}],
        [["user", "a red dog"]],
        [{"role": "system", "content": "you draw"}, {"role": "user", "content": "a red dog"}],
        [HumanMessage("a red dog")],
        "a red dog",
    ],
)
def test_every_form_of_a_message_is_read(settings: Settings, messages: Any) -> None:
    graph = make_graph(settings)
    graph.invoke({"messages": messages}, THREAD, context=CONTEXT)
    values = graph.get_state(THREAD).values
    assert values["request"]["prompt"] == "a red dog"
    assert isinstance(values["messages"][-1], AIMessage)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"foo": 1}], "a message cannot be read"),
        (5, "a message cannot be read"),
        ([{"role": "nobody", "content": "a dog"}], "a message cannot be read"),
        ([{"role": "remove", "id": "not there", "content": ""}], "a message cannot be read"),
        ([{"role": "user", "content": [{"type": "text", "text": "a dog"}, PICTURE]}], r"\(image\): POST an image to"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://elsewhere/x.png"}}]}],
            r"\(image_url\): POST an image to /gems/images, and give the id that it answers in references",
        ),
        ([{"role": "assistant", "content": "done"}], "the prompt is empty"),
    ],
)
def test_what_is_no_text_is_refused_and_the_thread_stays_good(settings: Settings, messages: Any, words: str) -> None:
    graph = make_graph(settings)
    with pytest.raises(GemsConfigError, match=words):
        graph.invoke({"messages": messages}, THREAD, context=CONTEXT)
    assert "A" * 100 not in str(next(iter(graph.get_state_history(THREAD))).values)
    graph.invoke({"messages": [{"role": "user", "content": "a red dog"}]}, THREAD, context=CONTEXT)
    values = graph.get_state(THREAD).values
    assert (values["status"], values["request"]["prompt"]) == ("done", "a red dog")


def test_a_file_does_not_stay_in_the_state_but_an_address_and_a_text_do() -> None:
    address = {"type": "image", "url": "http://here/gems/images/" + "0" * 64}
    text = {"type": "text", "text": "x" * (LONGEST_PART + 1)}
    (kept,) = merge_messages([], [{"role": "user", "content": [text, address, PICTURE, "a word"]}])
    assert kept.content == [text, address, {"type": "image"}, "a word"]


def test_messages_are_replaced_and_removed_by_id() -> None:
    both = merge_messages([], [HumanMessage("a", id="1"), HumanMessage("b", id="2")])
    assert [it.content for it in merge_messages(both, [HumanMessage("c", id="1")])] == ["c", "b"]
    assert [it.content for it in merge_messages(both, [{"role": "remove", "id": "1", "content": ""}])] == ["b"]
