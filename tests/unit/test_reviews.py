"""Runs that wait for a person: at the plan, and after each round."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, Interrupt

from gems.backends.chat.rehearsal import rehearse
from gems.backends.chat.scripted import Script, ScriptedRole
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.graph import GemsGraph, OwnServices, build_graph
from gems.nodes.critic import BY_PERSON

THREAD: Any = {"configurable": {"thread_id": "t"}}


class Bench:
    """A graph that asks a person."""

    def __init__(self, settings: Settings, marks: list[str], **scripts: Script) -> None:
        self.chat: ScriptedRole = rehearse(marks, **scripts)
        self.images = ScriptedImages()
        services = OwnServices(settings, chat=self.chat, images=self.images)
        self.graph: GemsGraph = build_graph(services, checkpointer=InMemorySaver())

    async def start(self, review: str, **context: Any) -> Interrupt:
        given = {"size": "64x64", "seed": 7, "review": review, **context}
        await self.graph.ainvoke({"prompt": "two red dogs"}, THREAD, context=given)  # type: ignore[call-overload]
        return await self.question()

    async def question(self) -> Interrupt:
        (interrupt,) = (await self.graph.aget_state(THREAD)).interrupts
        return interrupt

    async def answer(self, **answer: Any) -> GemsState:
        await self.graph.ainvoke(Command(resume=answer), THREAD)
        return await self.state()

    async def state(self) -> GemsState:
        return (await self.graph.aget_state(THREAD)).values  # type: ignore[return-value]


async def test_the_plan_is_shown_before_anything_is_drawn(settings: Settings) -> None:
    bench = Bench(settings, ["+++"])
    question = await bench.start("plan")
    assert question.value["kind"] == "plan"
    assert question.value["prompts"] == ["two red dogs"]
    assert [it["id"] for it in question.value["requirements"]] == ["r1", "r2", "r3"]
    assert question.response_schema is not None
    assert question.response_schema["properties"]["drop"]["items"]["enum"] == ["r1", "r2", "r3"]
    assert bench.images.history == []
    state = await bench.answer(action="approve")
    assert (state["status"], state["stop_reason"]) == ("done", "satisfied")


async def test_a_plan_can_be_changed(settings: Settings) -> None:
    bench = Bench(settings, ["+++"])
    await bench.start("plan", candidates=2)
    state = await bench.answer(
        prompts=["two crimson dogs"], drop=["r3"], add=["Is it a photograph?"], feedback="no cartoons"
    )
    assert [it.prompt for it in bench.images.history] == ["two crimson dogs"] * 2
    assert [(it["id"], it["question"]) for it in state["requirements"]][1:] == [
        ("r2", "Is the dog red?"),
        ("r4", "Is it a photograph?"),
    ]
    assert state["remarks"] == [{"round": 0, "text": "no cartoons"}]


async def test_a_stopped_plan_draws_nothing_and_can_go_on(settings: Settings) -> None:
    bench = Bench(settings, ["+++"])
    await bench.start("plan")
    state = await bench.answer(action="stop")
    assert (state["status"], state["stop_reason"], bench.images.history) == ("stopped", "stopped", [])
    planned = len(bench.chat.history)
    await bench.graph.ainvoke({"prompt": ""}, THREAD)
    assert ((await bench.question()).value["kind"], bench.images.history) == ("plan", [])
    assert (await bench.answer(action="approve"))["stop_reason"] == "satisfied"
    assert bench.chat.history[planned].task == "judge"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"drop": ["r9"]}, r"answer drop\.0 'r9'"),
        ({"drop": ["r1", "r2", "r3"]}, "every requirement is dropped"),
        ({"action": "perhaps"}, "answer action 'perhaps'"),
        ({"colour": "red"}, "answer colour"),
        ({"prompts": ["  "]}, r"answer prompts\.0"),
    ],
)
async def test_a_bad_answer_leaves_the_question(settings: Settings, answer: dict[str, Any], words: str) -> None:
    bench = Bench(settings, ["+++"])
    before = await bench.start("plan")
    with pytest.raises(GemsConfigError, match=words):
        await bench.answer(**answer)
    assert (await bench.question()).id == before.id
    assert (await bench.answer(action="approve"))["stop_reason"] == "satisfied"


async def test_each_round_is_shown_with_its_pictures_and_verdicts(settings: Settings) -> None:
    bench = Bench(settings, ["+--", "+++"])
    await bench.start("round")
    await bench.answer(action="approve")
    question = (await bench.question()).value
    assert (question["kind"], question["round"], question["best"]) == ("round", 1, None)
    (shown,) = question["attempts"]
    assert shown["artifact"]
    assert shown["verdicts"]["r2"]["verdict"] == "unmet"
    await bench.answer(action="approve")
    assert (await bench.question()).value["round"] == 2
    state = await bench.answer(action="approve")
    assert (state["stop_reason"], state["round"]) == ("satisfied", 2)


async def test_an_overruled_verdict_is_a_fact(settings: Settings) -> None:
    bench = Bench(settings, ["+--", "+-+"])
    await bench.start("round")
    await bench.answer(action="approve")
    ruling = {"attempt": "1.1", "requirement": "r2", "verdict": "met", "note": "it is dark red"}
    state = await bench.answer(overrule=[ruling])
    assert state["rulings"] == [ruling]
    verdict = state["attempts"][0]["verdicts"]["r2"]
    assert verdict == {"verdict": "met", "evidence": "it is dark red", "confidence": 1.0}
    assert state["attempts"][0]["score"] == pytest.approx(2 / 3)
    told = {"question": "Is the dog red?", "verdict": "met", "attempt": "1.1", "note": "it is dark red"}
    assert bench.chat.asked("refine")[-1].fields["rulings"] == [told]
    assert bench.chat.asked("judge")[-1].fields["rulings"] == [told]


async def test_overruling_the_last_failure_ends_the_run(settings: Settings) -> None:
    bench = Bench(settings, ["++-"])
    await bench.start("round")
    await bench.answer(action="approve")
    state = await bench.answer(overrule=[{"attempt": "1.1", "requirement": "r3", "verdict": "met"}])
    assert state["stop_reason"] == "satisfied"
    assert state["attempts"][0]["verdicts"]["r3"]["evidence"] == BY_PERSON


async def test_a_parent_that_is_met_after_all_has_its_children_asked(settings: Settings) -> None:
    def decompose(_: Any) -> dict[str, Any]:
        items = [("r1", "Is there a dog?", []), ("r2", "Is the dog red?", ["r1"])]
        return {
            "requirements": [
                {"id": name, "question": text, "kind": "object", "depends_on": parents} for name, text, parents in items
            ]
        }

    bench = Bench(settings, ["-+"], decompose=decompose)
    await bench.start("round")
    await bench.answer(action="approve")
    asked = len(bench.chat.asked("judge"))
    state = await bench.answer(overrule=[{"attempt": "1.1", "requirement": "r1", "verdict": "met"}])
    assert [[it["id"] for it in task.fields["requirements"]] for task in bench.chat.asked("judge")[asked:]] == [["r2"]]
    assert state["stop_reason"] == "satisfied"


async def test_a_person_may_pick_the_best(settings: Settings) -> None:
    bench = Bench(settings, ["++-", "+--"])
    await bench.start("round", candidates=2)
    await bench.answer(action="approve")
    state = await bench.answer(best="1.2", action="accept")
    assert (state["status"], state["stop_reason"], state["best"]) == ("done", "accepted", "1.2")
    assert state["result"]["image"] == state["attempts"][1]["artifact"]


async def test_a_prompt_of_ones_own_is_drawn_without_the_refiner(settings: Settings) -> None:
    bench = Bench(settings, ["+--", "+++"])
    await bench.start("round")
    await bench.answer(action="approve")
    await bench.answer(prompt="two dogs, crimson")
    assert bench.chat.asked("refine") == []
    assert bench.images.history[-1].prompt == "two dogs, crimson"
    state = await bench.answer(action="approve")
    assert state["stop_reason"] == "satisfied"
    assert state["wish"] == ""


async def test_feedback_reaches_the_refiner_and_goes_on_past_satisfied(settings: Settings) -> None:
    bench = Bench(settings, ["+++"])
    await bench.start("round")
    await bench.answer(action="approve")
    await bench.answer(feedback="the light is too cold")
    assert bench.chat.asked("refine")[-1].fields["remarks"] == ["the light is too cold"]
    state = await bench.answer(action="approve")
    assert (state["stop_reason"], state["round"]) == ("satisfied", 2)


async def test_limits_hold_against_feedback(settings: Settings) -> None:
    bench = Bench(settings, ["+++"])
    await bench.start("round", max_rounds=1)
    await bench.answer(action="approve")
    assert (await bench.answer(feedback="warmer"))["stop_reason"] == "max_rounds"


async def test_a_stopped_round_asks_again_when_it_goes_on(settings: Settings) -> None:
    bench = Bench(settings, ["+--", "+++"])
    await bench.start("round")
    await bench.answer(action="approve")
    state = await bench.answer(action="stop")
    assert (state["status"], state["stop_reason"]) == ("stopped", "stopped")
    await bench.graph.ainvoke({"prompt": ""}, THREAD)
    assert (await bench.question()).value["round"] == 1


async def test_review_can_be_turned_off_on_the_way(settings: Settings) -> None:
    bench = Bench(settings, ["+--", "+--", "+++"])
    await bench.start("round")
    state = await bench.answer(action="approve", ask_again=False)
    assert (state["stop_reason"], state["round"]) == ("satisfied", 3)


async def test_an_answer_is_never_lost_to_another_option(settings: Settings) -> None:
    bench = Bench(settings, ["+--", "+++"])
    await bench.start("round")
    await bench.answer(action="approve")
    answer = Command(resume={"action": "stop"})
    await bench.graph.ainvoke(answer, THREAD, context={"review": "none"})  # type: ignore[call-overload]
    assert (await bench.state())["stop_reason"] == "stopped"


async def test_review_needs_a_checkpointer(settings: Settings) -> None:
    chat = rehearse(["+++"])
    graph = build_graph(OwnServices(settings, chat=chat, images=ScriptedImages()))
    with pytest.raises(GemsConfigError, match="review 'plan' needs a graph that keeps its threads"):
        await graph.ainvoke({"prompt": "a dog"}, context={"size": "64x64", "review": "plan"})  # type: ignore[call-overload]
    assert chat.history == []


def test_a_person_is_asked_in_a_synchronous_run_too(settings: Settings) -> None:
    services = OwnServices(settings, chat=rehearse(["+++"]), images=ScriptedImages())
    graph = build_graph(services, checkpointer=InMemorySaver())
    context: Any = {"size": "64x64", "review": "plan"}
    graph.invoke({"prompt": "a dog"}, THREAD, context=context)  # type: ignore[call-overload]
    with pytest.raises(GemsConfigError, match="perhaps"):
        graph.invoke(Command(resume={"action": "perhaps"}), THREAD)
    assert graph.invoke(Command(resume={"action": "approve"}), THREAD)["stop_reason"] == "satisfied"


async def test_a_run_that_was_stopped_in_its_last_round_shows_it_again(settings: Settings) -> None:
    bench = Bench(settings, ["+--"])
    await bench.start("round", max_rounds=1)
    await bench.answer(action="approve")
    await bench.answer(action="stop")
    await bench.graph.ainvoke({"prompt": ""}, THREAD)
    assert (await bench.question()).value["round"] == 1
    assert (await bench.answer(action="approve"))["stop_reason"] == "max_rounds"
