"""What a person may answer where a run waits for one: at the plan, and after a round.

The forms are made for each question, so that their choices are those there are: a bad answer is refused before it counts,
and the question stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from gems.core.context import MAX_PROMPT
from gems.core.replies import Text

MOST_ADDED: Final = 20
"""Requirements that a person may add to a plan."""


class PlanAnswer(BaseModel):
    """The answer to a plan."""

    model_config = ConfigDict(extra="forbid", title="Plan")

    action: Literal["approve", "stop"] = Field(
        default="approve", title="Action", description="Draw this, or stop here."
    )
    prompts: list[Text] = Field(
        default_factory=list, max_length=16, title="Prompts", description="Draw these in place of the plan's prompts."
    )
    drop: list[str] = Field(default_factory=list, title="Drop", description="Requirements that are not meant.")
    add: list[Text] = Field(
        default_factory=list,
        max_length=MOST_ADDED,
        title="Add",
        description="Questions that are answered yes when the picture is right.",
    )
    feedback: str = Field(default="", max_length=MAX_PROMPT, title="Feedback", description="A word to the refiner.")
    ask_again: bool = Field(default=True, title="Ask again", description="Off: go on without asking, from here on.")


class Overruling(BaseModel):
    """A verdict in place of the critic's."""

    model_config = ConfigDict(extra="forbid")

    attempt: str = Field(description="The attempt that was judged.")
    requirement: str = Field(description="The requirement that was judged wrongly.")
    verdict: Literal["met", "unmet"] = Field(description="What is true.")
    note: str = Field(default="", max_length=400, description="Why; the refiner and the critic read it.")


class RoundAnswer(BaseModel):
    """The answer to a round."""

    model_config = ConfigDict(extra="forbid", title="Round")

    action: Literal["approve", "accept", "stop"] = Field(
        default="approve",
        title="Action",
        description="Go on as the loop would; or take the best picture as it is; or stop, to go on later.",
    )
    best: str = Field(default="", title="Best", description="The attempt that is the best; empty: as the loop finds.")
    overrule: list[Overruling] = Field(default_factory=list, title="Overrule", description="Verdicts that are wrong.")
    prompt: str = Field(
        default="", max_length=MAX_PROMPT, title="Prompt", description="Draw this next; empty: the refiner decides."
    )
    feedback: str = Field(default="", max_length=MAX_PROMPT, title="Feedback", description="A word to the refiner.")
    ask_again: bool = Field(default=True, title="Ask again", description="Off: go on without asking, from here on.")


def plan_answer(requirements: Sequence[str]) -> type[PlanAnswer]:
    """The form for a plan with these requirement ids."""

    def leave_some(answer: PlanAnswer) -> PlanAnswer:
        if not answer.add and set(answer.drop) >= set(requirements):
            raise ValueError("every requirement is dropped: keep one, or add one")
        return answer

    checked: Any = {"leave_some": model_validator(mode="after")(leave_some)}
    form: type[PlanAnswer] = create_model(
        "PlanAnswer",
        __base__=PlanAnswer,
        __validators__=checked,
        drop=_choices(PlanAnswer, "drop", list[_one_of(requirements)]),  # type: ignore[misc]
    )
    return form


def round_answer(attempts: Sequence[str], requirements: Sequence[str]) -> type[RoundAnswer]:
    """The form for a round: `attempts` that have a picture, and the requirement ids."""
    overruling = create_model(
        "Overruling",
        __base__=Overruling,
        attempt=_choices(Overruling, "attempt", _one_of(attempts)),
        requirement=_choices(Overruling, "requirement", _one_of(requirements)),
    )
    form: type[RoundAnswer] = create_model(
        "RoundAnswer",
        __base__=RoundAnswer,
        best=_choices(RoundAnswer, "best", _one_of(["", *attempts])),
        overrule=_choices(RoundAnswer, "overrule", list[overruling]),  # type: ignore[valid-type]
    )
    return form


def _one_of(names: Sequence[str]) -> Any:
    return Literal[tuple(names) or ("",)]


def _choices(model: type[BaseModel], name: str, kind: Any) -> Any:
    """A field of the model with other choices, and its words as they are."""
    return kind, model.model_fields[name]
