"""What the measurement of lessons says is so: a lesson that helps shows, one that does not shows nothing."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from gems.backends.chat.rehearsal import rehearse
from gems.backends.sketch.scene import Scene, Thing
from gems.core.errors import GemsConfigError
from gems.core.messages import TaskInput
from gems.core.ports import Capabilities, Drawing, DrawRequest, Lesson, LessonQuery, Progress
from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings
from gems.core.state import GivenLesson
from gems.evals import lessons, lessons_report
from gems.evals.chains import drive
from gems.evals.geneval import GenEvalPrompt
from gems.evals.lessons import Halves, Measured, Study, measure
from gems.evals.lessons_trial import OWNER, Trial, Tried, context_of, open_store, tried, watch
from gems.evals.lessons_watched import WatchedLessons
from gems.evals.outcomes import Outcome, run_outcome
from gems.evals.paired import Comparison, compare, mean
from gems.graph import OwnServices

CURE = "say each one by itself"
"""A prompt with these words is drawn right."""
NAMES = ("dog", "cat", "cow", "horse", "sheep", "bear", "zebra", "giraffe")
RIGHT, WRONG = (10, 200, 10), (200, 10, 10)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # A measurement sets it; it must not outlast the test.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def two(name: str) -> GenEvalPrompt:
    return GenEvalPrompt.model_validate(
        {"tag": "counting", "include": [{"class": name, "count": 2}], "prompt": f"a photo of two {name}s"}
    )


HALVES = Halves([two(name) for name in NAMES[:3]], [two(name) for name in NAMES[3:]])


def layout_of(prompt: str, seed: int) -> Scene:
    name = next(name for name in NAMES if name in prompt)
    thing = Thing(name, 0.3, 0.5, 0.2, "red")
    return Scene((thing, thing) if CURE in prompt else (thing,))


class CurableImages:
    """Draws what follows the cure in one colour, and all else in another."""

    name = "curable"
    identity: Mapping[str, Any] = {"model": "curable"}
    capabilities = Capabilities()

    def check(self, prompt: str, width: int, height: int) -> list[str]:
        return []

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        buffer = io.BytesIO()
        color = RIGHT if CURE in request.prompt else WRONG
        Image.new("RGB", (request.width, request.height), color).save(buffer, "PNG")
        return Drawing(buffer.getvalue(), 0.0)


def work_with(advice: str) -> Any:
    """Runs whose planner follows lessons word by word, whose refiner knows the cure, and that learn this advice of it."""

    def write(task: TaskInput) -> dict[str, Any]:
        advised = [str(it["advice"]) for it in task.fields.get("lessons", [])]
        return {"prompts": [". ".join([task.fields["request"]["prompt"], *advised])]}

    def judge(task: TaskInput) -> dict[str, Any]:
        red, green, _ = Image.open(io.BytesIO(task.images[0])).convert("RGB").getpixel((5, 5))  # type: ignore[misc]
        verdict = "met" if green > red else "unmet"
        asked = [str(it["id"]) for it in task.fields["requirements"]]
        return {"verdicts": [{"id": name, "evidence": "seen", "verdict": verdict, "confidence": 1.0} for name in asked]}

    def refine(task: TaskInput) -> dict[str, Any]:
        prompt = f"{task.fields['request']['prompt']}: {CURE}"
        return {"diagnosis": "too few", "actions": [{"action": "rewrite", "prompt": prompt}]}

    learned = {"kind": "object", "when": "a few of one thing", "advice": advice}
    scripts = {"write_prompts": write, "judge": judge, "refine": refine, "distil": lambda _: {"lessons": [learned]}}

    def work(trial: Trial) -> Tried:
        watched = watch(trial)
        with tempfile.TemporaryDirectory() as home:
            services = OwnServices(
                Settings(home=Path(home), owner=OWNER, profiles=dict(BUILT_IN)),
                chat=rehearse(["+"], ["Are there exactly two of them?"], **scripts),  # type: ignore[arg-type]
                images=CurableImages(),
                lessons=watched,
            )
            context = {**context_of(trial), "size": "64x64"}
            outcome = asyncio.run(run_outcome(services, trial.task, trial.seed, context, layout_of))
        return tried(outcome, watched)

    return work


def measured_with(advice: str, folder: Path, **study: Any) -> Measured:
    (measured,) = measure({"geneval": HALVES}, folder, Study(0, 3, 1, work=work_with(advice), **study))
    return measured


def compared(measured: Measured) -> dict[str, Comparison]:
    pairs = lessons_report.paired(measured.without, measured.having)
    return {it.name: it for it in lessons_report.comparisons(pairs, 3, 0)}


def printed(measured: Measured) -> str:
    console = Console(file=io.StringIO(), width=200)
    lessons_report.print_measured(console, measured, 3, 0)
    lessons_report.print_end(console, 1.0, 1)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_lesson_that_helps_shows(tmp_path: Path) -> None:
    measured = measured_with(CURE, tmp_path)
    assert [it.outcome.rounds for it in measured.learning] == [2, 1, 1], "the second prompt knows what the first taught"
    assert [it.learned for it in measured.learning] == [1, 0, 0]
    assert [it.outcome.rounds for it in measured.without] == [2] * 5
    assert not any(it.outcome.given for it in measured.without)
    assert [it.outcome.rounds for it in measured.having] == [1] * 5
    found = compared(measured)
    assert found["rounds"].difference == (-1.0, -1.0, -1.0)
    assert (found["rounds"].lower, found["rounds"].higher, found["rounds"].is_shown) == (5, 0, True)
    assert found["true in the first picture"].difference.value == 1.0
    assert not found["true at the end"].is_shown, "the refiner found the cure as well"
    assert found["satisfied after 1 (critic)"].difference.value == 1.0
    assert found["satisfied after 2 (critic)"].difference.value == 0.0
    assert found["calls without those that distil"].difference.value < found["calls of chat models"].without.value
    (use,) = lessons_report.uses(measured)
    assert (use.planner, use.refiner, use.judged, use.helped) == (5, 0, 5, 5)
    assert (use.without, use.having) == (0, 5)
    told = printed(measured)
    assert "rounds better (-1.000 [-1.000, -1.000])" in told
    assert lessons_report.WIRING in " ".join(told.split())


def test_a_lesson_that_does_not_help_shows_nothing(tmp_path: Path) -> None:
    measured = measured_with("paint it with care", tmp_path)
    pairs = lessons_report.paired(measured.without, measured.having)
    links = {it.name: (it.hits, it.total) for it in lessons_report.giving_chain(pairs)}
    assert links["the planner was given a lesson"] == (5, 5)
    assert links["its first prompt is another"] == (5, 5), "it was followed"
    assert links["the end is true in one run only"] == (0, 5)
    found = compared(measured)
    for name in ("true at the end", "true in the first picture", "rounds", "images"):
        assert (found[name].difference.value, found[name].told()) == (0.0, "no pair differs")
    (use,) = lessons_report.uses(measured)
    assert (use.planner, use.judged, use.helped) == (5, 5, 0)
    assert "rounds no difference shown (no pair differs)" in printed(measured)


def test_frozen_lessons_stay_as_they_were(tmp_path: Path) -> None:
    measured = measured_with(CURE, tmp_path, keep_learning=True)
    (before,) = measured.lessons
    (after,) = asyncio.run(open_store(tmp_path / "geneval.sqlite").all(OWNER))
    (grown,) = asyncio.run(open_store(tmp_path / "grown-geneval.sqlite").all(OWNER))
    assert after == before
    assert before.uses == 2
    assert grown.uses == before.uses + 5, "the third time they are kept"
    assert [it.outcome.prompt for it in measured.keeping] == [it.outcome.prompt for it in measured.without]
    assert "learning on" in printed(measured)


def test_the_first_prompts_of_a_run_begin_with_no_lesson_at_all(tmp_path: Path) -> None:
    measured = measured_with(CURE, tmp_path)
    assert measured.learning[0].outcome.given == ()
    chain = {it.name: it.hits for it in lessons_report.learning_chain(measured)}
    assert chain == {
        "a requirement was unmet at some time": 1,
        "a later prompt met it": 1,
        "the end was distilled to a lesson": 1,
        "lessons distilled that stand as entries of their own": 1,
        "prompts that already had lessons of those before": 2,
    }


@pytest.mark.parametrize("benchmark", lessons.BENCHMARKS)
def test_no_prompt_is_learned_on_and_measured_with(benchmark: lessons.Benchmark) -> None:
    learning, held_out = lessons.halves(benchmark, 24, 3)
    assert len(learning) == len(held_out) == 24
    assert not {it.prompt for it in learning} & {it.prompt for it in held_out}
    assert {it.stratum for it in learning} == {it.stratum for it in held_out}


def test_easier_prompts_are_left_out_of_both_halves() -> None:
    learning, held_out = lessons.halves("geneval2", 8, 3, least_atoms=9)
    assert {it.stratum for it in [*learning, *held_out]} == {"9 atoms", "10 atoms"}
    assert lessons.halves("geneval", 8, 3, least_atoms=9) == lessons.halves("geneval", 8, 3)


# Pairs


def outcome(prompt: str, rounds: int = 1, **values: Any) -> Tried:
    return Tried(Outcome("geneval", "counting", prompt, 0, rounds=rounds, **values))


def test_only_runs_of_the_same_prompt_are_paired() -> None:
    with pytest.raises(ValueError, match=r"'a' .* is paired with 'b'"):
        lessons_report.paired([outcome("a")], [outcome("b")])


def test_a_pair_with_a_broken_run_is_left_out_and_told() -> None:
    without = [outcome("a", 4), outcome("b", 2)]
    having = [outcome("a", error="ModelOutage: away"), outcome("b", 1)]
    found = {it.name: it for it in lessons_report.comparisons(lessons_report.paired(without, having), 5, 0)}
    assert (found["rounds"].pairs, found["rounds"].without.value, found["rounds"].difference.value) == (1, 2.0, -1.0)
    told = printed(Measured("geneval", [], [], without, having))
    assert "left out, since a run could not be made: 1" in told
    assert "a: ModelOutage: away" in told


def test_a_lesson_given_twice_in_a_run_counts_once_for_each_role() -> None:
    given = [GivenLesson(id="x", kind="count", text="t", round=number) for number in (1, 2, 3)]
    having = [replace(outcome("a", 3, given=tuple(given)), credited={"x": True}), outcome("b")]
    lesson = Lesson(id="x", kind="count", backend="b", skills=(), when="w", advice="t")
    (use,) = lessons_report.uses(Measured("geneval", [], [lesson], [outcome("a"), outcome("b")], having))
    assert (use.planner, use.refiner, use.judged, use.helped) == (1, 1, 1, 1)


def test_a_lesson_that_has_faded_says_so() -> None:
    made = {"kind": "count", "backend": "b", "skills": (), "when": "w", "advice": "t"}
    known = [Lesson(id="x", uses=40, successes=2, **made), Lesson(id="y", uses=40, successes=39, **made)]
    marks = {use.text.partition(":")[0] for use in lessons_report.uses(Measured("geneval", [], known))}
    assert marks == {"faded, count", "count"}


def test_intervals_are_over_prompts() -> None:
    assert mean([2.0] * 9) == (2.0, 2.0, 2.0)
    values = [0.0, 1.0] * 50
    value, low, high = mean(values)
    assert value == 0.5
    # The normal approximation: 1.96 * 0.5 / sqrt(100).
    assert (low, high) == pytest.approx((0.402, 0.598), abs=0.02)
    assert mean(values, 1) == mean(values, 1)
    assert str(mean([])) == "-"


def test_pairs_say_more_than_means() -> None:
    """The prompts differ much from each other, and each gains the same: only the pairs show it."""
    without = [float(number) for number in range(40)]
    found = compare("rounds", without, [it - 0.5 + 0.1 * (it % 2) for it in without])
    assert found.is_shown
    assert found.without.high > found.having.value, "the means alone would show nothing"
    assert (found.lower, found.higher, found.pairs) == (40, 0, 40)
    same = compare("rounds", without, without)
    assert (same.told(), same.is_shown) == ("no pair differs", False)
    with pytest.raises(ValueError, match="shorter"):
        compare("rounds", without, without[1:])


# Parts


class OneLesson:
    """A store that remembers what was written to it."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.lesson = Lesson(id="x", kind="count", backend="b", skills=(), when="w", advice="a")

    async def fitting(self, owner: str, query: LessonQuery, most: int) -> list[Lesson]:
        return [self.lesson][:most]

    async def learn(self, owner: str, found: Any, occasion: str = "") -> None:
        self.written.append("learn")

    async def credit(self, owner: str, outcomes: Any, occasion: str = "") -> None:
        self.written.append("credit")

    async def check(self) -> None:
        """It can be read."""

    async def all(self, owner: str) -> list[Lesson]:
        return [self.lesson]

    async def edit(self, owner: str, lesson_id: str, *, when: str | None = None, advice: str | None = None) -> Lesson:
        self.written.append("edit")
        return self.lesson

    async def delete(self, owner: str, lesson_id: str) -> None:
        self.written.append("delete")


