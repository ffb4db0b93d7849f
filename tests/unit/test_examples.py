"""The examples of the docs do what they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.settings import Settings
from gems.graph import OwnServices

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
THREAD: Any = {"configurable": {"thread_id": "t"}}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where LangGraph looks the annotations of its nodes up
    spec.loader.exec_module(module)
    return module


async def test_a_parent_graph_interrupts_with_the_picture_and_goes_on(settings: Settings) -> None:
    services = OwnServices(settings, chat=rehearse(["+--", "+++", "+++"]), images=ScriptedImages())
    desk = load("parent_graph").order_desk(services, InMemorySaver())
    context = {"size": "64x64", "seed": 1}
    state = await desk.ainvoke({"prompt": "a dog"}, THREAD, context=context)
    question = state["__interrupt__"][0].value
    assert question["score"] == 1.0
    assert question["image"] == state["result"]["image"]
    state = await desk.ainvoke(Command(resume="two dogs"), THREAD, context=context)
    assert state["result"]["prompt"] == "two dogs"
    assert state["result"]["image"] != question["image"]
    state = await desk.ainvoke(Command(resume="yes"), THREAD, context=context)
    assert state["approved"] is True
    assert "__interrupt__" not in state


def test_another_loop_makes_three_moves_a_round(settings: Settings) -> None:
    images = ScriptedImages()
    services = OwnServices(settings, chat=rehearse(["+--", "++-", "+--", "+++"]), images=images)
    graph = load("three_moves").three_moves_graph(services)
    graph.invoke({"prompt": "two red dogs"}, THREAD, context={"size": "64x64", "seed": 1})
    attempts = graph.get_state(THREAD).values["attempts"]
    assert [it["action"] for it in attempts] == ["rewrite", "rewrite", "resample", "edit"]
    assert attempts[1]["prompt"].endswith("Is the dog red?; Are there exactly two dogs?")
    assert [it.source is not None for it in images.history].count(True) == 1
    assert graph.get_state(THREAD).values["stop_reason"] == "satisfied"


def test_the_other_loop_is_under_100_lines() -> None:
    assert len((EXAMPLES / "three_moves.py").read_text().splitlines()) < 100
