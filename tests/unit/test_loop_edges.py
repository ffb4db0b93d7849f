"""Where the loop could go wrong: doubt, outages, interruptions, odd replies, odd models."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from PIL import Image
from typing_extensions import TypedDict

from gems.app.runner import is_pending
from gems.backends.chat.rehearsal import rehearse
from gems.backends.chat.scripted import Script, ScriptedRole
from gems.backends.images.scripted import ScriptedImages
from gems.core.errors import GemsConfigError, ModelOutage
from gems.core.messages import TaskInput
from gems.core.ports import Capabilities, Drawing, DrawRequest, Progress
from gems.core.settings import Settings
from gems.core.state import GemsState, merge_attempts, merge_spans, seconds_spent
from gems.graph import GemsGraph, OwnServices, build_graph
from gems.nodes.compressor import make_compressor
from gems.nodes.quoted import keep_quoted, quoted_texts

THREAD: Any = {"configurable": {"thread_id": "t"}}
NAMES = {"+": "met", "-": "unmet", "?": "unknown"}


def make_graph(
    settings: Settings, chat: ScriptedRole, images: ScriptedImages | None = None, **kwargs: Any
) -> GemsGraph:
    services = OwnServices(settings, chat=chat, images=images or ScriptedImages())
    return build_graph(services, checkpointer=InMemorySaver(), **kwargs)


async def run(graph: GemsGraph, given: Any = "two red dogs", **context: Any) -> GemsState:
    prompt = None if given is None else {"prompt": given, "restart": bool(given)}
    options = {"size": "64x64", "seed": 7, **context} if given else context
    await graph.ainvoke(prompt, THREAD, context=options)  # type: ignore[call-overload]
    return await state_of(graph)


async def state_of(graph: GemsGraph) -> GemsState:
    return (await graph.aget_state(THREAD)).values  # type: ignore[return-value]


def says(*answers: str | Exception, confidence: float = 0.9) -> Script:
    """A critic's answers in the order of its calls: one letter for each requirement asked about in that call."""
    rest = list(answers)

    def judge(task: TaskInput) -> Any:
        said = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(said, Exception):
            return said
        items = zip(task.fields["requirements"], said, strict=True)
        return {
            "verdicts": [
                {"id": it["id"], "evidence": "", "verdict": NAMES[letter], "confidence": confidence}
                for it, letter in items
            ]
        }

    return judge


def dying_critic(dead: list[bool], verdict: str) -> Script:
    """A critic that breaks the run while `dead` holds anything, and afterwards says the same of everything."""

    def judge(task: TaskInput) -> Any:
        if dead:
            raise ZeroDivisionError
        return {
            "verdicts": [
                {"id": it["id"], "evidence": "", "verdict": verdict, "confidence": 1}
                for it in task.fields["requirements"]
            ]
        }

    return judge


def requirements(*parents: list[str]) -> Script:
    items = [
        {"id": f"r{n}", "question": f"Question {n}?", "kind": "other", "depends_on": depends}
        for n, depends in enumerate(parents, start=1)
    ]
    return lambda _: {"requirements": items}


# Selection and doubt


async def test_a_critic_that_is_away_in_a_later_round_does_not_replace_the_best(settings: Settings) -> None:
    judge = says("++-", ModelOutage("down"), ModelOutage("down"), ModelOutage("down"), ModelOutage("down"))
    state = await run(make_graph(settings, rehearse([""], judge=judge)), max_rounds=3)
    assert (state["best"], state["stop_reason"], state["round"]) == ("1.1", "max_rounds", 3)
    assert any("critic, 2.1" in warning for warning in state["warnings"])


async def test_a_picture_that_is_worse_when_asked_again_loses_to_its_sibling(settings: Settings) -> None:
    """One is `??+`, its sibling `++-`; asked again, the first turns out `--+`."""
    sizes: dict[bytes, str] = {}

    def judge(task: TaskInput) -> Any:
        kind = sizes.setdefault(task.images[0], "doubtful" if not sizes else "clear")
        asked = [it["id"] for it in task.fields["requirements"]]
        letters = {"r1": "?", "r2": "?", "r3": "+"} if kind == "doubtful" else {"r1": "+", "r2": "+", "r3": "-"}
        if kind == "doubtful" and len(asked) == 1:
            alone.append(asked[0])
            letters = dict.fromkeys(asked, "?" if len(alone) <= 2 else "-")
        return {
            "verdicts": [{"id": it, "evidence": "", "verdict": NAMES[letters[it]], "confidence": 0.9} for it in asked]
        }

    alone: list[str] = []
    chat = rehearse([""], judge=judge)
    state = await run(make_graph(settings, chat), candidates=2, max_rounds=1)
    best = next(it for it in state["attempts"] if it["id"] == state["best"])
    assert best["score"] == pytest.approx(2 / 3)
    assert state["stop_reason"] == "max_rounds"


