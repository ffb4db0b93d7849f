"""The expert system answers the very messages that a real model gets."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from PIL import Image

from gems.backends.sketch.chat import NO_TASK, SketchChat
from gems.backends.sketch.judging import Looks
from gems.backends.sketch.language import read_prompt
from gems.backends.sketch.render import render
from gems.backends.sketch.scene import Scene, Thing
from gems.backends.sketch.vision import Sight, Sighting, look
from gems.core.messages import EncodedImage, Task, compose
from gems.core.replies import Comparison, FirstPrompts, Refinement, Requirements, RoundNote, SkillChoice, Verdicts
from gems.memory.view import LONGEST

SKILLS = [
    {
        "name": "aesthetic-drawing",
        "description": "Gives a picture composition, light and colour. Use when beauty or mood is asked for.",
    },
    {"name": "creative-drawing", "description": "Turns an abstract request or metaphor into an original idea."},
    {
        "name": "spatial-layout",
        "description": "Puts the right number of things in the right places. Use when the request counts things.",
    },
    {
        "name": "text-rendering",
        "description": "Writes prompts whose lettering comes out spelled right, for text in quotation marks.",
    },
]


def png(scene: Scene) -> bytes:
    buffer = io.BytesIO()
    render(scene, 512, 512).save(buffer, "PNG")
    return buffer.getvalue()


def picture(scene: Scene) -> EncodedImage:
    return EncodedImage(png(scene), "image/png", "The picture:")


def thing(name: str, x: float, color: str, size: float = 0.25, y: float = 0.5) -> Thing:
    return Thing(name, x, y, size, color)


TWO_DOGS = Scene((thing("dog", 0.2, "black"), thing("dog", 0.8, "brown"), thing("cat", 0.5, "orange")), "grass")


def answer(
    task: Task, fields: dict[str, Any], images: Sequence[EncodedImage] = (), chat: SketchChat | None = None
) -> str:
    message = (chat or SketchChat()).invoke(compose(task, "Instructions that may change.", fields, images))
    return str(message.content)


# Planner


@pytest.mark.parametrize(
    ("prompt", "skills"),
    [
        ("a cat", []),
        ("a red apple and a dog", []),
        ("five candles under three croissants", ["spatial-layout"]),
        ("a red dog and a blue cat", ["spatial-layout"]),
        ('a sign that says "OPEN"', ["text-rendering"]),
        ("a majestic, cinematic cat", ["aesthetic-drawing"]),
        ("a surreal cat", ["creative-drawing"]),
        ('three dogs left of a sign that says "OPEN"', ["spatial-layout", "text-rendering"]),
    ],
)
def test_skills_are_chosen_by_the_request(prompt: str, skills: list[str]) -> None:
    fields = {"request": {"prompt": prompt, "reference_images": 0}, "skills": SKILLS, "most": 3}
    choice = SkillChoice.model_validate_json(answer("choose_skills", fields))
    assert sorted(choice.skills) == skills
    assert choice.reason


def test_a_users_own_skill_can_be_chosen_and_the_limit_holds() -> None:
    own = {"name": "koala-portraits", "description": "How koalas want to be drawn."}
    fields = {"request": {"prompt": "three koalas left of a dog"}, "skills": [*SKILLS, own], "most": 1}
    assert len(SkillChoice.model_validate_json(answer("choose_skills", fields)).skills) == 1
    fields["most"] = 3
    assert "koala-portraits" in SkillChoice.model_validate_json(answer("choose_skills", fields)).skills


def first_prompts(prompt: str, skills: Sequence[str] = (), wanted: int = 1, quoted: Sequence[str] = ()) -> list[str]:
    fields = {
        "request": {"prompt": prompt},
        "skills": [{"name": name, "instructions": "..."} for name in skills],
        "wanted": wanted,
        "quoted": list(quoted),
        "image_model": {"name": "sketch", "notes": ""},
    }
    return FirstPrompts.model_validate_json(answer("write_prompts", fields)).prompts


def test_without_a_skill_the_first_prompt_is_the_request() -> None:
    assert first_prompts("please draw three dogs") == ["please draw three dogs"]


def test_a_layout_skill_makes_the_first_prompt_explicit() -> None:
    request = "seven blue horses on top of a motorcycle"
    (prompt,) = first_prompts(request, ["spatial-layout"])
    assert "exactly seven blue horses" in prompt.lower()
    assert read_prompt(prompt).spec == read_prompt(request).spec


@pytest.mark.parametrize("skills", [[], ["text-rendering"]])
def test_quoted_text_is_kept_letter_by_letter(skills: list[str]) -> None:
    for prompt in first_prompts("a dog with a board saying 'Open Now'", skills, 3, ["Open Now"]):
        assert '"Open Now"' in prompt


def test_candidates_differ_and_a_strange_request_still_gets_prompts() -> None:
    prompts = first_prompts("please draw me three majestic dogs", [], 3)
    assert len(set(prompts)) == len(prompts) > 1
    assert first_prompts("a dragon over a castle", ["spatial-layout"]) == ["a dragon over a castle"]


# Decomposer


def requirements(prompt: str) -> list[tuple[str, str, str, list[str]]]:
    reply = Requirements.model_validate_json(answer("decompose", {"request": {"prompt": prompt, "images": []}}))
    return [(item.id, item.question, item.kind, item.depends_on) for item in reply.requirements]


def test_requirements_are_single_questions_with_their_parents() -> None:
    assert requirements('two red dogs left of a cat and a sign that says "HI" at the beach') == [
        ("r1", "Are there any dogs?", "object", []),
        ("r2", "Are there exactly two dogs?", "count", ["r1"]),
        ("r3", "Are the dogs red?", "attribute", ["r1"]),
        ("r4", "Is there a cat?", "object", []),
        ("r5", "Is there exactly one cat?", "count", ["r4"]),
        ("r6", "Is there a sign?", "object", []),
        ("r7", "Is there exactly one sign?", "count", ["r6"]),
        ("r8", 'Does the sign say "HI"?', "text", ["r6"]),
        ("r9", "Are the dogs to the left of the cat?", "spatial", ["r1", "r4"]),
        ("r10", "Is the background a beach?", "other", []),
    ]


def test_what_is_not_known_is_asked_about_and_left_open() -> None:
    assert requirements("a dragon next to a cat")[-1] == ("r3", "Is there any dragon?", "object", [])
    assert requirements("glory")[0][2] == "object"
    assert requirements("majestic")[0][1:3] == ("Does the picture show all of this: majestic?", "other")


# Critic


def judge(
    questions: Sequence[str], images: Sequence[EncodedImage], chat: SketchChat | None = None
) -> list[tuple[str, str, float]]:
    asked = [{"id": f"r{number}", "question": text, "kind": "other"} for number, text in enumerate(questions, 1)]
    reply = Verdicts.model_validate_json(answer("judge", {"requirements": asked}, images, chat))
    assert [item.id for item in reply.verdicts] == [item["id"] for item in asked]
    return [(item.verdict, item.evidence, item.confidence) for item in reply.verdicts]


def test_the_critic_reads_the_picture() -> None:
    verdicts = judge(
        [
            "Are there exactly two dogs?",
            "Are the dogs black?",
            "Is the dog to the left of the cat?",
            "Is there a horse?",
        ],
        [picture(TWO_DOGS)],
    )
    assert [verdict for verdict, _, _ in verdicts] == ["met", "unmet", "unmet", "unmet"]
    assert verdicts[1][1] == "2 dogs seen: black at left, brown at right"
    assert verdicts[3][1] == "no horse seen"
    assert all(confidence > 0.5 for _, _, confidence in verdicts)


def test_what_cannot_be_told_is_unknown() -> None:
    unreadable, unasked = judge(["Is the dog fluffy?", "Is there a dragon?"], [picture(TWO_DOGS)])
    assert unreadable[0] == unasked[0] == "unknown"
    assert judge(["Is there a dog?"], [])[0][0] == "unknown"
    assert judge(["Is there a dog?"], [EncodedImage(b"no picture", "image/png", "")])[0][0] == "unknown"


def _sight(scene: Scene, confidence: float) -> Sight:
    return Sight(tuple(Sighting(it, confidence, 1.0, 1.0) for it in scene.things), scene.background, 1.0)


def test_doubtful_vision_is_unknown() -> None:
    chat = SketchChat(looks=Looks(lambda _: _sight(TWO_DOGS, 0.3)))
    verdicts = judge(["Are there exactly two dogs?", "Is the background grass?"], [picture(TWO_DOGS)], chat)
    assert [verdict for verdict, _, _ in verdicts] == ["unknown", "met"]
    assert verdicts[0][1].startswith("in doubt: 2 dogs seen")


def test_a_picture_is_looked_at_once() -> None:
    seen: list[bytes] = []

    def watch(content: bytes) -> Sight:
        seen.append(content)
        with Image.open(io.BytesIO(content)) as image:
            return look(image)

    chat = SketchChat(looks=Looks(watch))
    for _ in range(3):
        judge(["Is there a dog?"], [picture(TWO_DOGS)], chat)
    assert len(seen) == 1


def compare(
    first: Scene, second: Scene, questions: Sequence[str] = ("Are there exactly two dogs?", "Is there a cat?")
) -> str:
    fields = {"request": {"prompt": "two dogs and a cat"}, "requirements": list(questions)}
    return Comparison.model_validate_json(answer("compare", fields, [picture(first), picture(second)])).better


def test_pictures_are_compared_by_a_stated_rule() -> None:
    stray = Scene((*TWO_DOGS.things, thing("kite", 0.5, "red", 0.2, 0.15)), "grass")
    missing = Scene(TWO_DOGS.things[1:], "grass")
    small = Scene(tuple(thing(it.name, it.x, it.color, 0.12) for it in TWO_DOGS.things), "grass")
    assert compare(TWO_DOGS, TWO_DOGS) == "tie"
    assert (compare(TWO_DOGS, missing), compare(missing, TWO_DOGS)) == ("first", "second")
    assert (compare(TWO_DOGS, stray), compare(stray, TWO_DOGS)) == ("first", "second")
    assert (compare(TWO_DOGS, small), compare(small, TWO_DOGS)) == ("first", "second")


# Refiner and compressor

REQUEST = "five suitcases under two clocks"


def attempt(prompt: str, number: int, unmet: Sequence[str] = ("r2",)) -> dict[str, Any]:
    verdicts = {
        name: {"verdict": "unmet" if name in unmet else "met", "evidence": "4 suitcases seen", "confidence": 0.9}
        for name in ("r1", "r2", "r3", "r4", "r5")
    }
    return {
        "id": f"{number}.1",
        "round": number,
        "action": "rewrite",
        "seed": 3,
        "prompt": prompt,
        "verdicts": verdicts,
    }


def view(attempts: Sequence[dict[str, Any]], **rest: Any) -> dict[str, Any]:
    """The refiner's fields after these attempts, the latest being the best."""
    kinds = ("object", "count", "object", "count", "spatial")
    return {
        "request": {"prompt": REQUEST},
        "requirements": [
            {"id": f"r{number}", "question": f"Question {number}?", "kind": kind}
            for number, kind in enumerate(kinds, 1)
        ],
        "round": attempts[-1]["round"],
        "digest": "",
        "experiences": [],
        "latest": attempts[-1],
        "best": "the latest is the best",
        "tried": [{"action": it["action"], "prompt": it["prompt"], "score": 0.8} for it in attempts[:-1]],
        "wanted": 1,
        "actions": ["rewrite", "resample"],
        "quoted": [],
        "image_model": {"notes": ""},
    } | rest


