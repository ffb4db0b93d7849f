"""One side at a time, whoever comes, waits, is cancelled or fails."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Iterable

import pytest

from gems.backends.turnstile import Leave, Side, Turnstile


class Clock:
    """Stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Guest:
    """Comes at once, and stays in until told to leave."""

    def __init__(self, turnstile: Turnstile, side: Side, leave: Leave | None = None) -> None:
        self.is_in = False
        self._out = asyncio.Event()
        self.task = asyncio.create_task(self._visit(turnstile, side, leave))

    async def _visit(self, turnstile: Turnstile, side: Side, leave: Leave | None) -> None:
        async with turnstile.turn(side, leave):
            self.is_in = True
            await self._out.wait()
        self.is_in = False

    def go(self) -> None:
        self._out.set()

    def cancel(self) -> None:
        self.task.cancel()


class Held:
    """Something that a side holds; it can be slow to give it back, or fail."""

    def __init__(self, *errors: BaseException) -> None:
        self.given_back = 0
        self._errors = list(errors)
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def leave(self) -> None:
        self.given_back += 1
        await self.may_go_on.wait()
        if self._errors:
            raise self._errors.pop(0)


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(30):
        await asyncio.sleep(0)


async def come(turnstile: Turnstile, side: Side, leave: Leave | None = None) -> Guest:
    guest = Guest(turnstile, side, leave)
    await settle()
    return guest


async def send_out(*guests: Guest) -> None:
    for guest in guests:
        guest.go()
    await settle()


def inside(guests: Iterable[Guest]) -> list[bool]:
    return [guest.is_in for guest in guests]


async def test_one_side_is_in_together_and_the_other_waits_for_the_last_of_it() -> None:
    turnstile = Turnstile()
    one, two = await come(turnstile, "chat"), await come(turnstile, "chat")
    drawing = await come(turnstile, "drawing")
    assert inside([one, two, drawing]) == [True, True, False]
    await send_out(one)
    assert inside([one, two, drawing]) == [False, True, False]
    await send_out(two)
    assert inside([one, two, drawing]) == [False, False, True]
    await send_out(drawing)
    assert turnstile.swaps == 1


async def test_all_who_wait_for_a_side_come_in_at_once() -> None:
    turnstile = Turnstile()
    chat = await come(turnstile, "chat")
    drawings = [await come(turnstile, "drawing") for _ in range(4)]
    assert inside(drawings) == [False] * 4
    await send_out(chat)
    assert inside(drawings) == [True] * 4
    await send_out(*drawings)
    assert turnstile.swaps == 1


async def test_what_a_side_holds_is_given_back_when_the_other_is_asked_for_and_not_before() -> None:
    turnstile, model, other = Turnstile(), Held(), Held()
    for held in (model, model, other):
        await send_out(await come(turnstile, "chat", held.leave))
    assert (model.given_back, other.given_back) == (0, 0), "nobody needs it"
    model.may_go_on.clear()
    drawing = await come(turnstile, "drawing")
    assert not drawing.is_in, "the memory is not free yet"
    model.may_go_on.set()
    await settle()
    assert drawing.is_in
    assert (model.given_back, other.given_back) == (1, 1)


async def test_what_was_given_back_is_held_again_only_by_who_comes_again() -> None:
    turnstile, model, weights = Turnstile(), Held(), Held()
    await send_out(await come(turnstile, "chat", model.leave))
    await send_out(await come(turnstile, "drawing", weights.leave))
    await send_out(await come(turnstile, "chat"))
    await send_out(await come(turnstile, "drawing"))
    await send_out(await come(turnstile, "chat"))
    assert (model.given_back, weights.given_back) == (1, 1)
    assert turnstile.swaps == 4


async def test_what_may_be_held_from_before_is_given_back_first() -> None:
    turnstile, model = Turnstile(), Held()
    turnstile.owe("chat", model.leave)
    turnstile.owe("chat", model.leave)
    drawing = await come(turnstile, "drawing")
    assert drawing.is_in
    assert model.given_back == 1


