"""The review: picks the best attempt so far, and decides whether the trajectory ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeGuard

from gems.core.errors import ModelOutage
from gems.core.events import emit
from gems.core.ports import Services
from gems.core.replies import Comparison
from gems.core.state import Attempt, GemsState, StopReason, Usage, Verdict, add_usage, merge_attempts
from gems.memory.view import find_attempt
from gems.nodes.asking import Node, Update, ask, models_of, show
from gems.nodes.critic import judge_alone, scored, skip_children
from gems.nodes.proposing import budget_spent

COMPARE: Final = """\
Two pictures were made for one request; the block holds it and its requirements. Which serves the request better? Weigh \
what was asked for first, then composition and craft. Answer first, second, or tie when you would not bet on either."""

CLOSE: Final = 0.02
"""Soft scores nearer than this are a tie, settled by comparing the pictures."""


class _Choice(NamedTuple):
    attempt: Attempt | None
    usage: Usage


class _Looked(NamedTuple):
    attempt: Attempt
    usage: Usage


def make_review(services: Services) -> Node:
    """The review node: no calls, but for a tie between pictures or a best one with nothing but unknowns left."""

    async def review(state: GemsState) -> Update:
        choice = await _select(services, state)
        usage, changed = choice.usage, list[Attempt]()
        # Asking again can make a picture worse than its sibling, so the selection is made anew; nobody is asked twice.
        while _may_be_asked(choice.attempt, state, changed):
            again = await _ask_once_more(services, state, choice.attempt)
            changed.append(again.attempt)
            choice = await _select(services, {**state, "attempts": merge_attempts(state["attempts"], changed)})
            usage = add_usage(usage, add_usage(again.usage, choice.usage))
        best = choice.attempt
        reason = stop_reason(state, best, usage, services.purses.of(state["trajectory_id"]).exhausted)
        emit(
            "reviewed",
            round=state["round"],
            best=best["id"] if best else None,
            score=best.get("score", 0.0) if best else 0.0,
            stop_reason=reason,
        )
        return {"attempts": changed, "best": best["id"] if best else None, "usage": usage, "stop_reason": reason}

    return review


class Rank(NamedTuple):
    """Smaller is better. First what is not known to be met: a critic that was away must not make a picture the best."""

    open: int
    unmet: int
    """Those known to be unmet, and what depends on them."""


def rank(attempt: Attempt) -> Rank:
    """How far an attempt is from the request."""
    names = [verdict["verdict"] for verdict in attempt["verdicts"].values()]
    unmet = names.count("unmet") + names.count("skipped")
    return Rank(unmet + names.count("unknown"), unmet)


def soft_score(attempt: Attempt) -> float:
    """Mean belief that a requirement is met, in [0, 1]: the confidence of a met one, its complement for an unmet one."""
    beliefs = [_belief(verdict) for verdict in attempt["verdicts"].values()]
    return sum(beliefs) / len(beliefs)


def _belief(verdict: Verdict) -> float:
    if verdict["verdict"] == "met":
        return verdict["confidence"]
    if verdict["verdict"] == "unmet":
        return 1.0 - verdict["confidence"]
    return 0.5 if verdict["verdict"] == "unknown" else 0.0


def stop_reason(state: GemsState, best: Attempt | None, spent: Usage, exhausted: str = "") -> StopReason | None:
    """Why the trajectory ends here, or None: another round. `exhausted` is a limit that has stopped a call."""
    options = state["options"]
    usage = add_usage(state["usage"], spent)
    if best is not None and all(verdict["verdict"] == "met" for verdict in best["verdicts"].values()):
        return "satisfied"
    if exhausted:
        return "budget"
    if best is not None and _only_unknown(best) and options["mode"] != "paper":
        return "unverified"
    if state["round"] >= options["max_rounds"]:
        return "max_rounds"
    if budget_spent({**state, "usage": usage}):
        return "budget"
    if best is not None and options["patience"] and state["round"] - best["round"] >= options["patience"]:
        return "stalled"
    return None


def _only_unknown(attempt: Attempt) -> bool:
    names = {verdict["verdict"] for verdict in attempt["verdicts"].values()}
    return "unknown" in names and names <= {"met", "unknown"}


def _may_be_asked(attempt: Attempt | None, state: GemsState, asked: Sequence[Attempt]) -> TypeGuard[Attempt]:
    """Whether nothing but unknowns keeps the best picture from being right. The paper's loop counts passes and asks once."""
    if attempt is None or state["options"]["mode"] == "paper":
        return False
    return _only_unknown(attempt) and attempt["id"] not in {it["id"] for it in asked}


async def _select(services: Services, state: GemsState) -> _Choice:
    """The best so far against this round's pictures. The best is replaced only by a better one.

    Pictures are compared only with their siblings: between rounds, a tie is not worth two calls.
    """
    usage = Usage()
    paper = state["options"]["mode"] == "paper"
    best = find_attempt(state["attempts"], state.get("best"))
    for attempt in (it for it in state["attempts"] if it["round"] == state["round"] and "verdicts" in it):
        if best is None:
            best = attempt
        elif paper:
            best = attempt if attempt["score"] > best["score"] else best
        elif rank(attempt) != rank(best):
            best = min(best, attempt, key=rank)
        elif abs(soft_score(attempt) - soft_score(best)) >= CLOSE:
            best = max(best, attempt, key=soft_score)
        elif attempt["round"] == best["round"] and attempt["id"] != best["id"]:
            choice = await _compare(services, state, best, attempt)
            best, usage = choice.attempt, add_usage(usage, choice.usage)
    return _Choice(best, usage)


async def _compare(services: Services, state: GemsState, best: Attempt, other: Attempt) -> _Looked:
    """Both orders, because models favour a place; the other wins only if it wins twice."""
    usage = Usage()
    for first, second, wanted in ((best, other, "second"), (other, best, "first")):
        side = (await models_of(services, state)).image_side
        images = [
            await show(services.artifacts, first["artifact"], "The first picture:", side),
            await show(services.artifacts, second["artifact"], "The second picture:", side),
        ]
        fields = {"request": state["request"], "requirements": [item["question"] for item in state["requirements"]]}
        try:
            answer = await ask(services, state, "critic", "compare", COMPARE, fields, Comparison, images)
        except ModelOutage:
            return _Looked(best, usage)
        usage = add_usage(usage, answer.usage)
        if answer.reply is None or answer.reply.better != wanted:
            return _Looked(best, usage)
    return _Looked(other, usage)


async def _ask_once_more(services: Services, state: GemsState, best: Attempt) -> _Looked:
    open_ones = [it for it in state["requirements"] if best["verdicts"][it["id"]]["verdict"] == "unknown"]
    again = await judge_alone(services, state, best["artifact"], open_ones)
    verdicts = skip_children({**best["verdicts"], **again.verdicts}, state["requirements"])
    return _Looked(scored(best, verdicts, state["requirements"]), again.usage)