async def test_what_a_doubtful_parent_skipped_counts_once_the_parent_is_met(settings: Settings) -> None:
    def judge(task: TaskInput) -> Any:
        items = task.fields["requirements"]
        first_look = len(items) == 2
        return {
            "verdicts": [
                {
                    "id": "r1",
                    "evidence": "",
                    "verdict": "unmet" if first_look else "met",
                    "confidence": 0.3 if first_look else 0.9,
                },
                *([{"id": "r2", "evidence": "", "verdict": "met", "confidence": 0.9}] if first_look else []),
            ]
        }

    state = await run(make_graph(settings, rehearse([""], decompose=requirements([], ["r1"]), judge=judge)))
    assert state["stop_reason"] == "satisfied"


async def test_low_confidence_is_asked_again_alone_and_an_unknown_changes_nothing(settings: Settings) -> None:
    def judge(task: TaskInput) -> Any:
        asked = [it["id"] for it in task.fields["requirements"]]
        verdict, confidence = ("met", 0.4) if len(asked) == 3 else ("unknown", 0.9)
        return {"verdicts": [{"id": it, "evidence": "", "verdict": verdict, "confidence": confidence} for it in asked]}

    chat = rehearse([""], judge=judge)
    state = await run(make_graph(settings, chat))
    assert [len(it.fields["requirements"]) for it in chat.asked("judge")] == [3, 1, 1, 1]
    assert state["stop_reason"] == "satisfied"


async def test_two_answers_to_one_question_are_none(settings: Settings) -> None:
    def judge(task: TaskInput) -> Any:
        one = {"id": "r1", "evidence": "", "confidence": 0.9}
        return {
            "verdicts": [{**one, "verdict": "met"}, {**one, "verdict": "unmet"}, {**one, "id": "r9", "verdict": "met"}]
        }

    state = await run(make_graph(settings, rehearse([""], judge=judge)), max_rounds=1)
    assert {it["verdict"] for it in state["attempts"][0]["verdicts"].values()} == {"unknown"}


async def test_of_equal_counts_the_surer_picture_wins(settings: Settings) -> None:
    confidences = iter([0.7, 0.9, 0.8])

    def judge(task: TaskInput) -> Any:
        sure = next(confidences)
        return {
            "verdicts": [
                {"id": it["id"], "evidence": "", "verdict": "unmet" if it["id"] == "r3" else "met", "confidence": sure}
                for it in task.fields["requirements"]
            ]
        }

    state = await run(make_graph(settings, rehearse([""], judge=judge)), max_rounds=3)
    assert state["best"] == "2.1"


async def test_in_paper_mode_an_unknown_is_only_not_a_pass(settings: Settings) -> None:
    chat = rehearse(["++?", "+++"])
    state = await run(make_graph(settings, chat), mode="paper")
    assert (state["stop_reason"], state["round"]) == ("satisfied", 2)
    assert len(chat.asked("judge")) == 6


async def test_requirements_are_put_in_order(settings: Settings) -> None:
    items = [
        {"id": "a", "question": "Is there a dog?", "kind": "object", "depends_on": ["b", "zz"]},
        {"id": "b", "question": "Is it red?", "kind": "attribute", "depends_on": ["a"]},
        {"id": "c", "question": "is there a DOG?", "kind": "object", "depends_on": []},
        {"id": "d", "question": "Is it big?", "kind": "other", "depends_on": ["c", "c", "d"]},
    ]
    chat = rehearse(["+++"], decompose=lambda _: {"requirements": items})
    state = await run(make_graph(settings, chat))
    assert [(it["id"], it["depends_on"]) for it in state["requirements"]] == [
        ("r1", []),
        ("r2", ["r1"]),
        ("r3", ["r1"]),
    ]


# Interruptions


