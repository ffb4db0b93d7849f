"""What a server does to threads that others work on too: it takes runs back, deletes, copies, and begins again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph_sdk import Auth
from pydantic import SecretStr

from gems.app.web import reports, runs, threads
from gems.app.web.access import Rules
from gems.app.web.limits import WebLimits
from gems.app.web.quota import RunQuota
from gems.app.web.site import Site, make_app
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError, ModelOutage
from gems.core.ports import RunRecord
from gems.core.settings import Settings
from gems.graph import OwnServices, build_graph, open_graph
from gems.graph import served_saver as module
from gems.graph.served_saver import ServedSaver
from gems.graph.serving import ServedGraph, Threads
from gems.memory import SqlRuns
from gems.memory.locks import ThreadTaken
from gems.memory.stores import Stores, stores_of

OPTIONS: Any = {"size": "64x64", "seed": 7, "lessons": False, "skills": []}
MARKS = ["---"] * 12


class House:
    """A server's graph, with the saver that it is given."""

    def __init__(self, services: OwnServices, saver: ServedSaver) -> None:
        self.services = services
        self.saver = saver
        self.runs = SqlRuns(services.stores.database("runs"))
        graph = ServedGraph(**build_graph(services).__dict__).copy({"checkpointer": saver})
        graph.stores = services.stores
        self.graph: Any = graph

    @property
    def stores(self) -> Stores:
        return self.services.stores

    async def run(self, given: Any, run_id: str, thread: str = "t", user: str = "", **context: Any) -> Any:
        configurable = {"thread_id": thread, "run_id": run_id} | ({"langgraph_auth_user_id": user} if user else {})
        metadata = {"run_id": run_id}  # as the server's own wrapping of a saver has it
        return await self.graph.ainvoke(
            given, {"configurable": configurable, "metadata": metadata}, context={**OPTIONS, **context}
        )

    async def state(self, thread: str = "t") -> Any:
        return (await self.graph.aget_state({"configurable": {"thread_id": thread}})).values

    async def line(self, thread: str = "t") -> RunRecord | None:
        return await self.runs.find(thread)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[House]:
    services = OwnServices(settings, chat=rehearse(MARKS), images=ScriptedImages())
    stores = stores_of(settings)
    async with stores.checkpoints.open_async() as saver:
        yield House(services, ServedSaver(saver, stores, SqlRuns(stores.database("runs"))))


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    async with opened(settings) as made:
        yield made


async def test_a_run_that_is_taken_back_leaves_the_thread_as_it_was(house: House) -> None:
    await house.run({"prompt": "two dogs"}, "first", max_rounds=1)
    before, line = await house.state(), await house.line()
    await house.run({"prompt": "make them blue"}, "second", max_rounds=1)
    assert (await house.state())["request"] != before["request"]
    await house.saver.adelete_for_runs(["second"])
    assert await house.state() == before
    after = await house.line()
    assert line is not None
    assert after is not None
    assert after._replace(updated=0) == line._replace(updated=0)
    await house.run({"prompt": "make them green"}, "third", max_rounds=1)
    assert "green" in (await house.state())["request"]["prompt"]


async def test_of_a_first_run_that_is_taken_back_nothing_is_left(house: House) -> None:
    await house.run({"prompt": "two dogs"}, "first", max_rounds=1)
    await house.run({"prompt": "two cats"}, "other", "u", max_rounds=1)
    await house.saver.adelete_for_runs(["first", "never-begun"])
    assert not await house.state()
    assert await house.line() is None
    assert await house.line("u") is not None


async def test_a_run_of_a_thread_that_somebody_holds_is_not_taken_back(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "HOLD_TRIES", 1)
    await house.run({"prompt": "two dogs"}, "first", max_rounds=1)
    before = await house.state()
    with house.stores.locks.hold("t"):
        await house.saver.adelete_for_runs(["first"])
    assert "a run was not taken back: thread 't' is being run" in caplog.text
    assert await house.state() == before


