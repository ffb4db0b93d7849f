"""A second message on a thread changes what is wanted; the trajectory goes on."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from gems.backends.chat.rehearsal import rehearse
from gems.backends.chat.scripted import Script, ScriptedRole
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError, ModelOutage
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.graph import GemsGraph, OwnServices, build_graph
from gems.nodes.amender import LATER

THREAD: Any = {"configurable": {"thread_id": "t"}}
BLUE = {
    "request": "two blue dogs",
    "drop": ["r2"],
    "add": [{"id": "n1", "question": "Is the dog blue?", "kind": "attribute", "depends_on": ["r1"]}],
}


class Bench:
    """A graph on one thread, with what its models were asked."""

    def __init__(self, settings: Settings, marks: list[str], **scripts: Script) -> None:
        self.chat: ScriptedRole = rehearse(marks, **scripts)
        self.images = ScriptedImages()
        self.graph: GemsGraph = build_graph(
            OwnServices(settings, chat=self.chat, images=self.images), checkpointer=InMemorySaver()
        )

    async def say(self, prompt: str, **context: Any) -> GemsState:
        return await self.give({"prompt": prompt}, **context)

    async def give(self, given: Any, **context: Any) -> GemsState:
        await self.graph.ainvoke(given, THREAD, context=context)  # type: ignore[call-overload]
        return (await self.graph.aget_state(THREAD)).values  # type: ignore[return-value]

    async def first(self, **context: Any) -> GemsState:
        return await self.say("two red dogs", **{"size": "64x64", "seed": 7, **context})


async def test_requirements_are_amended_and_the_rest_carries_on(settings: Settings) -> None:
    bench = Bench(settings, ["+-++", "+++-", "++++"], amend=[BLUE])
    before = await bench.first(max_rounds=3)
    assert (before["stop_reason"], before["round"]) == ("satisfied", 2)
    after = await bench.say("make them blue")
    assert after["trajectory_id"] == before["trajectory_id"]
    assert after["request"] == {"prompt": "two blue dogs", "said": ["two red dogs", "make them blue"]}
    assert [it["id"] for it in after["requirements"]] == ["r1", "r3", "r4"]
    assert after["requirements"][2]["depends_on"] == ["r1"]
    assert [it["id"] for it in after["attempts"]] == ["1.1", "2.1", "3.1"]
    assert after["usage"]["images"] == 3
    assert after["experiences"][0]["text"] == before["experiences"][0]["text"]
    assert after["stop_reason"] == "satisfied"


async def test_the_best_picture_is_looked_at_again_for_what_is_new_alone(settings: Settings) -> None:
    bench = Bench(settings, ["+-+", "+++"], amend=[BLUE], judge=_blue_in_the_third())
    await bench.first()
    asked = len(bench.chat.asked("judge"))
    after = await bench.say("make them blue")
    again, next_picture = bench.chat.asked("judge")[asked:]
    assert [it["id"] for it in again.fields["requirements"]] == ["r4"]
    assert [it["id"] for it in next_picture.fields["requirements"]] == ["r1", "r3", "r4"]
    first, best, third = after["attempts"]
    assert first["verdicts"]["r4"]["evidence"] == LATER
    assert set(best["verdicts"]) == {"r1", "r3", "r4"}
    assert best["score"] == pytest.approx(2 / 3)
    assert third["score"] == 1.0


def _blue_in_the_third() -> Script:
    seen: list[bytes] = []

    def judge(task: Any) -> dict[str, Any]:
        if task.images[0] not in seen:
            seen.append(task.images[0])
        number = seen.index(task.images[0]) + 1
        met = {"r1": True, "r2": number > 1, "r3": True, "r4": number == 3}
        return {
            "verdicts": [
                {
                    "id": it["id"],
                    "evidence": "",
                    "verdict": "met" if met[it["id"]] else "unmet",
                    "confidence": 0.9,
                }
                for it in task.fields["requirements"]
            ]
        }

    return judge


async def test_a_picture_that_fits_already_ends_it_without_a_drawing(settings: Settings) -> None:
    bench = Bench(settings, ["++++"], amend=[BLUE])
    await bench.first()
    after = await bench.say("make them blue")
    assert (after["stop_reason"], len(after["attempts"])) == ("satisfied", 1)
    assert after["result"]["requirements"][-1] == {"question": "Is the dog blue?", "verdict": "met"}


async def test_rounds_count_from_the_message_and_budgets_do_not(settings: Settings) -> None:
    bench = Bench(settings, ["+--", "+--", "+---"], amend=lambda _: BLUE)
    before = await bench.first(max_rounds=2, max_images=4)
    assert (before["stop_reason"], before["round"]) == ("max_rounds", 2)
    after = await bench.say("make them blue", max_images=3)
    assert (after["stop_reason"], after["result"]["limit"]) == ("budget", "max_images")
    assert after["usage"]["images"] == 3
    with pytest.raises(GemsConfigError, match="max_images leaves no room"):
        await bench.say("make them green")


async def test_the_refiner_starts_from_the_best_picture_not_the_last(settings: Settings) -> None:
    bench = Bench(settings, ["++-", "+--", "+---"], amend=[BLUE])
    await bench.first(max_rounds=2)
    await bench.say("make them blue", max_rounds=1)
    view = bench.chat.asked("refine")[-1].fields
    assert view["latest"]["id"] == "1.1"
    assert view["request"]["prompt"] == "two blue dogs"


@pytest.mark.parametrize("reply", [{"nonsense": 1}, {"request": "a dog", "drop": ["r1", "r2", "r3"]}])
async def test_what_cannot_be_read_is_one_more_requirement(settings: Settings, reply: dict[str, Any]) -> None:
    bench = Bench(settings, ["+++", "++++"], amend=[reply])
    await bench.first()
    after = await bench.say("make them blue")
    assert [it["id"] for it in after["requirements"]] == ["r1", "r2", "r3", "r4"]
    assert "make them blue" in after["requirements"][3]["question"]
    assert after["request"]["prompt"] == "two red dogs. make them blue"


async def test_a_quoted_text_of_the_message_is_verbatim(settings: Settings) -> None:
    bench = Bench(settings, ["+++"], amend=[{**BLUE, "request": "two dogs with a sign"}])
    await bench.first()
    after = await bench.say('give them a sign that says "OPEN"')
    assert '"OPEN"' in after["request"]["prompt"]


async def test_an_outage_while_amending_loses_nothing(settings: Settings) -> None:
    replies: list[Any] = [ModelOutage("away"), BLUE]
    bench = Bench(settings, ["++++"], amend=lambda _: replies.pop(0))
    await bench.first()
    with pytest.raises(ModelOutage):
        await bench.say("make them blue")
    after = await bench.give(None)
    assert after["request"]["prompt"] == "two blue dogs"
    assert after["stop_reason"] == "satisfied"


async def test_a_second_message_after_an_outage_does_not_lose_the_first(settings: Settings) -> None:
    replies: list[Any] = [ModelOutage("away"), BLUE]
    bench = Bench(settings, ["++++"], amend=lambda _: replies.pop(0))
    await bench.first()
    with pytest.raises(ModelOutage):
        await bench.say("make them blue")
    await bench.say("and bigger")
    assert bench.chat.asked("amend")[-1].fields["message"] == "make them blue\nand bigger"


async def test_there_must_be_a_picture_to_change(settings: Settings) -> None:
    bench = Bench(settings, ["+++"], decompose=[ModelOutage("away")])
    with pytest.raises(ModelOutage):
        await bench.first()
    with pytest.raises(GemsConfigError, match="no picture on this thread yet"):
        await bench.say("make them blue")
    bench.chat = rehearse(["+++"])


async def test_what_cannot_change_is_refused(settings: Settings) -> None:
    bench = Bench(settings, ["+++"], amend=[BLUE])
    await bench.first()
    with pytest.raises(GemsConfigError, match="seed cannot change"):
        await bench.say("make them blue", seed=8)


async def test_many_follow_ups_never_use_an_id_twice(settings: Settings) -> None:
    def amend(task: Any) -> dict[str, Any]:
        last = task.fields["requirements"][-1]["id"]
        question = f"Is it as in message {task.fields['message']}?"
        return {
            "request": "dogs",
            "drop": [last],
            "add": [{"id": "n1", "question": question, "kind": "other", "depends_on": []}],
        }

    bench = Bench(settings, ["+" * 20], amend=amend)
    await bench.first()
    for number in range(5):
        state = await bench.say(str(number))
        assert state["requirements"][-1]["id"] == f"r{4 + number}"
    assert state["request"]["said"] == ["two red dogs", "0", "1", "2", "3", "4"]


# Chat


async def test_a_chat_is_a_way_to_say_it(settings: Settings) -> None:
    bench = Bench(settings, ["+++", "++++"], amend=[BLUE])
    first = await bench.give({"messages": [HumanMessage("two red dogs")]}, size="64x64", seed=7)
    assert first["request"]["prompt"] == "two red dogs"
    assert isinstance(first["messages"][-1], AIMessage)
    assert first["result"]["image"] in first["messages"][-1].text
    second = await bench.give({"messages": [{"role": "user", "content": "make them blue"}]})
    assert second["request"]["prompt"] == "two blue dogs"
    assert [message.type for message in second["messages"]] == ["human", "ai", "human", "ai"]


async def test_pictures_in_a_message_are_refused_in_words(settings: Settings) -> None:
    bench = Bench(settings, ["+++"])
    content: Any = [{"type": "text", "text": "a dog"}, {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]
    with pytest.raises(GemsConfigError, match="POST an image to /gems/images"):
        await bench.give({"messages": [HumanMessage(content)]})


async def test_an_answered_chat_goes_on_like_an_empty_prompt(settings: Settings) -> None:
    bench = Bench(settings, ["+--", "+++"])
    await bench.give({"messages": [HumanMessage("two red dogs")]}, size="64x64", seed=7, max_rounds=1)
    after = await bench.give({"prompt": ""}, max_rounds=2)
    assert (after["stop_reason"], after["round"]) == ("satisfied", 2)
