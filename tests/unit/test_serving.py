"""The gate to a server: turns, time limits, and repeats only where they can help."""

import asyncio
import time
from email.utils import formatdate

import pytest

from gems.backends.serving import Gate, Turns, retry_after
from gems.core.errors import BudgetSpent, DrawingRefused, GemsError, ModelOutage
from gems.core.spending import Limits, Purses, Spend
from gems.core.state import Usage


class Server:
    """Fails with these errors, then answers; notes how long it was waited for."""

    def __init__(self, *errors: GemsError) -> None:
        self.errors = list(errors)
        self.asked = 0
        self.waits: list[float] = []

    async def answer(self) -> str:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return "well"

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def gate(self, retries: int = 2, paid_retries: int = 1) -> Gate:
        return Gate(
            "the server", turns=Turns(2), seconds=5, retries=retries, paid_retries=paid_retries, sleep=self.sleep
        )

    async def call(self, gate: Gate) -> str:
        return await gate.call(self.answer, Spend(calls=1), lambda _: Spend(calls=1))


FREE = ModelOutage("busy", again="free")
PAID = ModelOutage("lost", again="paid")


async def test_a_server_that_did_no_work_is_asked_again():
    server = Server(FREE, FREE)
    assert await server.call(server.gate()) == "well"
    assert server.asked == 3
    assert 0.35 < server.waits[0] < 0.65 < server.waits[1] < 1.3


async def test_what_may_have_been_charged_is_repeated_once():
    server = Server(PAID, PAID)
    with pytest.raises(ModelOutage, match="lost"):
        await server.call(server.gate(retries=5))
    assert server.asked == 2


@pytest.mark.parametrize("error", [ModelOutage("odd"), DrawingRefused("no")])
async def test_where_a_repeat_cannot_help_there_is_none(error: GemsError):
    server = Server(error)
    with pytest.raises(type(error)):
        await server.call(server.gate())
    assert server.asked == 1


async def test_the_repeats_end():
    server = Server(FREE, FREE, FREE)
    with pytest.raises(ModelOutage, match="busy"):
        await server.call(server.gate())
    assert server.asked == 3


async def test_a_server_is_given_the_time_it_asks_for_within_reason():
    server = Server(ModelOutage("busy", again="free", wait=7.0))
    assert await server.call(server.gate()) == "well"
    assert server.waits == [7.0]
    server = Server(ModelOutage("busy", again="free", wait=3600.0))
    with pytest.raises(ModelOutage, match="busy; it asks to wait 3600 s"):
        await server.call(server.gate())
    assert server.asked == 1


async def test_each_attempt_is_reserved_and_free_ones_given_back():
    purse = await Purses().open("t", Limits(max_calls=1), Usage(), 0.0)
    server = Server(FREE)
    assert await server.call(server.gate()) == "well"
    assert purse.exhausted == ""
    with pytest.raises(BudgetSpent):
        await server.call(server.gate())
    assert server.asked == 2


async def test_a_paid_failure_uses_the_budget_up():
    await Purses().open("t", Limits(max_calls=1), Usage(), 0.0)
    server = Server(PAID)
    with pytest.raises(BudgetSpent):
        await server.call(server.gate())
    assert server.asked == 1


async def test_no_more_calls_at_once_than_allowed_and_none_waits_while_another_sleeps():
    running, most = 0, 0

    async def answer() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    gate = Server().gate()
    await asyncio.gather(*(gate.call(answer, Spend(), lambda _: Spend()) for _ in range(10)))
    assert most == 2


async def test_a_slow_answer_is_an_outage_that_may_have_been_charged():
    async def never() -> None:
        await asyncio.Event().wait()

    gate = Gate("the server", turns=Turns(1), seconds=0.01, retries=0, paid_retries=0)
    with pytest.raises(ModelOutage, match=r"the server did not answer within 0\.01 s") as caught:
        await gate.call(never, Spend(), lambda _: Spend())
    assert caught.value.again == "paid"


def test_a_gate_serves_several_event_loops():
    server = Server()
    gate = server.gate()
    for _ in range(2):
        assert asyncio.run(server.call(gate)) == "well"


def test_retry_after_is_read_in_both_forms():
    assert retry_after("1.5") == 1.5
    assert retry_after("-3") == 0.0
    assert 25 < (retry_after(formatdate(time.time() + 30, usegmt=True)) or 0) < 31
    assert retry_after("soon") is None
    assert retry_after(None) is None
