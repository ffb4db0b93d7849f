"""An answer to a waiting run in the making: each word a person gives is checked when it comes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal

from gems.app.progress import attempt_id, image_label
from gems.app.waiting import Question
from gems.core.errors import GemsConfigError
from gems.nodes.checking import read_prompt

Action = Literal["approve", "accept", "stop"]
_OVERRULING: Final = re.compile(r"(?:(?P<attempt>[^\s:=]+):)?(?P<requirement>[^\s:=]+)=(?P<verdict>\w+)")


class Draft:
    """What was said so far. Each method answers with what it noted, in words.

    Raises (each method):
        GemsConfigError: the word does not fit the question; what was noted before stays.
    """

    def __init__(self, question: Question) -> None:
        """Answer `question`."""
        self._question = question
        self._fields: dict[str, Any] = {}

    def prompt(self, text: str, number: int = 1) -> str:
        """Draw this: in place of the plan's prompt of that number, or in the next round."""
        if not self._question.is_plan:
            self._note(prompt=_text(text))
            return "This is drawn next."
        prompts = list(self._fields.get("prompts", self._question.value["prompts"]))
        if not 1 <= number <= len(prompts):
            raise GemsConfigError(f"there is no prompt {number}: the plan has {len(prompts)}")
        prompts[number - 1] = _text(text)
        self._note(prompts=prompts)
        return f"Prompt {number} is that."

    def prompts(self, texts: Sequence[str]) -> None:
        """Draw these in place of all prompts of the plan; after a round, one."""
        if self._question.is_plan:
            self._note(prompts=[_text(text) for text in texts])
        elif len(texts) > 1:
            raise GemsConfigError(f"{len(texts)} prompts are given: after a round, one can be drawn next")
        else:
            self.prompt(texts[0])

    def drop(self, requirement: str) -> str:
        """Do not check this."""
        self._only(plan=True, what="a requirement is dropped")
        self._note(drop=[*self._noted("drop"), requirement])
        return f"{requirement} is not checked."

    def add(self, question: str) -> str:
        """Check this too."""
        self._only(plan=True, what="a requirement is added")
        self._note(add=[*self._noted("add"), _text(question)])
        return "This is checked too."

    def feedback(self, text: str) -> str:
        """Tell the refiner."""
        self._note(feedback="\n".join([*filter(None, [self._fields.get("feedback")]), _text(text)]))
        return "The refiner will read that."

    def overrule(self, text: str, note: str = "") -> str:
        """Put a verdict in place of the critic's: `r3=met`, or `2b:r3=met` where another picture is meant than the best."""
        self._only(plan=False, what="a verdict is overruled")
        match = _OVERRULING.fullmatch(text)
        if match is None:
            raise GemsConfigError(f"{text!r} overrules nothing: say it as r3=met, r3=unmet or 2b:r3=met")
        if match["attempt"] is None and self._question.best is None:
            raise GemsConfigError(f"no picture was judged, so {match['requirement']} has no verdict to overrule")
        attempt = attempt_id(match["attempt"]) if match["attempt"] else self._question.best["id"]  # type: ignore[index]
        ruling = {"attempt": attempt, "requirement": match["requirement"], "verdict": match["verdict"]}
        if note:
            ruling["note"] = _text(note)
        others = [it for it in self._noted("overrule") if (it["attempt"], it["requirement"]) != (attempt, match[2])]
        self._note(overrule=[*others, ruling])
        return f"{match['requirement']} is {match['verdict']} on {image_label(attempt)}."

    def best(self, name: str) -> str:
        """Take this attempt as the best: `2b` or `2.2`."""
        self._only(plan=False, what="the best is picked")
        self._note(best=attempt_id(name))
        return f"{image_label(attempt_id(name))} is the best."

    def answer(self, action: Action) -> dict[str, Any]:
        """All that was said, as the graph takes it."""
        if action == "accept":
            self._only(plan=False, what="the best picture is accepted")
        return self._question.check({**self._fields, "action": action})

    def _noted(self, name: str) -> list[Any]:
        return list(self._fields.get(name, []))

    def _note(self, **fields: Any) -> None:
        self._question.check({**self._fields, **fields})
        self._fields |= fields

    def _only(self, *, plan: bool, what: str) -> None:
        if self._question.is_plan != plan:
            asked = "its plan" if self._question.is_plan else "a round"
            raise GemsConfigError(f"{what} {'before' if plan else 'after'} drawing, and this run waits with {asked}")


def _text(text: str) -> str:
    read = read_prompt(text)
    if not read:
        raise GemsConfigError("nothing is said: give the words too")
    return read
