"""The queue before the workers: who is taken up when, and with whom."""

from __future__ import annotations

import threading
import time

import pytest
from PIL import Image

from gems.backends.local.orders import LocalModel, Order, Sampling
from gems.backends.local.queue import Errand, Job, OrderQueue
from gems.core.errors import ModelOutage
from gems.core.profiles import LocalOptions

MODEL = LocalModel("m")
ME, OTHER = "me", "other"


def job(seed: int = 0, model: LocalModel = MODEL, width: int = 64, **more: object) -> Job:
    return Job(Order(model, "a dog", seed, width, 64, **more))  # type: ignore[arg-type]


def queue(*jobs: Job, window: float = 0.0) -> OrderQueue:
    made = OrderQueue(window)
    for it in jobs:
        made.put(it)
    return made


def take(waiting: OrderQueue, worker: str = ME) -> list[int]:
    taken = waiting.take(worker, 0)
    assert isinstance(taken, list)
    return [it.order.seed for it in taken]


def test_equal_orders_are_taken_together_up_to_the_limit() -> None:
    assert take(waiting := queue(*(job(seed) for seed in range(6)))) == [0, 1, 2, 3]
    assert waiting.waiting == 2
    assert take(waiting) == [4, 5]
    assert waiting.take(ME, 0) is None


@pytest.mark.parametrize(
    "other",
    [
        job(1, width=128),
        job(1, model=LocalModel("n")),
        job(1, model=LocalModel("m", LocalOptions(scheduler="X"))),
        job(1, sampling=Sampling(steps=3)),
        job(1, seconds=5.0),
        job(1, sampling=Sampling(negative_prompt="blur")),
        job(1, images=(Image.new("RGB", (8, 8)),)),
    ],
)
def test_unlike_orders_are_not(other: Job) -> None:
    waiting = queue(job(0), other, job(2))
    assert take(waiting) == [0, 2]
    assert take(waiting) == [1]


def test_the_oldest_goes_first_whatever_it_is() -> None:
    waiting = queue(job(0, width=128), job(1), job(2))
    assert take(waiting) == [0]


def test_a_go_waits_a_moment_for_company_but_not_when_it_is_full() -> None:
    waiting = queue(job(0), window=0.6)
    threading.Timer(0.05, waiting.put, [job(1)]).start()
    assert take(waiting) == [0, 1]
    started = time.monotonic()
    waiting = queue(*(job(seed) for seed in range(4)), window=60)
    assert take(waiting) == [0, 1, 2, 3]
    assert time.monotonic() - started < 30


def test_two_idle_workers_share_a_go() -> None:
    waiting, found = OrderQueue(0.05), {}

    def work(worker: str) -> None:
        taken = waiting.take(worker, 10)
        assert isinstance(taken, list)
        found[worker] = [it.order.seed for it in taken]

    threads = [threading.Thread(target=work, args=[worker]) for worker in (ME, OTHER)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    for seed in range(4):
        waiting.put(job(seed))
    for thread in threads:
        thread.join(10)
    assert sorted(len(seeds) for seeds in found.values()) == [2, 2]
    assert sorted(seed for seeds in found.values() for seed in seeds) == [0, 1, 2, 3]


def test_what_was_cancelled_is_not_taken_up_nor_counted() -> None:
    first, second = job(0), job(1)
    waiting = queue(first, second)
    first.result.cancel()
    assert waiting.waiting == 1
    assert take(waiting) == [1]


def test_what_is_put_back_is_the_next() -> None:
    waiting = queue(job(0), job(1), job(2, width=128))
    taken = waiting.take(ME, 0)
    assert isinstance(taken, list)
    waiting.put_back(taken[1:])
    assert take(waiting) == [1]
    assert take(waiting) == [2]


def test_errands_come_before_orders_and_are_for_one_worker() -> None:
    waiting, seen = queue(job(0)), []
    errand = Errand(seen.append)
    waiting.send(OTHER, errand)
    assert take(waiting) == [0]
    taken = waiting.take(OTHER, 0)
    assert taken is errand
    errand.run("the worker")
    assert (seen, errand.result.result(0)) == (["the worker"], None)


def test_an_errand_that_fails_says_so_to_who_sent_it() -> None:
    def fail(_: object) -> None:
        raise ValueError("no")

    errand = Errand(fail)
    errand.run(None)
    with pytest.raises(ValueError, match="no"):
        errand.result.result(0)
    given_up = Errand(fail)
    given_up.result.cancel()
    given_up.run(None)  # does nothing


def test_a_closed_queue_gives_back_what_waits_and_takes_nothing() -> None:
    waiting = queue(job(0), job(1))
    errand = Errand(lambda _: None)
    waiting.send(ME, errand)
    assert [it.order.seed for it in waiting.close()] == [0, 1]
    assert waiting.take(ME, None) == []
    with pytest.raises(ModelOutage, match="this process is ending"):
        errand.result.result(0)
    with pytest.raises(ModelOutage, match="this process is ending"):
        waiting.put(job(2))
    late = Errand(lambda _: None)
    waiting.send(ME, late)
    assert isinstance(late.result.exception(0), ModelOutage)


def test_what_comes_back_to_a_closed_queue_is_told_so() -> None:
    waiting = queue(job(0), job(1))
    taken = waiting.take(ME, 0)
    assert isinstance(taken, list)
    given_up = Errand(lambda _: None)
    waiting.send(ME, given_up)
    given_up.result.cancel()
    waiting.close()  # is not disturbed by an errand that nobody waits for
    with pytest.raises(ModelOutage, match="this process is ending"):
        waiting.put_back(taken)


def test_what_has_an_end_is_not_taken_up_again() -> None:
    first = job(0)
    waiting = queue(first, job(1))
    first.fail(ModelOutage("no"))
    first.fail(ModelOutage("once more"))  # changes nothing
    assert take(waiting) == [1]
    with pytest.raises(ModelOutage, match=r"^no$"):
        first.result.result(0)


def test_a_job_can_be_ended_before_it_was_begun_and_after() -> None:
    early, late, gone = job(), job(), job()
    assert late.begin()
    gone.result.cancel()
    for it in (early, late, gone):
        it.fail(ModelOutage("no"))
    for it in (early, late):
        with pytest.raises(ModelOutage, match="no"):
            it.result.result(0)
    assert gone.result.cancelled()
