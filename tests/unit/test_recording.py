"""A recorded run, replayed without its models, gives the same trajectory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.backends.recording import record, replay
from gems.core.errors import DrawingRefused, GemsConfigError, GemsRunError
from gems.core.ports import Models
from gems.core.profiles import Profile
from gems.core.settings import Settings
from gems.core.state import ROLES, GemsState
from gems.graph import MachineServices, OwnServices, build_graph

THREAD: Any = {"configurable": {"thread_id": "t"}}


class TapedServices(MachineServices):
    """The machine's services with these models."""

    def __init__(self, settings: Settings, models: Models) -> None:
        super().__init__(settings)
        self._taped = models

    def models(self, profile: str) -> Models:
        return self._taped

    def defaults(self, profile: str | None) -> Profile:
        return self.settings.resolve(profile)


async def run(settings: Settings, models: Models, **context: Any) -> GemsState:
    graph = build_graph(TapedServices(settings, models), checkpointer=InMemorySaver())
    options = {"size": "64x64", "seed": 3, "candidates": 2, **context}
    await graph.ainvoke({"prompt": "a red dog"}, THREAD, context=options)  # type: ignore[call-overload]
    return (await graph.aget_state(THREAD)).values  # type: ignore[return-value]


def recorded(folder: Path) -> Models:
    chat = rehearse(["+--", "+--", "++-", "?+-", "+++"])
    images = ScriptedImages(lambda it: DrawingRefused("no") if it.seed == 6 else None)
    return record(Models(dict.fromkeys(ROLES, chat), images), folder)


async def test_every_verdict_and_action_is_reproduced(settings: Settings, tmp_path: Path) -> None:
    tape = tmp_path / "tape"
    first = await run(settings, recorded(tape))
    elsewhere = settings.model_copy(update={"home": tmp_path / "other"})
    second = await run(elsewhere, replay(tape))
    assert first["stop_reason"] == second["stop_reason"] == "satisfied"
    assert second["attempts"] == first["attempts"]
    assert second["requirements"] == first["requirements"]
    assert second["experiences"] == first["experiences"]
    assert any(it.get("failure") == "refused" for it in second["attempts"])


async def test_what_was_not_recorded_is_not_made_up(settings: Settings, tmp_path: Path) -> None:
    tape = tmp_path / "tape"
    await run(settings, recorded(tape))
    with pytest.raises(GemsRunError, match="no answer to this"):
        await run(settings, replay(tape), seed=4)


def test_a_folder_without_a_tape_is_named(tmp_path: Path) -> None:
    with pytest.raises(GemsConfigError, match=str(tmp_path)):
        replay(tmp_path)


async def test_settings_record_and_replay_a_callers_own_models(settings: Settings, tmp_path: Path) -> None:
    tape = tmp_path / "own"
    options: Any = {"size": "64x64", "seed": 3}
    recording = settings.model_copy(update={"record": tape})
    own = OwnServices(recording, chat=rehearse(["+--", "+++"]), images=ScriptedImages())
    first = await build_graph(own).ainvoke({"prompt": "a red dog"}, context=options)  # type: ignore[call-overload]
    with (tape / "calls.jsonl").open("a") as file:
        file.write('{"kind": "chat", "key": "torn')
    images = ScriptedImages()
    replaying = OwnServices(settings.model_copy(update={"replay": tape}), images=images)
    for _ in range(2):
        again = await build_graph(replaying).ainvoke({"prompt": "a red dog"}, context=options)  # type: ignore[call-overload]
        assert again["result"]["requirements"] == first["result"]["requirements"]
        assert again["result"]["image"] == first["result"]["image"]
    assert images.history == []


async def test_settings_replay(settings: Settings, tmp_path: Path) -> None:
    tape = tmp_path / "tape"
    await run(settings, recorded(tape))
    services = MachineServices(settings.model_copy(update={"replay": tape}))
    assert services.models("sketch").images.name == "scripted"
