"""Limits are hard: what a call may cost is reserved before it is made."""

import asyncio

import pytest

from gems.core.errors import BudgetSpent, DrawingRefused, ModelOutage
from gems.core.spending import Purse, Purses, Spend, deadline, reserve
from gems.core.state import Options, Usage


def options(**limits: float | None) -> Options:
    none = dict.fromkeys(("max_calls", "max_images", "max_cost", "max_seconds"))
    return {**none, **limits}  # type: ignore[typeddict-item,return-value]


def opened(**limits: float | None) -> Purse:
    """In async tests only: each has a context of its own, in which the purse is open."""
    return Purses().open("t", options(**limits), Usage(), 0.0)


async def hold(purse: Purse, worst: Spend) -> None:
    async with purse.reserve(worst):
        pass


async def test_parallel_reservations_never_pass_a_limit():
    purse = opened(max_images=3)

    async def draw() -> bool:
        try:
            async with reserve(Spend(images=1)):
                await asyncio.sleep(0)
                return True
        except BudgetSpent:
            return False

    assert sum(await asyncio.gather(*(draw() for _ in range(8)))) == 3
    assert purse.exhausted == "max_images"


async def test_the_worst_case_is_held_while_the_call_is_made_and_the_price_paid_stands_after():
    purse = opened(max_cost=1.0)
    async with purse.reserve(Spend(cost=0.6)) as bill:
        with pytest.raises(BudgetSpent, match=r"max_cost 1 leaves no room for a call that may take 1\.2"):
            await hold(purse, Spend(cost=1.2))
        bill.pay(Spend(cost=0.1))
    await hold(purse, Spend(cost=0.9))
    with pytest.raises(BudgetSpent):
        await hold(purse, Spend(cost=0.01))


@pytest.mark.parametrize(("paid", "fits"), [(0.1, True), (0.6, False)])
async def test_what_others_have_only_reserved_is_waited_for(paid: float, fits: bool):
    purse = opened(max_cost=1.0)
    async with purse.reserve(Spend(cost=0.6)) as bill:
        second = asyncio.create_task(hold(purse, Spend(cost=0.6)))
        await asyncio.sleep(0.01)
        assert not second.done()
        bill.pay(Spend(cost=paid))
    await asyncio.wait([second])
    assert (second.exception() is None) == fits


async def test_whoever_gives_up_waiting_is_in_nobodys_way():
    purse = opened(max_calls=1)
    async with purse.reserve(Spend(calls=1)) as bill:
        second = asyncio.create_task(hold(purse, Spend(calls=1)))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.wait([second])
        bill.pay(Spend())
    await hold(purse, Spend(calls=1))


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (ModelOutage("busy", again="free"), 1),
        (DrawingRefused("no"), 1),
        (ModelOutage("lost", again="paid"), 0),
        (ModelOutage("odd"), 0),
        (asyncio.CancelledError(), 0),
    ],
)
async def test_a_failed_call_costs_its_worst_case_unless_no_work_was_done(error: BaseException, left: int):
    purse = opened(max_calls=1)
    with pytest.raises(type(error)):
        async with purse.reserve(Spend(calls=1)):
            raise error
    if left:
        await hold(purse, Spend(calls=1))
    else:
        with pytest.raises(BudgetSpent):
            await hold(purse, Spend(calls=1))


async def test_a_limit_does_not_stop_what_does_not_touch_it():
    purse = opened(max_calls=1)
    await hold(purse, Spend(calls=1))
    await hold(purse, Spend(images=1))
    assert not purse.exhausted


async def test_what_the_state_says_was_spent_counts_and_is_not_counted_twice():
    purses = Purses()
    purse = purses.open("t", options(max_images=3), Usage(images=1, reused=1), 0.0)
    await hold(purse, Spend(images=1))
    purses.open("t", options(max_images=3), Usage(images=2, reused=1), 0.0)
    with pytest.raises(BudgetSpent):
        await hold(purse, Spend(images=1))
    assert purses.of("t") is purse
    assert purses.of("other") is not purse


async def test_a_raised_limit_forgets_that_the_old_one_was_met():
    purses = Purses()
    purse = purses.open("t", options(max_seconds=1.0), Usage(), 2.0)
    with pytest.raises(BudgetSpent, match="max_seconds is over"):
        await hold(purse, Spend(calls=1))
    purses.open("t", options(max_seconds=1.0), Usage(), 2.0)
    assert purse.exhausted == "max_seconds"
    purses.open("t", options(max_seconds=10.0), Usage(), 2.0)
    assert purse.exhausted == ""
    await hold(purse, Spend(calls=1))


async def test_the_deadline_cuts_off_what_is_being_done():
    purse = opened(max_seconds=0.01)
    with pytest.raises(BudgetSpent, match="max_seconds was over before the chat model was done"):
        async with deadline("the chat model"):
            await asyncio.sleep(5)
    assert purse.exhausted == "max_seconds"


async def test_a_time_limit_of_someone_elses_passes_through():
    opened(max_seconds=100.0)
    with pytest.raises(TimeoutError):
        async with deadline("the chat model"):
            raise TimeoutError


async def test_without_a_purse_nothing_is_limited():
    async with reserve(Spend(calls=10**9)):
        pass
    async with deadline("anything"):
        pass
