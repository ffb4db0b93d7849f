"""What the refiner reads: bounded however many rounds there were, and as much of it as the option `memory` says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from gems.backends.chat.rehearsal import rehearse
from gems.backends.chat.scripted import Script, ScriptedRole
from gems.backends.images.scripted import ScriptedImages
from gems.core.messages import TaskInput
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.graph import OwnServices, build_graph
from gems.memory.view import RECENT

THREAD: Any = {"configurable": {"thread_id": "t"}}


async def run(settings: Settings, chat: ScriptedRole, **context: Any) -> GemsState:
    graph = build_graph(OwnServices(settings, chat=chat, images=ScriptedImages()), checkpointer=InMemorySaver())
    given = {"size": "64x64", "seed": 7, **context}
    await graph.ainvoke({"prompt": "two red dogs"}, THREAD, context=given)  # type: ignore[call-overload]
    return (await graph.aget_state(THREAD)).values  # type: ignore[return-value]


def size_of(task: TaskInput) -> int:
    return len(json.dumps(task.fields))


async def test_the_view_stays_bounded_over_fifty_rounds(settings: Settings) -> None:
    """With words that grow: a refiner, a compressor and a critic that say as much as they may."""
    long = "word " * 300
    scripts: dict[str, Script] = {
        "compress": lambda task: {"experience": long, "digest": long},
        "refine": lambda task: {
            "diagnosis": long,
            "actions": [{"action": "rewrite", "prompt": f"{task.fields['round']} {long}"}],
        },
    }
    chat = rehearse(["+--"], **scripts)
    state = await run(settings, chat, max_rounds=50)
    assert state["round"] == 50
    sizes = [size_of(task) for task in chat.asked("refine")]
    assert len(sizes) == 49
    assert max(sizes[10:]) <= sizes[10] + 40
    assert max(map(size_of, chat.asked("compress")[10:])) <= size_of(chat.asked("compress")[10]) + 40
    assert [it["round"] for it in chat.asked("refine")[-1].fields["experiences"]] == [45, 46, 47, 48]
    # Facts stay whole in the state, and can be read back by id.
    assert len(state["attempts"]) == 50
    assert next(it for it in state["attempts"] if it["id"] == "3.1")["prompt"].startswith("2 word")


async def test_what_leaves_the_window_is_folded_into_the_digest(settings: Settings) -> None:
    def compress(task: TaskInput) -> dict[str, Any]:
        number = task.fields["round"]
        folded = " ".join([task.fields.get("digest", ""), *task.fields.get("leaving", [])]).strip()
        return {"experience": f"note {number}", "digest": folded}

    chat = rehearse(["+--"], compress=compress)
    state = await run(settings, chat, max_rounds=RECENT + 4)
    assert state["digest"] == {"until": 3, "text": "note 1 note 2 note 3"}
    leaving = [task.fields.get("leaving") for task in chat.asked("compress")]
    assert leaving == [None] * RECENT + [["note 1"], ["note 2"], ["note 3"]]
    assert chat.asked("refine")[-1].fields["digest"].endswith("note 1 note 2")


async def test_a_compressor_that_is_away_folds_by_code(settings: Settings) -> None:
    chat = rehearse(["+--"], compress=lambda _: {"nonsense": 1})
    state = await run(settings, chat, max_rounds=RECENT + 3)
    assert state["digest"]["until"] == 2
    assert "Is the dog red?" in state["digest"]["text"]
    assert len(state["digest"]["text"].split()) <= 100


FIELDS = {
    "none": {"latest"},
    "prompts": {"latest", "best", "tried"},
    "images": {"latest", "best", "tried"},
    "thoughts": {"latest", "best", "tried", "thoughts"},
    "experience": {"latest", "best", "tried", "digest", "experiences"},
}


@pytest.mark.parametrize("memory", FIELDS)
async def test_memory_says_what_the_refiner_reads(settings: Settings, memory: str) -> None:
    chat = rehearse(["+--", "++-"])
    state = await run(settings, chat, max_rounds=3, memory=memory)
    view = chat.asked("refine")[-1]
    always = {"request", "requirements", "round", "wanted", "actions", "quoted", "image_model"}
    assert set(view.fields) - always == FIELDS[memory]
    assert bool(view.images) == (memory not in ("none", "prompts"))
    assert bool(chat.asked("compress")) == (memory == "experience")
    # Without a model's note the experience is still kept, by code.
    assert len(state["experiences"]) == 2
    if memory == "thoughts":
        assert view.fields["thoughts"] == [{"round": 1, "text": "not yet right"}]


async def test_the_option_can_be_the_profiles(settings: Settings) -> None:
    profile = settings.profiles["sketch"].model_copy(update={"memory": "none"})
    own = settings.model_copy(update={"profiles": {**settings.profiles, "sketch": profile}})
    chat = rehearse(["+--"])
    state = await run(own, chat, max_rounds=2)
    assert state["options"]["memory"] == "none"
    assert "tried" not in chat.asked("refine")[0].fields