async def test_an_empty_prompt_goes_on_after_an_outage(settings: Settings) -> None:
    down = [True]
    images = ScriptedImages(lambda _: ModelOutage("away") if down else None)
    graph = make_graph(settings, rehearse(["+++"]), images)
    with pytest.raises(ModelOutage):
        await run(graph)
    down.clear()
    state = await run(graph, "")
    assert (state["stop_reason"], len(images.history)) == ("satisfied", 2)


@pytest.mark.parametrize("max_rounds", [1, 3])
async def test_an_empty_prompt_judges_what_was_drawn_before_the_death(settings: Settings, max_rounds: int) -> None:
    dead = [True]
    judge = dying_critic(dead, "met")
    images = ScriptedImages()
    graph = make_graph(settings, rehearse([""], judge=judge), images)
    with pytest.raises(ZeroDivisionError):
        await run(graph, max_rounds=max_rounds)
    dead.clear()
    state = await run(graph, "")
    assert (state["stop_reason"], len(images.history)) == ("satisfied", 1)


class DyingSaver(InMemorySaver):
    """Dies, once, between a step's writes and the checkpoint that closes it."""

    steps = 5

    async def aput(self, *args: Any, **kwargs: Any) -> Any:
        self.steps -= 1
        if self.steps == 0:
            raise ZeroDivisionError
        return await super().aput(*args, **kwargs)


async def test_a_step_that_wrote_but_was_not_closed_is_not_lost(settings: Settings) -> None:
    services = OwnServices(settings, chat=rehearse(["+--", "+++"]), images=ScriptedImages())
    graph = build_graph(services, checkpointer=DyingSaver())
    with pytest.raises(ZeroDivisionError):
        await graph.ainvoke({"prompt": "a dog"}, THREAD, context={"size": "64x64"}, durability="sync")  # type: ignore[call-overload]
    snapshot = await graph.aget_state(THREAD)
    assert (snapshot.next, bool(snapshot.tasks)) == ((), True)
    assert is_pending(snapshot), "the command line must see that there is something to resume"
    await graph.ainvoke(None, THREAD)
    finished = await graph.aget_state(THREAD)
    assert finished.values["stop_reason"] == "satisfied"
    assert not is_pending(finished)


async def test_what_cannot_change_may_be_repeated_when_going_on(settings: Settings) -> None:
    graph = make_graph(settings, rehearse(["+--", "+++"]))
    await run(graph, max_rounds=1)
    for changed in ({"seed": 8}, {"size": "65x64"}, {"mode": "paper"}, {"skills": []}):
        with pytest.raises(GemsConfigError, match=f"{next(iter(changed))} cannot change"):
            await run(graph, "", max_rounds=2, **changed)  # type: ignore[arg-type]
    state = await run(graph, "", max_rounds=2, seed=7, size="64x64", mode="gems", profile="sketch")
    assert state["stop_reason"] == "satisfied"


async def test_going_on_without_room_is_refused(settings: Settings) -> None:
    graph = make_graph(settings, rehearse(["+--"]))
    await run(graph, max_images=1)
    with pytest.raises(GemsConfigError, match="max_images is reached"):
        await run(graph, "")
    assert (await run(graph, "", max_images=2))["usage"]["images"] == 2


async def test_an_unverified_run_is_verified_when_the_critic_is_back(settings: Settings) -> None:
    away = [True]

    def judge(task: TaskInput) -> Any:
        if away:
            return ModelOutage("down")
        return {
            "verdicts": [
                {"id": it["id"], "evidence": "", "verdict": "met", "confidence": 1}
                for it in task.fields["requirements"]
            ]
        }

    images = ScriptedImages()
    graph = make_graph(settings, rehearse([""], judge=judge), images)
    assert (await run(graph))["stop_reason"] == "unverified"
    away.clear()
    assert (await run(graph, ""))["stop_reason"] == "satisfied"
    assert len(images.history) == 1


async def test_warnings_of_an_earlier_prompt_do_not_stay(settings: Settings) -> None:
    replies = iter([{"nonsense": 1}, {"prompts": ["a cat"]}])
    graph = make_graph(settings, rehearse(["+++"], write_prompts=lambda _: next(replies)))
    assert len((await run(graph))["warnings"]) == 1
    assert (await run(graph, "a cat"))["warnings"] == []


# Drawing


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), ValueError("odd"), ModelOutage("away")])
async def test_whatever_fails_one_candidate_leaves_its_sibling_alive(settings: Settings, error: Exception) -> None:
    images = ScriptedImages(lambda it: error if it.seed == 7 else None)
    state = await run(make_graph(settings, rehearse(["+++"]), images), candidates=2)
    assert state["stop_reason"] == "satisfied"
    assert str(error) in state["attempts"][0]["error"]


