"""Where a run waits for a person: the question is an interrupt of the graph, and the answer a filled-in form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from langgraph.errors import GraphInterrupt
from langgraph.types import interrupt
from pydantic import BaseModel, ValidationError

from gems.core.answers import PlanAnswer, RoundAnswer
from gems.core.context import explain
from gems.core.events import Waiting, emit
from gems.core.state import Options

A = TypeVar("A", bound=BaseModel)


def ask_person(question: Mapping[str, Any], form: type[A]) -> A:
    """Wait for the answer. A node that asks runs again from its start when the answer is there: it asks first of all.

    Raises:
        GemsConfigError: the answer does not fit the form. It is not kept: the question stays.
    """
    try:
        answer: A = interrupt(dict(question), response_schema=form)
    except GraphInterrupt:
        # Only now: where the answer is there, nobody is waited for.
        emit(Waiting(event="waiting", kind=question["kind"], round=question.get("round", 0)))
        raise
    except ValidationError as error:
        raise explain(error, "answer") from error
    return answer


def asked_no_more(options: Options, answer: PlanAnswer | RoundAnswer) -> Options:
    """The options, without review where the person wants no further questions."""
    return options if answer.ask_again else {**options, "review": "none"}
