"""The whole loop through the real clients, against servers that imitate real ones: clean, then with 30% dirty replies."""

from __future__ import annotations

import asyncio
import gc
import json
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
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
PATIENCE, SLOW = 3.0, 9.0
"""Seconds that the clients wait, and that a slow reply takes: far apart, as the machine may be slow too."""
HASTE = 0.5
"""Seconds that a client waits who is not answered in any case."""


def settings_for(
    home: Path,
    url: str,
    images: ImageFlavour,
    chat_seconds: float = 60.0,
    drawing_seconds: float = 60.0,
    critic: CriticMode = "batch",
) -> Settings:
    server = "auto" if images == "reference" else images
    provider = "reference" if images == "reference" else "openai"
    mine = Profile(
        mllm="openai:loopback",
        mllm_base_url=f"{url}/v1",
        images=f"{provider}:loopback-image",
        images_base_url=url if images == "reference" else f"{url}/v1",
        api_key_env="WIRE_KEY",
        chat=ChatOptions(seconds=chat_seconds),
        drawing=DrawingOptions(server=server, seconds=drawing_seconds),
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


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """What this file leaves behind is collected here, and not in another test."""
    yield
    gc.collect()


def verdict_names(state: GemsState) -> list[dict[str, str]]:
    return [{name: it["verdict"] for name, it in attempt["verdicts"].items()} for attempt in state["attempts"]]


class Expected(NamedTuple):
    """What a run comes to with scripted models, which no server can change."""

    state: GemsState
    tasks: Counter[str]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    role = rehearse(MARKS)
    settings = settings_for(tmp_path_factory.mktemp("inside"), "http://127.0.0.1:1", "vllm-omni")
    services = OwnServices(settings, chat=role, images=ScriptedImages())
    state = asyncio.run(run(settings, Log(), services)).state
    return Expected(state, Counter(task.task for task in role.history))


async def check_clean(home: Path, chat: ChatFlavour, images: ImageFlavour, expected: Expected) -> None:
    with Loopback(ChatServer(brain_of(rehearse(MARKS)), chat, key=KEY, thinks=True), ImageServer(images)) as server:
        wired = await run(settings_for(home, server.url, images), server.log)
    assert wired.state["stop_reason"] == "satisfied" == expected.state["stop_reason"]
    assert verdict_names(wired.state) == verdict_names(expected.state)
    assert tasks_of(server.log) == expected.tasks
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
    chat: ChatFlavour, tmp_path: Path, expected: Expected
) -> None:
    await check_clean(tmp_path, chat, "vllm-omni", expected)


@pytest.mark.parametrize("images", IMAGE_FLAVOURS)
async def test_a_clean_run_is_as_with_scripted_models_whatever_the_image_server(
    images: ImageFlavour, tmp_path: Path, expected: Expected
) -> None:
    await check_clean(tmp_path, "vllm", images, expected)


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


class Ended(NamedTuple):
    """How a run ended: with a result, or stopped by an outage."""

    run: Run | None
    error: ModelOutage | None
    log: Log

    @property
    def state(self) -> GemsState:
        assert self.run is not None, self.error
        return self.run.state


async def end_of(home: Path, chat: ChatServer, images: ImageServer, **seconds: float) -> Ended:
    with Loopback(chat, images) as server:
        try:
            done = await run(settings_for(home, server.url, "vllm-omni", **seconds), server.log)
        except ModelOutage as error:
            return Ended(None, error, server.log)
    return Ended(done, None, server.log)


def all_at_once(ends: Mapping[str, Coroutine[Any, Any, Ended]]) -> dict[str, Ended]:
    """The runs of a kind of fault are mostly waits between repeats, which pass for all of them together."""

    async def gathered() -> list[Ended]:
        return await asyncio.gather(*ends.values())

    return dict(zip(ends, asyncio.run(gathered()), strict=True))


CHAT_DOWN = (*TRANSPORT, *NO_MESSAGE)
CRITIC_AWAY = ("429", "hang_up", "no_choices")


