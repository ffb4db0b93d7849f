"""The whole loop with weights in this process: every family, many runs at once, and the command line."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.runnables import RunnableConfig
from PIL import Image

from gems.backends.chat.rehearsal import rehearse
from gems.backends.local.images import studio_of
from gems.core.profiles import DrawingOptions, LocalOptions, Profile
from gems.core.settings import Settings
from gems.core.state import Attempt, GemsState
from gems.evals.tiny import TINY_FAMILIES, build_tiny
from gems.evals.warm import Warm
from gems.graph import OwnServices, open_graph
from gems.memory import FileArtifacts

GEMS = [sys.executable, "-c", "from gems.app.cli import main; main()"]
RUNS = 8
ROUNDING = 1
"""Of 255: pictures drawn together are computed in another order than alone."""


@pytest.fixture(autouse=True)
def _studio_closed() -> Iterator[None]:
    yield
    studio_of("cpu").close()


def settings_for(home: Path, folder: Path, **more: Any) -> Settings:
    mine = Profile(
        mllm="sketch",
        images=f"diffusers:{folder}",
        size="64x64",
        drawing=DrawingOptions(steps=2, concurrency=1),
        local=LocalOptions(device="cpu"),
        **more,
    )
    return Settings(home=home, profile="mine", profiles={"mine": mine})


def picture(home: Path, attempt: Attempt) -> Any:
    content = FileArtifacts(home / "artifacts").path(attempt["artifact"]).read_bytes()
    return np.asarray(Image.open(io.BytesIO(content)), int)


async def ask(graph: Any, prompt: str, thread: str, **context: Any) -> GemsState:
    config = RunnableConfig(configurable={"thread_id": thread})
    await graph.ainvoke({"prompt": prompt}, config, context={"seed": 1, **context})
    state: GemsState = (await graph.aget_state(config)).values
    return state


@pytest.mark.parametrize("family", TINY_FAMILIES)
async def test_every_family_draws_redraws_and_edits(family: str, tmp_path: Path) -> None:
    settings = settings_for(tmp_path, build_tiny(family, tmp_path / family))
    wishes = iter(["rewrite", "edit"])

    def refine(_: object) -> dict[str, Any]:
        action = next(wishes)
        return {"diagnosis": "not yet", "actions": [{"action": action, "prompt": f"a red dog, {action}"}]}

    chat = rehearse(["+--", "++-", "+++"], refine=refine)
    async with open_graph(settings, services=OwnServices(settings, chat=chat)) as graph:
        state = await ask(graph, "a red dog left of a blue car", "t")
        again = await ask(graph, "a red dog left of a blue car", "u", max_rounds=1)
    attempts = state["attempts"]
    assert state["stop_reason"] == "satisfied"
    assert [it["action"] for it in attempts] == ["rewrite", "rewrite", "edit"]
    assert attempts[2]["parent"] == attempts[1]["id"]
    pictures = [picture(tmp_path, it) for it in attempts]
    assert {it.shape for it in pictures} == {(64, 64, 3)}
    assert min(it.std() for it in pictures) > 1
    assert min(np.abs(pictures[0] - pictures[1]).max(), np.abs(pictures[1] - pictures[2]).max()) > 10
    assert state["usage"]["images"] == 3
    # The same request in another run draws the same picture.
    assert np.abs(picture(tmp_path, again["attempts"][0]) - pictures[0]).max() == 0


@pytest.mark.long
async def test_runs_at_once_draw_what_they_draw_one_after_another(tmp_path: Path) -> None:
    folder = build_tiny("z-image-turbo", tmp_path / "z-image-turbo")
    prompts = [f"{number} red dogs left of a blue car" for number in range(RUNS)]

    async def run_all(home: Path, *, at_once: bool) -> list[GemsState]:
        settings = settings_for(home, folder)

        async def run(number: int) -> GemsState:
            # Each of them remembers its pictures.
            services = OwnServices(settings, chat=rehearse(["+-+", "++-", "+++"]))
            async with open_graph(settings, services=services) as graph:
                return await ask(graph, prompts[number], f"run-{number}")

        if at_once:
            return await asyncio.gather(*map(run, range(RUNS)))
        return [await run(number) for number in range(RUNS)]

    alone = await run_all(tmp_path / "alone", at_once=False)
    before = studio_of("cpu").figures()
    together = await run_all(tmp_path / "together", at_once=True)
    after = studio_of("cpu").figures()
    assert before.drawn == after.drawn - before.drawn == RUNS * 3
    assert before.batches == RUNS * 3
    assert after.batches - before.batches < RUNS * 2, "runs of one moment share their goes"
    for one, other in zip(alone, together, strict=True):
        for ours, theirs in zip(one["attempts"], other["attempts"], strict=True):
            assert (ours["prompt"], ours["seed"]) == (theirs["prompt"], theirs["seed"])
            apart = np.abs(picture(tmp_path / "alone", ours) - picture(tmp_path / "together", theirs)).max()
            assert apart <= ROUNDING


@pytest.mark.long
def test_the_command_line_draws_with_local_weights_from_cold(tmp_path: Path) -> None:
    build_tiny("sd-turbo", tmp_path / "models" / "sd-turbo")
    (tmp_path / "gems.toml").write_text(
        'profile = "mine"\n[profiles.mine]\nmllm = "sketch"\nimages = "diffusers:models/sd-turbo"\nsize = "64x64"\n'
    )
    done = gems(tmp_path, "run", "three red apples", "--max-rounds", "1", "--seed", "1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"drawn in [\d.]+ s, seed", done.stdout)
    best = next((tmp_path / "gems-out").rglob("best.png"))
    with Image.open(best) as picture:
        assert picture.size == (64, 64)
    for noise in ("Traceback", "Warning", "diffusers.", "torchvision", "%|", "truncated"):
        assert noise not in done.stdout + done.stderr


def test_weights_that_are_not_there_are_told_before_anything_is_spent(tmp_path: Path, warm: Warm) -> None:
    command = [*GEMS, "run", "a red apple", "--profile", "z-image-turbo"]
    done = warm.run(command, environment(tmp_path), tmp_path)
    assert done.returncode == 2
    assert "gems pull Tongyi-MAI/Z-Image-Turbo" in done.stderr
    assert "Traceback" not in done.stderr


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GEMS_", "HF_"))}
    return kept | {"GEMS_HOME": str(folder / "home"), "HF_HUB_CACHE": str(folder / "hub"), "OMP_NUM_THREADS": "1"}


def gems(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GEMS, *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=180,
        check=False,
    )
