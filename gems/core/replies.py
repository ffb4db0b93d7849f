"""What each role must answer: the reply models, whose JSON schemas are sent to the models."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from gems.core.state import ActionName, RequirementKind

NO_CONFIDENCE: Final = 0.5
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Reply(BaseModel):
    """Base of all replies. Unknown fields are dropped: a model that says too much is not wrong."""

    model_config = ConfigDict(extra="ignore")


class SkillChoice(Reply):
    """Which skills the planner wants to read."""

    reason: str = Field(default="", description="One sentence: why these skills, or why none.")
    skills: list[str] = Field(description="Names from the list given; empty when none helps.")


class FirstPrompts(Reply):
    """The planner's first prompt, or one for each candidate."""

    prompts: list[Text] = Field(min_length=1, description="Prompts for the image model, the most promising first.")


class RequirementItem(Reply):
    """One checkable requirement."""

    id: str = Field(description="r1, r2, ... in order.")
    question: Text = Field(description="A question about the picture whose answer is yes when the requirement is met.")
    kind: RequirementKind = Field(description="What the question is about.")
    depends_on: list[str] = Field(default_factory=list, description="Ids of requirements that must be met first.")


class Requirements(Reply):
    """The request, broken into yes/no questions."""

    requirements: list[RequirementItem] = Field(min_length=1)


class Amendment(Reply):
    """What a follow-up changes."""

    request: Text = Field(description="The whole request with the change in it, as if it had been asked so at once.")
    drop: list[str] = Field(
        default_factory=list, description="Ids of requirements that no longer hold; one that changes is dropped too."
    )
    add: list[RequirementItem] = Field(
        default_factory=list, description="New requirements, with ids n1, n2, ...; they may depend on those kept."
    )


class VerdictItem(Reply):
    """The answer to one question."""

    id: str = Field(description="The id of the requirement.")
    evidence: str = Field(description="What is seen in the picture, in a few words, before the verdict.")
    verdict: Literal["met", "unmet", "unknown"] = Field(description="unknown when the picture does not tell.")
    confidence: float = Field(default=1.0, description="How sure, from 0 to 1.")

    @field_validator("confidence")
    @classmethod
    def _on_the_scale(cls, value: float) -> float:
        """What is not on the scale says nothing: the verdict counts as doubtful, and is asked for again."""
        return value if 0 <= value <= 1 else NO_CONFIDENCE


class Verdicts(Reply):
    """The critic's answers, one for each requirement asked about."""

    verdicts: list[VerdictItem]


class Comparison(Reply):
    """Which of two pictures serves the request better."""

    reason: str = Field(default="", description="One sentence.")
    better: Literal["first", "second", "tie"]


class NextAction(Reply):
    """One drawing the refiner wants."""

    action: ActionName
    prompt: Text = Field(description="The whole prompt to draw with; for edit, the instruction for the change.")


class Refinement(Reply):
    """What went wrong, and what to draw next."""

    diagnosis: str = Field(description="What failed and why, in at most three sentences.")
    actions: list[NextAction] = Field(min_length=1, description="One for each candidate wanted.")


class RoundNote(Reply):
    """The compressor's note on one round."""

    experience: Text = Field(description="At most 100 words: what worked, what failed, what to do next.")


class FoldingNote(RoundNote):
    """The same, where older notes leave the window."""

    digest: Text = Field(description="At most 100 words: `digest` with what is `leaving` folded in.")


class LessonItem(Reply):
    """What one trajectory taught for others."""

    kind: RequirementKind = Field(description="The kind of requirement it is about.")
    when: Text = Field(description="The situation, general enough to come again: `five or more of a small thing`.")
    advice: Text = Field(description="What to write in a prompt, or to avoid, in at most 40 words.")


class Lessons(Reply):
    """What a trajectory taught for others; empty when it taught nothing general."""

    lessons: list[LessonItem]
