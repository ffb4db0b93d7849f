"""Whole runs whose chat model and image model share one GPU: a loopback Ollama, and pictures drawn beside it."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from langchain_core.runnables import RunnableConfig

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.backends.local.images import LocalImages
from gems.backends.local.placement import GB, Memory
from gems.backends.local.workers import LocalStudio
from gems.backends.sharing import ONE_GPU
from gems.core.ports import Drawing, DrawRequest, ImageGenerator, Progress
from gems.core.profiles import DrawingOptions, Endpoint, Profile
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.evals.loopback import ChatServer, ImageServer, Log, Loopback, OllamaNative, brain_of
from gems.evals.tiny import build_tiny
from gems.graph import OwnServices, open_graph
from gems.graph.services import MachineServices

MODEL = "qwen3-vl:8b"
MARKS = ["+--", "+--", "++-", "++-", "+++"]
"""Both pictures of a round are alike, so that they are compared, too."""
CANDIDATES = 2
ROUNDS = 3
ANSWER, DRAW, UNLOAD = 0.02, 0.05, 0.03
"""Seconds that an answer, a drawing and an unload take."""


class Span(NamedTuple):
    """When something went on, by `time.monotonic()`."""

    start: float
    end: float


class Weights(ScriptedImages):
    """Draws in this process with weights on the GPU, several at the same time; remembers when, and who else was there."""

    def __init__(self, ollama: OllamaNative) -> None:
        super().__init__()
        self._ollama = ollama
        self._lock = threading.Lock()
        self.drawn: list[Span] = []
        self.rests: list[float] = []
        self.crowds: list[list[str]] = []
        """What Ollama held in memory when a drawing began and when it ended."""

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        start, before = time.monotonic(), self._ollama.loaded
        await asyncio.sleep(DRAW)
        drawing = await super().generate(request, progress)
        with self._lock:
            self.crowds += [before, self._ollama.loaded]
            self.drawn.append(Span(start, time.monotonic()))
        return drawing

    async def rest(self) -> None:
        with self._lock:
            self.rests.append(time.monotonic())


def settings_for(home: Path, url: str, *, overlap: bool = False) -> Settings:
    """An Ollama, and an image server at the same place, which is used where the caller brings no image model."""
    mine = Profile(
        mllm=f"openai:{MODEL}",
        mllm_base_url=f"{url}/v1",
        images="openai:loopback-image",
        images_base_url=f"{url}/v1",
        drawing=DrawingOptions(server="vllm-omni"),
        size="64x64",
        candidates=CANDIDATES,
        overlap=overlap,
    )
    return Settings(home=home, profile="one-gpu", profiles={"one-gpu": mine})


def ollama(native: OllamaNative, marks: Sequence[str] = MARKS) -> ChatServer:
    return ChatServer(brain_of(rehearse(marks)), "ollama", model=MODEL, seconds=ANSWER, native=native)


async def run(settings: Settings, images: ImageGenerator | None = None, thread: str = "t") -> GemsState:
    config = RunnableConfig(configurable={"thread_id": thread})
    services = OwnServices(settings, images=images) if images else MachineServices(settings)
    async with open_graph(settings, services=services) as graph:
        await graph.ainvoke(
            {"prompt": f"a red dog, {thread}"},  # type: ignore[call-overload]
            config,
            context={"max_rounds": ROUNDS, "seed": 1},
        )
        state: Any = (await graph.aget_state(config)).values
    return state  # type: ignore[no-any-return]


def chats(log: Log) -> list[Span]:
    return [Span(it.start, it.end) for it in log.chat if it.end is not None]


def drawings(log: Log) -> list[Span]:
    return [Span(it.draw_start, it.draw_end) for it in log.drawn if it.draw_start and it.draw_end]


def overlaps(some: Sequence[Span], others: Sequence[Span]) -> int:
    return sum(one.start < other.end and other.start < one.end for one in some for other in others)


def phases(log: Log, drawn: Sequence[Span], rests: Sequence[float] = ()) -> list[str]:
    """What happened, in its order; several of one kind in a row are one."""
    events = [(it.start, it.kind) for it in log.entries if it.kind in ("chat", "unload")]
    events += [(it.start, "draw") for it in drawn] + [(moment, "rest") for moment in rests]
    return [name for name, _ in groupby(kind for _, kind in sorted(events))]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What this file leaves behind is collected here, and not in another test."""
    yield
    gc.collect()


