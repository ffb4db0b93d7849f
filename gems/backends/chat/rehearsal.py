"""A whole trajectory's scripts from a few facts: what the critic will say of each picture, by its place in the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gems.backends.chat.scripted import Script, ScriptedRole
from gems.core.messages import TaskInput

QUESTIONS = ("Is there a dog?", "Is the dog red?", "Are there exactly two dogs?")


def rehearse(marks: Sequence[str], questions: Sequence[str] = QUESTIONS, **scripts: Script) -> ScriptedRole:
    """All roles in one scripted model. A follow-up adds one requirement, and drops none.

    Args:
        marks: For each new picture, one letter a requirement: `+` met, `-` unmet, `?` unknown. The last one is repeated.
            Requirements without a letter, as those that follow-ups add, are met.
        questions: The decomposer's questions.
        scripts: Scripts by task that replace these.
    """
    seen: dict[bytes, str] = {}
    names = {"+": "met", "-": "unmet", "?": "unknown"}

    def amend(task: TaskInput) -> dict[str, Any]:
        message = str(task.fields["message"])
        added = {"id": "n1", "question": f"Does the picture show: {message}?", "kind": "other", "depends_on": []}
        return {"request": f"{task.fields['request']['prompt']}. {message}", "drop": [], "add": [added]}

    def judge(task: TaskInput) -> dict[str, Any]:
        asked = [item["id"] for item in task.fields["requirements"]]
        letters = seen.setdefault(task.images[0], marks[min(len(seen), len(marks) - 1)])
        return {
            "verdicts": [
                {"id": name, "evidence": "seen", "verdict": names[_letter(letters, name)], "confidence": 0.9}
                for name in asked
            ]
        }

    def refine(task: TaskInput) -> dict[str, Any]:
        prompt = f"{task.fields['request']['prompt']}, attempt {task.fields['round'] + 1}"
        return {"diagnosis": "not yet right", "actions": [{"action": "rewrite", "prompt": prompt}]}

    built_in: dict[str, Script] = {
        "choose_skills": lambda _: {"skills": []},
        "write_prompts": lambda task: {"prompts": [task.fields["request"]["prompt"]]},
        "decompose": lambda _: {
            "requirements": [
                {
                    "id": f"r{number}",
                    "question": question,
                    "kind": "object" if number == 1 else "other",
                    "depends_on": [],
                }
                for number, question in enumerate(questions, start=1)
            ]
        },
        "judge": judge,
        "compare": lambda _: {"better": "tie"},
        "refine": refine,
        "compress": lambda task: {"experience": f"round {task.fields['round']} failed"},
        "amend": amend,
        "distil": lambda _: {"lessons": [{"kind": "other", "when": "two dogs", "advice": "say that they are two"}]},
    }
    return ScriptedRole({**built_in, **scripts})


def _letter(letters: str, requirement: str) -> str:
    """The letter of `r3`; one that a follow-up adds (`n1`, or a number after the letters) is met."""
    place = int(requirement[1:]) - 1
    return letters[place] if requirement.startswith("r") and place < len(letters) else "+"
