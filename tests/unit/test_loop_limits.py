"""Limits are hard in the whole loop: no call is made whose worst case lies beyond one, and the best picture stays."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import SecretStr

from gems.backends.chat.rehearsal import rehearse
from gems.backends.chat.role import LangChainRole
from gems.backends.chat.scripted import ScriptedRole
from gems.backends.chat.server import Server, Wishes
from gems.backends.images.guarded import GuardedImages, image_gate
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import BudgetSpent, GemsConfigError, ModelOutage
from gems.core.messages import read_task
from gems.core.ports import Answer, Drawing, DrawRequest, Prices, Progress, R
from gems.core.profiles import BUILT_IN, DrawingOptions, Endpoint, Price, Profile
from gems.core.settings import Settings
from gems.core.spending import Limits, Purses, Spend, tokens_of
from gems.core.state import GemsState, Options, add_usage
from gems.graph import GemsGraph, OwnServices, build_graph
from gems.nodes.estimate import INPUT_TOKENS, OUTPUT_TOKENS, estimate

THREAD: Any = {"configurable": {"thread_id": "t"}}


class CountingRole:
    """A role that notes how many calls were made, and how many at the same time."""

    def __init__(self, inner: ScriptedRole) -> None:
        self._inner = inner
        self.calls = 0

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        self.calls += 1
        await asyncio.sleep(0)
        return await self._inner.ask(messages, reply_model)


class SlowImages(ScriptedImages):
    """Takes its time, so that candidates are drawn at the same time."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self._seconds = seconds

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        await asyncio.sleep(self._seconds)
        return await super().generate(request, progress)


def make(settings: Settings, chat: CountingRole, images: ScriptedImages) -> GemsGraph:
    return build_graph(OwnServices(settings, chat=chat, images=images), checkpointer=InMemorySaver())


async def run(graph: GemsGraph, prompt: str = "two red dogs", **context: Any) -> GemsState:
    given = {"size": "64x64", "seed": 7, **context} if prompt else context
    await graph.ainvoke({"prompt": prompt}, THREAD, context=given)  # type: ignore[call-overload]
    return (await graph.aget_state(THREAD)).values  # type: ignore[return-value]


@pytest.mark.parametrize("most", range(4, 17))
async def test_calls_never_pass_their_limit_wherever_it_falls(settings: Settings, most: int) -> None:
    chat, images = CountingRole(rehearse(["+--", "++-"])), ScriptedImages()
    state = await run(make(settings, chat, images), max_calls=most, candidates=2, max_rounds=4)
    assert chat.calls <= most
    assert state["stop_reason"] == "budget"
    assert state["best"] is not None
    assert state["usage"]["mllm_calls"] == chat.calls


@pytest.mark.parametrize("most", range(1, 8))
async def test_parallel_candidates_never_pass_the_limit_of_images(settings: Settings, most: int) -> None:
    images = SlowImages()
    state = await run(make(settings, CountingRole(rehearse(["+--"])), images), max_images=most, candidates=4)
    assert len(images.history) == most == state["usage"]["images"]
    assert state["stop_reason"] == "budget"


async def test_time_is_up_in_the_middle_of_a_drawing_and_the_best_picture_stays(settings: Settings) -> None:
    images = SlowImages()
    graph = make(settings, CountingRole(rehearse(["++-"])), images)
    images._seconds = 0.0
    state = await run(graph, max_rounds=1)
    images._seconds = 60.0
    state = await run(graph, prompt="", max_rounds=3, max_seconds=1.0)
    assert (state["stop_reason"], state["best"]) == ("budget", "1.1")
    assert state["attempts"][1]["failure"] == "budget"
    assert "max_seconds was over" in state["attempts"][1]["error"]
    assert state["result"]["seconds"] < 5


async def test_with_no_time_at_all_nothing_is_asked_or_drawn(settings: Settings) -> None:
    chat, images = CountingRole(rehearse(["+++"])), ScriptedImages()
    state = await run(make(settings, chat, images), max_seconds=1e-6)
    assert (chat.calls, images.history) == (0, [])
    assert (state["status"], state["stop_reason"]) == ("failed", "budget")


