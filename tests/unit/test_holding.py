"""A thread that is held while it runs: stopped on request, given free whatever happens."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl

from gems.app import commands
from gems.app.session import Target
from gems.app.stop_command import stop
from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError
from gems.core.ports import DrawRequest
from gems.core.settings import Settings
from gems.graph import OwnServices, open_graph
from gems.graph.holding import held, held_async
from gems.memory.locks import Hold
from gems.memory.stores import FileStores, stores_of

THREAD: Any = {"configurable": {"thread_id": "t"}}
CONTEXT: Any = {"size": "64x64", "max_rounds": 5}


class Stopping(ScriptedImages):
    """Is asked to stop at its second drawing, and takes until the run has seen it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(self._ask)
        self._stops = stores_of(settings).stops

    def _ask(self, request: DrawRequest) -> None:
        if len(self.history) == 2:
            self._stops.ask("t")
            threading.Event().wait(0.7)


def stopping(settings: Settings) -> OwnServices:
    return OwnServices(settings, chat=rehearse(["+--"]), images=Stopping(settings))


def test_a_run_that_is_asked_to_stop_ends_after_its_step_and_can_be_resumed(settings: Settings) -> None:
    with open_graph(settings, services=stopping(settings)) as graph:
        output = graph.invoke({"prompt": "a dog"}, THREAD, context=CONTEXT)  # type: ignore[call-overload]
        assert output["status"] == "running"
        assert graph.get_state(THREAD).next
        # The request is forgotten by whoever goes on.
        output = graph.invoke(None, THREAD)
    assert output["stop_reason"] == "max_rounds"


async def test_a_caller_with_a_control_of_its_own_is_told(settings: Settings) -> None:
    control = RunControl()
    async with open_graph(settings, services=stopping(settings)) as graph:
        with pytest.raises(GraphDrained, match="stop"):
            await graph.ainvoke({"prompt": "a dog"}, THREAD, context=CONTEXT, control=control)  # type: ignore[call-overload]
    assert control.drain_reason == "stop"


async def test_who_drains_without_a_request_hears_of_it_as_ever(settings: Settings) -> None:
    control = RunControl()
    control.request_drain("shutdown")
    async with open_graph(settings, services=stopping(settings)) as graph:
        with pytest.raises(GraphDrained, match="shutdown"):
            await graph.ainvoke({"prompt": "a dog"}, THREAD, context=CONTEXT, control=control)  # type: ignore[call-overload]


def test_the_command_line_calls_it_stopped(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    target = Target("t", as_json=True)
    assert commands.start("a dog", {"size": "64x64", "max_rounds": 5}, target, stopping(settings)) == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "stopped"
    assert "as another process asked" in err


def test_a_request_from_before_is_forgotten(settings: Settings) -> None:
    stores = stores_of(settings)
    stores.stops.ask("t")
    stores.stops.ask("other")
    with held(stores, "t", RunControl()):
        assert not stores.stops.asked("t")
    assert stores.stops.asked("other")


def test_a_run_that_ended_by_itself_is_not_called_stopped(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    services = OwnServices(settings, chat=rehearse(["+++"]), images=ScriptedImages())
    with open_graph(settings, services=services) as graph:
        graph.invoke({"prompt": "a dog"}, THREAD, context=CONTEXT)  # type: ignore[call-overload]
    stores = stores_of(settings)
    ended = threading.Event()

    def hold() -> None:
        with stores.locks.hold("t"):
            ended.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    threading.Timer(0.3, ended.set).start()
    while not stores.locks.is_held("t"):
        pass
    assert stop("t", wait=True, as_json=False) == 0
    holder.join()
    assert "It ended by itself meanwhile." in capsys.readouterr().out


async def test_cancelled_while_it_waits_for_a_thread_it_does_not_keep_it(settings: Settings) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class SlowLocks:
        """The machine's, but slow to take."""

        def __init__(self) -> None:
            self._locks = stores_of(settings).locks
            self.is_held = self._locks.is_held

        @contextmanager
        def hold(self, thread_id: str) -> Iterator[Hold]:
            entered.set()
            go_on.wait()
            with self._locks.hold(thread_id) as hold:
                yield hold

    stores = FileStores(settings.home)
    stores.locks = SlowLocks()

    async def take() -> None:
        async with held_async(stores, "t", RunControl()):
            pytest.fail("it was cancelled")

    taking = asyncio.create_task(take())
    await asyncio.to_thread(entered.wait)
    taking.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert not stores.locks.is_held("t")


def test_a_run_goes_on_where_requests_cannot_be_read(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    stores, control = stores_of(settings), RunControl()
    with caplog.at_level(logging.WARNING), held(stores, "t", control):
        for path in settings.home.glob("stops.sqlite*"):
            path.unlink()
        (settings.home / "stops.sqlite").write_bytes(b"no database any more, but long enough to look like one " * 20)
        threading.Event().wait(0.7)
    assert not control.drain_requested
    assert "cannot see whether thread 't' is to stop" in caplog.text


class Breaking(ScriptedImages):
    """Something happens to the checkpoints while it draws; or the drawing itself goes wrong in a database."""

    def __init__(self, settings: Settings, own: bool) -> None:
        super().__init__(self._break)
        self._settings, self._own = settings, own

    def _break(self, request: DrawRequest) -> Exception | None:
        if self._own:
            return sqlite3.OperationalError("a table of somebody else")
        with sqlite3.connect(self._settings.home / "checkpoints.sqlite", isolation_level=None) as connection:
            connection.execute("DROP TABLE checkpoints")
        connection.close()
        return None


@pytest.mark.parametrize("own", [False, True])
async def test_what_the_saver_meets_is_explained_and_what_a_node_meets_is_not(settings: Settings, own: bool) -> None:
    services = OwnServices(settings, chat=rehearse(["+--"]), images=Breaking(settings, own))
    expected: Any = (
        (sqlite3.OperationalError, "somebody else") if own else (GemsConfigError, r"checkpoints\.sqlite: no such")
    )
    async with open_graph(settings, services=services) as graph:
        with pytest.raises(expected[0], match=expected[1]):
            await graph.ainvoke({"prompt": "a dog"}, THREAD, context=CONTEXT, durability="sync")  # type: ignore[call-overload]