async def test_a_bad_key_stops_the_run_and_is_not_taken_for_an_outage(settings: Settings) -> None:
    images = ScriptedImages(lambda _: GemsConfigError("check its key"))
    with pytest.raises(GemsConfigError, match="check its key"):
        await run(make_graph(settings, rehearse(["+++"]), images), candidates=2)


class OddImages(ScriptedImages):
    """Answers with the bytes it was given, after a moment."""

    def __init__(self, content: bytes, seconds: float = 0.0) -> None:
        super().__init__()
        self.content = content
        self.seconds = seconds

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        self.history.append(request)
        await asyncio.sleep(self.seconds)
        return Drawing(self.content, self.seconds)


async def test_other_image_formats_are_stored_as_png(settings: Settings) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "JPEG")
    state = await run(make_graph(settings, rehearse(["+++"]), OddImages(buffer.getvalue())))
    assert (await OwnServices(settings).artifacts.get(state["attempts"][0]["artifact"])).startswith(b"\x89PNG")


async def test_bytes_that_are_no_image_are_an_outage(settings: Settings) -> None:
    with pytest.raises(ModelOutage, match="bytes that are no image"):
        await run(make_graph(settings, rehearse(["+++"]), OddImages(b"<html>busy</html>")))


async def test_images_back_from_the_ledger_count_against_the_limit(settings: Settings) -> None:
    """Paid before the crash, found again after it."""
    dead = [True]
    judge = dying_critic(dead, "unmet")
    images = ScriptedImages()
    graph = make_graph(settings, rehearse([""], judge=judge), images)
    with pytest.raises(ZeroDivisionError):
        await run(graph, max_images=2)
    history = [item async for item in graph.aget_state_history(THREAD)]
    before = next(item for item in history if item.next == ("generator",))
    dead.clear()
    await graph.ainvoke(None, before.config)
    assert len(images.history) == 2
    assert (await state_of(graph))["usage"]["reused"] == 1


async def test_an_edit_that_cannot_be_made_is_drawn_as_a_whole_prompt(settings: Settings) -> None:
    refine = lambda _: {"diagnosis": "", "actions": [{"action": "edit", "prompt": "Make the left dog red."}]}  # noqa: E731
    images = ScriptedImages(capabilities=Capabilities(edit=False))
    state = await run(make_graph(settings, rehearse(["+--", "+++"], refine=refine), images))
    assert state["attempts"][1]["prompt"] == "two red dogs. Make the left dog red."
    assert state["attempts"][1]["action"] == "rewrite"


async def test_too_many_proposals_of_an_own_refiner_stay_within_the_limit(settings: Settings) -> None:
    async def greedy(state: GemsState) -> dict[str, Any]:
        number = state["round"] + 1
        proposal: Any = {"round": number, "action": "rewrite", "seed": 1, "parent": None}
        return {
            "round": number,
            "proposals": [{**proposal, "id": f"{number}.{n}", "prompt": f"p{n}"} for n in (1, 2, 3)],
        }

    state = await run(make_graph(settings, rehearse(["+--"]), nodes={"refiner": greedy}), max_images=2)
    assert (state["usage"]["images"], state["stop_reason"]) == (2, "budget")


async def test_a_slow_compressor_does_not_hold_the_round_up(settings: Settings) -> None:
    class Slow(ScriptedRole):
        async def ask(self, messages: Any, reply_model: Any) -> Any:
            await asyncio.sleep(60)

    services = OwnServices(
        settings,
        chat={
            **dict.fromkeys(("planner", "decomposer", "critic", "refiner"), rehearse(["+--", "+++"])),
            "compressor": Slow({}),
        },
        images=ScriptedImages(),
    )  # type: ignore[dict-item]
    graph = build_graph(
        services, checkpointer=InMemorySaver(), nodes={"compressor": make_compressor(services, patience=0.01)}
    )
    state = await asyncio.wait_for(run(graph), 20)
    assert state["experiences"][0]["source"] == "code"


# Around the graph


async def test_at_most_the_allowed_skills_are_read(settings: Settings) -> None:
    names = ["spatial-layout", "creative-drawing", "aesthetic-drawing", "text-rendering", "none such"]
    chat = rehearse(["+++"], choose_skills=lambda _: {"skills": names})
    state = await run(make_graph(settings, chat))
    assert list(state["plan"]["skills"]) == names[:3]
    assert any("none such" in warning for warning in state["warnings"])