async def test_a_raised_limit_goes_on_with_what_was_not_drawn(settings: Settings) -> None:
    chat, images = CountingRole(rehearse(["+--", "+++"])), ScriptedImages()
    graph = make(settings, chat, images)
    assert (await run(graph, max_seconds=1e-6))["stop_reason"] == "budget"
    state = await run(graph, prompt="", max_seconds=60.0)
    assert state["stop_reason"] == "satisfied"
    assert len(images.history) == state["usage"]["images"]


async def test_money_is_reserved_before_a_call_is_made(settings: Settings) -> None:
    """A chat model with a price: its worst case, all the tokens a reply may have, must fit."""
    asked: list[int] = []

    class Model(FakeListChatModel):
        async def _acall(self, *args: Any, **kwargs: Any) -> str:
            asked.append(1)
            return await super()._acall(*args, **kwargs)

    endpoint = Endpoint(provider="openai", model="m", price=Price(input=1.0, output=10.0))
    server = Server(Wishes(max_tokens=10_000), endpoint)
    role = LangChainRole(Model(responses=['{"skills": []}']), server=server)
    graph = build_graph(OwnServices(settings, chat=role, images=ScriptedImages()), checkpointer=InMemorySaver())
    state = await run(graph, max_cost=0.09, max_rounds=1)
    assert asked == []
    assert (state["stop_reason"], state["usage"].get("mllm_calls", 0)) == ("budget", 0)
    assert "over budget" in " ".join(state["warnings"])


async def test_a_limit_of_money_needs_prices(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        profiles={"paid": Profile(mllm="openai:unheard-of", images="sketch", api_key_env="KEY")},
        secrets={"KEY": "sk-secret"},  # type: ignore[dict-item]
    )
    graph = build_graph(OwnServices(settings, images=ScriptedImages()), checkpointer=InMemorySaver())
    with pytest.raises(GemsConfigError, match=r'max_cost 1 needs the prices .* \[prices\."provider:model"\]'):
        await run(graph, profile="paid", max_cost=1.0)


def options(**changes: Any) -> Options:
    limits = {"max_images": None, "max_calls": None, "max_cost": None}
    return {"max_rounds": 5, "candidates": 2, "critic": "batch", "lessons": False, **limits, **changes}  # type: ignore[typeddict-item,return-value]


def test_the_estimate_is_what_all_rounds_take_within_the_limits() -> None:
    prices = Prices(input=0.25, output=2.0, image=0.01)
    assert estimate(options(), None) == {"images": 10, "calls": 21, "cost": None, "max_cost": None}
    chat = (INPUT_TOKENS * 0.25 + OUTPUT_TOKENS * 2.0) / 1e6
    assert estimate(options(), prices)["cost"] == pytest.approx(10 * 0.01 + 21 * chat)
    capped = estimate(options(max_images=3, max_calls=9, max_cost=0.02), prices)
    assert capped == {"images": 3, "calls": 9, "cost": 0.02, "max_cost": 0.02}
    assert estimate(options(critic="single", candidates=1), prices)["calls"] == 61
    assert estimate(options(lessons=True), None)["calls"] == 22


