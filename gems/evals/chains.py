"""Work in several processes: chains run beside each other, and the links of one chain in their order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from gems.evals.engine import use_one_thread

A = TypeVar("A")
B = TypeVar("B")


def run_chains(
    work: Callable[[A], B], chains: Sequence[Sequence[A]], jobs: int, done: Callable[[], None] = lambda: None
) -> list[list[B]]:
    """Do all links of all chains.

    Args:
        work: What is done for one link. With more than one job it must be a function of a module, and what it takes and
            gives must be picklable.
        chains: Each link begins when the one before it has ended.
        jobs: Processes; 1: this one.
        done: Called after each link.

    Returns:
        What came of each link, in the order of `chains`.
    """
    if jobs == 1:
        use_one_thread()

        def noted(link: A) -> B:
            result = work(link)
            done()
            return result

        return [[noted(link) for link in chain] for chain in chains]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn, initializer=use_one_thread) as pool:
        return drive(pool, work, chains, jobs, done)


def drive(
    pool: Executor, work: Callable[[A], B], chains: Sequence[Sequence[A]], most: int, done: Callable[[], None]
) -> list[list[B]]:
    """Do all links in a pool, at most so many at a time."""
    lock = Lock()

    def follow(chain: Sequence[A]) -> list[B]:
        results = []
        for link in chain:
            results.append(pool.submit(work, link).result())
            with lock:
                done()
        return results

    with ThreadPoolExecutor(most) as drivers:
        return list(drivers.map(follow, chains))