async def test_a_deleted_thread_is_in_no_index(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.run({"prompt": "two dogs"}, "first", max_rounds=1)
    house.stores.stops.ask("t")
    with house.stores.locks.hold("t"), monkeypatch.context() as patched:
        patched.setattr(module, "HOLD_TRIES", 1)
        with pytest.raises(ThreadTaken, match="is being run"):
            await house.saver.adelete_thread("t")
    assert await house.line() is not None
    await house.saver.adelete_thread("t")
    assert not await house.state()
    assert await house.line() is None
    assert not house.stores.stops.asked("t")


async def test_deleting_waits_for_a_run_that_was_just_cancelled(house: House) -> None:
    await house.run({"prompt": "two dogs"}, "first", max_rounds=1)

    async def let_go() -> None:
        with house.stores.locks.hold("t"):
            await asyncio.sleep(0.3)

    holding = asyncio.create_task(let_go())
    await asyncio.sleep(0.05)
    await house.saver.adelete_thread("t")
    await holding
    assert await house.line() is None


async def test_a_copy_goes_on_by_itself(house: House) -> None:
    await house.run({"prompt": "two dogs"}, "first", user="anna", max_rounds=1)
    await house.saver.acopy_thread("t", "copy")
    assert await house.state("copy") == await house.state()
    line = await house.line("copy")
    assert line is not None
    assert (line.prompt, line.owner, line.status) == ("two dogs", "anna", "done")
    await house.run({"prompt": "make them blue"}, "second", "copy", user="anna", max_rounds=1)
    assert (await house.state())["round"] == 1
    assert (await house.state("copy"))["round"] == 2


async def test_a_copy_waits_with_the_same_question(house: House) -> None:
    await house.run({"prompt": "two dogs"}, "first", review="plan")
    await house.saver.acopy_thread("t", "copy")
    config: Any = {"configurable": {"thread_id": "copy"}}
    copied = await house.graph.aget_state(config)
    original = await house.graph.aget_state({"configurable": {"thread_id": "t"}})
    assert [it.value for it in copied.interrupts] == [it.value for it in original.interrupts]
    assert copied.interrupts


async def test_pruning_keeps_the_latest_or_nothing(house: House) -> None:
    await house.run({"prompt": "two dogs"}, "first", max_rounds=1)
    await house.run({"prompt": "two cats"}, "other", "u", max_rounds=1)
    before = await house.state()
    await house.saver.aprune(["t"])
    found = [it async for it in house.saver.alist({"configurable": {"thread_id": "t"}})]
    assert len(found) == 1
    assert await house.state() == before
    assert await house.line() is not None
    await house.saver.aprune(["u"], strategy="delete")
    assert (await house.line("u"), bool(await house.state("u"))) == (None, False)


async def test_a_server_that_begins_a_run_again_does_not_ask_twice(settings: Settings) -> None:
    async with opened(settings) as house:
        # It was killed after its first round; the command line went on meanwhile, and was asked for a change.
        await house.run({"prompt": "two dogs"}, "first", max_rounds=1)
        async with open_graph(settings, services=house.services) as opened_here:
            here: Any = opened_here
            at: Any = {"configurable": {"thread_id": "t"}}
            await here.ainvoke({"prompt": "make them blue"}, at, context=OPTIONS | {"max_rounds": 1})
        before = await house.state()
        await house.run({"prompt": "two dogs"}, "first", max_rounds=1)
        assert await house.state() == before
        await house.run({"prompt": "two dogs"}, "second", max_rounds=1)
        assert (await house.state())["round"] == before["round"] + 1


async def test_what_the_command_line_draws_on_a_users_thread_is_the_users(settings: Settings) -> None:
    anna = SecretStr("anna-anna-anna-anna")
    shared = settings.model_copy(update={"tokens": {"anna": anna}, "public_url": "http://127.0.0.1:2024"})
    async with opened(shared) as house:
        await house.run({"prompt": "two dogs"}, "first", user="anna", max_rounds=1)
        at: Any = {"configurable": {"thread_id": "t"}}
        async with open_graph(shared, services=house.services) as opened_here:
            here: Any = opened_here
            await here.ainvoke({"prompt": "make them blue"}, at, context=OPTIONS | {"max_rounds": 1})
        with open_graph(shared, services=house.services) as opened_here:
            here = opened_here
            here.invoke({"prompt": "and green"}, at, context=OPTIONS | {"max_rounds": 1})
        state = await house.state()
        owners = [await house.services.holdings.owners(attempt["artifact"]) for attempt in state["attempts"]]
        assert owners == [{"anna"}] * 3
        assert "?key=anna." in state["result"]["image_url"]


def chat(words: str) -> Any:
    return {"messages": [{"role": "user", "content": words}]}


def built(services: OwnServices) -> Any:
    return build_graph(services, checkpointer=InMemorySaver())


async def test_a_chat_that_was_stopped_before_its_first_picture_goes_on(settings: Settings) -> None:
    services = OwnServices(settings, chat=rehearse(MARKS, decompose=[ModelOutage("away")]), images=ScriptedImages())
    graph, at = built(services), {"configurable": {"thread_id": "t"}}
    with pytest.raises(ModelOutage):
        await graph.ainvoke(chat("two red dogs"), at, context=OPTIONS)
    services._chat = rehearse(MARKS)
    services._models.clear()
    done = await graph.ainvoke(chat("no, blue ones"), at, context=OPTIONS | {"max_rounds": 1})
    assert done["status"] == "done"
    state = (await graph.aget_state(at)).values
    assert state["request"]["prompt"] == "two red dogs\nno, blue ones"


async def test_a_chat_answers_a_plan_with_words(settings: Settings) -> None:
    graph = built(OwnServices(settings, chat=rehearse(MARKS), images=ScriptedImages()))
    at: Any = {"configurable": {"thread_id": "t"}}
    review = OPTIONS | {"review": "plan"}
    await graph.ainvoke(chat("two red dogs"), at, context=review)
    await graph.ainvoke(chat("no, blue ones"), at, context=review)
    (asked,) = (await graph.aget_state(at)).interrupts
    assert asked.value["request"] == "two red dogs\nno, blue ones"


async def test_a_refused_prompt_can_be_forgotten(settings: Settings) -> None:
    graph = built(OwnServices(settings, chat=rehearse(MARKS), images=ScriptedImages()))
    at: Any = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"prompt": "two red dogs"}, at, context=OPTIONS | {"review": "plan"})
    with pytest.raises(GemsConfigError, match="no picture on this thread yet"):
        await graph.ainvoke({"prompt": "blue ones"}, at)
    await graph.ainvoke({"prompt": ""}, at)
    (asked,) = (await graph.aget_state(at)).interrupts
    assert asked.value["request"] == "two red dogs"