async def test_chat_and_weights_in_this_process_never_share_the_gpu_and_change_twice_a_round(tmp_path: Path) -> None:
    native = OllamaNative(unload_seconds=UNLOAD)
    weights = Weights(native)
    with Loopback(ollama(native)) as server:
        state = await run(settings_for(tmp_path, server.url), weights)
    log = server.log
    assert (state["stop_reason"], state["round"]) == ("satisfied", ROUNDS)
    assert len(weights.drawn) == CANDIDATES * ROUNDS
    assert overlaps(chats(log), weights.drawn) == 0
    assert weights.crowds == [[]] * 2 * len(weights.drawn), "the memory was free of the chat model"
    assert phases(log, weights.drawn, weights.rests) == ["chat", *["unload", "draw", "rest", "chat"] * ROUNDS]
    assert len(log.of("unload")) + len(weights.rests) == 2 * ROUNDS, "two changes a round"
    assert [it["source"] for it in state["experiences"]] == ["model"] * (ROUNDS - 1)


class Timed(LocalImages):
    """Remembers when pictures were drawn, and when the weights were sent to rest."""

    def __init__(self, endpoint: Endpoint, studio: LocalStudio) -> None:
        super().__init__(endpoint, shares_device=True, studio=studio)
        self.drawn: list[Span] = []
        self.rests: list[float] = []

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        start = time.monotonic()
        drawing = await super().generate(request, progress)
        self.drawn.append(Span(start, time.monotonic()))
        return drawing

    async def rest(self) -> None:
        self.rests.append(time.monotonic())
        await super().rest()


async def test_a_pipeline_of_diffusers_rests_while_the_chat_model_answers(tmp_path: Path) -> None:
    folder = build_tiny("sd-turbo", tmp_path / "tiny")
    native = OllamaNative(unload_seconds=UNLOAD)
    drawing = DrawingOptions(steps=1)
    studio = LocalStudio(["cpu"], memory=lambda _: Memory("cpu", 8 * GB, 8 * GB, 8 * GB, can_offload=False))
    images = Timed(Endpoint(provider="diffusers", model=str(folder), drawing=drawing), studio)
    try:
        with Loopback(ollama(native)) as server:
            state = await run(settings_for(tmp_path, server.url), images)
    finally:
        studio.close()
    assert state["stop_reason"] == "satisfied"
    assert studio.figures().drawn == CANDIDATES * ROUNDS
    assert overlaps(chats(server.log), images.drawn) == 0
    assert phases(server.log, images.drawn, images.rests) == ["chat", *["unload", "draw", "rest", "chat"] * ROUNDS]


async def test_all_candidates_are_drawn_before_anybody_looks_and_notes_are_written_before(tmp_path: Path) -> None:
    native = OllamaNative()
    weights = Weights(native)
    with Loopback(ollama(native)) as server:
        await run(settings_for(tmp_path, server.url), weights)
    drawn = [(it.start, "draw") for it in weights.drawn]
    asked = [(it.start, it.task) for it in server.log.chat if it.task in ("judge", "refine", "compress")]
    order = [name for _, name in sorted(drawn + asked)]
    one_round = ["draw"] * CANDIDATES + ["judge"] * CANDIDATES
    assert order == [*[*one_round, "refine", "compress"] * (ROUNDS - 1), *one_round]
    together = sorted(weights.drawn)
    assert overlaps(together[0::CANDIDATES], together[1::CANDIDATES]) == ROUNDS, "siblings are drawn in one go"


async def test_an_image_server_beside_the_chat_server_takes_turns_with_it(tmp_path: Path) -> None:
    native = OllamaNative(unload_seconds=UNLOAD)
    with Loopback(ollama(native), ImageServer(seconds=DRAW)) as server:
        state = await run(settings_for(tmp_path, server.url))
    log = server.log
    assert (state["stop_reason"], state["round"]) == ("satisfied", ROUNDS)
    assert len(log.drawn) == CANDIDATES * ROUNDS
    assert overlaps(chats(log), drawings(log)) == 0
    assert phases(log, drawings(log)) == ["chat", *["unload", "draw", "chat"] * ROUNDS]
    assert len(log.of("unload")) == ROUNDS, "one for each change; what the image server holds is its own affair"