@pytest.mark.parametrize("frozen", [True, False])
async def test_frozen_lessons_are_read_and_not_written(frozen: bool) -> None:
    store = OneLesson()
    watched = WatchedLessons(store, frozen=frozen)
    assert await watched.fitting("o", LessonQuery("t", "b"), 3) == await watched.all("o") == [store.lesson]
    await watched.learn("o", [store.lesson])
    await watched.credit("o", {"x": False})
    await watched.credit("o", {"x": True})
    assert (watched.learned, watched.credited) == (1, {"x": True})
    if frozen:
        with pytest.raises(GemsConfigError, match="'x' is only read"):
            await watched.edit("o", "x", when="w")
        with pytest.raises(GemsConfigError, match="'x' is only read"):
            await watched.delete("o", "x")
        assert store.written == []
    else:
        await watched.edit("o", "x", when="w")
        await watched.delete("o", "x")
        assert store.written == ["learn", "credit", "credit", "edit", "delete"]


def test_links_of_a_chain_follow_each_other() -> None:
    ended: list[str] = []
    count: list[int] = []

    def work(link: str) -> str:
        ended.append(link)
        return link.upper()

    with ThreadPoolExecutor(2) as pool:
        found = drive(pool, work, [["a1", "a2", "a3"], ["b1"], ["c1", "c2"]], 2, lambda: count.append(1))
    assert found == [["A1", "A2", "A3"], ["B1"], ["C1", "C2"]]
    assert len(count) == 6
    for letter in "ac":
        assert [link for link in ended if link[0] == letter] == sorted(link for link in ended if link[0] == letter)