async def test_a_side_that_is_in_goes_on_for_so_long_while_the_other_waits() -> None:
    clock = Clock()
    turnstile = Turnstile(patience=20, clock=clock)
    first = await come(turnstile, "chat")
    clock.now = 5.0
    drawing = await come(turnstile, "drawing")
    clock.now = 24.9
    second = await come(turnstile, "chat")
    assert second.is_in
    clock.now = 25.0
    late = await come(turnstile, "chat")
    assert not late.is_in, "the drawing has waited for 20 s"
    await send_out(first, second)
    assert inside([drawing, late]) == [True, False]
    await send_out(drawing)
    assert late.is_in


async def test_patience_is_counted_from_when_the_side_began_if_that_was_later() -> None:
    clock = Clock()
    turnstile = Turnstile(patience=20, clock=clock)
    first = await come(turnstile, "chat")
    drawing = await come(turnstile, "drawing")
    clock.now = 30.0
    chat = await come(turnstile, "chat")
    clock.now = 100.0
    await send_out(first)
    second = await come(turnstile, "drawing")
    assert inside([drawing, chat, second]) == [True, False, True], "chat has waited long, but the drawings just began"
    clock.now = 120.0
    third = await come(turnstile, "drawing")
    assert not third.is_in


async def test_nobody_is_starved_by_an_endless_stream_of_the_other_side() -> None:
    clock = Clock()
    turnstile = Turnstile(patience=20, clock=clock)
    chat = await come(turnstile, "chat")
    drawing = await come(turnstile, "drawing")
    for second in range(1, 100):
        clock.now = float(second)
        following = await come(turnstile, "chat")  # each comes before the last one is out
        await send_out(chat)
        chat = following
        if drawing.is_in:
            break
    assert clock.now == 20.0
    assert not chat.is_in
    await send_out(drawing)
    assert chat.is_in


async def test_who_is_cancelled_while_waiting_is_forgotten() -> None:
    turnstile = Turnstile(patience=0)
    chat = await come(turnstile, "chat")
    drawing, other = await come(turnstile, "drawing"), await come(turnstile, "drawing")
    drawing.cancel()
    await settle()
    await send_out(chat)
    assert drawing.task.cancelled()
    assert other.is_in
    await send_out(other)
    assert (await come(turnstile, "chat")).is_in


async def test_the_last_one_who_waits_can_be_cancelled_and_newcomers_need_not_wait_any_more() -> None:
    turnstile = Turnstile(patience=0)
    chat, drawing = await come(turnstile, "chat"), await come(turnstile, "drawing")
    late = await come(turnstile, "chat")
    assert not late.is_in
    drawing.cancel()
    await settle()
    assert inside([chat, late]) == [True, True]
    assert turnstile.swaps == 0


async def test_who_is_cancelled_in_the_middle_of_the_change_leaves_it_to_the_next() -> None:
    turnstile, model = Turnstile(), Held()
    await send_out(await come(turnstile, "chat", model.leave))
    model.may_go_on.clear()
    first, second = await come(turnstile, "drawing"), await come(turnstile, "drawing")
    assert model.given_back == 1
    first.cancel()
    await settle()
    assert first.task.cancelled()
    assert model.given_back == 2, "what the first one began is not known to have come to its end"
    assert not second.is_in
    model.may_go_on.set()
    await settle()
    assert second.is_in
    assert turnstile.swaps == 1


async def test_a_change_that_nobody_wants_any_more_is_none() -> None:
    turnstile, model = Turnstile(), Held()
    await send_out(await come(turnstile, "chat", model.leave))
    model.may_go_on.clear()
    drawing, chat = await come(turnstile, "drawing"), await come(turnstile, "chat")
    assert not chat.is_in
    drawing.cancel()
    await settle()
    assert chat.is_in
    assert turnstile.swaps == 0
    await send_out(chat)
    model.may_go_on.set()
    assert (await come(turnstile, "drawing")).is_in
    assert model.given_back == 2, "it is still owed"


@pytest.mark.parametrize("is_first", [True, False], ids=["who changes the side", "who is let in by that"])
async def test_at_whatever_step_somebody_is_cancelled_the_others_go_on(is_first: bool) -> None:
    """Waiting, just called, in the middle of the change, just in, or long in: after 25 steps of the loop all is done."""
    for step in range(25):
        turnstile, model = Turnstile(patience=0), Held()
        chat = await come(turnstile, "chat", model.leave)
        drawings = [await come(turnstile, "drawing") for _ in range(2)]
        victim, drawing = drawings if is_first else reversed(drawings)
        late = await come(turnstile, "chat")
        chat.go()
        for _ in range(step):
            await asyncio.sleep(0)
        victim.cancel()
        await settle()
        assert inside([drawing, late]) == [True, False], step
        await send_out(drawing)
        assert late.is_in, step
        await send_out(late)
        assert turnstile.swaps == 2, step