def refine(fields: dict[str, Any]) -> Refinement:
    return Refinement.model_validate_json(answer("refine", fields))


def test_the_first_failure_is_answered_with_an_explicit_prompt() -> None:
    refinement = refine(view([attempt(REQUEST, 1)]))
    (action,) = refinement.actions
    assert action.action == "rewrite"
    assert "five suitcases" in action.prompt.lower()
    assert action.prompt != REQUEST
    assert "Question 2?" in refinement.diagnosis
    assert "4 suitcases seen" in refinement.diagnosis


def test_a_rewrite_never_repeats_a_prompt() -> None:
    attempts = [attempt(REQUEST, 1)]
    for number in range(2, 9):
        actions = refine(view(attempts)).actions
        written = [action.prompt for action in actions if action.action == "rewrite"]
        assert not set(written) & {it["prompt"] for it in attempts}
        assert all(read_prompt(prompt).unknown == () for prompt in written)
        attempts.append(attempt(actions[0].prompt, number))
    assert {action.action for action in refine(view(attempts[:4])).actions} | {
        action.action for action in refine(view(attempts[:5])).actions
    } >= {"rewrite"}


def test_a_prompt_shown_cut_short_counts_as_tried() -> None:
    first = refine(view([attempt(REQUEST, 1)])).actions[0].prompt
    fields = view([attempt(REQUEST, 1), attempt("another", 2)])
    fields["tried"].append({"action": "rewrite", "prompt": first[: LONGEST["tried"] - 60] + "…", "score": 0.5})
    assert refine(fields).actions[0].prompt != first