FORGED: list[dict[str, Any]] = [
    {"options": {}}, {"schema": "x"}, {"requirements": "x"}, {"result": 7}, {"warnings": [7]}, {"request": None},
    {"attempts": {"__overwrite__": 7}}, {"attempts": [{"id": "zz"}], "best": "zz"},
]  # fmt: skip


@pytest.mark.parametrize("forged", FORGED, ids=str)
@pytest.mark.parametrize("status", ["running", "done"])
async def test_a_state_that_was_written_by_hand_is_no_failure_of_the_server(
    settings: Settings, forged: dict[str, Any], status: str
) -> None:
    async with opened(settings) as house:
        await house.run({"prompt": "two dogs"}, "first", max_rounds=1)
        at: Any = {"configurable": {"thread_id": "t"}}
        await house.graph.aupdate_state(at, {"status": status, **forged}, as_node="finish")
        line = await house.line()
        assert line is not None
        await house.runs.restore(line._replace(status="running"))
        known = Threads(house.services)
        app = make_app(Site(house.services, known), [runs.routes, threads.routes, reports.routes])
        async with known, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gems") as client:
            for path in ("threads/t", "report/t", "threads/t/attempts/1.1.png"):
                answer = await client.get(f"/gems/{path}")
                assert answer.status_code in (200, 404, 409), path
                if answer.status_code == 409:
                    assert "changed by hand" in answer.json()["error"]
            gallery = await client.get("/gems/runs")
            assert [it["thread_id"] for it in gallery.json()["runs"]] == ["t"]


async def test_a_thread_that_is_being_run_is_not_deleted(settings: Settings) -> None:
    shared = settings.model_copy(
        update={"tokens": {name: SecretStr(f"{name}-{name}-{name}-{name}") for name in ("anna", "bob")}}
    )

    async def nobody_is_busy(owner: str, most: int) -> set[str]:
        return set()

    async def begun_by(thread: str) -> str | None:
        return {"hers": "anna", "his": "bob"}.get(thread)

    async def is_run(thread: str) -> bool:
        return thread != "resting"

    rules = Rules(shared, WebLimits(), RunQuota(None, nobody_is_busy), begun_by, is_run)
    user: Any = type("User", (), {"identity": "anna", "permissions": []})()
    ctx = Auth.types.AuthContext(permissions=[], user=user, resource="threads", action="delete")
    assert await rules.threads(ctx, {"thread_id": "resting"}) == {"owner": "anna"}
    for thread, status in (("hers", 409), ("his", 404)):
        with pytest.raises(Auth.exceptions.HTTPException) as caught:
            await rules.threads(ctx, {"thread_id": thread})
        assert caught.value.status_code == status