async def test_what_cannot_be_given_back_is_told_and_the_others_come_in(caplog: pytest.LogCaptureFixture) -> None:
    turnstile, broken, well = Turnstile(), Held(ValueError("no such model")), Held()
    for held in (broken, well):
        await send_out(await come(turnstile, "chat", held.leave))
    with caplog.at_level(logging.WARNING, "gems"):
        drawing = await come(turnstile, "drawing")
    assert drawing.is_in
    assert well.given_back == 1
    assert [it.getMessage() for it in caplog.records] == [
        "what the chat side holds of the GPU was not given back: no such model"
    ]


async def test_giving_back_has_a_time_limit(caplog: pytest.LogCaptureFixture) -> None:
    turnstile, stuck = Turnstile(leave_seconds=0.01), Held()
    stuck.may_go_on.clear()
    turnstile.owe("chat", stuck.leave)
    with caplog.at_level(logging.WARNING, "gems"):
        async with turnstile.turn("drawing"):
            pass
    assert "was not given back: TimeoutError" in caplog.text


async def test_what_is_closed_while_it_should_give_back_cancels_nobody_else() -> None:
    turnstile, closed = Turnstile(), Held(asyncio.CancelledError())
    turnstile.owe("chat", closed.leave)
    assert (await come(turnstile, "drawing")).is_in


async def test_who_fails_inside_is_out() -> None:
    turnstile = Turnstile()
    with pytest.raises(ZeroDivisionError):
        async with turnstile.turn("chat"):
            raise ZeroDivisionError
    assert (await come(turnstile, "drawing")).is_in


class Room:
    """Counts who is in, for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: dict[Side, int] = {"chat": 0, "drawing": 0}
        self.visits = 0
        self.meetings = 0
        self.held: set[Side] = set()

    def enter(self, side: Side) -> None:
        with self._lock:
            self._inside[side] += 1
            self.visits += 1
            self.held.add(side)
            self.meetings += all(self._inside.values()) or len(self.held) == 2

    def exit(self, side: Side) -> None:
        with self._lock:
            self._inside[side] -= 1

    def leaver(self, side: Side) -> Leave:
        async def leave() -> None:
            await asyncio.sleep(0)
            with self._lock:
                self.meetings += self._inside[side] > 0
                self.held.discard(side)

        return leave


def test_threads_with_event_loops_of_their_own_never_meet_on_different_sides() -> None:
    turnstile, room = Turnstile(patience=0.001), Room()
    leaves: dict[Side, Leave] = {"chat": room.leaver("chat"), "drawing": room.leaver("drawing")}
    cancelled: list[int] = []

    async def visit(dice: random.Random) -> None:
        side: Side = dice.choice(["chat", "drawing"])
        async with turnstile.turn(side, leaves[side]):
            room.enter(side)
            try:
                await asyncio.sleep(0)
            finally:
                room.exit(side)

    async def live(dice: random.Random) -> None:
        for _ in range(20):
            visits = [asyncio.create_task(visit(dice)) for _ in range(3)]
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            if dice.random() < 0.3:
                visits[0].cancel()
            results = await asyncio.gather(*visits, return_exceptions=True)
            cancelled.extend(1 for it in results if isinstance(it, asyncio.CancelledError))
            assert all(it is None or isinstance(it, asyncio.CancelledError) for it in results)

    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            asyncio.run(asyncio.wait_for(live(random.Random(seed)), 30))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert room.meetings == 0
    assert room.visits + len(cancelled) >= 6 * 20 * 3
    assert cancelled
    assert turnstile.swaps > 10


def test_an_event_loop_that_ends_leaves_the_turnstile_free() -> None:
    turnstile = Turnstile()

    async def forgotten() -> None:
        waiting = [await come(turnstile, side) for side in ("chat", "drawing", "chat")]  # type: ignore[arg-type]
        assert waiting[0].is_in  # all are cancelled with their loop

    async def other() -> None:
        assert (await come(turnstile, "drawing")).is_in

    asyncio.run(forgotten())
    asyncio.run(other())
