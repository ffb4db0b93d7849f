"""Which requests are answered badly, and how: a plan gives the fault of each request by its number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from gems.evals.loopback.wire import Reply, as_json, html_page

Plan = Callable[[int], str]
"""From the number of a request, counted from 0 among those that may fail, to a fault; empty is none."""

TRANSPORT: Final = ("429", "500", "503", "slow", "hang_up", "half", "html", "error_200")
"""Faults of the server, not of the model. `half` closes the connection in the middle of the body."""

FREE: Final = frozenset({"429", "503"})
"""Faults of a server that has done no work."""


def clean(number: int) -> str:  # noqa: ARG001
    """No fault, ever."""
    return ""


def seeded(seed: int, kinds: Sequence[str], share: float = 0.3) -> Plan:
    """A fault for that share of the requests, each of the kinds as likely as the others.

    A request's fault depends on its number and the seed alone, so that parallel clients cannot change the plan.
    """

    def plan(number: int) -> str:
        chance = Random(f"{seed}/{number}")
        return chance.choice(kinds) if chance.random() < share else ""

    return plan


def exactly(*faults: str) -> Plan:
    """These faults, in order, and none after them."""

    def plan(number: int) -> str:
        return faults[number] if number < len(faults) else ""

    return plan


def always(fault: str) -> Plan:
    """This fault, whatever is asked."""
    return lambda _: fault


def broken(fault: str, key: str, whole: Reply, error: Callable[[int, str], Reply]) -> Reply:
    """The reply of a fault of `TRANSPORT`, `slow` aside.

    Args:
        fault: Which one.
        key: The caller's key; a careless server repeats it in its errors.
        whole: The reply that would have been sent.
        error: The server's own way to say an error, from a status and a message.
    """
    if fault in FREE:
        refused = error(int(fault), "Rate limit reached" if fault == "429" else "The server is overloaded")
        return Reply(refused.status, refused.body, refused.content_type, {"Retry-After": "0"})
    if fault == "500":
        return error(500, f"Internal error in the request of {key or 'nobody'}")
    if fault == "html":
        return html_page()
    if fault == "error_200":
        return as_json({"error": {"message": "Provider returned error", "code": 502}})
    return whole.cut(len(whole.body) // 2) if fault == "half" else whole.cut(0)
