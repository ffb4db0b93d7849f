"""The whole loop through the real clients, against servers that imitate real ones: clean, then with 30% dirty replies."""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from langchain_core.runnables import RunnableConfig
from pydantic import SecretStr

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import ModelOutage
from gems.core.profiles import ChatOptions, CriticOptions, DrawingOptions, Profile
from gems.core.settings import Settings
from gems.core.state import CriticMode, GemsState
from gems.evals.loopback import (
    CHAT_FAULTS,
    CHAT_FLAVOURS,
    FREE,
    HARMLESS,
    IMAGE_FAULTS,
    IMAGE_FLAVOURS,
    SPOIL,
    TRANSPORT,
    ChatFlavour,
    ChatServer,
    ImageFlavour,
    ImageServer,
    Log,
    Loopback,
    always,
    brain_of,
    seeded,
    seeing,
    truth,
)
from gems.graph import OwnServices, open_graph
from gems.memory import FileArtifacts

KEY = "sk-loopback-0123456789abcdef"
MARKS = ["+-+", "++-", "+++"]
ROUNDS = 4
SEEDS = 20
TOGETHER = 8
PATIENCE, SLOW = 1.5, 2.5
"""Seconds that the clients wait, and that a slow reply takes."""
HASTE, LATE = 1.0, 1.5
"""The same, where one run has the machine for itself."""


def settings_for(
    home: Path, url: str, images: ImageFlavour, patience: float = PATIENCE, critic: CriticMode = "batch"
) -> Settings:
    server = "auto" if images == "reference" else images
    provider = "reference" if images == "reference" else "openai"
    mine = Profile(
        mllm="openai:loopback",
        mllm_base_url=f"{url}/v1",
        images=f"{provider}:loopback-image",
        images_base_url=url if images == "reference" else f"{url}/v1",
        api_key_env="WIRE_KEY",
        chat=ChatOptions(seconds=patience),
        drawing=DrawingOptions(server=server, seconds=patience),
        size="1024x1024" if images == "openai" else "64x64",
        max_calls=1000,
        max_images=100,
        critic=CriticOptions(mode=critic),
    )
    return Settings(home=home, profile="wire", profiles={"wire": mine}, secrets={"WIRE_KEY": SecretStr(KEY)})


NO_MESSAGE = ("no_choices", "null_choices")
"""Completions without a message: the server's fault, as no model answers so."""


class Run(NamedTuple):
    state: GemsState
    resumed: int
    log: Log
    settings: Settings

    def picture(self, artifact: str) -> bytes:
        return FileArtifacts(self.settings.home / "artifacts").path(artifact).read_bytes()


