"""The review: picks the best attempt so far, and decides whether the trajectory ends."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, TypeGuard

from gems.core.answers import RoundAnswer, round_answer
from gems.core.errors import ModelOutage
from gems.core.events import Reviewed, emit
from gems.core.ports import Services
from gems.core.replies import Comparison
from gems.core.state import Attempt, GemsState, Remark, Ruling, StopReason, Usage, Verdict, add_usage, merge_attempts
from gems.memory.view import find_attempt
from gems.nodes.asking import Node, Update, accepted_changes, ask, models_of, show
from gems.nodes.critic import judge_alone, ruled, scored, skip_children, unknown
from gems.nodes.person import ask_person, asked_no_more
from gems.nodes.proposing import budget_spent, undrawn

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
    """The review node: no calls, but for a tie between pictures or a best one with nothing but unknowns left.

    A person may be asked first: then what they rule holds, and the choice they make.
    """

    async def review(state: GemsState) -> Update:
        said = _ask(state) if state["options"]["review"] == "round" else None
        told = _told(state, said) if said else {}
        ruled: list[Attempt] = told.get("attempts", [])
        state = {**state, **told, "attempts": merge_attempts(state["attempts"], ruled)}  # type: ignore[typeddict-item]
        overruled = {it.attempt for it in said.overrule} if said else set[str]()
        choice = await _select(services, state, overruled)
        usage = choice.usage
        # Asking again can make a picture worse than its sibling, so the selection is made anew; nobody is asked twice.
        asked = list[Attempt]()
        while _may_be_asked(choice.attempt, state, asked):
            again = await _ask_once_more(services, state, choice.attempt)
            asked.append(again.attempt)
            choice = await _select(services, {**state, "attempts": merge_attempts(state["attempts"], asked)}, overruled)
            usage = add_usage(usage, add_usage(again.usage, choice.usage))
        best = choice.attempt
        if said and said.best:
            best = find_attempt(merge_attempts(state["attempts"], asked), said.best)
        exhausted = services.purses.of(state["trajectory_id"]).exhausted
        wants_more = bool(state["wish"]) or (said is not None and bool(said.feedback))
        reason = _said_stop(said, best) or stop_reason(state, best, usage, exhausted, wants_more=wants_more)
        emit(
            Reviewed(
                event="reviewed",
                round=state["round"],
                best=best["id"] if best else None,
                artifact=best["artifact"] if best else None,
                score=best.get("score", 0.0) if best else 0.0,
                stop_reason=reason,
            )
        )
        changed = await accepted_changes(services, state)
        return {
            **told,
            **changed,
            "attempts": [*ruled, *asked],
            "best": best["id"] if best else None,
            # What was drawn has been chosen from: it is not chosen from again when the run goes on.
            "proposals": undrawn(state),
            "usage": usage,
            "stop_reason": reason,
        }

    return review


def _ask(state: GemsState) -> RoundAnswer:
    """Show the round to a person."""
    shown = [it for it in state["attempts"] if it["round"] == state["round"] or it["id"] == state["best"]]
    pictures = [it["id"] for it in state["attempts"] if "verdicts" in it]
    question = {
        "kind": "round",
        "round": state["round"],
        "request": state["request"]["prompt"],
        "requirements": state["requirements"],
        "attempts": shown,
        "best": state["best"],
    }
    return ask_person(question, round_answer(pictures, [item["id"] for item in state["requirements"]]))


def _told(state: GemsState, said: RoundAnswer) -> Update:
    """What a person's answer changes in the state."""
    rulings = [
        Ruling(attempt=it.attempt, requirement=it.requirement, verdict=it.verdict, note=it.note) for it in said.overrule
    ]
    known = {(it["attempt"], it["requirement"]): it for it in [*state["rulings"], *rulings]}
    after: GemsState = {**state, "rulings": list(known.values())}
    changed = []
    for attempt in (it for it in state["attempts"] if it["id"] in {ruling["attempt"] for ruling in rulings}):
        # What was skipped for the sake of a verdict that does not stand was never answered.
        answered = {
            name: unknown("not asked yet") if verdict["verdict"] == "skipped" else verdict
            for name, verdict in attempt["verdicts"].items()
        }
        changed.append(scored(after, attempt, skip_children(ruled(after, attempt, answered), state["requirements"])))
    remark = [Remark(round=state["round"], text=said.feedback)] if said.feedback else []
    return {
        "attempts": changed,
        "rulings": after["rulings"],
        "remarks": [*state["remarks"], *remark],
        "wish": said.prompt or state["wish"],
        "options": asked_no_more(state["options"], said),
    }


