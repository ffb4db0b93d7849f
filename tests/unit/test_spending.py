"""Limits are hard: what a call may cost is reserved before it is made."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from gems.core.errors import BudgetSpent, DrawingRefused, GemsConfigError, ModelOutage
from gems.core.spending import Account, Limits, Purse, Purses, Spend, deadline, reserve, reserved_already
from gems.core.state import Usage
from gems.memory import SqliteFile, SqlLedger


async def opened(**limits: float | None) -> Purse:
    return await Purses().open("t", Limits(**limits), Usage(), 0.0)  # type: ignore[arg-type]


async def hold(purse: Purse, worst: Spend) -> None:
    async with purse.reserve(worst):
        pass


async def test_parallel_reservations_never_pass_a_limit():
    purse = await opened(max_images=3)

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
    purse = await opened(max_cost=1.0)
    async with purse.reserve(Spend(cost=0.6)) as bill:
        with pytest.raises(BudgetSpent, match=r"max_cost 1 leaves no room for a call that may take 1\.2"):
            await hold(purse, Spend(cost=1.2))
        bill.pay(Spend(cost=0.1))
    await hold(purse, Spend(cost=0.9))
    with pytest.raises(BudgetSpent):
        await hold(purse, Spend(cost=0.01))


@pytest.mark.parametrize(("paid", "fits"), [(0.1, True), (0.6, False)])
async def test_what_others_have_only_reserved_is_waited_for(paid: float, fits: bool):
    purse = await opened(max_cost=1.0)
    async with purse.reserve(Spend(cost=0.6)) as bill:
        second = asyncio.create_task(hold(purse, Spend(cost=0.6)))
        await asyncio.sleep(0.01)
        assert not second.done()
        bill.pay(Spend(cost=paid))
    await asyncio.wait([second])
    assert (second.exception() is None) == fits


async def test_whoever_gives_up_waiting_is_in_nobodys_way():
    purse = await opened(max_calls=1)
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
    purse = await opened(max_calls=1)
    with pytest.raises(type(error)):
        async with purse.reserve(Spend(calls=1)):
            raise error
    if left:
        await hold(purse, Spend(calls=1))
    else:
        with pytest.raises(BudgetSpent):
            await hold(purse, Spend(calls=1))


async def test_a_limit_does_not_stop_what_does_not_touch_it():
    purse = await opened(max_calls=1)
    await hold(purse, Spend(calls=1))
    await hold(purse, Spend(images=1))
    assert not purse.exhausted


async def test_what_the_state_says_was_spent_counts_and_is_not_counted_twice():
    purses = Purses()
    purse = await purses.open("t", Limits(max_images=3), Usage(images=1, reused=1), 0.0)
    await hold(purse, Spend(images=1))
    await purses.open("t", Limits(max_images=3), Usage(images=2, reused=1), 0.0)
    with pytest.raises(BudgetSpent):
        await hold(purse, Spend(images=1))
    assert purses.of("t") is purse
    assert purses.of("other") is not purse


async def test_a_raised_limit_forgets_that_the_old_one_was_met():
    purses = Purses()
    purse = await purses.open("t", Limits(max_seconds=1.0), Usage(), 2.0)
    with pytest.raises(BudgetSpent, match="max_seconds is over"):
        await hold(purse, Spend(calls=1))
    await purses.open("t", Limits(max_seconds=1.0), Usage(), 2.0)
    assert purse.exhausted == "max_seconds"
    await purses.open("t", Limits(max_seconds=10.0), Usage(), 2.0)
    assert purse.exhausted == ""
    await hold(purse, Spend(calls=1))


async def test_the_deadline_cuts_off_what_is_being_done():
    purse = await opened(max_seconds=0.01)
    with pytest.raises(BudgetSpent, match="max_seconds was over before the chat model was done"):
        async with deadline("the chat model"):
            await asyncio.sleep(5)
    assert purse.exhausted == "max_seconds"


async def test_a_time_limit_of_someone_elses_passes_through():
    await opened(max_seconds=100.0)
    with pytest.raises(TimeoutError):
        async with deadline("the chat model"):
            raise TimeoutError


async def test_without_a_purse_nothing_is_limited():
    async with reserve(Spend(calls=10**9)):
        pass
    async with deadline("anything"):
        pass


async def test_prices_add_up_to_a_limit_exactly():
    purse = await opened(max_cost=0.3)
    for _ in range(3):
        await hold(purse, Spend(cost=0.1))
    with pytest.raises(BudgetSpent):
        await hold(purse, Spend(cost=0.1))


async def test_nobody_waits_for_what_was_given_back():
    purse = await opened(max_cost=0.6)
    for cost in (0.1, 0.2, 0.3):
        async with purse.reserve(Spend(cost=cost)) as bill:
            bill.pay(Spend())
    async with asyncio.timeout(30):
        await hold(purse, Spend(cost=0.6))


async def test_what_failed_calls_cost_is_reported_once():
    purse = await opened(max_calls=9)
    for error in (ModelOutage("lost", again="paid"), ModelOutage("busy", again="free")):
        with pytest.raises(ModelOutage):
            async with purse.reserve(Spend(calls=1, images=2, cost=0.5)):
                raise error
    await hold(purse, Spend(calls=1))
    assert purse.take_lost() == {"mllm_calls": 1, "images": 2, "cost": 0.5}
    assert purse.take_lost() == {}


async def test_what_is_spent_outlives_the_process(tmp_path: Path):
    limits = Limits(max_calls=3, max_cost=1.0)

    async def next_process(usage: Usage) -> Purse:
        return await Purses(lambda: SqlLedger(SqliteFile(tmp_path / "ledger.sqlite"))).open("t", limits, usage, 0.0)

    purse = await next_process(Usage())
    async with purse.reserve(Spend(calls=1, cost=0.6)) as bill:
        # Killed now: whoever comes next counts the worst case of this call.
        heir = await next_process(Usage())
        with pytest.raises(BudgetSpent, match="max_cost"):
            await hold(heir, Spend(cost=0.5))
        bill.pay(Spend(calls=1, cost=0.1))
    heir = await next_process(Usage())
    await hold(heir, Spend(calls=1, cost=0.5))
    heir = await next_process(Usage(mllm_calls=1))
    await hold(heir, Spend(calls=1))
    with pytest.raises(BudgetSpent, match="max_calls"):
        await hold(heir, Spend(calls=1))
    other = await Purses(lambda: SqlLedger(SqliteFile(tmp_path / "ledger.sqlite"))).open("other", limits, Usage(), 0.0)
    await hold(other, Spend(calls=3))


async def test_seconds_in_vain_count_for_the_limit_of_time(tmp_path: Path):
    ledger = SqlLedger(SqliteFile(tmp_path / "ledger.sqlite"))
    limits = Limits(max_seconds=10.0)
    purse = await Purses(lambda: ledger).open("t", limits, Usage(), 4.0)
    await purse.waste(100.0, 105.0)
    await purse.waste(101.0, 105.0)
    for purses in (Purses(lambda: ledger), Purses(lambda: ledger)):
        heir = await purses.open("t", limits, Usage(), 4.0)
        assert 0.5 < (heir.seconds_left or 0) <= 1.0


async def test_whoever_opens_at_the_same_time_knows_what_was_spent(tmp_path: Path):
    ledger = SqlLedger(SqliteFile(tmp_path / "ledger.sqlite"))
    await ledger.book("t", Spend(images=4))
    purses = Purses(lambda: ledger)

    async def draw() -> bool:
        purse = await purses.open("t", Limits(max_images=5), Usage(), 0.0)
        try:
            await hold(purse, Spend(images=1))
        except BudgetSpent:
            return False
        return True

    assert sum(await asyncio.gather(*(draw() for _ in range(8)))) == 1


async def test_what_was_spent_before_there_were_limits_is_kept_when_there_are(tmp_path: Path):
    ledger = SqlLedger(SqliteFile(tmp_path / "ledger.sqlite"))
    purses = Purses(lambda: ledger)
    purse = await purses.open("t", Limits(), Usage(), 0.0)
    for _ in range(10):
        await hold(purse, Spend(images=1))
    assert await ledger.spent("t") == Spend()
    purse = await purses.open("t", Limits(max_images=12), Usage(), 0.0)
    await hold(purse, Spend(images=1))
    assert await ledger.spent("t") == Spend(images=11)


async def test_a_booking_that_fails_gives_nothing_back(tmp_path: Path):
    booked: list[Spend] = []

    class FullDisk(SqlLedger):
        async def book(self, trajectory_id: str, spend: Spend) -> None:
            booked.append(spend)
            raise GemsConfigError("the disk is full")

    purse = Purse(Account(lambda: FullDisk(SqliteFile(tmp_path / "ledger.sqlite")), "t"))
    purse.open(Limits(max_calls=2), Spend())
    with pytest.raises(GemsConfigError, match="the disk is full"):
        await hold(purse, Spend(calls=1))
    assert booked == [Spend(calls=1)]


async def test_what_is_reserved_already_is_not_reserved_again():
    await opened(max_calls=1)
    async with asyncio.timeout(30), reserve(Spend(calls=1)):
        with reserved_already():
            async with reserve(Spend(calls=1)):
                pass


async def test_accounts_are_found_off_the_event_loop_as_they_may_read_settings(tmp_path: Path):
    found: list[threading.Thread] = []

    def find() -> SqlLedger:
        found.append(threading.current_thread())
        return SqlLedger(SqliteFile(tmp_path / "ledger.sqlite"))

    purse = await Purses(find).open("t", Limits(max_calls=2), Usage(), 0.0)
    await hold(purse, Spend(calls=1))
    assert found
    assert threading.current_thread() not in found


async def test_tokens_have_a_limit_too(tmp_path: Path) -> None:
    ledger = SqlLedger(SqliteFile(tmp_path / "ledger.sqlite"))
    limits = Limits(max_tokens=100)
    purse = await Purses(lambda: ledger).open("t", limits, Usage(input_tokens=20, output_tokens=10), 0.0)
    async with purse.reserve(Spend(calls=1, tokens=60)) as bill:
        bill.pay(Spend(calls=1, tokens=40))
    with pytest.raises(BudgetSpent, match="max_tokens 100 leaves no room for a call that may take 31"):
        await hold(purse, Spend(tokens=31))
    assert (await ledger.spent("t")).tokens == 70
    heir = await Purses(lambda: ledger).open("t", limits, Usage(), 0.0)
    with pytest.raises(BudgetSpent, match="max_tokens"):
        await hold(heir, Spend(tokens=31))
    await hold(heir, Spend(tokens=30))


async def test_a_ledger_from_before_tokens_is_taken_over(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        connection.execute(
            "CREATE TABLE spending (trajectory_id TEXT NOT NULL PRIMARY KEY, calls INTEGER NOT NULL, images INTEGER NOT "
            "NULL, cost REAL NOT NULL, seconds REAL NOT NULL)"
        )
        connection.execute("INSERT INTO spending VALUES ('t', 3, 2, 0.5, 1.5)")
    ledger = SqlLedger(SqliteFile(tmp_path / "ledger.sqlite"))
    await ledger.book("t", Spend(tokens=7))
    assert await ledger.spent("t") == Spend(3, 2, 0.5, 1.5, 7)
