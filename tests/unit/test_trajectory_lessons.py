"""What one trajectory taught is given to the next; what was given is judged by what became of it."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from gems.backends.chat.rehearsal import rehearse
from gems.backends.chat.scripted import Script, ScriptedRole
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError, ModelOutage
from gems.core.ports import Lesson
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.graph import OwnServices, build_graph
from gems.memory import SqliteFile
from gems.memory.database import Part

THREAD: Any = {"configurable": {"thread_id": "t"}}
LEARNED = {"kind": "other", "when": "exactly two dogs are asked for", "advice": "write the number before each thing"}


def services_of(settings: Settings, chat: ScriptedRole, **changes: Any) -> OwnServices:
    return OwnServices(settings.model_copy(update=changes), chat=chat, images=ScriptedImages())


async def run(services: OwnServices, prompt: str = "two red dogs", config: Any = THREAD, **context: Any) -> GemsState:
    graph = build_graph(services, checkpointer=InMemorySaver())
    given = {"size": "64x64", "seed": 7, "lessons": True, **context}
    await graph.ainvoke({"prompt": prompt}, config, context=given)  # type: ignore[call-overload]
    return (await graph.aget_state(config)).values  # type: ignore[return-value]


def taught(marks: list[str], **scripts: Script) -> ScriptedRole:
    return rehearse(marks, **{"distil": lambda _: {"lessons": [LEARNED]}, **scripts})


async def kept(services: OwnServices) -> list[Lesson]:
    return await services.lessons.all(services.owner)


async def test_what_mended_a_failure_becomes_a_lesson(settings: Settings) -> None:
    services = services_of(settings, chat := taught(["+-+", "+++"]))
    await run(services)
    (task,) = chat.asked("distil")
    (told,) = task.fields["evidence"]
    assert told["question"] == "Is the dog red?"
    assert told["failed"] == {"prompt": "two red dogs", "action": "rewrite", "evidence": "seen"}
    assert told["fixed"] == {"prompt": "two red dogs, attempt 2", "action": "rewrite"}
    (lesson,) = await kept(services)
    assert (lesson.kind, lesson.when, lesson.advice) == (LEARNED["kind"], LEARNED["when"], LEARNED["advice"])
    assert lesson.backend == "scripted"
    assert (lesson.uses, lesson.successes) == (0, 0)


async def test_the_next_trajectory_is_given_it_and_counts_whether_it_helped(settings: Settings) -> None:
    services = services_of(settings, chat := taught(["+-+", "+++", "+++"]))
    await run(services)
    state = await run(services, "exactly two dogs are asked for on a sofa", {"configurable": {"thread_id": "u"}})
    shown = {name: LEARNED[name] for name in ("kind", "when", "advice")}
    assert chat.asked("write_prompts")[-1].fields["lessons"] == [shown]
    (given,) = state["lessons"]
    assert (given["text"], given["round"]) == (LEARNED["advice"], 1)
    (lesson,) = await kept(services)
    assert (lesson.uses, lesson.successes) == (1, 1)


async def test_a_lesson_that_did_not_help_counts_against_itself(settings: Settings) -> None:
    services = services_of(settings, chat := taught(["+-+", "+++", "++-"]))
    await run(services)
    other: Any = {"configurable": {"thread_id": "u"}}
    await run(services, "exactly two dogs are asked for on a sofa", other, max_rounds=2)
    assert chat.asked("refine")[-1].fields["lessons"][0]["advice"] == LEARNED["advice"]
    (lesson,) = await kept(services)
    assert (lesson.uses, lesson.successes) == (1, 0)


@pytest.mark.parametrize("off", ["context", "profile"])
async def test_one_setting_turns_them_off(settings: Settings, off: str) -> None:
    services = services_of(settings, chat := taught(["+-+", "+++", "+++"]))
    await run(services)
    context = {"lessons": False} if off == "context" else {"lessons": None}
    state = await run(services, "exactly two dogs", {"configurable": {"thread_id": "u"}}, **context)
    assert "lessons" not in chat.asked("write_prompts")[-1].fields
    assert state["lessons"] == []
    assert len(chat.asked("distil")) == 1


async def test_paper_mode_has_none(settings: Settings) -> None:
    services = services_of(settings, chat := taught(["+-+", "+++"]))
    state = await run(services, mode="paper")
    assert state["options"]["lessons"] is False
    assert chat.asked("distil") == []


async def test_they_belong_to_an_owner(settings: Settings) -> None:
    chat = taught(["+-+", "+++", "+++", "+++"])
    await run(services_of(settings, chat, owner="ann"))
    state = await run(services_of(settings, chat, owner="bob"), "exactly two dogs are asked for")
    assert state["lessons"] == []
    user: Any = {"configurable": {"thread_id": "v", "langgraph_auth_user_id": "cyd"}}
    assert (await run(services_of(settings, chat, owner="ann"), "exactly two dogs are asked for", user))[
        "lessons"
    ] == []
    ann: Any = {"configurable": {"thread_id": "w", "langgraph_auth_user_id": "ann"}}
    assert (await run(services_of(settings, chat, owner="bob"), "exactly two dogs are asked for", ann))["lessons"]


@pytest.mark.parametrize("reply", [ModelOutage("away"), {"nonsense": 1}, {"lessons": []}])
async def test_a_run_does_not_end_worse_for_a_distiller_that_fails(settings: Settings, reply: Any) -> None:
    services = services_of(settings, taught(["+-+", "+++"], distil=[reply]))
    state = await run(services)
    assert (state["status"], state["stop_reason"]) == ("done", "satisfied")
    assert await kept(services) == []


async def test_a_run_in_which_nothing_was_mended_costs_no_call(settings: Settings) -> None:
    services = services_of(settings, chat := taught(["+++"]))
    await run(services)
    await run(services, config={"configurable": {"thread_id": "u"}}, max_rounds=2)
    assert chat.asked("distil") == []


async def test_a_store_of_a_newer_version_is_told_before_anything_is_spent(settings: Settings) -> None:
    part = Part("lessons", 99, ("CREATE TABLE lessons (id TEXT)",), dict.fromkeys(range(1, 99), ()))
    with SqliteFile(settings.home / "lessons.sqlite").connect(part):
        pass
    services = services_of(settings, chat := taught(["+++"]))
    with pytest.raises(GemsConfigError, match="99"):
        await run(services)
    assert chat.history == []
    assert (await run(services, lessons=False))["stop_reason"] == "satisfied"


async def test_a_store_that_breaks_on_the_way_costs_the_lessons_alone(settings: Settings) -> None:
    class Breaking:
        def __init__(self) -> None:
            self.works = True

        async def check(self) -> None:
            """It can be read."""

        async def all(self, owner: str) -> list[Lesson]:
            return []

        def __getattr__(self, name: str) -> Any:
            async def fail(*args: Any) -> Any:
                raise GemsConfigError("the disk is full")

            return fail

    services = OwnServices(settings, chat=taught(["+-+", "+++"]), images=ScriptedImages(), lessons=Breaking())
    state = await run(services)
    assert state["stop_reason"] == "satisfied"
    assert "lessons could not be read; the log says why" in state["warnings"]
    assert "lessons could not be kept; the log says why" in state["warnings"]