@dataclass
class ParentContext:
    user: str = "ann"
    size: str = "64x64"
    seed: int = 5
    max_rounds: int = 1


class Parent(TypedDict, total=False):
    prompt: str
    result: dict[str, Any]


@pytest.mark.parametrize("context", [ParentContext(), {"user": "ann", "size": "64x64", "seed": 5, "max_rounds": 1}])
async def test_a_parents_own_context_may_carry_our_options(settings: Settings, context: Any) -> None:
    images = ScriptedImages()
    inner = build_graph(OwnServices(settings, chat=rehearse(["+--"]), images=images))
    builder = StateGraph(Parent, context_schema=ParentContext if isinstance(context, ParentContext) else dict)
    builder.add_node("draw", inner)
    builder.add_edge(START, "draw")
    builder.add_edge("draw", END)
    await builder.compile().ainvoke({"prompt": "a dog"}, context=context)
    assert [(it.width, it.seed) for it in images.history] == [(64, 5)]


async def test_updates_are_json(settings: Settings) -> None:
    import json

    graph = make_graph(settings, rehearse(["+--", "+++"]))
    stream = graph.astream({"prompt": "a dog"}, THREAD, context={"size": "64x64"}, stream_mode="updates")  # type: ignore[call-overload]
    async for update in stream:
        assert json.loads(json.dumps(update)) == update


def test_ctrl_c_stops_the_drawing_too(settings: Settings) -> None:
    """The caller's thread is interrupted; what it waited for must not go on beside a resumed run."""
    import signal
    import threading

    if not hasattr(signal, "pthread_kill"):
        pytest.skip("signals cannot be sent to one thread here")
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    images = OddImages(buffer.getvalue(), seconds=30)
    graph = make_graph(settings, rehearse(["+++"]), images)
    main = threading.get_ident()

    def interrupt() -> None:
        while not images.history:
            pass
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        graph.invoke({"prompt": "a dog"}, THREAD, context={"size": "64x64"})  # type: ignore[call-overload]
    images.seconds = 0
    graph.invoke(None, THREAD)
    assert graph.get_state(THREAD).values["stop_reason"] == "satisfied"
    assert len(images.history) == 2


def test_spans_join_when_they_touch_and_leave_gaps_out() -> None:
    spans = merge_spans([[0.0, 10.0]], [[5.0, 12.0], [12.5, 13.0], [100.0, 101.0]])
    assert spans == [[0.0, 13.0], [100.0, 101.0]]
    assert seconds_spent(spans) == 14.0


def test_an_image_clears_an_earlier_failure() -> None:
    base: Any = {"id": "1.1", "round": 1}
    merged: Any = merge_attempts([{**base, "failure": "outage", "error": "x"}], [{**base, "artifact": "a"}])
    assert merged == [{**base, "artifact": "a"}]


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ('a sign "OPEN 24"', ["OPEN 24"]),
        ("a sign “Zürich” and 'no entry'", ["Zürich", "no entry"]),
        ("the dog's bone and the cats' bowl", []),
        ('a 12" pizza beside a 10" cake', []),
        ('"A" and "A"', ["A"]),
        ('an empty "" quote', []),
    ],
)
def test_quoted_texts_are_found(prompt: str, texts: list[str]) -> None:
    assert quoted_texts(prompt) == texts


def test_a_text_inside_another_word_is_lost_all_the_same() -> None:
    assert keep_quoted("a party sign.", ["art"]) == 'a party sign. The written text reads "art".'
    assert keep_quoted('the word "art"', ["art"]) == 'the word "art"'


def test_the_folder_of_prompts_must_be_there(settings: Settings, tmp_path: Path) -> None:
    services = OwnServices(settings.model_copy(update={"prompts": tmp_path / "none"}))
    with pytest.raises(GemsConfigError, match="prompts folder"):
        _ = services.prompts


async def test_a_confidence_off_the_scale_is_doubt_and_not_a_lost_reply(settings: Settings) -> None:
    chat = rehearse(["+++"], judge=says("+++", "+", "+", "+", confidence=22.0))
    state = await run(make_graph(settings, chat))
    assert len(chat.asked("judge")) == 4
    assert state["stop_reason"] == "satisfied"
