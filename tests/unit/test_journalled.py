"""What a node has received before a kill is not asked again; and every call can be read back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import ModelOutage
from gems.core.messages import read_task
from gems.core.ports import Answer, ChatRole, R
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.graph import GemsGraph, OwnServices, build_graph

THREAD: Any = {"configurable": {"thread_id": "t"}}


class Killed(BaseException):
    """Nobody catches it, as nobody catches a kill."""


class Dying:
    """A role that dies at one of its calls, as a process does: nothing of the node's work is kept but the journal."""

    def __init__(self, inner: ChatRole, at: int) -> None:
        self.inner = inner
        self.at = at
        self.calls: list[str] = []

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        if len(self.calls) == self.at:
            self.at = -1
            raise Killed
        self.calls.append(read_task(messages).task)
        return await self.inner.ask(messages, reply_model)


def make_graph(services: OwnServices) -> GemsGraph:
    return build_graph(services, checkpointer=InMemorySaver())


async def finish(graph: GemsGraph) -> GemsState:
    await graph.ainvoke(None, THREAD)
    return (await graph.aget_state(THREAD)).values  # type: ignore[return-value]


@pytest.mark.parametrize("at", range(8))
async def test_no_call_that_was_answered_is_made_again(settings: Settings, at: int) -> None:
    """Wherever the process dies, calls and usage are in the end those of an undisturbed run."""
    context: Any = {"size": "64x64", "seed": 7, "max_rounds": 2}
    plain, dying = (Dying(rehearse(["+?-", "+--"]), place) for place in (-1, at))
    states = []
    for number, role in enumerate((plain, dying)):
        own = settings.model_copy(update={"home": settings.home / str(number)})
        graph = make_graph(OwnServices(own, chat=role, images=ScriptedImages()))
        try:
            await graph.ainvoke({"prompt": "two red dogs"}, THREAD, context=context, durability="sync")  # type: ignore[call-overload]
        except (Killed, BaseExceptionGroup):
            # What a sibling has received is being written; a process that is really killed has nothing under way.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others, return_exceptions=True)
            await graph.ainvoke(None, THREAD, context=context)  # type: ignore[call-overload]
        states.append((await graph.aget_state(THREAD)).values)
    undisturbed, resumed = states
    assert len(plain.calls) > at
    assert sorted(dying.calls) == sorted(plain.calls)
    # The call in flight may have been answered, and is counted.
    assert resumed["usage"]["mllm_calls"] == undisturbed["usage"]["mllm_calls"] + 1
    assert resumed["usage"]["images"] + resumed["usage"].get("reused", 0) == undisturbed["usage"]["images"]
    assert [it["verdicts"] for it in resumed["attempts"]] == [it["verdicts"] for it in undisturbed["attempts"]]


async def test_every_call_can_be_read_back(settings: Settings) -> None:
    services = OwnServices(settings, chat=rehearse(["+--", "+++"]), images=ScriptedImages())
    graph = make_graph(services)
    await graph.ainvoke({"prompt": "two red dogs"}, THREAD, context={"size": "64x64"})  # type: ignore[call-overload]
    state = (await graph.aget_state(THREAD)).values
    calls = await services.journal.calls(state["trajectory_id"])
    assert sorted(call["task"] for call in calls) == sorted(
        ["choose_skills", "write_prompts", "decompose", "judge", "refine", "compress", "judge"]
    )
    judged = next(call for call in calls if call["task"] == "judge")
    assert judged["images"] == [{"label": "The picture:", "artifact": state["attempts"][0]["artifact"]}]
    assert judged["fields"]["requirements"][0]["id"] == "r1"
    assert judged["reply"]["verdicts"][1]["verdict"] == "unmet"
    assert judged["role"] == "critic"
    assert judged["instructions"].startswith("You check a picture")


async def test_the_same_question_in_another_round_is_asked_anew(settings: Settings) -> None:
    """A critic that did not know may know when asked once more."""
    replies = iter(["unknown", "met"])

    def judge(task: Any) -> dict[str, Any]:
        verdict = next(replies)
        return {"verdicts": [{"id": "r1", "evidence": "", "verdict": verdict, "confidence": 0.9}]}

    chat = rehearse(["+"], ["Is there a dog?"], judge=judge)
    graph = make_graph(OwnServices(settings, chat=chat, images=ScriptedImages()))
    await graph.ainvoke({"prompt": "a dog"}, THREAD, context={"size": "64x64"})  # type: ignore[call-overload]
    state = (await graph.aget_state(THREAD)).values
    assert state["stop_reason"] == "satisfied"
    assert len(chat.asked("judge")) == 2


async def test_an_outage_is_not_remembered(settings: Settings) -> None:
    replies: list[Any] = [ModelOutage("away"), {"requirements": [{"id": "r1", "question": "A dog?", "kind": "object"}]}]
    chat = rehearse(["+"], decompose=lambda _: replies.pop(0))
    graph = make_graph(OwnServices(settings, chat=chat, images=ScriptedImages()))
    with pytest.raises(ModelOutage):
        await graph.ainvoke({"prompt": "a dog"}, THREAD, context={"size": "64x64"})  # type: ignore[call-overload]
    assert (await finish(graph))["stop_reason"] == "satisfied"


async def test_without_threads_nothing_is_kept(settings: Settings) -> None:
    services = OwnServices(settings, chat=rehearse(["+++"]), images=ScriptedImages())
    await build_graph(services).ainvoke({"prompt": "a dog"}, context={"size": "64x64"})  # type: ignore[call-overload]
    assert not (settings.home / "journal.sqlite").exists()
