"""The growth of a trajectory is measured on what the store and the graph really do."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gems.evals.bench_loop import make_picture
from gems.evals.growth import EVERY, main, stages, text


def test_each_stage_is_measured_whole(tmp_path: Path) -> None:
    png = make_picture(64)
    first, last = stages(tmp_path / "home", EVERY + 2, 1, png)
    assert (first.rounds, last.rounds) == (EVERY, EVERY + 2)
    assert (first.whole.images, last.whole.images) == (EVERY, EVERY + 2), "no two drawings are one file"
    assert len(png) + 8 <= last.whole.artifacts / last.whole.images < len(png) + 200, "the store adds the drawing's key"
    assert 0 < first.whole.stored < first.whole.checkpoints
    assert last.whole.checkpoints > first.whole.checkpoints
    assert last.whole.journal > first.whole.journal > 0
    assert (first.pictures, last.pictures) == (2, 2)
    assert abs(last.view - first.view) <= 0.02 * first.view, "the view does not grow"
    for stage in (first, last):
        assert stage.thinned.stored < stage.whole.stored / 2
        assert stage.thinned.artifacts == stage.whole.artifacts, "what the last checkpoint names stays"


def test_the_command_prints_a_line_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gems.evals.growth.SIDE", 64)
    done = CliRunner().invoke(main, ["--rounds", "2", "--candidates", "2", "--memory", "prompts"])
    assert done.exit_code == 0, done.output
    assert "2 pictures a round" in done.output
    assert "Memory: prompts" in done.output
    cells = done.output.splitlines()[-2].split()
    assert (cells[0], cells[-3], cells[-1]) == ("2", "4", "0"), "two rounds, four files, no picture in the view"


def test_one_round_has_no_view(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one round"):
        list(stages(tmp_path / "home", 1, 1, make_picture(64)))


@pytest.mark.parametrize("length", [1, 80, 4000])
def test_texts_have_the_length_that_is_asked_for(length: int) -> None:
    assert len(text(length, 1)) == length
    assert text(length, 1) == text(length, 1)


def test_texts_differ() -> None:
    assert len({text(80, seed) for seed in range(20)}) == 20