async def test_failed_calls_are_in_the_usage(settings: Settings) -> None:
    chat = rehearse(["+--"])
    asked = []

    async def fail_twice(messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        task = read_task(messages).task
        asked.append(task)
        if task == "judge":
            raise ModelOutage("gone", again="paid")
        return await chat.ask(messages, reply_model)

    role = CountingRole(chat)
    role.ask = fail_twice  # type: ignore[assignment,method-assign]
    state = await run(make(settings, role, ScriptedImages()), max_rounds=1, max_calls=50)
    assert "judge" in asked
    assert state["usage"]["mllm_calls"] == len(asked)


class Unlucky(SlowImages):
    """Fails for these seeds, each as often as said, after the others have been asked."""

    def __init__(self, failures: dict[int, list[Exception]]) -> None:
        super().__init__()
        self.left = failures
        self.asked: list[int] = []

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        self.asked.append(request.seed)
        if errors := self.left.get(request.seed):
            raise errors.pop(0)
        await asyncio.sleep(0.02)
        return await super().generate(request, progress)


async def test_one_failure_of_a_second_try_does_not_cost_its_siblings(settings: Settings) -> None:
    outage = ModelOutage("away")
    images = Unlucky({7: [outage, outage], 8: [outage], 9: [outage]})
    state = await run(make(settings, CountingRole(rehearse(["+++"])), images), candidates=3)
    assert state["stop_reason"] == "satisfied"
    assert ["artifact" in it for it in state["attempts"]] == [False, True, True]
    assert sorted(images.asked) == [7, 7, 8, 8, 9, 9]


async def test_a_wrong_setting_that_shows_in_one_drawing_does_not_cost_the_others(settings: Settings) -> None:
    images = Unlucky({8: [GemsConfigError("no such size")]})
    state = await run(make(settings, CountingRole(rehearse(["+++"])), images), candidates=3)
    assert state["stop_reason"] == "satisfied"
    assert state["attempts"][1]["error"] == "no such size"
    with pytest.raises(GemsConfigError, match="no such size"):
        await run(make(settings, CountingRole(rehearse(["+++"])), Unlucky({7: [GemsConfigError("no such size")]})))


async def test_an_unlooked_at_picture_is_looked_at_when_a_limit_is_raised(settings: Settings) -> None:
    class SlowEyes(CountingRole):
        seconds = 30.0

        async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
            if read_task(messages).task == "judge":
                await asyncio.sleep(self.seconds)
            return await super().ask(messages, reply_model)

    chat, images = SlowEyes(rehearse(["+++"])), ScriptedImages()
    graph = make(settings, chat, images)
    state = await run(graph, max_seconds=0.5)
    assert (state["stop_reason"], state["result"]["limit"], len(images.history)) == ("budget", "max_seconds", 1)
    chat.seconds = 0.0
    state = await run(graph, prompt="", max_seconds=60.0)
    assert (state["stop_reason"], len(images.history)) == ("satisfied", 1)


@pytest.mark.parametrize(("most", "drawn"), [(4, 1), (5, 2), (7, 4), (20, 4)])
async def test_no_more_is_drawn_than_can_be_looked_at(settings: Settings, most: int, drawn: int) -> None:
    images = SlowImages(0.01)
    state = await run(make(settings, CountingRole(rehearse(["+++"])), images), candidates=4, max_calls=most)
    assert len(images.history) == drawn
    assert all("verdicts" in it for it in state["attempts"])
    assert state["stop_reason"] == "satisfied"


async def test_a_raised_limit_holds_in_the_middle_and_draws_on(settings: Settings) -> None:
    images = Unlucky({})
    broken = [True]

    def judge(task: Any) -> Any:
        if broken:
            broken.pop()
            raise GemsConfigError("the critic is set up wrongly")
        return {
            "verdicts": [{"id": it["id"], "evidence": "", "verdict": "unmet"} for it in task.fields["requirements"]]
        }

    chat = rehearse([], judge=judge)
    graph = make(settings, CountingRole(chat), images)
    with pytest.raises(GemsConfigError, match="set up wrongly"):
        await run(graph, max_images=1)
    await graph.ainvoke(None, THREAD, context={"max_images": 3, "max_rounds": 9})  # type: ignore[arg-type]
    state: Any = (await graph.aget_state(THREAD)).values
    assert len(images.asked) == 3
    assert (state["stop_reason"], state["round"]) == ("budget", 3)


@pytest.mark.parametrize(
    ("context", "complaint"),
    [
        ({"max_calls": 3}, "max_calls 3 is too small: planning, and one look at one picture, take 4 calls"),
        ({"max_calls": 2, "skills": []}, "take 3 calls"),
        ({"max_cost": 0.06, "size": "1536x1024"}, r"max_cost 0\.06 is too small"),
        ({"max_cost": 0.02}, r"max_cost 0\.02 is too small: one picture, and one look at it, may take \$0\."),
    ],
)
async def test_limits_without_room_for_one_look_are_refused(
    settings: Settings, context: dict[str, Any], complaint: str
) -> None:
    dear = BUILT_IN["openai"].model_copy(update={"drawing": DrawingOptions(quality="high")})
    secrets = {"OPENAI_API_KEY": SecretStr("sk-x")}
    priced = settings.model_copy(update={"secrets": secrets, "profiles": {"dear": dear}})
    graph = build_graph(OwnServices(priced), checkpointer=InMemorySaver())
    with pytest.raises(GemsConfigError, match=complaint):
        await run(graph, profile="dear", **{"size": "1024x1024", **context})


async def test_no_picture_is_bought_without_room_for_a_look() -> None:
    images = ScriptedImages()
    guarded = GuardedImages(images, image_gate(DrawingOptions()), 0.01, look_price=0.05)
    request = DrawRequest("a dog", 1, 64, 64)
    await Purses().open("t", Limits(max_cost=0.059), {}, 0.0)
    with pytest.raises(BudgetSpent, match=r"may take 0\.06"):
        await guarded.generate(request)
    purse = await Purses().open("t", Limits(max_cost=0.06), {}, 0.0)
    await guarded.generate(request)
    async with purse.reserve(Spend(cost=0.05)):
        pass


async def test_nothing_is_drawn_that_nobody_could_look_at(settings: Settings) -> None:
    chat, images = CountingRole(rehearse(["+--"])), ScriptedImages()
    graph = make(settings, chat, images)
    await run(graph, max_calls=4, max_rounds=1)
    state = await run(graph, prompt="", max_rounds=5, max_calls=7)
    assert chat.calls <= 7
    assert len(images.history) == 2
    assert all(it["verdicts"] for it in state["attempts"])


async def test_a_lowered_limit_still_ends_in_order(settings: Settings) -> None:
    images = Unlucky({8: [ModelOutage("away")]})
    graph = make(settings, CountingRole(rehearse(["++?"])), images)
    assert (await run(graph, candidates=2, max_rounds=3))["stop_reason"] == "unverified"
    state = await run(graph, prompt="", max_images=1)
    assert (state["status"], state["stop_reason"]) == ("done", "budget")
    assert sorted(images.asked) == [7, 8]


async def test_a_limit_given_to_an_interrupted_run_holds_at_once(settings: Settings) -> None:
    images = Unlucky({8: [ModelOutage("away")]})
    graph = make(settings, CountingRole(rehearse(["+--"])), images)
    with pytest.raises(ModelOutage):
        await run(graph)
    await graph.ainvoke(None, THREAD, context={"max_images": 3})  # type: ignore[arg-type]
    state: Any = (await graph.aget_state(THREAD)).values
    assert (state["stop_reason"], state["options"]["max_images"]) == ("budget", None)
    assert images.asked == [7, 8, 8]


async def test_a_callers_own_role_is_cut_off_when_time_is_up(settings: Settings) -> None:
    class Slow(CountingRole):
        async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
            await asyncio.sleep(30)
            raise AssertionError("not cut off")

    state = await run(make(settings, Slow(rehearse([])), ScriptedImages()), max_seconds=0.2)
    assert state["stop_reason"] == "budget"


async def test_a_run_does_not_go_on_with_other_models_than_it_began_with(settings: Settings) -> None:
    saver = InMemorySaver()
    first = OwnServices(settings, chat=rehearse(["+--"]), images=ScriptedImages())
    await run(build_graph(first, checkpointer=saver), max_rounds=1)
    other = ScriptedImages()
    other.name = "another"
    second = OwnServices(settings, chat=rehearse(["+--"]), images=other)
    with pytest.raises(GemsConfigError, match="since this run began, the image model was scripted and is another"):
        await run(build_graph(second, checkpointer=saver), prompt="", max_rounds=2)


class Talkative:
    """A role that says how many tokens each answer took."""

    def __init__(self, inner: ScriptedRole) -> None:
        self._inner = inner

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        answer = await self._inner.ask(messages, reply_model)
        return replace(answer, usage=add_usage(answer.usage, {"input_tokens": 90, "output_tokens": 10}))


async def test_tokens_end_a_run_with_its_best_picture(settings: Settings) -> None:
    services = OwnServices(settings, chat=Talkative(rehearse(["+--"])), images=ScriptedImages())
    state = await run(build_graph(services, checkpointer=InMemorySaver()), max_tokens=750)
    assert (state["stop_reason"], state["result"]["limit"]) == ("budget", "max_tokens")
    assert state["best"]
    # A caller's own role says only afterwards what it took.
    assert 750 <= tokens_of(state["usage"]) <= 950


async def test_too_few_tokens_for_one_look_are_refused(settings: Settings) -> None:
    graph = build_graph(OwnServices(settings), checkpointer=InMemorySaver())
    with pytest.raises(GemsConfigError, match="max_tokens 100 is too small: one look at a picture may take"):
        await run(graph, max_tokens=100)
