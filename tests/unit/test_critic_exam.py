"""The critic's examination: the errors it finds are those that were made."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from rich.console import Console

from gems.app.critic_exam import CriticExam, ExamPlan, ExamResult
from gems.app.exam_pictures import make_pictures
from gems.app.exam_report import ExamHead, as_json_object, print_report
from gems.backends.chat.scripted import ScriptedRole
from gems.backends.images.scripted import ScriptedImages
from gems.backends.sketch.questions import read_question
from gems.core.errors import GemsConfigError, ModelOutage
from gems.core.intervals import share
from gems.core.messages import TaskInput
from gems.core.ports import Answer, R
from gems.core.profiles import BUILT_IN, CriticOptions
from gems.core.settings import Settings
from gems.core.state import RequirementKind
from gems.graph import OwnServices
from gems.memory import FileArtifacts

KINDS: tuple[RequirementKind, ...] = ("object", "attribute", "count", "spatial", "text")
SIDE = 384
"""The profile of these tests draws small, to be quick; a scripted critic needs no eyes."""


def small(settings: Settings, **changes: Any) -> Settings:
    profile = BUILT_IN["sketch"].model_copy(update={"size": f"{SIDE}x{SIDE}", **changes})
    return settings.model_copy(update={"profiles": {"sketch": profile}})


def exam(settings: Settings, tmp_path: Path, chat: ScriptedRole | None = None, **plan: Any) -> CriticExam:
    store = FileArtifacts(tmp_path / "pictures")
    services = OwnServices(settings, chat=chat, images=ScriptedImages(), artifacts=store)
    return CriticExam(services, ExamPlan("sketch", **plan))


class Liar:
    """Knows the truth of every picture, and lies at given rates by kind; counts the lies it told."""

    def __init__(self, pictures: int, seed: int, accepts: dict[str, float], rejects: dict[str, float]) -> None:
        self._truth = {
            hashlib.sha256(picture.png).digest(): {
                it.requirement["question"]: (it.requirement["kind"], it.met) for it in picture.questions
            }
            for picture in make_pictures(pictures, seed, SIDE)
        }
        self._rates = {True: rejects, False: accepts}
        self._rng = Random(5)
        self.lies: Counter[tuple[str, bool]] = Counter()

    def judge(self, task: TaskInput) -> dict[str, Any]:
        truth = self._truth[hashlib.sha256(task.images[0]).digest()]
        verdicts = []
        for item in task.fields["requirements"]:
            kind, met = truth[item["question"]]
            lie = self._rng.random() < self._rates[met].get(kind, 0.0)
            self.lies[kind, met] += lie
            verdict = "met" if met != lie else "unmet"
            verdicts.append({"id": item["id"], "evidence": "seen", "verdict": verdict, "confidence": 1.0})
        return {"verdicts": verdicts}


@pytest.mark.long
async def test_known_error_rates_are_recovered(settings: Settings, tmp_path: Path) -> None:
    accepts = {"count": 0.10, "spatial": 0.25, "text": 0.5}
    rejects = {"object": 0.05, "attribute": 0.15, "text": 0.02}
    liar = Liar(100, 3, accepts, rejects)
    result = await exam(small(settings), tmp_path, ScriptedRole({"judge": liar.judge}), pictures=100, seed=3).take()
    assert (result.judged, result.ending) == (100, "done")
    covered = 0
    for kind in KINDS:
        tally = result.tallies[kind]
        assert (tally.false_accepts, tally.false_rejects) == (liar.lies[kind, False], liar.lies[kind, True])
        assert (tally.met_unknown, tally.unmet_unknown) == (0, 0)
        for hits, total, rate in (
            (tally.false_accepts, tally.unmet, accepts.get(kind, 0.0)),
            (tally.false_rejects, tally.met, rejects.get(kind, 0.0)),
        ):
            assert total == (50 if kind == "text" else 100)
            found = share(hits, total)
            covered += found.low <= rate <= found.high
    assert covered == 10
    assert sum(liar.lies.values()) > 50
    assert result.usage["mllm_calls"] == 100


async def test_the_embedded_critic_sees_what_it_drew(settings: Settings, tmp_path: Path) -> None:
    result = await exam(small(settings, size="768x768"), tmp_path, pictures=6).take()
    assert result.judged == 6
    assert (result.total.met, result.total.unmet) == (6 * 4 + 3, 6 * 4 + 3)
    assert (result.total.false_accepts, result.total.false_rejects) == (0, 0)
    assert result.total.met_unknown + result.total.unmet_unknown <= 1


def test_pictures_are_the_same_for_the_same_seed() -> None:
    first, again, other = (list(make_pictures(2, seed, SIDE)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_every_question_can_be_read_and_none_is_asked_twice() -> None:
    for picture in make_pictures(60, 9, 64):
        questions = [it.requirement["question"] for it in picture.questions]
        assert len(set(questions)) == len(questions) == 9
        assert all(read_question(question) for question in questions)
        assert [it.requirement["id"] for it in picture.questions] == [f"r{n}" for n in range(1, 10)]


def test_half_of_all_statements_are_true() -> None:
    asked = Counter(
        (it.requirement["kind"], it.met) for picture in make_pictures(20, 0, 64) for it in picture.questions
    )
    assert asked == {(kind, met): 10 if kind == "text" else 20 for kind in KINDS for met in (True, False)}


async def test_the_doubtful_are_asked_again_as_in_a_run(settings: Settings, tmp_path: Path) -> None:
    liar = Liar(3, 0, {}, {})

    def judge(task: TaskInput) -> dict[str, Any]:
        reply = liar.judge(task)
        for item in reply["verdicts"]:
            if len(reply["verdicts"]) > 1 and item["id"] in ("r1", "r2"):
                item["confidence"] = 0.3
        return reply

    chat = ScriptedRole({"judge": judge})
    result = await exam(small(settings), tmp_path, chat, pictures=3).take()
    assert result.usage["mllm_calls"] == 3 * (1 + 2)
    assert result.total.false_accepts + result.total.false_rejects == 0


async def test_a_profile_that_asks_one_by_one_is_examined_so(settings: Settings, tmp_path: Path) -> None:
    chat = ScriptedRole({"judge": Liar(2, 0, {}, {}).judge})
    one_by_one = small(settings, critic=CriticOptions(mode="single"))
    result = await exam(one_by_one, tmp_path, chat, pictures=2).take()
    assert result.usage["mllm_calls"] == 18
    assert {len(task.fields["requirements"]) for task in chat.history} == {1}


async def test_what_cannot_be_read_is_unknown_and_no_error(settings: Settings, tmp_path: Path) -> None:
    result = await exam(small(settings), tmp_path, ScriptedRole({"judge": lambda _: {"no": 1}}), pictures=2).take()
    assert result.judged == 2
    assert result.total.met_unknown + result.total.unmet_unknown == 18
    assert (result.total.false_accepts, result.total.false_rejects) == (0, 0)
    assert result.problems["unreadable"] == 2 + 18


def _failing_after(answers: int, error: Exception, liar: Liar) -> ScriptedRole:
    asked = 0

    def judge(task: TaskInput) -> dict[str, Any] | Exception:
        nonlocal asked
        asked += 1
        return liar.judge(task) if asked <= answers else error

    return ScriptedRole({"judge": judge})


async def test_an_outage_ends_it_with_what_was_measured(settings: Settings, tmp_path: Path) -> None:
    chat = _failing_after(3, ModelOutage("the server went away"), Liar(40, 0, {}, {}))
    result = await exam(small(settings), tmp_path, chat, pictures=40).take()
    assert (result.ending, result.why) == ("outage", "the server went away")
    assert result.judged == 3
    assert result.total.met + result.total.unmet == 27
    assert result.total.met_unknown + result.total.unmet_unknown == 0


async def test_a_wrong_key_is_an_error(settings: Settings, tmp_path: Path) -> None:
    chat = _failing_after(0, GemsConfigError("wrong key"), Liar(1, 0, {}, {}))
    with pytest.raises(GemsConfigError, match="wrong key"):
        await exam(small(settings), tmp_path, chat, pictures=4).take()


async def test_a_key_that_is_used_up_leaves_what_was_measured(settings: Settings, tmp_path: Path) -> None:
    chat = _failing_after(2, GemsConfigError("no credit is left"), Liar(8, 0, {}, {}))
    result = await exam(small(settings), tmp_path, chat, pictures=8).take()
    assert (result.judged, result.ending, result.why) == (2, "outage", "no credit is left")


async def test_a_defect_is_never_taken_for_an_outage(settings: Settings, tmp_path: Path) -> None:
    chat = _failing_after(2, TypeError("ours"), Liar(8, 0, {}, {}))
    with pytest.raises(TypeError):
        await exam(small(settings), tmp_path, chat, pictures=8).take()


@pytest.mark.parametrize("where", ["plan", "profile"])
async def test_no_more_calls_than_allowed(settings: Settings, tmp_path: Path, where: str) -> None:
    chat = ScriptedRole({"judge": Liar(30, 0, {}, {}).judge})
    limited = small(settings, max_calls=5 if where == "profile" else 1000)
    plan = {"max_calls": 5} if where == "plan" else {}
    result = await exam(limited, tmp_path, chat, pictures=30, **plan).take()
    assert len(chat.history) == 5
    assert (result.judged, result.ending) == (5, "budget")
    assert "max_calls" in result.why


class SlowRole(ScriptedRole):
    """Answers after a moment, in which other pictures get their turn."""

    async def ask(self, messages: Sequence[BaseMessage], reply_model: type[R]) -> Answer[R]:
        await asyncio.sleep(0.01)
        return await super().ask(messages, reply_model)


async def test_few_calls_finish_one_picture_after_another(settings: Settings, tmp_path: Path) -> None:
    liar = Liar(5, 0, {}, {})

    def judge(task: TaskInput) -> dict[str, Any]:
        reply = liar.judge(task)
        for item in reply["verdicts"]:
            if len(reply["verdicts"]) > 1 and item["id"] == "r1":
                item["confidence"] = 0.3
        return reply

    result = await exam(small(settings), tmp_path, SlowRole({"judge": judge}), pictures=5, max_calls=4).take()
    assert (result.judged, result.usage["mllm_calls"]) == (2, 4)


async def test_stopped_it_has_its_part(settings: Settings, tmp_path: Path) -> None:
    chat = ScriptedRole({"judge": Liar(40, 0, {}, {}).judge})
    taking = exam(small(settings), tmp_path, chat, pictures=40)
    taking.on_judged = lambda judged: taking.stop() if judged == 2 else None
    result: ExamResult = await asyncio.wait_for(taking.take(), 30)
    assert (result.ending, result.judged) == ("stopped", 2)
    assert result.total.met + result.total.unmet == 18


# The report


async def test_the_report_says_what_was_found_and_what_it_does_not_say(settings: Settings, tmp_path: Path) -> None:
    liar = Liar(4, 0, {"count": 1.0}, {"object": 1.0})
    chat = ScriptedRole({"judge": liar.judge})
    result = await exam(small(settings), tmp_path, chat, pictures=4).take()
    head = ExamHead("openai:x", "mine", "batch", 4, SIDE, 0)
    out = io.StringIO()
    print_report(Console(file=out, width=200), head, result)
    text = out.getvalue()
    assert re.search(r"^object +4 +4  1\.000 \[0\.510, 1\.000\] +0 +4 +0  0\.000", text, re.MULTILINE)
    assert re.search(r"^count +4 +0  0\.000 \[0\.000, 0\.490\] +0 +4 +4  1\.000", text, re.MULTILINE)
    assert re.search(r"^all +18 +4  0\.222 +0 +18 +4  0\.222", text, re.MULTILINE)
    assert "Icons are not photographs" in text
    record = json.loads(json.dumps(as_json_object(head, result)))
    assert record["kinds"]["count"]["false_accepts"] == {"number": 4, "value": 1.0, "low": 0.5101, "high": 1.0}
    assert record["usage"]["mllm_calls"] == 4
    nothing = ExamResult(ending="stopped", why="you stopped it")
    print_report(Console(file=out, width=200), head, nothing)
    assert "Ended early: you stopped it." in out.getvalue()
    assert as_json_object(head, nothing)["kinds"]["text"]["false_rejects"]["value"] is None
