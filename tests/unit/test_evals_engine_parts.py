"""The parts of the engine's measurement beside the runs: phrasings, times, and the command as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gems.backends.sketch.captions import HELD_OUT_DENSE_FRAMES, HELD_OUT_TERSE_FRAMES
from gems.backends.sketch.scene import Scene, Thing
from gems.evals import geneval, phrasing
from gems.evals.engine import main
from gems.evals.speed import Stopwatch

APPLE = geneval.GenEvalPrompt.model_validate(
    {"tag": "single_object", "include": [{"class": "apple", "count": 1}], "prompt": "a photo of an apple"}
)


class StubPipeline:
    """Draws the apple unless the prompt is in a frame held out."""

    def layouts(self, prompts: list[str], generators: list[Any]) -> list[Scene]:
        assert len(prompts) == len(generators)
        apple = Scene((Thing("apple", 0.5, 0.5, 0.5, "red"),))
        return [Scene() if self._is_held_out(prompt) else apple for prompt in prompts]

    def _is_held_out(self, prompt: str) -> bool:
        parts = [frame.partition("{}") for frame in (*HELD_OUT_TERSE_FRAMES, *HELD_OUT_DENSE_FRAMES)]
        return any(prompt.startswith(before) and prompt.endswith(after) for before, _, after in parts)


def test_phrasings_are_drawn_in_seen_and_in_held_out_frames() -> None:
    pipeline: Any = StubPipeline()
    for found in phrasing.compare_phrasings(pipeline, [APPLE] * 40, seed=1):
        assert (found.seen.hits, found.held_out.hits, found.seen.total) == (40, 0, 40)
        assert found.kept == 0.0


def test_a_stopwatch_keeps_each_step_apart() -> None:
    watch = Stopwatch()
    assert watch.time("one", lambda: sum(range(200_000))) == sum(range(200_000))
    watch.time("other", lambda: None)
    watch.time("other", lambda: None)
    one, other = watch.timings()
    assert (one.step, other.step) == ("one", "other")
    assert one.median > other.median >= 0
    assert other.longest >= other.median


def test_the_command_measures_the_real_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "runs.json"
    arguments = ["--prompts", "1", "--rounds", "1", "--benchmark", "geneval", "--jobs", "1", "--json", str(out)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "after the loop" in done.output
    record = json.loads(out.read_text(encoding="utf-8"))
    (run,) = record["runs"]
    assert run["error"] == ""
    assert run["stop_reason"] in ("satisfied", "max_rounds")
    assert run["best_true"] is any(attempt["true"] for attempt in run["attempts"])
    assert {timing["step"] for timing in record["seconds"]} >= {"looking"}
    assert list((tmp_path).glob("home*")) == [], "the user's home stays empty"


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--file", str(tmp_path / "nowhere.jsonl")])
    assert done.exit_code == 1
    assert "nowhere.jsonl" in done.output
