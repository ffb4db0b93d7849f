"""A measured run: the truth comes from the layouts, whatever the critic says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from rich.console import Console

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.backends.sketch.scene import Scene, Thing
from gems.core.errors import DrawingRefused, ModelOutage
from gems.core.settings import Settings
from gems.evals import engine, engine_report, geneval, geneval2
from gems.evals.engine_report import by_stratum, mean_of, summarize
from gems.evals.geneval import GenEvalPrompt
from gems.evals.runs import MeasuredRun, Verdicts, measure_run
from gems.graph import OwnServices, build_graph

TWO_DOGS = GenEvalPrompt.model_validate(
    {
        "tag": "counting",
        "include": [{"class": "dog", "count": 2}],
        "exclude": [{"class": "dog", "count": 3}],
        "prompt": "a photo of two dogs",
    }
)
QUESTIONS = ("Are there any dogs?", "Are there exactly two dogs?")
RIGHT = Scene((Thing("dog", 0.3, 0.5, 0.2, "red"), Thing("dog", 0.7, 0.5, 0.2, "red")))
WRONG = Scene(RIGHT.things[:1])
SMALL = {"size": "64x64"}


async def run(
    settings: Settings, marks: Sequence[str], layouts: dict[int, Scene], images: ScriptedImages | None = None
) -> MeasuredRun:
    """Run with a critic that says `marks` and layouts by seed; seeds without one are wrong."""
    services = OwnServices(settings, chat=rehearse(marks, QUESTIONS), images=images or ScriptedImages())
    graph = build_graph(services, checkpointer=InMemorySaver())
    return await measure_run(graph, TWO_DOGS, 7, lambda _, seed: layouts.get(seed, WRONG), {**SMALL, "max_rounds": 3})


async def test_a_run_that_ends_well(settings: Settings) -> None:
    measured = await run(settings, ["+-", "++"], {8: RIGHT})
    assert (measured.benchmark, measured.stratum, measured.stop_reason) == ("geneval", "counting", "satisfied")
    assert [(it.id, it.seed, it.true) for it in measured.attempts] == [("1.1", 7, False), ("2.1", 8, True)]
    assert (measured.once, measured.first_true, measured.best_true, measured.rounds) == (False, False, True, 2)
    assert measured.verdicts == Verdicts(asked=4)


async def test_a_critic_that_is_fooled_is_found_out(settings: Settings) -> None:
    measured = await run(settings, ["++"], {})
    assert measured.satisfied
    assert not measured.best_true
    assert measured.verdicts == Verdicts(asked=2, accepted=1)
    assert "exactly two dogs" in measured.attempts[0].mistakes[0]


async def test_a_right_picture_that_is_not_recognised_is_counted(settings: Settings) -> None:
    measured = await run(settings, ["+?", "++", "--"], {7: RIGHT, 8: WRONG})
    assert measured.once
    assert measured.first_true
    assert measured.any_true
    assert measured.verdicts.unknown >= 1


async def test_the_best_picture_counts_not_the_last(settings: Settings) -> None:
    measured = await run(settings, ["+-", "--", "--"], {7: RIGHT})
    assert measured.best == "1.1"
    assert measured.best_true
    assert [it.true for it in measured.attempts] == [True, False, False]


async def test_failures_are_false_not_lost(settings: Settings) -> None:
    outage = await run(settings, ["++"], {7: RIGHT}, ScriptedImages(lambda _: ModelOutage("the server is away")))
    assert "the server is away" in outage.error
    assert not outage.first_true
    refused = await run(settings, ["++"], {}, ScriptedImages(lambda _: DrawingRefused("no")))
    assert (refused.stop_reason, refused.attempts, refused.best_true) == ("max_rounds", (), False)
    line = summarize("all", [outage, refused])
    assert (line.best.hits, line.best.total) == (0, 2)


async def test_lines_and_targets(settings: Settings) -> None:
    runs = [
        await run(settings, ["+-", "++"], {8: RIGHT}),
        await run(settings, ["++"], {}),
        MeasuredRun("geneval", "colors", "a photo of a red car", 1, error="OutOfVocabulary: no"),
    ]
    counting, colors = by_stratum(runs)
    assert (counting.label, counting.best.value, counting.false_satisfied.hits) == ("counting", 0.5, 1)
    assert (colors.best.value, colors.satisfied.value) == (0.0, 0.0)
    assert mean_of([counting, colors]).best == 0.25
    console = Console(record=True, width=200, quiet=True)
    figures = engine_report.print_runs(console, "geneval", runs)
    assert [figure.verdict for figure in figures] == ["MISSED", "MISSED"]
    assert figures[1].value == 0.5


def test_prompts_of_too_many_things_are_put_apart() -> None:
    row = {
        "prompt": "x",
        "atom_count": 6,
        "vqa_list": [[f"How many {name} are in the image?", "seven"] for name in ("cats", "dogs", "cows")],
        "skills": ["count"] * 3,
    }
    crowd = geneval2.GenEval2Prompt.model_validate_json(json.dumps(row))
    parts = engine.split([crowd, TWO_DOGS])
    assert (parts.within, parts.beyond) == ([TWO_DOGS], [crowd])


def test_a_file_is_known_by_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.jsonl"
    for rows in (geneval.generate(3, 0), geneval2.generate(3, 0)):
        lines = [row.model_dump_json(by_alias=True) for row in rows]
        path.write_text("\n".join(lines), encoding="utf-8")
        assert engine.read_file(path) == rows


@pytest.mark.parametrize(("name", "number"), [("geneval", 12), ("geneval2", 16)])
def test_prompts_are_made_in_the_number_asked_for(name: engine.Benchmark, number: int) -> None:
    tasks = engine.generate(name, number, seed=1)
    assert [task.benchmark for task in tasks] == [name] * number
