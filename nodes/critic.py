"""The critic: looks at each new picture and answers the requirements, the doubtful ones twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from gems.core.errors import ModelOutage
from gems.core.events import Judged, VerdictGiven, candidate_letter, emit
from gems.core.messages import EncodedImage
from gems.core.ports import Answer, Services
from gems.core.replies import Verdicts
from gems.core.state import Attempt, GemsState, Requirement, Usage, Verdict, VerdictName, add_usage
from gems.memory.view import asked
from gems.nodes.asking import Node, Update, ask, models_of, show, together
from gems.nodes.belief import verdict_beliefs

JUDGE: Final = """\
You check a picture against requirements. For each one in the block, look, say in a few words what you see, then give the \
verdict: met, unmet, or unknown when the picture does not tell. Count by pointing at each thing in turn. Left and right \
are the viewer's. Judge what is there, not what was probably meant; a part of a requirement that is missing makes it \
unmet. Answer every id exactly once. `confidence` is how sure you are, from 0 to 1."""

OVER_BUDGET: Final = "the critic's reply was over budget"
"""Evidence of a verdict that was not asked for, because a limit forbade the call."""
BY_PERSON: Final = "the user says so"
"""Evidence of a verdict that a person gave without a word."""
DOUBT: Final = 0.6
"""Confidence under which a requirement is asked again, alone."""


class Judgement(NamedTuple):
    """Verdicts by requirement id, and what they cost."""

    verdicts: dict[str, Verdict]
    usage: Usage


def make_critic(services: Services) -> Node:
    """The critic node: one call a picture and one more for each doubtful requirement, or one for each requirement."""

    async def critic(state: GemsState) -> Update:
        fresh = unjudged(state)
        judgements = await together(_judge_attempt(services, state, attempt) for attempt in fresh)
        usage, judged, warnings = Usage(), list[Attempt](), list[str]()
        for attempt, judgement in zip(fresh, judgements, strict=True):
            usage = add_usage(usage, judgement.usage)
            judged.append(scored(state, attempt, judgement.verdicts))
            evidence = {
                verdict["evidence"] for verdict in judgement.verdicts.values() if verdict["verdict"] == "unknown"
            }
            if len(evidence) == 1 and all(it["verdict"] == "unknown" for it in judgement.verdicts.values()):
                warnings.append(f"critic, {attempt['id']}: {evidence.pop()}")
        return {"attempts": judged, "usage": usage, "warnings": warnings}

    return critic


def unjudged(state: GemsState) -> list[Attempt]:
    """The pictures that are still to be looked at: those of the round, and the best one after a follow-up."""
    return [
        it
        for it in state["attempts"]
        if (it["round"] == state["round"] or it["id"] == state["best"])
        and "artifact" in it
        and any(item["id"] not in it.get("verdicts", {}) for item in state["requirements"])
    ]


def scored(state: GemsState, attempt: Attempt, verdicts: Mapping[str, Verdict]) -> Attempt:
    """The attempt with its verdicts, a person's rulings over them, and the share of requirements met."""
    verdicts = ruled(state, attempt, verdicts)
    score = met_share(verdicts, state["requirements"])
    emit(
        Judged(
            event="judged",
            attempt=attempt["id"],
            round=attempt["round"],
            candidate=candidate_letter(attempt["id"]),
            verdicts=verdicts,
            score=score,
        )
    )
    return {**attempt, "verdicts": verdicts, "score": score}