def test_a_resample_takes_a_prompt_as_it_was() -> None:
    best = attempt("exactly five suitcases below exactly two clocks.", 4)
    found = [
        action
        for rounds in (4, 5)
        for action in refine(view([attempt(REQUEST, 1), best], round=rounds, wanted=2)).actions
        if action.action == "resample"
    ]
    assert found
    assert {action.prompt for action in found} == {best["prompt"]}


def test_only_allowed_actions_are_taken() -> None:
    best = attempt("exactly five suitcases below exactly two clocks.", 4)
    for rounds in range(1, 9):
        fields = view([attempt(REQUEST, 1), best], round=rounds, actions=["rewrite"], wanted=3)
        actions = refine(fields).actions
        assert {action.action for action in actions} == {"rewrite"}
        assert len({action.prompt for action in actions}) == len(actions) == 3


def test_a_request_outside_the_vocabulary_still_gets_an_answer() -> None:
    fields = view([attempt("glory", 1)], request={"prompt": "glory"})
    assert refine(fields).actions[0].prompt == "glory"
    failed = {"id": "1.1", "round": 1, "action": "rewrite", "seed": 3, "prompt": REQUEST, "error": "the model is away"}
    assert "the model is away" in refine(view([failed])).diagnosis


def test_quoted_text_survives_every_rewrite() -> None:
    request = 'a dog and a sign that says "Open"'
    fields = view([attempt(request, 1)], request={"prompt": request}, quoted=["Open"], wanted=8)
    assert all('"Open"' in action.prompt for action in refine(fields).actions)