async def run(
    settings: Settings, log: Log, services: OwnServices | None = None, resumes: int = 0, candidates: int = 1
) -> Run:
    """Run to the end; an outage that stops it is followed by a resume, as the message asks for."""
    config = RunnableConfig(configurable={"thread_id": "t"})
    context: Any = {"max_rounds": ROUNDS, "seed": 1, "candidates": candidates}
    request: Any = {"prompt": "a red dog left of a blue car"}
    async with open_graph(settings, services=services) as graph:
        for resumed in range(resumes + 1):
            try:
                await graph.ainvoke(request, config, context=context)  # type: ignore[call-overload]
                break
            except ModelOutage as error:
                if resumed == resumes or KEY in str(error):
                    raise
                request = None
        state: Any = (await graph.aget_state(config)).values
    return Run(state, resumed, log, settings)


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What this file leaves behind is collected here, and not in another test."""
    yield
    gc.collect()


def verdict_names(state: GemsState) -> list[dict[str, str]]:
    return [{name: it["verdict"] for name, it in attempt["verdicts"].items()} for attempt in state["attempts"]]


async def check_clean(home: Path, chat: ChatFlavour, images: ImageFlavour) -> None:
    role = rehearse(MARKS)
    inside = settings_for(home / "inside", "http://127.0.0.1:1", images)
    services = OwnServices(inside, chat=role, images=ScriptedImages())
    expected = await run(inside, Log(), services)
    with Loopback(ChatServer(brain_of(rehearse(MARKS)), chat, key=KEY, thinks=True), ImageServer(images)) as server:
        wired = await run(settings_for(home / "wired", server.url, images), server.log)
    assert wired.state["stop_reason"] == "satisfied" == expected.state["stop_reason"]
    assert verdict_names(wired.state) == verdict_names(expected.state)
    assert tasks_of(server.log) == Counter(task.task for task in role.history)
    assert len(server.log.drawn) == len(MARKS) == wired.state["usage"]["images"]
    assert wired.state["usage"]["mllm_calls"] == expected.state["usage"]["mllm_calls"]
    answered = [entry for entry in server.log.chat if entry.status == 200]
    assert wired.state["usage"]["input_tokens"] == sum(it.text_tokens + it.image_tokens for it in answered)
    assert wired.state["usage"]["output_tokens"] == sum(it.output_tokens for it in answered)
    assert not any(entry.repair for entry in server.log.chat)


def tasks_of(log: Log) -> Counter[str]:
    """Tasks that were answered; a server that does not know a form of output is asked again at once, at no cost."""
    return Counter(entry.task for entry in log.chat if entry.status == 200)


@pytest.mark.parametrize("chat", CHAT_FLAVOURS)
async def test_a_clean_run_is_as_with_scripted_models_whatever_the_chat_server(
    chat: ChatFlavour, tmp_path: Path
) -> None:
    await check_clean(tmp_path, chat, "vllm-omni")


@pytest.mark.parametrize("images", IMAGE_FLAVOURS)
async def test_a_clean_run_is_as_with_scripted_models_whatever_the_image_server(
    images: ImageFlavour, tmp_path: Path
) -> None:
    await check_clean(tmp_path, "vllm", images)


@pytest.mark.parametrize("fault", [it for it in SPOIL if it not in NO_MESSAGE])
async def test_a_model_that_answers_nothing_but_faults_is_not_believed(fault: str, tmp_path: Path) -> None:
    server = Loopback(ChatServer(seeing(), plan=always(fault), key=KEY), ImageServer())
    with server:
        it = await run(settings_for(tmp_path, server.url, "vllm-omni"), server.log)
    names = sum((check_verdicts(it, attempt) for attempt in it.state["attempts"]), Counter[str]())
    if fault in HARMLESS:
        assert len(it.state["requirements"]) == 4
        assert not names["unknown"]
        assert not any(entry.repair for entry in server.log.chat), "what can be read needs no second call"
    if names["unknown"]:
        assert set(names) == {"unknown"}
        assert it.state["stop_reason"] == "unverified"


@pytest.mark.parametrize("fault", [*TRANSPORT, *NO_MESSAGE])
async def test_a_chat_server_that_is_down_stops_the_run_before_anything_is_drawn(fault: str, tmp_path: Path) -> None:
    server = Loopback(ChatServer(seeing(), plan=always(fault), slow=LATE, key=KEY), ImageServer())
    with server, pytest.raises(ModelOutage) as caught:
        await run(settings_for(tmp_path, server.url, "vllm-omni", HASTE), server.log)
    assert KEY not in str(caught.value)
    assert server.log.drawn == []
    assert max(Counter(entry.task for entry in server.log.chat).values()) <= 1 + ChatOptions().retries


@pytest.mark.parametrize("fault", ["429", "hang_up", "no_choices"])
async def test_a_critic_that_is_away_leaves_pictures_unverified(fault: str, tmp_path: Path) -> None:
    chat = ChatServer(seeing(), plan=always(fault), dirty_tasks={"judge"}, key=KEY)
    with Loopback(chat, ImageServer()) as server:
        it = await run(settings_for(tmp_path, server.url, "vllm-omni", HASTE), server.log)
    assert it.state["stop_reason"] == "unverified"
    assert [set(names.values()) for names in verdict_names(it.state)] == [{"unknown"}]
    assert len(server.log.drawn) == 1


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
async def test_a_drawing_that_may_have_been_paid_for_is_made_once_more_at_most(fault: str, tmp_path: Path) -> None:
    server = Loopback(ChatServer(seeing(), key=KEY), ImageServer(plan=always(fault), slow=LATE, key=KEY))
    settings = settings_for(tmp_path, server.url, "vllm-omni", HASTE)
    with server:
        if fault == "moderation":
            it = await run(settings, server.log)
            assert it.state["stop_reason"] == "max_rounds"
            assert {attempt["failure"] for attempt in it.state["attempts"]} == {"refused"}
            prompts = Counter(entry.prompt for entry in server.log.of("images"))
            assert set(prompts.values()) == {1}, "what was refused is reworded, not repeated"
            assert len(prompts) == ROUNDS
            return
        with pytest.raises(ModelOutage) as caught:
            await run(settings, server.log)
    assert KEY not in str(caught.value)
    entries = server.log.of("images")
    assert len(entries) == (1 + DrawingOptions().retries if fault in FREE else 2)
    assert len(server.log.drawn) == (0 if fault in FREE else 2)


async def dirty_run(home: Path, seed: int) -> Run:
    chat = CHAT_FLAVOURS[seed % len(CHAT_FLAVOURS)]
    # Not in step with the chat servers, so that many pairs are met.
    images = IMAGE_FLAVOURS[(seed + seed // len(CHAT_FLAVOURS)) % len(IMAGE_FLAVOURS)]
    thinks = seed % 3 == 0
    with Loopback(
        ChatServer(seeing(), chat, plan=seeded(seed, CHAT_FAULTS), slow=SLOW, key=KEY, thinks=thinks),
        ImageServer(images, plan=seeded(-seed - 1, IMAGE_FAULTS), slow=SLOW, key=KEY if images != "reference" else ""),
    ) as server:
        settings = settings_for(home / str(seed), server.url, images, critic="single" if seed % 5 == 0 else "batch")
        return await run(settings, server.log, resumes=10, candidates=1 + seed % 2)


@pytest.fixture(scope="module")
def dirty_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    home = tmp_path_factory.mktemp("dirty")

    async def all_runs() -> list[Run]:
        turns = asyncio.Semaphore(TOGETHER)

        async def one(seed: int) -> Run:
            async with turns:
                return await dirty_run(home, seed)

        return list(await asyncio.gather(*(one(seed) for seed in range(SEEDS))))

    return asyncio.run(all_runs())


def test_the_dirt_is_there_and_the_runs_end(dirty_runs: list[Run]) -> None:
    entries = [entry for it in dirty_runs for entry in (*it.log.chat, *it.log.of("images")) if entry.status != 422]
    share = sum(bool(entry.fault) for entry in entries) / len(entries)
    assert 0.2 < share < 0.4
    kinds = {entry.fault for entry in entries}
    assert len(kinds & {*CHAT_FAULTS}) > 20
    assert len(kinds & {*IMAGE_FAULTS}) > 10
    reasons = Counter(it.state["stop_reason"] for it in dirty_runs)
    assert set(reasons) <= {"satisfied", "unverified", "max_rounds"}, reasons
    assert reasons["satisfied"] >= SEEDS // 4, reasons
    assert all(it.state["status"] == "done" for it in dirty_runs)


def test_no_fault_is_counted_as_an_unmet_requirement(dirty_runs: list[Run]) -> None:
    names = Counter[str]()
    for it in dirty_runs:
        for attempt in it.state["attempts"]:
            if "verdicts" in attempt:
                names += check_verdicts(it, attempt)
    assert min(names["met"], names["unmet"], names["skipped"]) > 10, names
    assert names["unknown"] < names["met"] + names["unmet"], names


def check_verdicts(it: Run, attempt: Any) -> Counter[str]:
    picture, verdicts = it.picture(attempt["artifact"]), attempt["verdicts"]
    for requirement in it.state["requirements"]:
        verdict = verdicts[requirement["id"]]["verdict"]
        if verdict in ("met", "unmet"):
            assert (verdict == "met") == truth(picture, requirement["question"]), (attempt["id"], requirement, verdicts)
        if verdict == "skipped":
            parents = {verdicts[parent]["verdict"] for parent in requirement["depends_on"]}
            assert parents & {"unmet", "skipped"}, (attempt["id"], requirement, verdicts)
    return Counter(verdict["verdict"] for verdict in verdicts.values())


def test_nobody_claims_a_picture_that_is_not_right(dirty_runs: list[Run]) -> None:
    for it in dirty_runs:
        if it.state["stop_reason"] == "satisfied":
            best = next(attempt for attempt in it.state["attempts"] if attempt["id"] == it.state["best"])
            picture = it.picture(best["artifact"])
            assert all(truth(picture, requirement["question"]) for requirement in it.state["requirements"])


def test_nothing_received_is_drawn_again_and_nothing_paid_more_than_once_more(dirty_runs: list[Run]) -> None:
    for it in dirty_runs:
        attempts = Counter(attempt["prompt"] for attempt in it.state["attempts"])
        drawn = Counter(entry.prompt for entry in it.log.drawn)
        received = Counter(entry.prompt for entry in it.log.drawn if entry.fault == "")
        # A round of which nothing was drawn is drawn once more, and a resumed run begins its round anew.
        again = 2 + it.resumed
        for prompt, count in attempts.items():
            assert received[prompt] <= count, (prompt, [entry.fault for entry in it.log.drawn])
            assert drawn[prompt] <= 2 * count * again, (prompt, [entry.fault for entry in it.log.drawn])


def test_the_key_is_nowhere_to_be_found(dirty_runs: list[Run]) -> None:
    for it in dirty_runs:
        assert KEY not in json.dumps(it.state, default=str)
        for path in it.settings.home.rglob("*"):
            assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
