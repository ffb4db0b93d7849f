"""Chat and drawing on one GPU: who takes turns, when, and what waiting does not cost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, TypeVar

import httpx
import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import SecretStr

from gems.backends.chat.book import ServerBook
from gems.backends.chat.counted import CountedRole
from gems.backends.chat.rehearsal import rehearse
from gems.backends.chat.unloading import ChatServers
from gems.backends.hosts import is_local, on_one_machine
from gems.backends.images.guarded import GuardedImages, image_gate
from gems.backends.images.scripted import ScriptedImages
from gems.backends.services import make_chats, make_models
from gems.backends.serving import Gate, Turns
from gems.backends.sharing import SharedGpu
from gems.backends.turnstile import Turnstile
from gems.core.errors import BudgetSpent, GemsConfigError, ModelOutage
from gems.core.messages import compose
from gems.core.ports import Answer, ChatRole, Drawing, DrawRequest, ImageGenerator, Progress, R
from gems.core.profiles import ChatOptions, DrawingOptions, Endpoint, Profile
from gems.core.replies import RoundNote
from gems.core.settings import Settings
from gems.core.spending import Limits, Purses, Spend
from gems.core.state import GemsState, Role, Usage
from gems.graph import OwnServices, build_graph, routing
from gems.nodes.compressor import make_compressor

T = TypeVar("T")
REQUEST = DrawRequest("a cat", 1, 64, 64)
QUESTION = compose("compress", "Tell.", {})
OLLAMA = "http://localhost:11434/v1"


class Interval(NamedTuple):
    """When something was done, in ticks of a clock that goes on with every beginning and end."""

    side: str
    start: int
    end: int


class Recorder:
    """The one GPU as these fakes use it."""

    def __init__(self) -> None:
        self.intervals: list[Interval] = []
        self.rests: list[int] = []
        self._ticks = 0

    def tick(self) -> int:
        self._ticks += 1
        return self._ticks

    async def use(self, side: str, what: Awaitable[T]) -> T:
        start = self.tick()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            return await what
        finally:
            self.intervals.append(Interval(side, start, self.tick()))

    @property
    def overlaps(self) -> int:
        chats, drawings = ([it for it in self.intervals if it.side == side] for side in ("chat", "drawing"))
        return sum(chat.start < drawing.end and drawing.start < chat.end for chat in chats for drawing in drawings)


class Speaker:
    """A chat role that uses the GPU."""

    def __init__(self, gpu: Recorder, *errors: Exception) -> None:
        self._gpu = gpu
        self._errors = list(errors)
        self.asked = 0

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        self.asked += 1
        return await self._gpu.use("chat", self._answer(reply_model))

    async def _answer(self, reply_model: type[R]) -> Answer[R]:
        if self._errors:
            raise self._errors.pop(0)
        return Answer(reply_model.model_validate({"experience": "well"}))


class RestingSpeaker(Speaker):
    """One that holds memory between questions."""

    async def rest(self) -> None:
        self._gpu.rests.append(self._gpu.tick())


class Painter(ScriptedImages):
    """An image generator that uses the GPU, and holds its memory between drawings."""

    def __init__(self, gpu: Recorder, failures: Callable[[DrawRequest], Exception | None] = lambda _: None) -> None:
        super().__init__(failures)
        self._gpu = gpu

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        return await self._gpu.use("drawing", super().generate(request, progress))

    async def rest(self) -> None:
        self._gpu.rests.append(self._gpu.tick())


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def chat_at(url: str | None, model: str = "m") -> Endpoint:
    return Endpoint(provider="openai", model=model, base_url=url)


def shared(turnstile: Turnstile, drawn_at: str | None = None) -> SharedGpu:
    return SharedGpu(drawn_at, turnstile, ChatServers(httpx.MockTransport(lambda _: httpx.Response(404))))


# Whose GPU it is


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:11434/v1", True),
        ("http://LOCALHOST./v1", True),
        ("http://ollama.localhost/v1", True),
        ("http://127.0.0.1:8000", True),
        ("http://127.8.0.1", True),
        ("http://[::1]:8000/v1", True),
        ("http://0.0.0.0:8000", True),
        ("http://host.docker.internal:11434/v1", True),
        (f"http://{socket.gethostname()}:8000/v1", True),
        ("http://192.168.1.7:8000", False),
        ("http://gpu-box:8000", False),
        ("http://localhost.example.com", False),
        ("https://api.openai.com/v1", False),
    ],
)
def test_a_server_of_this_machine_is_known_by_its_url(url: str, local: bool) -> None:
    assert is_local(url) is local
    assert on_one_machine(url, None) is local, "None is this process"
    assert on_one_machine(url, "http://127.0.0.1:1") is local
    assert on_one_machine("http://127.0.0.1:1", url) is local


@pytest.mark.parametrize(
    ("url", "other", "same"),
    [
        ("http://gpu-box:8000/v1", "https://gpu-box/images", True),
        ("http://GPU-box:8000", "http://gpu-box.:9000", True),
        ("http://gpu-box:8000", "http://gpu-box-2:8000", False),
        ("http://10.0.0.1:8000", "http://10.0.0.2:8000", False),
    ],
)
def test_servers_elsewhere_are_on_one_machine_by_their_names(url: str, other: str, same: bool) -> None:
    assert on_one_machine(url, other) is same


@pytest.mark.parametrize(
    ("chat", "drawn_at", "shares"),
    [
        (chat_at(OLLAMA), None, True),
        (chat_at(OLLAMA), "http://127.0.0.1:8000", True),
        (chat_at(OLLAMA), "http://gpu-box:8000", False),
        (chat_at("http://gpu-box:11434/v1"), "http://gpu-box:8000", True),
        (chat_at("http://gpu-box:11434/v1"), None, False),
        (chat_at("https://openrouter.ai/api/v1"), None, False),
        (chat_at(None), None, False),
        (chat_at(None), "https://api.openai.com/v1", False),
        (Endpoint(provider="sketch"), None, False),
    ],
)
async def test_who_is_served_where_pictures_are_drawn_takes_turns_and_nobody_else(
    chat: Endpoint, drawn_at: str | None, shares: bool
) -> None:
    turnstile = Turnstile()
    gpu, places = shared(turnstile, drawn_at), Turns(1)
    assert gpu.is_shared_with(chat) is shares
    given = gpu.chat(chat, places)
    assert (given is not places) is shares
    async with turnstile.turn("drawing"):
        entering = asyncio.create_task(given.here().__aenter__())
        await settle()
        assert entering.done() is not shares
        entering.cancel()


# Turns at a gate


def gate(gpu: SharedGpu, seconds: float = 5.0, places: int = 2) -> Gate:
    return Gate(
        "the chat model",
        turns=gpu.chat(chat_at(OLLAMA), Turns(places)),
        seconds=seconds,
        retries=1,
        paid_retries=1,
        sleep=lambda _: asyncio.sleep(0),
    )


async def call(way: Gate, what: Callable[[], Awaitable[T]]) -> T:
    return await way.call(what, Spend(calls=1), lambda _: Spend(calls=1))


async def well() -> str:
    return "well"


async def test_waiting_for_the_turn_is_not_counted_as_the_calls_time() -> None:
    turnstile = Turnstile()
    way = gate(shared(turnstile), seconds=0.02)
    async with AsyncExitStack() as drawing:
        await drawing.enter_async_context(turnstile.turn("drawing"))
        asked = asyncio.create_task(call(way, well))
        await asyncio.sleep(0.06)
        assert not asked.done()
        await drawing.aclose()
        assert await asked == "well"


async def test_who_waits_for_the_turn_takes_no_place() -> None:
    turnstile, places = Turnstile(), Turns(1)
    gpu = shared(turnstile)
    waiting = gpu.chat(chat_at(OLLAMA), places)
    async with turnstile.turn("drawing"):
        entering = asyncio.create_task(waiting.here().__aenter__())
        await settle()
        assert not entering.done()
        async with asyncio.timeout(30), places.here():
            pass  # a role elsewhere, behind the same proxy, still finds one
        entering.cancel()


async def test_who_waits_for_the_turn_has_reserved_nothing() -> None:
    turnstile = Turnstile()
    way = gate(shared(turnstile))
    await Purses().open("t", Limits(max_calls=1), Usage(), 0.0)
    elsewhere = Gate("the chat model", turns=Turns(1), seconds=5, retries=0, paid_retries=0)
    async with turnstile.turn("drawing"):
        asked = asyncio.create_task(call(way, well))
        await settle()
        async with asyncio.timeout(30):
            assert await call(elsewhere, well) == "well"
    with pytest.raises(BudgetSpent, match="max_calls"):
        await asked


async def test_the_time_of_the_trajectory_ends_while_it_waits() -> None:
    turnstile = Turnstile()
    way = gate(shared(turnstile))
    await Purses().open("t", Limits(max_seconds=0.02), Usage(), 0.0)
    async with turnstile.turn("drawing"):
        with pytest.raises(BudgetSpent, match="max_seconds"):
            await call(way, well)
    async with asyncio.timeout(30), turnstile.turn("drawing"):
        pass


async def test_between_its_repeats_a_call_lets_the_other_side_in() -> None:
    turnstile = Turnstile()
    order: list[str] = []

    async def wait(_: float) -> None:
        async with asyncio.timeout(30), turnstile.turn("drawing"):
            order.append("drawing")

    async def fail_once() -> str:
        order.append("chat")
        if order.count("chat") == 1:
            raise ModelOutage("busy", again="free")
        return "well"

    places = shared(turnstile).chat(chat_at(OLLAMA), Turns(1))
    way = Gate("the chat model", turns=places, seconds=5, retries=1, paid_retries=1, sleep=wait)
    assert await call(way, fail_once) == "well"
    assert order == ["chat", "drawing", "chat"]


async def test_the_model_is_unloaded_before_pictures_are_drawn_also_if_an_earlier_process_has_loaded_it() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.url.host} {request.url.path}")
        return httpx.Response(200, json={"version": "0.13.0", "models": []})

    turnstile = Turnstile()
    gpu = SharedGpu(None, turnstile, ChatServers(httpx.MockTransport(answer)))
    one, same = (gpu.chat(chat_at(OLLAMA), Turns(1)) for _ in range(2))
    gpu.chat(chat_at("http://gpu-box:11434/v1"), Turns(1))
    for _ in range(2):
        async with turnstile.turn("drawing"):
            assert [it for it in asked if "generate" in it] == ["localhost /api/generate"]
        asked.clear()
        for places in (one, same):
            async with places.here():
                assert asked == []


# Models of a profile

CHAT_ROLES: tuple[Role, ...] = ("planner", "decomposer", "critic", "refiner", "compressor")


def one_gpu(settings: Settings, **changes: Any) -> Settings:
    profile = Profile(**{"mllm": "sketch", "images": "sketch", **changes})
    return settings.model_copy(update={"profiles": {"mine": profile}})


async def work(roles: Mapping[Role, ChatRole], images: ImageGenerator) -> None:
    """Everybody works at the same time, again and again."""

    async def chat(role: ChatRole) -> None:
        for _ in range(5):
            await role.ask(QUESTION, RoundNote)

    async def draw(seed: int) -> None:
        for _ in range(5):
            await images.generate(DrawRequest("a cat", seed, 64, 64))

    await asyncio.gather(*(chat(role) for role in roles.values()), *(draw(seed) for seed in range(4)))


@pytest.mark.parametrize("overlap", [False, True])
async def test_a_callers_own_models_take_turns_if_the_profile_says_so(settings: Settings, overlap: bool) -> None:
    gpu = Recorder()
    own: dict[Role, ChatRole] = {role: RestingSpeaker(gpu) for role in CHAT_ROLES}
    models = make_models(one_gpu(settings, overlap=overlap), "mine", own, Painter(gpu), Turnstile())
    assert models.overlap is overlap
    await work(models.roles, models.images)
    assert len(gpu.intervals) == 5 * len(CHAT_ROLES) + 5 * 4
    assert (gpu.overlaps == 0) is not overlap
    assert bool(gpu.rests) is not overlap


async def test_both_sides_are_sent_to_rest_when_the_other_takes_over() -> None:
    turnstile, gpu = Turnstile(), Recorder()
    one = shared(turnstile)
    speaker, painter = RestingSpeaker(gpu), Painter(gpu)
    role = one.role(speaker, CountedRole(speaker))
    images = GuardedImages(painter, image_gate(DrawingOptions(), one.drawing(painter, Turns(4))), 0.0)
    for _ in range(2):
        await asyncio.gather(role.ask(QUESTION, RoundNote), role.ask(QUESTION, RoundNote))
        await asyncio.gather(*(images.generate(REQUEST) for _ in range(3)))
    assert turnstile.swaps == len(gpu.rests) == 3
    phases = sorted([(it.start, it.side) for it in gpu.intervals] + [(tick, "rest") for tick in gpu.rests])
    assert [side for _, side in phases] == [
        *("chat", "chat", "rest", "drawing", "drawing", "drawing", "rest"),
        *("chat", "chat", "rest", "drawing", "drawing", "drawing"),
    ]
    assert gpu.overlaps == 0


async def test_a_side_without_anything_to_give_back_is_no_hindrance() -> None:
    turnstile, gpu = Turnstile(), Recorder()
    role = shared(turnstile).role(Speaker(gpu), CountedRole(Speaker(gpu)))
    await role.ask(QUESTION, RoundNote)
    async with turnstile.turn("drawing"):
        assert gpu.rests == []


async def test_a_question_that_fails_ends_its_turn() -> None:
    turnstile, gpu = Turnstile(), Recorder()
    speaker = Speaker(gpu, ModelOutage("down"))
    role = shared(turnstile).role(speaker, CountedRole(speaker))
    with pytest.raises(ModelOutage, match="down"):
        await role.ask(QUESTION, RoundNote)
    async with asyncio.timeout(30), turnstile.turn("drawing"):
        pass


async def test_an_own_role_that_waits_has_reserved_nothing_and_ends_with_the_trajectorys_time() -> None:
    turnstile, gpu = Turnstile(), Recorder()
    speaker, elsewhere = Speaker(gpu), CountedRole(Speaker(gpu))
    role = shared(turnstile).role(speaker, CountedRole(speaker))
    await Purses().open("t", Limits(max_calls=2, max_seconds=0.1), Usage(), 0.0)
    async with turnstile.turn("drawing"):
        asked = asyncio.create_task(role.ask(QUESTION, RoundNote))
        await settle()
        async with asyncio.timeout(30):
            await asyncio.gather(*(elsewhere.ask(QUESTION, RoundNote) for _ in range(2)))
        with pytest.raises(BudgetSpent, match="max_seconds"):
            await asked
    assert speaker.asked == 0


async def test_roles_of_one_profile_at_different_machines_take_turns_each_by_itself() -> None:
    turnstile = Turnstile()
    endpoints: dict[Role, Endpoint] = {
        "critic": chat_at(OLLAMA),
        "planner": chat_at("http://gpu-box:11434/v1"),
    }
    refused = httpx.MockTransport(lambda _: httpx.Response(400, json={"error": {"message": "no"}}))
    made = make_chats(endpoints, ServerBook(), refused, shared(turnstile))
    async with turnstile.turn("drawing"):
        with pytest.raises(GemsConfigError):  # asked at once
            await asyncio.wait_for(made["planner"].ask(QUESTION, RoundNote), 5)
        here = asyncio.create_task(made["critic"].ask(QUESTION, RoundNote))
        await settle()
        assert not here.done()
    with pytest.raises(GemsConfigError):
        await asyncio.wait_for(here, 5)


HERE, THERE, ELSEWHERE = "http://127.0.0.1:1/v1", "http://192.0.2.1:1/v1", "http://192.0.2.2:1/v1"


@pytest.mark.parametrize(
    ("chat", "images", "images_at", "is_own", "waits"),
    [
        (HERE, "sketch", None, False, True),
        (THERE, "sketch", None, False, False),
        (HERE, "openai:z", HERE, False, True),
        (THERE, "openai:z", THERE, False, True),
        (HERE, "openai:z", THERE, False, False),
        (ELSEWHERE, "openai:z", THERE, False, False),
        (HERE, "openai:z", None, False, False),
        (HERE, "openai:z", THERE, True, True),
        (THERE, "openai:z", THERE, True, False),
    ],
)
async def test_a_profiles_chat_model_takes_turns_with_who_really_draws(
    settings: Settings, chat: str, images: str, images_at: str | None, is_own: bool, waits: bool
) -> None:
    """The caller's own images are drawn in this process, wherever the profile's would be."""
    machine = one_gpu(
        settings,
        mllm="openai:m",
        mllm_base_url=chat,
        images=images,
        images_base_url=images_at,
        api_key_env="MY_KEY",
        overlap=False,
        chat=ChatOptions(retries=0),
    ).model_copy(update={"secrets": {"MY_KEY": SecretStr("k")}})
    turnstile = Turnstile()
    own = ScriptedImages() if is_own else None
    role = make_models(machine, "mine", own_images=own, turnstile=turnstile).roles["critic"]
    async with turnstile.turn("drawing"):
        asked = asyncio.create_task(role.ask(QUESTION, RoundNote))
        # Asked, it fails at once: unit tests have no network.
        answered, _ = await asyncio.wait([asked], timeout=0.1 if waits else 10)
        assert bool(answered) is not waits
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)


@pytest.mark.parametrize(
    ("mllm_base_url", "overlap", "shares"),
    [(OLLAMA, False, True), (OLLAMA, True, False), ("http://gpu-box:11434/v1", False, False)],
)
def test_weights_of_ones_own_make_room_only_for_a_chat_model_beside_them(
    settings: Settings, mllm_base_url: str, overlap: bool, shares: bool
) -> None:
    machine = one_gpu(
        settings, mllm="openai:m", mllm_base_url=mllm_base_url, images="diffusers:me/mine", overlap=overlap
    )
    drawer: Any = make_models(machine, "mine", turnstile=Turnstile()).images
    assert drawer._inner._shares_device is shares
    own: Any = make_models(machine, "mine", {"critic": rehearse(["+"])}, turnstile=Turnstile()).images
    assert own._inner._shares_device is not overlap, "only the caller knows where an own role runs"


# The graph


async def one_round(machine: Settings, saver: InMemorySaver, order: list[str], rounds: int, **nodes: Any) -> GemsState:
    """Go on to the end of a round, and note who did what."""

    def note(name: str) -> Callable[[Any], Any]:
        return lambda _: order.append(name)

    def compress(_: Any) -> Any:
        order.append("compress")
        return {"experience": "x"}

    services = OwnServices(
        machine, chat=rehearse(["+--"], compress=compress), images=ScriptedImages(failures=note("draw"))
    )
    graph = build_graph(
        services, checkpointer=saver, nodes={name: make(services) for name, make in nodes.items()} or None
    )
    thread: Any = {"configurable": {"thread_id": "t"}}
    request: Any = {"prompt": "two red dogs"} if rounds == 1 else {}
    context: Any = {"profile": "mine", "max_rounds": rounds, "size": "64x64", "candidates": 2}
    await graph.ainvoke(request, thread, context=context)
    return (await graph.aget_state(thread)).values  # type: ignore[return-value]


async def test_a_run_that_continues_keeps_to_what_the_profile_says_by_now(settings: Settings) -> None:
    saver, order = InMemorySaver(), list[str]()
    await one_round(one_gpu(settings, overlap=True), saver, order, 1)
    state = await one_round(one_gpu(settings, overlap=False), saver, order, 2)
    assert state["options"]["overlap"] is False
    assert order == ["draw", "draw", "compress", "draw", "draw"]


async def test_a_note_may_wait_long_for_its_turn_where_the_picture_waits_for_the_note(settings: Settings) -> None:
    saver, order = InMemorySaver(), list[str]()
    machine = one_gpu(settings, overlap=False)
    # With patience for nothing: it would be cancelled at its first wait.
    made = {"compressor": lambda services: make_compressor(services, patience=0.0)}
    await one_round(machine, saver, order, 1, **made)
    state = await one_round(machine, saver, order, 2, **made)
    assert [it["source"] for it in state["experiences"]] == ["model"]


@pytest.mark.parametrize("overlap", [False, True])
async def test_nothing_is_drawn_beside_the_compressor_wherever_that_is_served(
    settings: Settings, overlap: bool
) -> None:
    state = await one_round(one_gpu(settings, overlap=overlap), InMemorySaver(), [], 1)
    names = ("round", "action", "prompt", "seed", "parent")
    wanted = [{"id": f"2.{n}", **{name: it[name] for name in names}} for n, it in enumerate(state["attempts"], start=1)]
    more: Any = {**state, "proposals": wanted}
    refined, compressed = routing.after_refiner(more), routing.after_compressor(more)
    assert [it if isinstance(it, str) else it.node for it in refined] == [
        "compressor",
        *(["generator"] * 2 if overlap else []),
    ]
    assert compressed == "__end__" if overlap else [it.node for it in compressed] == ["generator"] * 2  # type: ignore[union-attr]
