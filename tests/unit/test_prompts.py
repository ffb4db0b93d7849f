"""Every message to a model, whole, against golden files: prompts are product.

After a wanted change: `GEMS_UPDATE_GOLDEN=1 python -m pytest tests/unit/test_prompts.py`, and read the difference.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from gems.backends.chat.rehearsal import rehearse
from gems.backends.chat.scripted import ScriptedRole
from gems.backends.images.scripted import ScriptedImages
from gems.core.messages import Task, read_task
from gems.core.ports import Answer, Lesson, LessonQuery, R, SkillCard, SkillText
from gems.core.settings import Settings
from gems.graph import OwnServices, build_graph
from gems.nodes.brief import prompt_versions

GOLDEN = Path(__file__).parents[1] / "golden"
UPDATE = bool(os.environ.get("GEMS_UPDATE_GOLDEN"))
TASKS = ("choose_skills", "write_prompts", "decompose", "judge", "compare", "refine", "compress")
NOTED = ("amend", "distil", "write_prompts", "judge", "refine", "compress")
"""Messages of a second run, in whose blocks stands what is not always there."""
THREAD: Any = {"configurable": {"thread_id": "t"}}


class OneSkill:
    """A library of one short skill, so that golden files do not change with the built-in ones."""

    def cards(self) -> list[SkillCard]:
        return [SkillCard("counting", "Use when the request names a number of things.")]

    def warnings(self) -> list[str]:
        return []

    def read(self, name: str) -> SkillText:
        return SkillText(name, "Say the number, then name the things one by one.", "0" * 12, ("SKILL.md",))


class Listener:
    """A role that keeps whole messages as text."""

    def __init__(self, inner: ScriptedRole) -> None:
        self.inner = inner
        self.heard: dict[str, str] = {}

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        self.heard[read_task(messages).task] = f"REPLY MODEL {reply_model.__name__}\n" + "".join(map(render, messages))
        return await self.inner.ask(messages, reply_model)


def render(message: BaseMessage) -> str:
    parts: list[Any] = (
        message.content if isinstance(message.content, list) else [{"type": "text", "text": message.content}]
    )
    texts = [part["text"] if part["type"] == "text" else f"[{part['image_url']['url'][:22]}...]" for part in parts]
    return f"\n===== {message.type} =====\n" + "\n".join(texts) + "\n"


@pytest.fixture
async def heard(settings: Settings) -> dict[str, str]:
    """What a run of three rounds with two candidates says to its models; the last message of each task."""
    chat = rehearse(
        ["+--", "+--", "++-", "++-", "+-?"], choose_skills=lambda _: {"reason": "numbers", "skills": ["counting"]}
    )
    listener = Listener(chat)
    services = OwnServices(settings, chat=listener, images=ScriptedImages(), skills=OneSkill())
    context: Any = {"size": "64x64", "seed": 7, "candidates": 2, "max_rounds": 3}
    await build_graph(services).ainvoke({"prompt": 'two red dogs and a sign "OPEN"'}, context=context)  # type: ignore[call-overload]
    return listener.heard


@pytest.mark.parametrize("task", TASKS)
async def test_messages_are_as_the_golden_files_say(heard: dict[str, str], task: str) -> None:
    path = GOLDEN / f"{task}.txt"
    if UPDATE:
        path.write_text(heard[task], encoding="utf-8")
    assert heard[task] == path.read_text(encoding="utf-8")


@pytest.fixture
async def noted(settings: Settings) -> dict[str, str]:
    """What is said in a run with lessons, a person's rulings and remarks, more rounds than the window, and a follow-up."""
    lesson = Lesson("l1", "count", "scripted", (), "two dogs are asked for", "say the number first")
    chat = rehearse(
        [*["+--"] * 6, "+++", "+++-", "++++"],
        distil=lambda _: {"lessons": []},
        compress=lambda task: {"experience": f"note {task.fields['round']}", "digest": "all that was learned"},
    )
    listener = Listener(chat)
    services = OwnServices(settings, chat=listener, images=ScriptedImages(), skills=OneSkill(), lessons=Known(lesson))
    graph = build_graph(services, checkpointer=InMemorySaver())
    context: Any = {"size": "64x64", "seed": 7, "max_rounds": 9, "review": "round", "lessons": True}
    await graph.ainvoke({"prompt": "two red dogs"}, THREAD, context=context)
    ruling = {"attempt": "1.1", "requirement": "r3", "verdict": "unmet", "note": "there are three"}
    await graph.ainvoke(Command(resume={"action": "approve"}), THREAD, context=context)
    answer = {"feedback": "no cartoons", "overrule": [ruling], "ask_again": False}
    await graph.ainvoke(Command(resume=answer), THREAD, context=context)
    await graph.ainvoke({"prompt": "on a sofa"}, THREAD, context=context)
    return listener.heard


class Known:
    """One lesson, whoever asks."""

    def __init__(self, lesson: Lesson) -> None:
        self._lesson = lesson

    async def fitting(self, owner: str, query: LessonQuery, most: int) -> list[Lesson]:
        return [self._lesson]

    async def check(self) -> None:
        """It can be read."""

    async def all(self, owner: str) -> list[Lesson]:
        return [self._lesson]

    async def learn(self, owner: str, found: Sequence[Lesson], occasion: str = "") -> None:
        """Nothing is kept."""

    async def credit(self, owner: str, outcomes: Mapping[str, bool], occasion: str = "") -> None:
        """Nothing is kept."""


@pytest.mark.parametrize("task", NOTED)
async def test_messages_with_notes_are_as_the_golden_files_say(noted: dict[str, str], task: str) -> None:
    path = GOLDEN / f"{task}_noted.txt"
    if UPDATE:
        path.write_text(noted[task], encoding="utf-8")
    assert noted[task] == path.read_text(encoding="utf-8")


def test_there_is_no_task_without_a_golden_file(heard: dict[str, str], noted: dict[str, str]) -> None:
    assert set(heard) == set(TASKS)
    assert set(noted) | set(heard) == set(get_args(Task))
    assert {path.stem for path in GOLDEN.glob("*.txt")} == {*TASKS, *(f"{task}_noted" for task in NOTED)}


async def test_a_folder_of_texts_replaces_instructions(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "judge.md").write_text("Look hard.", encoding="utf-8")
    own = settings.model_copy(update={"prompts": tmp_path})
    listener = Listener(rehearse(["+++"]))
    services = OwnServices(own, chat=listener, images=ScriptedImages())
    context: Any = {"size": "64x64"}
    await build_graph(services).ainvoke({"prompt": "a dog"}, context=context)  # type: ignore[call-overload]
    assert "Look hard." in listener.heard["judge"]
    plain = prompt_versions(OwnServices(settings))
    changed = {task for task, digest in prompt_versions(services).items() if digest != plain[task]}
    assert changed == {"judge"}
