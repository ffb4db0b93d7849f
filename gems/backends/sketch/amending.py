"""The decomposer's expert on follow-ups: the request with the change in it, and which requirements still hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from gems.backends.sketch.decomposing import LONGEST, decompose
from gems.backends.sketch.followups.changes import Change, Redescribe, Remove, facts
from gems.backends.sketch.followups.hearing import understand
from gems.backends.sketch.followups.rewording import reworded
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.lexicon import Kind
from gems.backends.sketch.questions import Question, read_question, say
from gems.backends.sketch.scene import Group
from gems.backends.sketch.words import lex
from gems.core.replies import Amendment, RequirementItem
from gems.core.state import RequirementKind

_WHOLE: Final = "Does the picture show all of this"
_THINGS: Final = frozenset(
    {Kind.OBJECT, Kind.NOUN, Kind.BACKGROUND, Kind.NUMBER, Kind.RELATION, Kind.PLACE, Kind.QUOTE, Kind.UNFOLLOWED}
)
"""Kinds of words that make a wish one about what is to be seen; without them it is about how the picture looks."""


class _Amended(NamedTuple):
    """The request after the changes, what must not be seen any more, and what was only written down."""

    plain: str
    """The request without this message's wishes."""
    request: str
    gone: tuple[Group, ...]
    wishes: tuple[str, ...]


def amend(fields: Mapping[str, Any]) -> Amendment:
    """Carry out what the message says. What cannot be read joins the request as it was said, and is asked about."""
    request = str(fields["request"]["prompt"]).strip()
    message = " ".join(str(fields.get("message", "")).split())
    given = [(str(item["id"]), str(item["question"])) for item in fields.get("requirements", [])]
    amended = _amended(request, message)
    return _compared(request, amended, given)


def _amended(request: str, message: str) -> _Amended:
    understood = understand(message, read_prompt(request))
    text, gone, wishes = request, list[Group](), list(understood.rest)
    for change in understood.changes:
        better = _with_change(text, change)
        if better is None:
            # What comes of the rest of it is not known either: all of it is written down as it was said.
            wishes = [message]
            continue
        gone += _gone(change)
        text = better
    present = {group.name for group in read_prompt(text).spec.groups if group.count != 0}
    whole = text
    for wish in wishes:
        whole = _with_wish(whole, wish)
    return _Amended(text, whole, tuple(group for group in gone if group.name not in present), tuple(wishes))


def _with_change(text: str, change: Change) -> str | None:
    reading = read_prompt(text)
    better = reworded(text, reading, change)
    if better is None and isinstance(change, Remove):
        # The last thing of all cannot just be left out: a request must ask for something.
        return reworded(text, reading, Redescribe(change.group, Group(change.group.name, 0)))
    return better


def _gone(change: Change) -> list[Group]:
    match change:
        case Remove(group):
            return [group]
        case Redescribe(old, new) if old.name != new.name:
            return [old]
        case _:
            return []


def _with_wish(text: str, wish: str) -> str:
    """The request with a wish that nobody here can read, where it changes the least."""
    bare = text.rstrip(" .,;:")
    proposals = (f"{bare}, {wish}", f"{bare}. {wish[:1].upper()}{wish[1:]}.") if bare else (wish,)
    spec = facts(read_prompt(text).spec)
    return next((it for it in proposals if facts(read_prompt(it).spec) == spec), proposals[-1])


# Requirements


def _compared(request: str, amended: _Amended, given: Sequence[tuple[str, str]]) -> Amendment:
    before = {item.question: item for item in _decomposed(request)}
    after = {item.question: item for item in _decomposed(amended.plain)}
    lost = [item.question for item in before.values() if item.question not in after]
    names = {group.name for group in read_prompt(request).spec.groups if group.count != 0}
    here = {group.name for group in read_prompt(amended.plain).spec.groups if group.count != 0}
    drop = [
        name
        for name, question in given
        if question not in after and _is_over(question, before, lost, names - here, here, amended.request != request)
    ]
    kept = {question: name for name, question in given if name not in drop}
    wanted = [item for item in after.values() if item.question not in kept and item.question not in before]
    if any(question.startswith(_WHOLE) for name, question in given if name in drop):
        wanted = [item for item in after.values() if item.question not in kept]
    return Amendment(request=amended.request or request, drop=drop, add=_added(wanted, after, kept, amended))


def _decomposed(request: str) -> list[RequirementItem]:
    return decompose({"request": {"prompt": request}}).requirements


def _is_over(
    question: str,
    before: Mapping[str, RequirementItem],
    lost: Sequence[str],
    gone: set[str],
    here: set[str],
    different: bool,
) -> bool:
    """Whether a question no longer holds: one of the request as it was, or anybody's that the change contradicts."""
    if question in before or (different and question.startswith(_WHOLE)):
        return True
    read = read_question(question)
    if read is not None and read.aspect == "count" and read.subject is not None and read.subject.count == 0:
        return read.subject.name in here
    if gone & {lexeme.value for lexeme in lex(question) if lexeme.kind is Kind.OBJECT}:
        return True
    return read is not None and any(_same_matter(read, other) for other in map(read_question, lost) if other)


def _same_matter(one: Question, other: Question) -> bool:
    """Whether two questions ask for different answers to the same thing."""
    if one.aspect != other.aspect or one.aspect in ("object", "whole"):
        return False
    if _name(one.subject) != _name(other.subject) or _name(one.other) != _name(other.other):
        return False
    return one.aspect != "attribute" or bool((one.color and other.color) or (one.texture and other.texture))


def _name(group: Group | None) -> str:
    return group.name if group else ""


def _added(
    wanted: Sequence[RequirementItem],
    after: Mapping[str, RequirementItem],
    kept: Mapping[str, str],
    amended: _Amended,
) -> list[RequirementItem]:
    """The new requirements as n1, n2, ..., with their parents' names as they are now."""
    names = dict(kept)
    for number, item in enumerate(wanted, 1):
        names[item.question] = f"n{number}"
    questions = {item.id: item.question for item in after.values()}
    items = []
    for item in wanted:
        parents = [names[questions[parent]] for parent in item.depends_on if questions[parent] in names]
        items.append(item.model_copy(update={"id": names[item.question], "depends_on": parents}))
    others: dict[str, RequirementKind] = {}
    for group in amended.gone:
        others[say(Question("count", replace(Group(group.name), count=0)))] = "count"
    for wish in amended.wishes:
        others[asked(wish)] = _kind_of(wish)
    for question, kind in others.items():
        if question not in names:
            items.append(RequirementItem(id=f"n{len(items) + 1}", question=question, kind=kind))
    return items


def asked(wish: str) -> str:
    """The question about words that no critic of pictures alone can answer, so that the run does not end as satisfied."""
    words = wish.replace('"', "'")[:LONGEST]
    return f'Does the picture follow "{words}" of the request as meant?'


def _kind_of(wish: str) -> RequirementKind:
    return "other" if any(lexeme.kind in _THINGS for lexeme in lex(wish)) else "style"
