"""The whole loop on scripted models: edges, stops, selection, memory, failures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import ValidationError

from gems.backends.chat.rehearsal import rehearse
from gems.backends.chat.scripted import ScriptedRole
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import DrawingRefused, GemsConfigError, ModelOutage
from gems.core.settings import Settings
from gems.core.state import GemsState
from gems.graph import GemsGraph, OwnServices, build_graph

THREAD: Any = {"configurable": {"thread_id": "t"}}


def make_graph(
    settings: Settings, chat: ScriptedRole, images: ScriptedImages | None = None, **kwargs: Any
) -> GemsGraph:
    services = OwnServices(settings, chat=chat, images=images or ScriptedImages())
    return build_graph(services, checkpointer=InMemorySaver(), **kwargs)


async def run(graph: GemsGraph, prompt: str = "two red dogs", **context: Any) -> GemsState:
    options = {"size": "64x64", "seed": 7, **context}
    await graph.ainvoke({"prompt": prompt, "restart": True}, THREAD, context=options)  # type: ignore[call-overload]
    return (await graph.aget_state(THREAD)).values  # type: ignore[return-value]


async def test_a_picture_that_is_right_at_once_ends_the_run(settings: Settings) -> None:
    chat, images = rehearse(["+++"]), ScriptedImages()
    state = await run(make_graph(settings, chat, images))
    assert (state["status"], state["stop_reason"]) == ("done", "satisfied")
    assert [task.task for task in chat.history].count("refine") == 0
    assert [(it.prompt, it.seed, it.width) for it in images.history] == [("two red dogs", 7, 64)]
    assert state["result"]["score"] == 1.0
    assert state["usage"]["mllm_calls"] == 4
    assert state["usage"]["images"] == 1


async def test_rounds_go_on_until_everything_is_met(settings: Settings) -> None:
    chat = rehearse(["+--", "++-", "+++"])
    state = await run(make_graph(settings, chat))
    assert [it["id"] for it in state["attempts"]] == ["1.1", "2.1", "3.1"]
    assert [it["score"] for it in state["attempts"]] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert state["best"] == "3.1"
    assert [it["round"] for it in state["experiences"]] == [1, 2]
    assert [it["seed"] for it in state["attempts"]] == [7, 8, 9]
    assert len({it["artifact"] for it in state["attempts"]}) == 3


async def test_a_worse_later_round_never_replaces_the_best(settings: Settings) -> None:
    state = await run(make_graph(settings, rehearse(["++-", "---", "+--"])), max_rounds=3)
    assert state["stop_reason"] == "max_rounds"
    assert state["best"] == "1.1"
    assert state["result"]["score"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("context", "reason", "rounds"),
    [
        ({"max_rounds": 2}, "max_rounds", 2),
        ({"max_images": 3}, "budget", 3),
        ({"max_calls": 10}, "budget", 3),
        ({"patience": 2}, "stalled", 3),
    ],
)
async def test_every_limit_stops_the_run(settings: Settings, context: dict[str, Any], reason: str, rounds: int) -> None:
    state = await run(make_graph(settings, rehearse(["+--"])), **context)
    assert (state["stop_reason"], state["round"]) == (reason, rounds)
    assert state["usage"]["mllm_calls"] <= context.get("max_calls", 99)
    assert state["usage"]["images"] <= context.get("max_images", 99)
    assert state["best"] == "1.1"


async def test_only_unknowns_are_asked_once_more_and_then_end_unverified(settings: Settings) -> None:
    chat = rehearse(["++?"])
    state = await run(make_graph(settings, chat))
    assert (state["stop_reason"], state["round"]) == ("unverified", 1)
    asked = [[item["id"] for item in task.fields["requirements"]] for task in chat.asked("judge")]
    assert asked == [["r1", "r2", "r3"], ["r3"], ["r3"]]


async def test_an_unknown_that_clears_up_is_satisfied(settings: Settings) -> None:
    replies = iter(["?", "?", "+"])

    def judge(task: Any) -> dict[str, Any]:
        asked = [item["id"] for item in task.fields["requirements"]]
        last = {"?": "unknown", "+": "met"}[next(replies)]
        return {
            "verdicts": [
                {"id": name, "evidence": "", "verdict": last if name == "r3" else "met", "confidence": 0.9}
                for name in asked
            ]
        }

    state = await run(make_graph(settings, rehearse(["+++"], judge=judge)))
    assert state["stop_reason"] == "satisfied"
    assert state["attempts"][0]["verdicts"]["r3"]["verdict"] == "met"


async def test_dependents_of_what_is_unmet_are_skipped(settings: Settings) -> None:
    def decompose(_: Any) -> dict[str, Any]:
        return {
            "requirements": [
                {"id": "r1", "question": "Is there a dog?", "kind": "object"},
                {"id": "r2", "question": "Is it red?", "kind": "attribute", "depends_on": ["r1"]},
                {"id": "r3", "question": "Is the red dog big?", "kind": "other", "depends_on": ["r2"]},
            ]
        }

    state = await run(make_graph(settings, rehearse(["-++"], decompose=decompose)), max_rounds=1)
    assert [it["verdict"] for it in state["attempts"][0]["verdicts"].values()] == ["unmet", "skipped", "skipped"]
    assert state["attempts"][0]["score"] == 0


async def test_candidates_are_drawn_side_by_side_and_the_best_wins(settings: Settings) -> None:
    chat, images = rehearse(["+--", "++-", "+--", "+++"]), ScriptedImages()
    state = await run(make_graph(settings, chat, images), candidates=2)
    assert [it["id"] for it in state["attempts"]] == ["1.1", "1.2", "2.1", "2.2"]
    best = next(it for it in state["attempts"] if it["id"] == state["best"])
    assert (best["round"], best["score"]) == (2, 1.0)
    assert len({it.seed for it in images.history}) == 4
    assert state["stop_reason"] == "satisfied"


async def test_a_tie_is_compared_in_both_orders(settings: Settings) -> None:
    always_second = rehearse(["++-"], compare=lambda _: {"better": "second"})
    state = await run(make_graph(settings, always_second), candidates=2, max_rounds=1)
    assert state["best"] == "1.1", "a preference for a place is no preference for a picture"

    replies = iter(["second", "first"])
    consistent = rehearse(["++-"], compare=lambda _: {"better": next(replies)})
    state = await run(make_graph(settings, consistent), candidates=2, max_rounds=1)
    assert state["best"] == "1.2"


async def test_one_failed_candidate_does_not_take_its_sibling_along(settings: Settings) -> None:
    images = ScriptedImages(lambda it: ModelOutage("down") if it.seed == 7 else None)
    state = await run(make_graph(settings, rehearse(["+++"]), images), candidates=2)
    assert state["stop_reason"] == "satisfied"
    assert state["attempts"][0]["failure"] == "outage"
    assert "verdicts" not in state["attempts"][0]
    assert state["best"] == "1.2"


@pytest.mark.parametrize("candidates", [1, 2])
async def test_when_all_drawings_meet_an_outage_the_run_can_be_resumed(settings: Settings, candidates: int) -> None:
    down = True
    images = ScriptedImages(lambda _: ModelOutage("the server is away") if down else None)
    graph = make_graph(settings, rehearse(["+++"]), images)
    with pytest.raises(ModelOutage, match="away"):
        await run(graph, candidates=candidates)
    down = False
    await graph.ainvoke(None, THREAD)
    state = (await graph.aget_state(THREAD)).values
    assert state["stop_reason"] == "satisfied"
    assert all("artifact" in it for it in state["attempts"])


async def test_a_refusal_is_told_to_the_refiner(settings: Settings) -> None:
    images = ScriptedImages(lambda it: DrawingRefused("no weapons") if "attempt" not in it.prompt else None)
    chat = rehearse(["+++"])
    state = await run(make_graph(settings, chat, images))
    assert state["stop_reason"] == "satisfied"
    assert chat.asked("refine")[0].fields["latest"]["error"] == "no weapons"
    assert chat.asked("refine")[0].images == []


async def test_when_everything_is_refused_the_run_fails_in_words(settings: Settings) -> None:
    images = ScriptedImages(lambda _: DrawingRefused("no"))
    state = await run(make_graph(settings, rehearse(["+++"]), images), max_rounds=2)
    assert (state["status"], state["stop_reason"], state["best"]) == ("failed", "max_rounds", None)


async def test_unreadable_replies_are_never_guessed(settings: Settings) -> None:
    nonsense: Any = lambda _: {"nonsense": True}  # noqa: E731
    chat = rehearse(
        ["+++"],
        choose_skills=nonsense,
        write_prompts=nonsense,
        decompose=nonsense,
        judge=nonsense,
    )
    state = await run(make_graph(settings, chat))
    assert state["stop_reason"] == "unverified"
    assert state["attempts"][0]["prompt"] == "two red dogs"
    assert [it["question"] for it in state["requirements"]] == ["Does the picture show all of this: two red dogs?"]
    assert {it["verdict"] for it in state["attempts"][0]["verdicts"].values()} == {"unknown"}
    assert len(state["warnings"]) == 4


async def test_a_critic_that_is_away_is_unknown_not_unmet(settings: Settings) -> None:
    state = await run(make_graph(settings, rehearse(["+++"], judge=lambda _: ModelOutage("down"))))
    assert state["stop_reason"] == "unverified"
    assert {it["verdict"] for it in state["attempts"][0]["verdicts"].values()} == {"unknown"}


async def test_without_advice_the_prompt_is_drawn_again(settings: Settings) -> None:
    chat = rehearse(["++-", "+++"], refine=lambda _: {"nonsense": 1}, compress=lambda _: ModelOutage("down"))
    state = await run(make_graph(settings, chat))
    assert state["stop_reason"] == "satisfied"
    second = state["attempts"][1]
    assert (second["action"], second["prompt"], second["parent"]) == ("resample", "two red dogs", "1.1")
    assert second["seed"] != state["attempts"][0]["seed"]
    assert state["experiences"][0]["source"] == "code"
    assert "Are there exactly two dogs? No" in state["experiences"][0]["text"]


async def test_an_edit_starts_from_the_best_picture(settings: Settings) -> None:
    refine = lambda _: {"diagnosis": "", "actions": [{"action": "edit", "prompt": "make it red"}]}  # noqa: E731
    images = ScriptedImages()
    state = await run(make_graph(settings, rehearse(["+--", "+++"], refine=refine), images))
    assert state["attempts"][1]["action"] == "edit"
    assert state["attempts"][1]["parent"] == "1.1"
    stored = await OwnServices(settings).artifacts.get(state["attempts"][0]["artifact"])
    assert images.history[1].source == stored


async def test_paper_mode_keeps_the_papers_choices(settings: Settings) -> None:
    refine = lambda _: {"diagnosis": "", "actions": [{"action": "resample", "prompt": "two red dogs"}]}  # noqa: E731
    chat = rehearse(["++-"], refine=refine)
    state = await run(make_graph(settings, chat), mode="paper", candidates=3, max_rounds=2)
    assert chat.asked("choose_skills")[0].fields["most"] == 1
    assert chat.asked("refine")[0].fields["actions"] == ["rewrite"]
    assert [len(it.fields["requirements"]) for it in chat.asked("judge")] == [1] * 6
    assert [it["action"] for it in state["attempts"]] == ["rewrite", "rewrite"]
    assert chat.asked("compare") == []
    assert state["best"] == "1.1"


async def test_quoted_text_survives_a_forgetful_model(settings: Settings) -> None:
    chat = rehearse(["+--"], write_prompts=lambda _: {"prompts": ["a shop sign"]})
    state = await run(make_graph(settings, chat), 'a shop sign that says "OPEN 24"', max_rounds=2)
    assert all('"OPEN 24"' in it["prompt"] for it in state["attempts"])


async def test_forced_skills_are_read_without_asking(settings: Settings) -> None:
    chat = rehearse(["+++"])
    state = await run(make_graph(settings, chat), skills=["spatial-layout"])
    assert chat.asked("choose_skills") == []
    assert list(state["plan"]["skills"]) == ["spatial-layout"]
    assert "count" in chat.asked("write_prompts")[0].fields["skills"][0]["instructions"]


async def test_a_finished_run_goes_on_with_a_raised_limit(settings: Settings) -> None:
    graph = make_graph(settings, rehearse(["+--", "++-", "+++"]))
    assert (await run(graph, max_rounds=1))["stop_reason"] == "max_rounds"
    with pytest.raises(GemsConfigError, match="max_rounds above"):
        await graph.ainvoke({"prompt": ""}, THREAD)
    await graph.ainvoke({"prompt": ""}, THREAD, context={"max_rounds": 5})  # type: ignore[call-overload]
    state = (await graph.aget_state(THREAD)).values
    assert (state["stop_reason"], state["round"]) == ("satisfied", 3)
    assert len(chat_prompts(state)) == 3
    await graph.ainvoke({"prompt": ""}, THREAD)
    assert (await graph.aget_state(THREAD)).values["stop_reason"] == "satisfied"


def chat_prompts(state: GemsState) -> set[str]:
    return {it["prompt"] for it in state["attempts"]}


async def test_restart_on_a_thread_starts_afresh(settings: Settings) -> None:
    graph = make_graph(settings, rehearse(["+--", "+++", "+++"]))
    first = await run(graph)
    second = await run(graph, "a cat")
    assert second["trajectory_id"] != first["trajectory_id"]
    assert [it["id"] for it in second["attempts"]] == ["1.1"]
    assert second["experiences"] == []
    assert second["usage"]["images"] == 1


@pytest.mark.parametrize(
    ("prompt", "context", "words"),
    [
        ("", {}, "empty"),
        ("   \n ", {}, "empty"),
        ("a" * 20_001, {}, "20001 characters"),
        ("a\x00b", {}, "no text"),
        ("a\udc80b", {}, "no text"),
        ("a dog", {"profile": "nope"}, "unknown profile 'nope'"),
        ("a dog", {"skills": ["nope"]}, "nope"),
        ("a dog", {"size": "9x9"}, "size"),
        ("a dog", {"size": "9999x64"}, "64 to 4096"),
        ("a dog", {"max_rounds": 0}, "max_rounds"),
        ("a dog", {"colour": "red"}, "colour"),
    ],
)
async def test_bad_input_is_refused_before_anything_is_spent(
    settings: Settings, prompt: str, context: dict[str, Any], words: str
) -> None:
    chat, images = rehearse(["+++"]), ScriptedImages()
    graph = make_graph(settings, chat, images)
    with pytest.raises((GemsConfigError, ValidationError), match=words):
        await graph.ainvoke({"prompt": prompt}, THREAD, context=context)  # type: ignore[call-overload]
    assert chat.history == []
    assert images.history == []
    state = await run(graph)  # the thread is intact
    assert state["stop_reason"] == "satisfied"


async def test_a_full_or_unwritable_home_is_found_before_anything_is_spent(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where a folder should be")
    chat = rehearse(["+++"])
    with pytest.raises(GemsConfigError, match="GEMS_HOME"):
        await run(make_graph(settings, chat))
    assert chat.history == []


def test_invoke_and_stream_work_without_a_loop(settings: Settings) -> None:
    graph = make_graph(settings, rehearse(["+--", "+++"]))
    options: Any = {"size": "64x64"}
    events = list(graph.stream({"prompt": "a dog"}, THREAD, context=options, stream_mode="custom"))  # type: ignore[call-overload]
    assert json.loads(json.dumps(events)) == events
    names = [event["event"] for event in events]
    assert names[0] == "started"
    assert names[-1] == "finished"
    assert names.count("drawn") == 2
    assert {"plan", "requirements", "drawing", "judged", "reviewed", "refined", "experience", "round"} <= set(names)
    output = graph.invoke({"prompt": "another dog", "restart": True}, THREAD, context=options)  # type: ignore[call-overload]
    assert {"status", "stop_reason", "result"} <= set(output)
    assert output["messages"] == []


async def test_without_a_checkpointer_the_graph_runs_too(settings: Settings) -> None:
    services = OwnServices(settings, chat=rehearse(["+++"]), images=ScriptedImages())
    output = await build_graph(services).ainvoke({"prompt": "a dog"}, context={"size": "64x64"})  # type: ignore[call-overload]
    assert output["stop_reason"] == "satisfied"


async def test_a_received_picture_is_not_drawn_again_after_a_crash(settings: Settings) -> None:
    """The critic dies after both drawings were stored; a resumed run draws nothing again."""
    images = ScriptedImages()
    fail = True

    def judge(_: Any) -> Any:
        if fail:
            raise ZeroDivisionError
        return {"verdicts": [{"id": f"r{n}", "evidence": "", "verdict": "met", "confidence": 1} for n in (1, 2, 3)]}

    graph = make_graph(settings, rehearse(["+++"], judge=judge), images)
    with pytest.raises(ZeroDivisionError):
        await run(graph, candidates=2)
    fail = False
    await graph.ainvoke(None, THREAD)
    assert len(images.history) == 2
    assert (await graph.aget_state(THREAD)).values["stop_reason"] == "satisfied"


async def test_the_ledger_reuses_within_a_trajectory_only(settings: Settings) -> None:
    """A sibling's crash loses finished work in LangGraph; the ledger still has the picture."""
    images = ScriptedImages()
    graph = make_graph(settings, rehearse(["+++"]), images)
    state = await run(graph)
    history = [item async for item in graph.aget_state_history(THREAD)]
    before_drawing = next(item for item in history if item.next == ("generator",))
    await graph.ainvoke(None, before_drawing.config)
    forked = (await graph.aget_state(THREAD)).values
    assert len(images.history) == 1
    assert forked["attempts"][0]["reused"] is True
    assert forked["attempts"][0]["artifact"] == state["attempts"][0]["artifact"]
    await run(graph, "two red dogs!")
    assert len(images.history) == 2


async def test_overlap_can_be_forbidden(settings: Settings) -> None:
    order: list[str] = []
    shared = settings.model_copy(
        update={"profiles": {"sketch": settings.profiles["sketch"].model_copy(update={"overlap": False})}}
    )
    images = ScriptedImages(lambda _: order.append("draw"))  # type: ignore[arg-type, func-returns-value]

    def compress(_: Any) -> dict[str, Any]:
        order.append("compress")
        return {"experience": "x"}

    state = await run(make_graph(shared, rehearse(["+--", "+++"], compress=compress), images))
    assert state["stop_reason"] == "satisfied"
    assert order == ["draw", "compress", "draw"]


async def test_own_nodes_replace_built_in_ones(settings: Settings) -> None:
    async def my_compressor(state: GemsState) -> dict[str, Any]:
        return {"experiences": [{"round": state["round"] - 1, "text": "mine", "source": "code"}]}

    state = await run(make_graph(settings, rehearse(["+--", "+++"]), nodes={"compressor": my_compressor}))
    assert [it["text"] for it in state["experiences"]] == ["mine"]
    with pytest.raises(GemsConfigError, match="'painter'"):
        make_graph(settings, rehearse(["+++"]), nodes={"painter": my_compressor})
