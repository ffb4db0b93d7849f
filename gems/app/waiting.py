"""The question that a run waits with, and what it takes as an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.types import StateSnapshot
from pydantic import ValidationError

from gems.core.answers import plan_answer, round_answer
from gems.core.context import explain
from gems.core.state import Attempt


@dataclass(frozen=True, slots=True)
class Question:
    """A plan or a round, as it is shown to a person."""

    value: Mapping[str, Any]
    """What the graph asks with, JSON values; `kind` is `plan` or `round`."""
    pictures: tuple[str, ...]
    """Attempts that can be picked and overruled: those that were judged."""
    id: str = ""
    """Of the interrupt: another question has another."""

    @property
    def is_plan(self) -> bool:
        """Whether nothing is drawn yet."""
        return bool(self.value["kind"] == "plan")

    @property
    def requirements(self) -> list[str]:
        """Their ids."""
        return [item["id"] for item in self.value["requirements"]]

    @property
    def shown(self) -> list[Attempt]:
        """The attempts of the round, and the best one before it."""
        attempts: list[Attempt] = self.value.get("attempts", [])
        return attempts

    @property
    def best(self) -> Attempt | None:
        """Of those shown, the one that meets most; of equals, the one that was the best before."""
        judged = [it for it in self.shown if "verdicts" in it]
        before = self.value.get("best")
        return max(judged, key=lambda it: (it.get("score", 0.0), it["id"] == before), default=None)

    def check(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """The answer as the graph takes it; never empty.

        Raises:
            GemsConfigError: it does not fit the question.
        """
        form = plan_answer(self.requirements) if self.is_plan else round_answer(self.pictures, self.requirements)
        try:
            answered = form.model_validate(answer)
        except ValidationError as error:
            raise explain(error, "answer") from error
        return {**answered.model_dump(exclude_defaults=True), "action": answered.action}


def question_of(snapshot: StateSnapshot) -> Question | None:
    """The question that a thread waits with, if it does."""
    for interrupt in snapshot.interrupts:
        if isinstance(interrupt.value, Mapping) and interrupt.value.get("kind") in ("plan", "round"):
            attempts = snapshot.values.get("attempts", [])
            return Question(interrupt.value, tuple(it["id"] for it in attempts if "verdicts" in it), interrupt.id)
    return None