def ruled(state: GemsState, attempt: Attempt, verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """The verdicts, and in place of some what a person ruled: no model may doubt it."""
    rulings = [
        it for it in state.get("rulings", []) if it["attempt"] == attempt["id"] and it["requirement"] in verdicts
    ]
    told = {
        it["requirement"]: Verdict(verdict=it["verdict"], evidence=it["note"] or BY_PERSON, confidence=1.0)
        for it in rulings
    }
    return {**verdicts, **told}


def met_share(verdicts: Mapping[str, Verdict], requirements: Sequence[Requirement]) -> float:
    """The share of requirements met, in [0, 1]; what has no verdict is not."""
    met = sum(item["id"] in verdicts and verdicts[item["id"]]["verdict"] == "met" for item in requirements)
    return met / len(requirements)


async def judge_alone(
    services: Services, state: GemsState, attempt: Attempt, requirements: Sequence[Requirement]
) -> Judgement:
    """One call for each requirement."""
    image = await _show(services, state, attempt["artifact"])
    parts = await together(_judge(services, state, attempt, image, [item]) for item in requirements)
    verdicts: dict[str, Verdict] = {}
    usage = Usage()
    for part in parts:
        verdicts |= part.verdicts
        usage = add_usage(usage, part.usage)
    return Judgement(verdicts, usage)


async def _judge_attempt(services: Services, state: GemsState, attempt: Attempt) -> Judgement:
    requirements, known = state["requirements"], attempt.get("verdicts", {})
    fresh = [item for item in requirements if item["id"] not in known]
    if state["options"]["critic"] == "single":
        alone = await judge_alone(services, state, attempt, fresh)
        verdicts = {**known, **alone.verdicts}
        if state["options"]["mode"] == "paper":
            return Judgement(verdicts, alone.usage)
        return Judgement(skip_children(verdicts, requirements), alone.usage)
    image = await _show(services, state, attempt["artifact"])
    answered = await _judge(services, state, attempt, image, fresh)
    first = Judgement({**known, **answered.verdicts}, answered.usage)
    # A question that was asked alone is not asked again.
    doubtful = [item for item in _doubtful(first.verdicts, requirements) if item in fresh] if len(fresh) > 1 else []
    if not doubtful:
        return Judgement(skip_children(first.verdicts, requirements), first.usage)
    second = await judge_alone(services, state, attempt, doubtful)
    settled = {
        name: verdict
        for name, verdict in second.verdicts.items()
        if verdict["verdict"] != "unknown" or first.verdicts[name]["verdict"] == "unknown"
    }
    verdicts = skip_children({**first.verdicts, **settled}, requirements)
    return Judgement(verdicts, add_usage(first.usage, second.usage))


def _doubtful(verdicts: Mapping[str, Verdict], requirements: Sequence[Requirement]) -> list[Requirement]:
    """What is worth a second question: doubtful itself, and not certain to be skipped."""
    certain = {name: unknown("in doubt") if _is_doubtful(verdict) else verdict for name, verdict in verdicts.items()}
    after_skipping = skip_children(certain, requirements)
    return [item for item in requirements if after_skipping[item["id"]]["verdict"] == "unknown"]


def _is_doubtful(verdict: Verdict) -> bool:
    return verdict["verdict"] == "unknown" or verdict["confidence"] < DOUBT


async def _show(services: Services, state: GemsState, artifact: str) -> EncodedImage:
    models = await models_of(services, state)
    return await show(services.artifacts, artifact, "The picture:", models.image_side)


async def _judge(
    services: Services, state: GemsState, attempt: Attempt, image: EncodedImage, requirements: Sequence[Requirement]
) -> Judgement:
    """One call, whose verdicts are told at once."""
    judgement = await _answered(services, state, image, requirements)
    for name, verdict in judgement.verdicts.items():
        emit(
            VerdictGiven(
                event="verdict",
                attempt=attempt["id"],
                round=attempt["round"],
                candidate=candidate_letter(attempt["id"]),
                requirement=name,
                verdict=verdict,
            )
        )
    return judgement


async def _answered(
    services: Services, state: GemsState, image: EncodedImage, requirements: Sequence[Requirement]
) -> Judgement:
    """One call. What is not answered, or not readably, is unknown; an outage is unknown too, never a failure."""
    fields = {"requirements": asked(requirements)}
    try:
        answer = await ask(services, state, "critic", "judge", JUDGE, fields, Verdicts, [image])
    except ModelOutage as error:
        return Judgement({item["id"]: unknown(f"the critic did not answer: {error}") for item in requirements}, Usage())
    if answer.reply is None:
        missing = f"the critic's reply was {answer.problem}"
        return Judgement({item["id"]: unknown(missing) for item in requirements}, answer.usage)
    verdicts = {item["id"]: unknown("the critic did not answer this one") for item in requirements}
    seen: set[str] = set()
    for item, belief in zip(answer.reply.verdicts, _beliefs(answer), strict=True):
        if item.id in seen:
            # Two answers to one question cancel each other.
            verdicts[item.id] = unknown("the critic answered twice")
        elif item.id in verdicts:
            confidence = item.confidence if belief is None else _confidence(item.verdict, belief)
            verdicts[item.id] = Verdict(verdict=item.verdict, evidence=item.evidence, confidence=confidence)
            seen.add(item.id)
    return Judgement(verdicts, answer.usage)


def _beliefs(answer: Answer[Verdicts]) -> list[float | None]:
    """How much the model believed each `met`, by its log-probabilities; None where nothing tells."""
    items = answer.reply.verdicts if answer.reply else []
    beliefs = verdict_beliefs(answer.tokens)
    # Not one for each verdict: what was read is not what the tokens say (a repaired reply, JSON among thoughts).
    return beliefs if len(beliefs) == len(items) else [None] * len(items)


def _confidence(verdict: VerdictName, belief: float) -> float:
    """What a model says of its own certainty is worth less than what its tokens say."""
    return belief if verdict == "met" else 1.0 - belief


def unknown(reason: str) -> Verdict:
    """A verdict that says why there is none."""
    return Verdict(verdict="unknown", evidence=reason, confidence=0.0)


def skip_children(verdicts: Mapping[str, Verdict], requirements: Sequence[Requirement]) -> dict[str, Verdict]:
    """The verdicts, with those that depend on something unmet set to skipped: their answers mean nothing."""
    result = dict(verdicts)
    for item in requirements:
        failed = [parent for parent in item["depends_on"] if result[parent]["verdict"] in ("unmet", "skipped")]
        if failed:
            result[item["id"]] = Verdict(verdict="skipped", evidence=f"{failed[0]} is not met", confidence=1.0)
    return result
