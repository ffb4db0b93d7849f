"""Lessons of the embedded engine: what a trajectory taught, and what the roles make of it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from gems.backends.chat.rehearsal import rehearse
from gems.backends.sketch.advice import ADVICE, style_in, style_of
from gems.backends.sketch.captions import DENSE_STYLES
from gems.backends.sketch.chat import SketchChat
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.specs import dense
from gems.core.messages import Task, TaskInput, compose
from gems.core.replies import Amendment, FirstPrompts, Lessons, Refinement
from gems.evals.loopback.brains import REPLIES, brain_of, seeing

REQUEST = "five suitcases under two clocks"


def answer(task: Task, fields: dict[str, Any]) -> str:
    return str(SketchChat().invoke(compose(task, "Instructions.", fields)).content)


def evidence(
    kind: str, question: str, fixed: str | None, action: str = "rewrite", failed: str = REQUEST
) -> dict[str, Any]:
    return {
        "kind": kind,
        "question": question,
        "failed": {"prompt": failed, "action": "rewrite", "evidence": "4 suitcases seen"},
        "fixed": {"prompt": fixed, "action": action} if fixed else None,
    }


def distil(*found: dict[str, Any], request: str = REQUEST) -> list[tuple[str, str, str]]:
    fields = {"request": {"prompt": request}, "image_model": {"name": "sketch"}, "skills": [], "evidence": list(found)}
    lessons = Lessons.model_validate_json(answer("distil", fields)).lessons
    return [(item.kind, item.when, item.advice) for item in lessons]


def worded(style: int, request: str = REQUEST) -> str:
    return dense(read_prompt(request).spec, style)


def lesson(kind: str, style: int) -> dict[str, str]:
    return {"kind": kind, "when": "two kinds of things with counts", "advice": ADVICE[style]}


# Advice


def test_there_is_advice_for_every_style_and_it_is_understood() -> None:
    assert len(ADVICE) == DENSE_STYLES
    for style, advice in enumerate(ADVICE):
        assert style_of(advice) == style
        assert style_of(f"  {advice.upper().rstrip('.')}; that helped twice") == style
        assert len(advice.split()) <= 40
    assert style_of("Use vivid colours and a wide lens.") is None
    assert style_of("") is None


@pytest.mark.parametrize("style", range(2 * DENSE_STYLES))
def test_the_style_of_a_prompt_is_recognised(style: int) -> None:
    spec = read_prompt(REQUEST).spec
    prompt = worded(style)
    assert style_in(prompt, spec) == style % DENSE_STYLES
    assert style_in(f'{prompt} A sign that says "HI".', spec) == style % DENSE_STYLES
    assert style_in(prompt[:60] + "…", spec) is not None
    assert style_in(REQUEST, spec) is None
    assert style_in("…", spec) is None


# Distilling


def test_a_lesson_says_what_the_prompt_that_met_it_did() -> None:
    found = distil(
        evidence("count", "Are there exactly five suitcases?", worded(2)),
        evidence("spatial", "Are the suitcases under the clocks?", worded(1)),
    )
    assert found == [
        ("count", "two kinds of things with counts", ADVICE[2]),
        ("spatial", "a thing under another", ADVICE[1]),
    ]


@pytest.mark.parametrize(
    "found",
    [
        [],
        [evidence("count", "Are there exactly five suitcases?", None)],
        [evidence("count", "Are there exactly five suitcases?", REQUEST, action="resample")],
        [evidence("count", "Are there exactly five suitcases?", worded(2), action="resample", failed=worded(2))],
        [evidence("count", "Are there exactly five suitcases?", worded(2), failed=worded(2))],
        [evidence("count", "Are there exactly five suitcases?", "more of everything", action="edit")],
        [evidence("count", "Are there exactly five suitcases?", "suitcases, studio light, trending")],
    ],
)
def test_what_no_wording_cured_teaches_nothing(found: list[dict[str, Any]]) -> None:
    assert distil(*found) == []


def test_one_lesson_a_kind_and_three_at_most() -> None:
    question = "Are there exactly five suitcases?"
    found = distil(
        *[evidence("count", question, worded(style)) for style in (0, 2, 2)],
        *[evidence(kind, "Is it so?", worded(4)) for kind in ("object", "attribute", "spatial", "text", "other")],
    )
    assert len(found) == 3
    assert found[0] == ("count", "two kinds of things with counts", ADVICE[2])
    assert len({kind for kind, _, _ in found}) == 3


@pytest.mark.parametrize(
    ("request_", "kind", "question", "when"),
    [
        ("two dogs, a cat and a car", "count", "Are there exactly two dogs?", "more than two kinds of things with counts"),
        ("seven dogs", "count", "Are there exactly seven dogs?", "five or more of one thing"),
        ("a red dog and a blue cat", "attribute", "Is the dog red?", "two or more things of different colours"),
        ("a wooden dog and a blue cat", "attribute", "Is the cat blue?", "two or more things of different colours or materials"),
        ("a dog left of a cat", "spatial", "Is the dog to the left of the cat?", "a thing to the left of another"),
        ('a dog and a sign that says "HI"', "text", 'Does the sign say "HI"?', "a sign with text beside other things"),
        ("a dog at the beach", "other", "Is the background a beach?", "a stated background or look"),
    ],
)  # fmt: skip
def test_the_situation_is_said_so_that_it_fits_others(request_: str, kind: str, question: str, when: str) -> None:
    ((_, said, _),) = distil(evidence(kind, question, worded(0, request_)), request=request_)
    assert said == when


# Using lessons


def first_prompts(
    prompt: str, lessons: list[dict[str, str]] | None, skills: tuple[str, ...] = (), wanted: int = 1
) -> list[str]:
    fields: dict[str, Any] = {
        "request": {"prompt": prompt}, "skills": [{"name": name, "instructions": "..."} for name in skills],
        "wanted": wanted, "quoted": [], "image_model": {"name": "sketch", "notes": ""},
    }  # fmt: skip
    fields |= {} if lessons is None else {"lessons": lessons}
    return FirstPrompts.model_validate_json(answer("write_prompts", fields)).prompts


@pytest.mark.parametrize("skills", [(), ("spatial-layout",)])
def test_the_first_prompt_is_worded_as_a_lesson_advises(skills: tuple[str, ...]) -> None:
    assert first_prompts(REQUEST, [lesson("count", 3)], skills) == [worded(3)]
    prompts = first_prompts(REQUEST, [lesson("count", 3), lesson("spatial", 1)], skills, 3)
    assert prompts[:2] == [worded(3), worded(1)]
    assert prompts[2] == first_prompts(REQUEST, None, skills)[0]


@pytest.mark.parametrize("skills", [(), ("spatial-layout",)])
@pytest.mark.parametrize(
    "lessons",
    [
        [],
        [{"kind": "count", "when": "always", "advice": "Use vivid colours and a wide lens."}],
        [lesson("text", 3)],
        [lesson("attribute", 3)],
        [{"kind": "count"}],
        ["broken"],
    ],
)
def test_lessons_that_do_not_matter_change_nothing(skills: tuple[str, ...], lessons: list[Any]) -> None:
    assert first_prompts(REQUEST, lessons, skills, 3) == first_prompts(REQUEST, None, skills, 3)


def test_a_lesson_on_counts_does_not_matter_to_a_single_thing() -> None:
    assert first_prompts("a dog", [lesson("count", 3)]) == ["a dog"]
    assert first_prompts("glory", [lesson("other", 3)]) == ["glory"]


def refine(
    lessons: list[dict[str, str]] | None, kind: str = "count", wanted: int = 1, tried: tuple[str, ...] = ()
) -> Refinement:
    attempt = {
        "id": "1.1", "round": 1, "action": "rewrite", "seed": 3, "prompt": REQUEST,
        "verdicts": {"r1": {"verdict": "unmet", "evidence": "4 seen", "confidence": 0.9}},
    }  # fmt: skip
    fields: dict[str, Any] = {
        "request": {"prompt": REQUEST}, "requirements": [{"id": "r1", "question": "Question?", "kind": kind}], "round": 1,
        "digest": "", "experiences": [], "latest": attempt, "best": "the latest is the best",
        "tried": [{"action": "rewrite", "prompt": prompt} for prompt in tried], "wanted": wanted, "actions": ["rewrite"],
        "quoted": [], "image_model": {"notes": ""},
    }  # fmt: skip
    fields |= {} if lessons is None else {"lessons": lessons}
    return Refinement.model_validate_json(answer("refine", fields))


def test_the_refiner_tries_first_what_a_lesson_on_the_failed_kind_advises() -> None:
    lessons = [lesson("spatial", 1), lesson("count", 3)]
    assert [action.prompt for action in refine(lessons, wanted=2).actions] == [worded(3), worded(1)]
    assert refine(lessons, "spatial").actions[0].prompt == worded(1)
    assert refine([lesson("object", 5)]).actions[0].prompt == worded(5)
    assert refine(lessons, tried=(worded(3),)).actions[0].prompt == worded(1)


@pytest.mark.parametrize("lessons", [[], [{"kind": "count", "when": "always", "advice": "Try harder."}], ["broken"]])
def test_the_refiner_passes_over_advice_it_cannot_follow(lessons: list[Any]) -> None:
    assert refine(lessons, wanted=8) == refine(None, wanted=8)


def test_what_one_trajectory_taught_the_next_one_does() -> None:
    other = "three dogs above four cats"
    ((kind, when, advice),) = distil(
        evidence("count", "Are there exactly three dogs?", worded(7, other)), request=other
    )
    taught = [{"kind": kind, "when": when, "advice": advice}]
    assert first_prompts(REQUEST, taught) == [worded(7)]
    assert refine(taught).actions[0].prompt == worded(7)


# The stand-ins answer the same tasks


@pytest.mark.parametrize("brain", [brain_of(rehearse(["+++"])), seeing()])
def test_the_fakes_answer_follow_ups_and_distilling(brain: Any) -> None:
    fields = {"request": {"prompt": "a dog"}, "requirements": [], "message": "make it red"}
    amendment = Amendment.model_validate(brain(TaskInput("amend", fields, [])))
    assert amendment.request == "a dog. make it red"
    assert amendment.drop == []
    assert [(item.id, item.question, item.kind) for item in amendment.add] == [
        ("n1", "Does the picture show: make it red?", "other")
    ]
    assert len(Lessons.model_validate(brain(TaskInput("distil", {"evidence": []}, []))).lessons) == 1
    assert {"amend", "distil"} <= set(REPLIES)


def test_a_rehearsed_critic_judges_what_a_follow_up_added() -> None:
    brain = brain_of(rehearse(["+-?"]))
    asked = {"requirements": [{"id": name} for name in ("r1", "r2", "r3", "n1", "r4")]}
    verdicts = brain(TaskInput("judge", asked, [_png()]))["verdicts"]
    assert [item["verdict"] for item in verdicts] == ["met", "unmet", "unknown", "met", "met"]


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    return buffer.getvalue()
