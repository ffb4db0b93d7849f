"""Where memory, reviews and follow-ups meet: what was said, picked or drawn must not be lost between them."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from gems.backends.chat.rehearsal import rehearse
from gems.backends.chat.scripted import Script, ScriptedRole
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError, ModelOutage
from gems.core.messages import TaskInput
from gems.core.ports import Lesson
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.graph import GemsGraph, OwnServices, build_graph

THREAD: Any = {"configurable": {"thread_id": "t"}}
CHILD = {
    "requirements": [
        {"id": "r1", "question": "Is there a dog?", "kind": "object", "depends_on": []},
        {"id": "r2", "question": "Is the dog red?", "kind": "attribute", "depends_on": ["r1"]},
    ]
}
MORE = {"diagnosis": "not yet", "actions": [{"action": "rewrite", "prompt": "again"}]}


class Bench:
    """A graph on one thread."""

    def __init__(self, settings: Settings, marks: list[str], **scripts: Script) -> None:
        self.chat: ScriptedRole = rehearse(marks, **scripts)
        self.images = ScriptedImages()
        self.services = OwnServices(settings, chat=self.chat, images=self.images)
        self.graph: GemsGraph = build_graph(self.services, checkpointer=InMemorySaver())

    async def give(self, given: Any, **context: Any) -> GemsState:
        await self.graph.ainvoke(given, THREAD, context=context)  # type: ignore[call-overload]
        return (await self.graph.aget_state(THREAD)).values  # type: ignore[return-value]

    async def first(self, **context: Any) -> GemsState:
        return await self.give({"prompt": "two red dogs"}, **{"size": "64x64", "seed": 7, **context})

    async def reviewed(self, rounds: int = 1, **context: Any) -> GemsState:
        """As far as the question about this round."""
        state = await self.first(review="round", **context)
        for _ in range(rounds):
            state = await self.answer(action="approve")
        return state

    async def answer(self, **answer: Any) -> GemsState:
        await self.graph.ainvoke(Command(resume=answer), THREAD)
        return (await self.graph.aget_state(THREAD)).values  # type: ignore[return-value]


def overruled(attempt: str, requirement: str, verdict: str = "met") -> dict[str, str]:
    return {"attempt": attempt, "requirement": requirement, "verdict": verdict}


# What a person says holds


async def test_an_earlier_picture_that_is_right_after_all_is_chosen(settings: Settings) -> None:
    bench = Bench(settings, ["+--"])
    before = await bench.reviewed(rounds=2, candidates=2)
    other = next(it["id"] for it in before["attempts"] if it["round"] == 1 and it["id"] != before["best"])
    state = await bench.answer(overrule=[overruled(other, "r2"), overruled(other, "r3")])
    assert (state["stop_reason"], state["best"]) == ("satisfied", other)


async def test_a_best_picture_that_is_wrong_after_all_gives_way_to_an_earlier_one(settings: Settings) -> None:
    bench = Bench(settings, ["+--", "++-", "---"])
    before = await bench.reviewed(rounds=3)
    assert before["best"] == "2.1"
    state = await bench.answer(overrule=[overruled("2.1", "r1", "unmet"), overruled("2.1", "r2", "unmet")])
    assert state["best"] == "1.1"


async def test_a_ruling_outlives_the_verdict_on_its_parent(settings: Settings) -> None:
    bench = Bench(settings, ["--"], decompose=lambda _: CHILD)
    await bench.reviewed()
    await bench.answer(overrule=[overruled("1.1", "r2")])
    state = await bench.answer(overrule=[overruled("1.1", "r1")])
    assert (state["stop_reason"], state["best"]) == ("satisfied", "1.1")


async def test_a_ruling_outlives_a_follow_up_that_drops_its_parent(settings: Settings) -> None:
    bench = Bench(settings, ["+-"], decompose=lambda _: CHILD, amend=[{"request": "red", "drop": ["r1"], "add": []}])
    await bench.reviewed()
    await bench.answer(overrule=[overruled("1.1", "r2")])
    state = await bench.give({"prompt": "no dog is needed"}, review="none")
    assert state["attempts"][0]["verdicts"]["r2"]["verdict"] == "met"
    assert len(bench.images.history) == 1


async def test_the_last_ruling_on_a_verdict_is_the_only_one(settings: Settings) -> None:
    bench = Bench(settings, ["+--"])
    await bench.reviewed()
    await bench.answer(overrule=[overruled("1.1", "r2")])
    state = await bench.answer(overrule=[overruled("1.1", "r2", "unmet")])
    assert [it["verdict"] for it in state["rulings"]] == ["unmet"]


async def test_a_picked_picture_stays_the_best_when_the_run_goes_on(settings: Settings) -> None:
    bench = Bench(settings, ["++-"])
    await bench.reviewed(candidates=2, max_rounds=1)
    await bench.answer(best="1.2", overrule=[overruled("1.2", "r2", "unmet")])
    await bench.give({"prompt": ""}, review="none", max_rounds=2)
    assert bench.chat.asked("refine")[0].fields["best"]["id"] == "1.2"


async def test_a_prompt_of_ones_own_waits_for_a_raised_limit(settings: Settings) -> None:
    bench = Bench(settings, ["+--"])
    await bench.reviewed(max_rounds=1)
    await bench.answer(prompt="two crimson dogs")
    await bench.give({"prompt": ""}, max_rounds=2)
    await bench.answer(action="approve")
    assert bench.images.history[-1].prompt == "two crimson dogs"


@pytest.mark.parametrize("rounds", [0, 1])
async def test_what_was_stopped_in_its_last_round_goes_on(settings: Settings, rounds: int) -> None:
    bench = Bench(settings, ["+++"])
    await bench.reviewed(rounds, max_rounds=1)
    assert (await bench.answer(action="stop"))["status"] == "stopped"
    await bench.give({"prompt": ""})
    if not rounds:  # the plan is shown once more
        assert bench.images.history == []
        await bench.answer(action="approve")
    assert (await bench.answer(action="approve"))["stop_reason"] == "satisfied"


# Follow-ups


async def test_a_message_in_place_of_an_answer_loses_no_picture(settings: Settings) -> None:
    bench = Bench(settings, ["+--", "+++"])
    await bench.reviewed(rounds=2)
    state = await bench.give({"prompt": "in the snow"}, review="none")
    assert (state["stop_reason"], state["best"]) == ("satisfied", "2.1")


async def test_a_reply_that_changes_nothing_checkable_is_not_satisfied_unseen(settings: Settings) -> None:
    bench = Bench(settings, ["+++"], amend=[{"request": "two red dogs in warmer light", "drop": [], "add": []}])
    await bench.first()
    state = await bench.give({"prompt": "warmer light"})
    assert "warmer light" in state["requirements"][-1]["question"]


async def test_a_text_that_is_still_asked_for_stays_in_the_request(settings: Settings) -> None:
    question = {"id": "r1", "question": 'Does the sign say "OPEN"?', "kind": "text"}
    added = {"id": "n1", "question": "Is the sign big?", "kind": "attribute"}
    amended = {"request": "a big sign", "drop": [], "add": [added]}
    bench = Bench(settings, ["+"], decompose=lambda _: {"requirements": [question]}, amend=[amended])
    await bench.give({"prompt": 'a sign that says "OPEN"'}, size="64x64")
    assert '"OPEN"' in (await bench.give({"prompt": "bigger"}))["request"]["prompt"]


async def test_the_note_after_a_follow_up_is_the_latest_and_replaces_none(settings: Settings) -> None:
    def compress(task: TaskInput) -> dict[str, Any]:
        return {"experience": f"note {len(bench.chat.asked('compress'))}", "digest": "folded"}

    bench = Bench(settings, ["++-", "+--"], compress=compress)
    before = await bench.first(max_rounds=7)
    after = await bench.give({"prompt": "in the snow"}, max_rounds=2)
    assert after["experiences"][:6] == before["experiences"]
    assert after["experiences"][6] == {"round": 7, "text": "note 7", "source": "model"}
    assert bench.chat.asked("refine")[-1].fields["experiences"][-1]["text"] == "note 7"


async def test_a_chat_that_was_cut_off_goes_on_without_hearing_its_message_twice(settings: Settings) -> None:
    replies: list[Any] = [ModelOutage("away")]
    bench = Bench(settings, ["+--", "+++"], refine=lambda _: replies.pop() if replies else MORE)
    with pytest.raises(ModelOutage):
        await bench.give({"messages": [HumanMessage("two red dogs")]}, size="64x64")
    state = await bench.give({"prompt": ""})
    assert bench.chat.asked("amend") == []
    assert state["request"] == {"prompt": "two red dogs"}


@pytest.mark.parametrize("restart", ["no", "false", 1])
async def test_a_word_is_not_taken_for_restart(settings: Settings, restart: object) -> None:
    bench = Bench(settings, ["+++"])
    before = await bench.first()
    with pytest.raises(GemsConfigError, match="restart is true or false"):
        await bench.give({"prompt": "in the snow", "restart": restart})
    after = (await bench.graph.aget_state(THREAD)).values
    assert after["trajectory_id"] == before["trajectory_id"]


# Options


async def test_the_papers_loop_has_no_lessons_whatever_is_asked_for(settings: Settings) -> None:
    bench = Bench(settings, ["+++"])
    lesson = Lesson(id="", kind="other", backend="scripted", skills=(), when="two red dogs", advice="say two")
    await bench.services.lessons.learn(bench.services.owner, [lesson], "once")
    state = await bench.first(mode="paper", lessons=True)
    assert "lessons" not in bench.chat.asked("write_prompts")[0].fields
    assert state["lessons"] == []
