"""What stands behind a loopback chat server: a function from a task to a reply."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Any, Final

from PIL import Image

from gems.backends.chat.scripted import ScriptedRole
from gems.core import replies
from gems.core.messages import EncodedImage, TaskInput, compose

Brain = Callable[[TaskInput], dict[str, Any]]

REPLIES: Final[Mapping[str, type[replies.Reply]]] = {
    "choose_skills": replies.SkillChoice,
    "write_prompts": replies.FirstPrompts,
    "decompose": replies.Requirements,
    "amend": replies.Amendment,
    "judge": replies.Verdicts,
    "compare": replies.Comparison,
    "refine": replies.Refinement,
    "compress": replies.RoundNote,
    "distil": replies.Lessons,
}
WHOLE: Final = "Does the picture show all of this"
"""How the question begins that stands for a whole request."""
QUESTIONS: Final = ("Is there a dog?", "Is the dog red?", "Is there a blue car?", "Is the car left of the dog?")


def brain_of(role: ScriptedRole) -> Brain:
    """A scripted role as a brain."""

    def brain(task: TaskInput) -> dict[str, Any]:
        images = [EncodedImage(content, "image/png", "") for content in task.images]
        messages = compose(task.task, "", task.fields, images)  # type: ignore[arg-type]  # any task a script is for
        answer = asyncio.run(role.ask(messages, REPLIES[task.task]))
        if answer.reply is None:
            raise ValueError(f"the script's reply to {task.task!r} does not fit its model")
        return answer.reply.model_dump()

    return brain


def seeing(met: float = 0.7) -> Brain:
    """Answers as somebody who looks: what it says of a picture depends on the picture's colour and the question alone.

    Args:
        met: How often a requirement is met, in [0, 1].
    """
    return _loop(lambda task: _look(task, met))


def never(requirements: int = 10, words: int = 60) -> Brain:
    """Finds the last requirement unmet in every picture, and writes texts as long as real models do."""

    def judge(task: TaskInput) -> dict[str, Any]:
        verdicts = [
            _verdict(item["id"], met=item["id"] != f"r{requirements}", confidence=0.9)
            for item in task.fields["requirements"]
        ]
        return {"verdicts": verdicts}

    questions = [f"Is thing number {number} in the picture?" for number in range(1, requirements + 1)]
    return _loop(judge, questions, words)


def truth(picture: bytes, question: str, met: float = 0.7) -> bool:
    """Whether the `seeing` brain finds a question's answer to be yes."""
    if question.startswith(WHOLE):
        return all(truth(picture, part, met) for part in QUESTIONS)
    return _chance(picture, question) < met


def _look(task: TaskInput, met: float) -> dict[str, Any]:
    picture = task.images[0]
    verdicts = []
    for item in task.fields["requirements"]:
        sure = 0.5 + _chance(picture, f"{item['question']} sure") / 2
        verdicts.append(_verdict(item["id"], met=truth(picture, item["question"], met), confidence=round(sure, 3)))
    return {"verdicts": verdicts}


def _verdict(requirement: str, *, met: bool, confidence: float) -> dict[str, Any]:
    verdict = "met" if met else "unmet"
    return {"id": requirement, "evidence": f"it is {verdict}", "verdict": verdict, "confidence": confidence}


def _chance(picture: bytes, words: str) -> float:
    """A number in [0, 1) that a picture's colour and some words decide."""
    with Image.open(io.BytesIO(picture)) as image:
        colour = image.convert("RGB").getpixel((0, 0))
    digest = hashlib.sha256(f"{colour} {words}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _loop(judge: Brain, questions: list[str] | tuple[str, ...] = QUESTIONS, words: int = 4) -> Brain:
    """All tasks of the loop but the looking."""

    def requirements(_: TaskInput) -> dict[str, Any]:
        items = [
            {"id": f"r{number}", "question": question, "kind": "other", "depends_on": []}
            for number, question in enumerate(questions, start=1)
        ]
        if questions is QUESTIONS:
            items[1]["depends_on"], items[3]["depends_on"] = ["r1"], ["r1", "r3"]
        return {"requirements": items}

    def amend(task: TaskInput) -> dict[str, Any]:
        message = task.fields["message"]
        added = {"id": "n1", "question": f"Does the picture show: {message}?", "kind": "other", "depends_on": []}
        return {"request": f"{task.fields['request']['prompt']}. {message}", "drop": [], "add": [added]}

    def refine(task: TaskInput) -> dict[str, Any]:
        number = task.fields["round"] + 1
        prompt = f"{task.fields['request']['prompt']}, attempt {number}, {_text(words, number)}"
        return {"diagnosis": _text(words, number), "actions": [{"action": "rewrite", "prompt": prompt}]}

    tasks: dict[str, Brain] = {
        "choose_skills": lambda _: {"reason": "the request is plain", "skills": []},
        "write_prompts": lambda task: {"prompts": [f"{task.fields['request']['prompt']}, {_text(words, 0)}"]},
        "decompose": requirements,
        "amend": amend,
        "judge": judge,
        "compare": lambda _: {"reason": "they are alike", "better": "tie"},
        "refine": refine,
        "compress": lambda task: {"experience": _text(words, task.fields["round"])},
        "distil": lambda _: {"lessons": [{"kind": "other", "when": _text(3, 1), "advice": _text(words, 2)}]},
    }
    return lambda task: tasks[task.task](task)


def _text(words: int, number: int) -> str:
    vocabulary = ("a", "red", "dog", "stands", "left", "of", "two", "blue", "cars", "under", "an", "old", "tree")
    return " ".join(vocabulary[(number + place * place) % len(vocabulary)] for place in range(words))
