"""The amender: works a follow-up into the request and its requirements. What was asked before stays asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gems.core.events import Amended, RequirementsSet, emit
from gems.core.ports import Services
from gems.core.replies import Amendment
from gems.core.state import Attempt, GemsState, Requirement
from gems.memory.view import asked
from gems.nodes.asking import Node, Update, ask
from gems.nodes.critic import met_share, unknown
from gems.nodes.decomposer import LONGEST, MOST, change_requirements, free_number
from gems.nodes.proposing import undrawn
from gems.nodes.quoted import keep_quoted, quoted_texts

AMEND: Final = """\
A picture was made for a request, and the user now says how it should change. The block holds the request, the \
requirements that a critic checks on the picture, and the user's message.
Give the whole request with the change in it, as if it had been asked so at once: keep every fact the message does not \
touch, and copy the texts in its quotation marks letter by letter. `drop` the requirements that no longer hold. `add` new \
ones: each one question that is answered yes when the picture is right, about one fact, as those given are. A requirement \
that changes is dropped, and added as it is now. Kinds: object, attribute, count, spatial, text, style, other."""

LATER: Final = "asked for later"
"""Evidence of a verdict that nobody gave, because the picture was made before the requirement."""


class _Amended(NamedTuple):
    prompt: str
    requirements: list[Requirement]


def make_amender(services: Services) -> Node:
    """The amender node: one call. The best picture so far keeps its verdicts, and is looked at again for what is new."""

    async def amender(state: GemsState) -> Update:
        message = state["follow_up"]
        fields = {
            "request": state["request"],
            "requirements": asked(state["requirements"]),
            "message": message,
        }
        answer = await ask(services, state, "decomposer", "amend", AMEND, fields, Amendment)
        if answer.reply is None:
            amended, warnings = (
                _as_one(state, message),
                [f"amender: the reply was {answer.problem}; it is checked whole"],
            )
        else:
            amended = _amend(state, answer.reply, message)
            checked = {item["question"].casefold() for item in amended.requirements}
            lost = [it for it in answer.reply.add if it.question[:LONGEST].casefold() not in checked]
            warnings = [f"amender: {MOST} requirements are checked at most, not: {it.question}" for it in lost]
        emit(Amended(event="amended", prompt=amended.prompt))
        emit(RequirementsSet(event="requirements", requirements=amended.requirements))
        return {
            "request": {**state["request"], "prompt": amended.prompt},
            "requirements": amended.requirements,
            "attempts": _judged_anew(state, amended.requirements),
            "rulings": [
                it for it in state["rulings"] if it["requirement"] in {item["id"] for item in amended.requirements}
            ],
            "follow_up": "",
            # What was drawn and not chosen from yet, because its review was never done, is not lost.
            "proposals": [it for it in state["proposals"] if it not in undrawn(state)],
            "usage": answer.usage,
            "warnings": warnings,
        }

    return amender


def _as_one(state: GemsState, message: str) -> _Amended:
    """Where nobody could say what the message changes: it is one more requirement."""
    whole = Requirement(
        id=f"r{free_number(state['requirements'])}",
        question=f"Does the picture show this change: {message[:LONGEST]}?",
        kind="other",
        depends_on=[],
    )
    prompt = f"{state['request']['prompt'].rstrip().rstrip('.')}. {message}"
    return _Amended(prompt, [*state["requirements"], whole])


def _amend(state: GemsState, reply: Amendment, message: str) -> _Amended:
    before = state["requirements"]
    requirements = change_requirements(before, reply.drop, reply.add)
    # A reply that drops everything, or changes the request and nothing that is checked, has misread its task.
    if not requirements or (requirements == before and reply.request != state["request"]["prompt"]):
        return _as_one(state, message)
    still = [
        text for text in quoted_texts(state["request"]["prompt"]) if any(text in it["question"] for it in requirements)
    ]
    return _Amended(keep_quoted(reply.request, [*still, *quoted_texts(message)]), requirements)


def _judged_anew(state: GemsState, requirements: Sequence[Requirement]) -> list[Attempt]:
    """The attempts with the verdicts that still mean something. The best one lacks those that the critic is to give."""
    kept = {item["id"] for item in requirements if item in state["requirements"]}
    attempts = []
    for attempt in (it for it in state["attempts"] if "verdicts" in it):
        verdicts = {name: verdict for name, verdict in attempt["verdicts"].items() if name in kept}
        if attempt["id"] == state["best"]:
            # What was skipped for the sake of a dropped parent can be asked now.
            verdicts = {name: verdict for name, verdict in verdicts.items() if verdict["verdict"] != "skipped"}
        else:
            verdicts = {item["id"]: verdicts.get(item["id"], unknown(LATER)) for item in requirements}
        attempts.append({**attempt, "verdicts": verdicts, "score": met_share(verdicts, requirements)})
    return attempts  # type: ignore[return-value]