async def test_without_the_flag_they_do_overlap_and_nothing_is_unloaded(tmp_path: Path) -> None:
    native = OllamaNative()
    weights = Weights(native)
    with Loopback(ollama(native)) as server:
        await run(settings_for(tmp_path, server.url, overlap=True), weights)
    assert overlaps(chats(server.log), weights.drawn) > 0, "the compressor works while pictures are drawn"
    assert native.loaded == [MODEL]
    assert server.log.of("unload") == []
    assert weights.rests == []


async def test_an_ollama_that_will_not_unload_does_not_stop_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    native = OllamaNative(refusal=403)
    weights = Weights(native)
    with Loopback(ollama(native)) as server:
        state = await run(settings_for(tmp_path, server.url), weights)
    assert state["stop_reason"] == "satisfied"
    assert overlaps(chats(server.log), weights.drawn) == 0
    told = [it.getMessage() for it in caplog.records if "was not given back" in it.getMessage()]
    assert len([it for it in told if f"{server.url} refused to unload {MODEL!r} (403)" in it]) == ROUNDS


async def test_a_chat_server_that_cannot_unload_takes_turns_all_the_same(tmp_path: Path) -> None:
    weights = Weights(OllamaNative())
    with Loopback(ChatServer(brain_of(rehearse(MARKS)), "vllm", model=MODEL, seconds=ANSWER)) as server:
        state = await run(settings_for(tmp_path, server.url), weights)
    assert state["stop_reason"] == "satisfied"
    assert overlaps(chats(server.log), weights.drawn) == 0
    assert len(weights.rests) == ROUNDS
    assert [it.path for it in server.log.entries if it.path.startswith("/api")] == ["/api/version"]


def two_runs(home: Path, *, overlap: bool) -> tuple[Log, list[Weights]]:
    """Two runs at the same time, each in a thread with an event loop of its own, as a server's runs may be."""
    native = OllamaNative(unload_seconds=UNLOAD)
    weights = [Weights(native), Weights(native)]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            settings = settings_for(home / str(number), server.url, overlap=overlap)
            asyncio.run(run(settings, weights[number], f"t{number}"))
        except BaseException as error:
            failures.append(error)

    with Loopback(ollama(native, ["+--"])) as server:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    return server.log, weights


def test_two_runs_in_one_process_never_share_the_gpu_with_each_other_either(tmp_path: Path) -> None:
    log, weights = two_runs(tmp_path, overlap=False)
    drawn = [span for it in weights for span in it.drawn]
    assert len(drawn) == 2 * ROUNDS * CANDIDATES
    assert overlaps(chats(log), drawn) == 0
    assert all(it.crowds == [[]] * 2 * ROUNDS * CANDIDATES for it in weights), "the memory was free of the chat model"
    rests = [moment for it in weights for moment in it.rests]
    told = phases(log, drawn, rests)
    assert all(it == "unload" for it, following in pairwise(told) if following == "draw")
    assert all(it == "rest" for it, following in pairwise(told) if following == "chat")


def test_two_runs_do_meet_without_the_flag(tmp_path: Path) -> None:
    log, weights = two_runs(tmp_path, overlap=True)
    assert overlaps(chats(log), [span for it in weights for span in it.drawn]) > 0


async def forget() -> None:
    """Bring the process to where a new one begins: nobody of it holds anything."""
    for side in ("drawing", "chat"):
        async with ONE_GPU.turn(side):  # type: ignore[arg-type]
            pass


async def test_an_interrupted_run_that_begins_by_drawing_has_the_chat_model_unloaded_first(tmp_path: Path) -> None:
    native = OllamaNative()
    weights = Weights(native)
    with Loopback(ollama(native)) as server:
        settings = settings_for(tmp_path, server.url)
        config = RunnableConfig(configurable={"thread_id": "t"})
        async with open_graph(settings, services=OwnServices(settings, images=weights)) as graph:
            context: Any = {"max_rounds": ROUNDS, "seed": 1}
            request: Any = {"prompt": "a red dog"}
            async for _ in graph.astream(
                request, config, context=context, interrupt_before=["generator"], stream_mode="updates"
            ):
                pass
        await forget()
        with native.using(MODEL):
            pass  # by the process that was interrupted
        before = len(server.log.chat)
        async with open_graph(settings, services=OwnServices(settings, images=weights)) as graph:
            async for _ in graph.astream(None, config, interrupt_after=["generator"], stream_mode="updates"):
                pass
    assert len(server.log.chat) == before
    assert len(weights.drawn) == CANDIDATES
    assert weights.crowds == [[]] * 2 * CANDIDATES
