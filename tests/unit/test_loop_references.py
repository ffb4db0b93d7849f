"""Reference images: shown to those who plan and judge, given to who draws, and part of a drawing's key."""

from __future__ import annotations

import io
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from PIL import Image

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError
from gems.core.messages import TaskInput
from gems.core.ports import Capabilities, DrawRequest
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.graph import OwnServices, build_graph
from gems.memory import drawing_key

THREAD: Any = {"configurable": {"thread_id": "t"}}


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


class Stage:
    def __init__(self, settings: Settings, most: int = 2) -> None:
        self.chat = rehearse(["+--", "+++"])
        self.images = ScriptedImages(capabilities=Capabilities(references=most))
        self.services = OwnServices(settings, chat=self.chat, images=self.images)
        self.graph = build_graph(self.services, checkpointer=InMemorySaver())

    async def keep(self, colour: str) -> str:
        return await self.services.artifacts.put(picture(colour))

    async def run(self, references: list[str], prompt: str = "my dog on the moon") -> GemsState:
        given: Any = {"prompt": prompt, "references": references}
        await self.graph.ainvoke(given, THREAD, context={"size": "64x64", "seed": 7})  # type: ignore[arg-type]
        return (await self.graph.aget_state(THREAD)).values  # type: ignore[return-value]


async def test_references_reach_everyone_who_needs_them(settings: Settings) -> None:
    stage = Stage(settings)
    artifacts = [await stage.keep("red"), await stage.keep("blue")]
    state = await stage.run(artifacts)
    assert state["request"] == {"prompt": "my dog on the moon", "references": artifacts}
    assert [it.references for it in stage.images.history] == [(picture("red"), picture("blue"))] * 2

    def last_two(task: TaskInput) -> list[bytes]:
        return task.images[-2:]

    seen = {task.task: last_two(task) for task in stage.chat.history}
    both = [picture("red"), picture("blue")]
    assert {task for task, images in seen.items() if images == both} == {
        "write_prompts",
        "decompose",
        "judge",
        "refine",
    }
    judged = stage.chat.asked("judge")[0]
    assert len(judged.images) == 3


async def test_a_run_without_references_is_asked_as_before(settings: Settings) -> None:
    stage = Stage(settings)
    await stage.run([])
    assert stage.chat.asked("decompose")[0].images == []


@pytest.mark.parametrize(
    ("count", "most", "complaint"),
    [
        (1, 0, "scripted takes no reference images, not 1: .* drawing.edit = true"),
        (3, 2, "takes 2 reference images, not 3"),
    ],
)
async def test_more_than_the_model_takes_is_refused_before_anything_is_spent(
    settings: Settings, count: int, most: int, complaint: str
) -> None:
    stage = Stage(settings, most)
    artifacts = [await stage.keep(colour) for colour in ("red", "blue", "green")[:count]]
    with pytest.raises(GemsConfigError, match=complaint):
        await stage.run(artifacts)
    assert stage.chat.history == []


@pytest.mark.parametrize(
    ("artifact", "complaint"), [("0" * 64, "there is no image '000"), ("../../etc/passwd", "is not an artifact id")]
)
async def test_only_stored_images_can_be_referred_to(settings: Settings, artifact: str, complaint: str) -> None:
    with pytest.raises(GemsConfigError, match=complaint):
        await Stage(settings).run([artifact])


async def test_references_alone_are_no_request(settings: Settings) -> None:
    stage = Stage(settings)
    with pytest.raises(GemsConfigError, match="references were given without a prompt"):
        await stage.run([await stage.keep("red")], prompt="")


def test_a_picture_depends_on_its_references_and_on_their_order() -> None:
    keys = {
        drawing_key({}, DrawRequest("x", 1, 8, 8, references=references), None)
        for references in ((), (b"a",), (b"b",), (b"a", b"b"), (b"b", b"a"))
    }
    assert len(keys) == 5