def _said_stop(said: RoundAnswer | None, best: Attempt | None) -> StopReason | None:
    if said is None or said.action == "approve":
        return None
    return "accepted" if said.action == "accept" and best is not None else "stopped"


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


def stop_reason(
    state: GemsState, best: Attempt | None, spent: Usage, exhausted: str = "", *, wants_more: bool = False
) -> StopReason | None:
    """Why the trajectory ends here, or None: another round.

    Args:
        state: The trajectory.
        best: The best attempt, which the state may not know yet.
        spent: What was spent since the state was written.
        exhausted: A limit that has stopped a call.
        wants_more: Whether a person wants something changed: then it is not right yet, whatever the critic says.
    """
    options = state["options"]
    usage = add_usage(state["usage"], spent)
    judged = best if not wants_more else None
    if judged is not None and all(verdict["verdict"] == "met" for verdict in judged["verdicts"].values()):
        return "satisfied"
    if exhausted:
        return "budget"
    if judged is not None and _only_unknown(judged) and options["mode"] != "paper":
        return "unverified"
    if state["round"] - state["since"] >= options["max_rounds"]:
        return "max_rounds"
    if budget_spent({**state, "usage": usage}):
        return "budget"
    idle = state["round"] - max(best["round"], state["since"]) if best is not None else 0
    return "stalled" if options["patience"] and idle >= options["patience"] else None


def _only_unknown(attempt: Attempt) -> bool:
    names = {verdict["verdict"] for verdict in attempt["verdicts"].values()}
    return "unknown" in names and names <= {"met", "unknown"}


def _may_be_asked(attempt: Attempt | None, state: GemsState, asked: Sequence[Attempt]) -> TypeGuard[Attempt]:
    """Whether nothing but unknowns keeps the best picture from being right. The paper's loop counts passes and asks once."""
    if attempt is None or state["options"]["mode"] == "paper":
        return False
    return _only_unknown(attempt) and attempt["id"] not in {it["id"] for it in asked}


async def _select(services: Services, state: GemsState, overruled: Collection[str] = ()) -> _Choice:
    """The best so far against this round's pictures. The best is replaced only by a better one.

    Earlier pictures that a person has judged anew stand for choice again; all do when the best one is among them.
    Pictures are compared only with their siblings: between rounds, a tie is not worth two calls.
    """
    usage = Usage()
    paper = state["options"]["mode"] == "paper"
    best = find_attempt(state["attempts"], state.get("best"))
    drawn = {proposal["id"] for proposal in state["proposals"]}
    every = best is not None and best["id"] in overruled
    for attempt in state["attempts"]:
        if "verdicts" not in attempt or not (every or attempt["id"] in drawn or attempt["id"] in overruled):
            continue
        if best is None:
            best = attempt
        elif paper:
            best = attempt if attempt["score"] > best["score"] else best
        elif rank(attempt) != rank(best):
            best = min(best, attempt, key=rank)
        elif abs(soft_score(attempt) - soft_score(best)) >= CLOSE:
            best = max(best, attempt, key=soft_score)
        elif attempt["id"] in drawn and attempt["round"] == best["round"] and attempt["id"] != best["id"]:
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
    again = await judge_alone(services, state, best, open_ones)
    verdicts = skip_children({**best["verdicts"], **again.verdicts}, state["requirements"])
    return _Looked(scored(state, best, verdicts), again.usage)
