"""A trajectory that goes on later: with other settings, and from checkpoints of other versions."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError, ModelOutage
from gems.core.settings import Settings
from gems.core.state import SCHEMA, GemsState
from gems.graph import OwnServices, build_graph
from gems.memory.migrations import up_to_date

THREAD: Any = {"configurable": {"thread_id": "t"}}
CONTEXT: Any = {"size": "64x64", "seed": 7, "max_rounds": 1}


class OtherImages(ScriptedImages):
    """The same model with another setting."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._steps = steps

    @property
    def identity(self) -> dict[str, Any]:
        return {**super().identity, "steps": self._steps}


@pytest.mark.parametrize("on_the_way", [False, True])
async def test_changed_settings_are_told_and_accepted_only_when_asked(settings: Settings, on_the_way: bool) -> None:
    saver = InMemorySaver()
    refine: Any = [ModelOutage("away")] if on_the_way else [{"nonsense": 1}]
    first = OwnServices(settings, chat=rehearse(["+--"], refine=refine), images=OtherImages(steps=8))
    graph = build_graph(first, checkpointer=saver)
    if on_the_way:
        with pytest.raises(ModelOutage):
            await graph.ainvoke({"prompt": "a dog"}, THREAD, context={**CONTEXT, "max_rounds": 2})
    else:
        await graph.ainvoke({"prompt": "a dog"}, THREAD, context=CONTEXT)
    second = OwnServices(settings, chat=rehearse(["+--", "+++"]), images=OtherImages(steps=20))
    graph = build_graph(second, checkpointer=saver)
    more: Any = {"max_rounds": 2}
    with pytest.raises(GemsConfigError, match="since this run began, the settings of the image model changed"):
        await graph.ainvoke({"prompt": ""}, THREAD, context=more)
    await graph.ainvoke({"prompt": ""}, THREAD, context={**more, "accept_changes": True})
    state = (await graph.aget_state(THREAD)).values
    assert state["round"] == 2
    await graph.ainvoke({"prompt": "and bigger"}, THREAD)


async def test_changed_role_instructions_are_told(settings: Settings, tmp_path: Any) -> None:
    saver = InMemorySaver()
    graph = build_graph(OwnServices(settings, chat=rehearse(["+--"]), images=ScriptedImages()), checkpointer=saver)
    await graph.ainvoke({"prompt": "a dog"}, THREAD, context=CONTEXT)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "judge.md").write_text("Look hard.", encoding="utf-8")
    own = settings.model_copy(update={"prompts": tmp_path / "prompts"})
    graph = build_graph(OwnServices(own, chat=rehearse(["+++"]), images=ScriptedImages()), checkpointer=saver)
    with pytest.raises(GemsConfigError, match="the role instructions in GEMS_PROMPTS changed"):
        await graph.ainvoke({"prompt": ""}, THREAD, context={"max_rounds": 2})  # type: ignore[call-overload]


OLD = ("schema", "made_with", "follow_up", "since", "rulings", "remarks", "wish", "thoughts", "digest", "lessons")
"""What states of version 1 did not have."""


def as_version_1(values: dict[str, Any]) -> dict[str, Any]:
    options = {k: v for k, v in values["options"].items() if k not in ("max_tokens", "review", "memory", "lessons")}
    return {**{name: value for name, value in values.items() if name not in OLD}, "options": options}


async def test_a_state_of_version_1_is_brought_up(settings: Settings) -> None:
    graph = build_graph(
        OwnServices(settings, chat=rehearse(["+--", "+++", "+++"]), images=ScriptedImages()),
        checkpointer=InMemorySaver(),
    )
    await graph.ainvoke({"prompt": "a dog"}, THREAD, context=CONTEXT)
    old = as_version_1((await graph.aget_state(THREAD)).values)
    elsewhere: Any = {"configurable": {"thread_id": "old"}}
    await graph.aupdate_state(elsewhere, old, as_node="finish")
    assert "schema" not in (await graph.aget_state(elsewhere)).values
    await graph.ainvoke({"prompt": ""}, elsewhere, context={"max_rounds": 2})  # type: ignore[call-overload]
    state = (await graph.aget_state(elsewhere)).values
    assert (state["stop_reason"], state["round"], len(state["attempts"])) == ("satisfied", 2, 2)
    await graph.ainvoke({"prompt": "and bigger"}, elsewhere)
    assert (await graph.aget_state(elsewhere)).values["request"]["said"] == ["a dog", "and bigger"]


async def test_a_run_of_version_1_goes_on_in_the_middle(settings: Settings) -> None:
    graph = build_graph(
        OwnServices(settings, chat=rehearse(["+--", "+++"]), images=ScriptedImages()), checkpointer=InMemorySaver()
    )
    await graph.ainvoke({"prompt": "a dog"}, THREAD, context={**CONTEXT, "max_rounds": 2})
    history = [item async for item in graph.aget_state_history(THREAD)]
    middle = next(item for item in history if item.next == ("refiner",))
    elsewhere: Any = {"configurable": {"thread_id": "old"}}
    await graph.aupdate_state(elsewhere, as_version_1(middle.values), as_node="review")
    await graph.ainvoke(None, elsewhere)
    assert (await graph.aget_state(elsewhere)).values["stop_reason"] == "satisfied"


def test_a_newer_state_is_refused_in_words() -> None:
    state: GemsState = {"schema": SCHEMA + 1}
    with pytest.raises(GemsConfigError, match=rf"newer GEMS \(state version {SCHEMA + 1}.*upgrade GEMS"):
        up_to_date(state)


async def test_a_newer_thread_is_not_touched(settings: Settings) -> None:
    chat = rehearse(["+--", "+++"])
    graph = build_graph(OwnServices(settings, chat=chat, images=ScriptedImages()), checkpointer=InMemorySaver())
    await graph.ainvoke({"prompt": "a dog"}, THREAD, context=CONTEXT)
    await graph.aupdate_state(THREAD, {"schema": SCHEMA + 1}, as_node="finish")
    said = len(chat.history)
    for given in ({"prompt": ""}, {"prompt": "bigger"}):
        with pytest.raises(GemsConfigError, match="newer GEMS"):
            await graph.ainvoke(given, THREAD, context={"max_rounds": 3})  # type: ignore[call-overload]
    assert len(chat.history) == said


async def test_a_clock_that_goes_back_counts_no_time(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading lies an hour before the one before it."""
    import time

    now = [1e9]

    def clock() -> float:
        now[0] -= 3600
        return now[0]

    graph = build_graph(
        OwnServices(settings, chat=rehearse(["+--", "+++"]), images=ScriptedImages()), checkpointer=InMemorySaver()
    )
    monkeypatch.setattr(time, "time", clock)
    await graph.ainvoke({"prompt": "a dog"}, THREAD, context={"size": "64x64", "max_seconds": 60})  # type: ignore[call-overload]
    state = (await graph.aget_state(THREAD)).values
    assert state["stop_reason"] == "satisfied"
    assert 0 <= state["result"]["seconds"] < 60