@pytest.fixture(scope="module")
def with_chat_down(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    def end(fault: str) -> Coroutine[Any, Any, Ended]:
        chat = ChatServer(seeing(), plan=always(fault), slow=SLOW, key=KEY)
        seconds = {"chat_seconds": HASTE} if fault == "slow" else {}
        return end_of(tmp_path_factory.mktemp("down"), chat, ImageServer(), **seconds)

    return all_at_once({fault: end(fault) for fault in CHAT_DOWN})


@pytest.mark.parametrize("fault", CHAT_DOWN)
def test_a_chat_server_that_is_down_stops_the_run_before_anything_is_drawn(
    fault: str, with_chat_down: dict[str, Ended]
) -> None:
    ended = with_chat_down[fault]
    assert isinstance(ended.error, ModelOutage)
    assert KEY not in str(ended.error)
    assert ended.log.drawn == []
    assert max(Counter(entry.task for entry in ended.log.chat).values()) <= 1 + ChatOptions().retries


@pytest.fixture(scope="module")
def with_critic_away(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    def end(fault: str) -> Coroutine[Any, Any, Ended]:
        chat = ChatServer(seeing(), plan=always(fault), dirty_tasks={"judge"}, key=KEY)
        return end_of(tmp_path_factory.mktemp("away"), chat, ImageServer())

    return all_at_once({fault: end(fault) for fault in CRITIC_AWAY})


@pytest.mark.parametrize("fault", CRITIC_AWAY)
def test_a_critic_that_is_away_leaves_pictures_unverified(fault: str, with_critic_away: dict[str, Ended]) -> None:
    ended = with_critic_away[fault]
    assert ended.state["stop_reason"] == "unverified"
    assert [set(names.values()) for names in verdict_names(ended.state)] == [{"unknown"}]
    assert len(ended.log.drawn) == 1


@pytest.fixture(scope="module")
def with_faulty_drawings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    def end(fault: str) -> Coroutine[Any, Any, Ended]:
        images = ImageServer(plan=always(fault), slow=SLOW, key=KEY)
        seconds = {"drawing_seconds": HASTE} if fault == "slow" else {}
        return end_of(tmp_path_factory.mktemp("faulty"), ChatServer(seeing(), key=KEY), images, **seconds)

    return all_at_once({fault: end(fault) for fault in IMAGE_FAULTS})


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_a_drawing_that_may_have_been_paid_for_is_made_once_more_at_most(
    fault: str, with_faulty_drawings: dict[str, Ended]
) -> None:
    ended = with_faulty_drawings[fault]
    entries = ended.log.of("images")
    if fault == "moderation":
        assert ended.state["stop_reason"] == "max_rounds"
        assert {attempt["failure"] for attempt in ended.state["attempts"]} == {"refused"}
        prompts = Counter(entry.prompt for entry in entries)
        assert set(prompts.values()) == {1}, "what was refused is reworded, not repeated"
        assert len(prompts) == ROUNDS
        return
    assert isinstance(ended.error, ModelOutage)
    assert KEY not in str(ended.error)
    assert len(entries) == (1 + DrawingOptions().retries if fault in FREE else 2)
    assert len(ended.log.drawn) == (0 if fault in FREE else 2)


async def dirty_run(home: Path, seed: int) -> Run:
    chat = CHAT_FLAVOURS[seed % len(CHAT_FLAVOURS)]
    # Not in step with the chat servers, so that many pairs are met.
    images = IMAGE_FLAVOURS[(seed + seed // len(CHAT_FLAVOURS)) % len(IMAGE_FLAVOURS)]
    thinks = seed % 3 == 0
    with Loopback(
        ChatServer(seeing(), chat, plan=seeded(seed, CHAT_FAULTS), slow=SLOW, key=KEY, thinks=thinks),
        ImageServer(images, plan=seeded(-seed - 1, IMAGE_FAULTS), slow=SLOW, key=KEY if images != "reference" else ""),
    ) as server:
        critic: CriticMode = "single" if seed % 5 == 0 else "batch"
        settings = settings_for(home / str(seed), server.url, images, PATIENCE, PATIENCE, critic)
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