def test_a_lesson_is_short_and_says_what_failed() -> None:
    fields = {
        key: value for key, value in view([attempt(REQUEST, 1)]).items() if key in ("request", "round", "requirements")
    }
    fields |= {"attempt": attempt(REQUEST, 1, [f"r{number}" for number in range(1, 6)]), "thought": "too vague"}
    lesson = RoundNote.model_validate_json(answer("compress", fields)).experience
    assert "0 of 5 requirements met" in lesson
    assert "4 suitcases seen" in lesson
    assert len(lesson.split()) <= 100
    fields["attempt"]["verdicts"]["r1"]["evidence"] = "word " * 300
    assert len(RoundNote.model_validate_json(answer("compress", fields)).experience.split()) <= 100


# The chat model itself


def test_a_message_without_a_task_is_told_what_this_is() -> None:
    assert SketchChat().invoke("Write me a poem.").content == NO_TASK
    assert SketchChat().invoke([HumanMessage('<gems task="poem">\n{}\n</gems>')]).content == NO_TASK
    assert SketchChat().invoke([HumanMessage('<gems task="judge">\n{broken\n</gems>')]).content == NO_TASK


def test_options_of_real_models_are_accepted_and_tokens_estimated() -> None:
    messages = compose("decompose", "Instructions.", {"request": {"prompt": "a cat"}})
    bound = SketchChat().bind(response_format={"type": "json_schema"}, temperature=0)
    reply = bound.invoke([SystemMessage("Reply in JSON."), *messages])
    assert isinstance(reply, AIMessage)
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["output_tokens"] == -(-len(str(reply.content)) // 4)
    assert reply.usage_metadata["input_tokens"] > 10


async def test_looking_does_not_block_the_event_loop() -> None:
    loop_thread = threading.get_ident()
    threads: list[int] = []

    def slow(_: bytes) -> Sight:
        threads.append(threading.get_ident())
        time.sleep(0.3)
        return _sight(TWO_DOGS, 1.0)

    chat = SketchChat(looks=Looks(slow))
    asked = {"requirements": [{"id": "r1", "question": "Is there a dog?", "kind": "object"}]}
    judging = asyncio.create_task(chat.ainvoke(compose("judge", "", asked, [picture(TWO_DOGS)])))
    ticks = 0
    while not judging.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 5
    assert threads != [loop_thread]
    assert Verdicts.model_validate_json(str((await judging).content)).verdicts[0].verdict == "met"
