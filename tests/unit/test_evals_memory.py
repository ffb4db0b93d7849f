"""The ablation of memory: the same prompts for each value, paired; what is said of the engine's rules is so."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from gems.backends.chat.rehearsal import rehearse
from gems.backends.images.scripted import ScriptedImages
from gems.backends.sketch.refining import refine
from gems.core.errors import GemsConfigError
from gems.core.settings import Settings, load_settings
from gems.core.state import GemsState, MemoryMode
from gems.evals import memory, memory_report
from gems.evals.by_atoms import prompts_of
from gems.evals.memory import (
    MODES,
    Study,
    Trial,
    aside,
    context_of,
    draws_layouts,
    main,
    measure,
    run_trial,
)
from gems.evals.outcomes import Outcome, run_outcome
from gems.graph import OwnServices
from gems.memory.view import trajectory_view

WORTH = {"none": 5, "prompts": 4, "images": 3, "thoughts": 3, "experience": 2}
"""Rounds that each value takes where the models make use of it."""


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # A measurement sets it; it must not outlast the test.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def made_up(trial: Trial) -> Outcome:
    rounds = WORTH[trial.memory]
    return Outcome("geneval2", "", trial.task.prompt, trial.seed, rounds=rounds, satisfied=rounds < 5, true=rounds < 3)


def printed(found: dict[MemoryMode, list[Outcome]], **facts: bool) -> str:
    console = Console(file=io.StringIO(), width=200)
    memory_report.print_memory(console, found, "mine", 0, **{"by_layout": True, "by_rules": False, **facts})
    return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def test_each_value_gets_the_same_prompts_and_seeds() -> None:
    tasks = prompts_of(7, 3, 0)
    begun: list[tuple[str, MemoryMode]] = []

    def work(trial: Trial) -> Outcome:
        begun.append((trial.task.prompt, trial.memory))
        return made_up(trial)

    found = measure(tasks, Study(4, 5, 1), work)
    assert tuple(found) == MODES
    for mode, outcomes in found.items():
        assert [it.prompt for it in outcomes] == [task.prompt for task in tasks]
        assert [it.seed for it in outcomes] == [4 + 1000 * place for place in range(7)]
        assert {it.rounds for it in outcomes} == {WORTH[mode]}
    first = [mode for prompt, mode in begun if begun.index((prompt, mode)) % len(MODES) == 0]
    assert first == [*MODES, *MODES[:2]], "no value always goes first"


def test_what_memory_is_worth_shows_against_none() -> None:
    found = measure(prompts_of(6, 3, 0), Study(0, 5, 1), made_up)
    none, prompts, *_, experience = memory_report.rows(found, 0, by_layout=True)
    assert none.rounds.told() == "no pair differs"
    assert (prompts.rounds.difference.value, experience.rounds.difference.value) == (-1.0, -3.0)
    assert experience.true is not None
    assert (experience.true.difference.value, experience.satisfied.difference.value) == (1.0, 1.0)
    told = printed(found)
    assert "52.4" in told
    assert "61.4" in told
    assert "+9.0" in told
    assert memory_report.SKETCH not in told
    assert "Nobody but the critic judged" in printed(found, by_layout=False)
    assert memory_report.SKETCH in printed(found, by_rules=True)


def test_a_prompt_that_broke_once_is_left_out_everywhere() -> None:
    def work(trial: Trial) -> Outcome:
        if trial.memory == "images" and trial.seed == 1000:
            return Outcome("geneval2", "", trial.task.prompt, trial.seed, error="ModelOutage: away")
        return made_up(trial)

    found = measure(prompts_of(3, 3, 0), Study(0, 5, 1), work)
    assert {len(outcomes) for outcomes in memory_report.whole(found).values()} == {2}
    assert "images, " in printed(found)
    assert "ModelOutage: away" in printed(found)


def test_outcomes_of_other_prompts_are_not_compared() -> None:
    found = measure(prompts_of(2, 3, 0), Study(0, 5, 1), made_up)
    found["images"].reverse()
    with pytest.raises(ValueError, match="paired with others"):
        memory_report.whole(found)


@pytest.mark.parametrize(("number", "least"), [(5, 3), (16, 9), (3, 10)])
def test_easy_prompts_are_left_out(number: int, least: int) -> None:
    tasks = prompts_of(number, least, 1)
    assert len({it.prompt for it in tasks}) == number
    assert min(it.atom_count for it in tasks) >= least


def state(memory_mode: MemoryMode, rounds: int = 6) -> GemsState:
    """A trajectory that has something of everything to remember."""
    unmet = {"r1": {"verdict": "unmet", "evidence": "one dog", "confidence": 0.9}}
    attempts = [
        {
            "id": f"{number}.1", "round": number, "action": "rewrite", "prompt": prompt, "seed": number, "parent": None,
            "verdicts": unmet, "score": 0.0,
        }
        for number, prompt in enumerate(_prompts(rounds), start=1)
    ]  # fmt: skip
    made: Any = {
        "request": {"prompt": "two dogs to the left of a cat"},
        "requirements": [{"id": "r1", "question": "Are there exactly two dogs?", "kind": "count", "depends_on": []}],
        "options": {"memory": memory_mode},
        "attempts": attempts,
        "best": "1.1",
        "round": rounds,
        "since": 0,
        "thoughts": [{"round": rounds, "text": "draw a cat"}],
        "experiences": [{"round": number, "text": "draw a cat", "source": "model"} for number in range(1, rounds)],
        "digest": {"until": 1, "text": "draw a cat"},
    }
    state: GemsState = made
    return state


def _prompts(number: int) -> list[str]:
    """Prompts that the rules themselves would write, so that those tried matter."""
    view: dict[str, Any] = {
        "request": {"prompt": "two dogs to the left of a cat"},
        "requirements": [{"id": "r1", "question": "Are there exactly two dogs?", "kind": "count"}],
        "round": 1,
        "latest": {"prompt": "", "verdicts": {"r1": {"verdict": "unmet", "evidence": "one dog"}}},
        "wanted": number,
        "actions": ["rewrite"],
    }
    return [action.prompt for action in refine(view).actions]


def test_the_engines_rules_read_what_is_said_of_them() -> None:
    written = {
        mode: refine({**trajectory_view(state(mode)), "wanted": 1, "actions": ["rewrite"]}).actions[0].prompt
        for mode in MODES
    }
    assert written["none"] != written["prompts"]
    assert len({written[mode] for mode in MODES if mode != "none"}) == 1


def test_a_run_leaves_the_users_home_alone(tmp_path: Path) -> None:
    settings = aside(load_settings(environ={"GEMS_DATABASE_URL": "postgresql://x/y"}), tmp_path / "other")
    assert (settings.home, settings.database_url) == (tmp_path / "other", None)
    (task,) = prompts_of(1, 3, 0)
    found = run_trial(Trial(task, 7, 1, "none", "openai"))
    assert "OPENAI_API_KEY" in found.error, "a run that cannot be made is an outcome that says so"
    assert (found.prompt, found.seed, found.true) == (task.prompt, 7, None)
    assert list(tmp_path.iterdir()) == []


async def test_without_layouts_nobody_knows_the_truth(settings: Settings) -> None:
    (task,) = prompts_of(1, 3, 0)
    services = OwnServices(settings, chat=rehearse(["++-", "+++"]), images=ScriptedImages())
    found = await run_outcome(services, task, 7, {"size": "64x64", "memory": "prompts"}, None)
    assert (found.true, found.first_true) == (None, None)
    assert (found.rounds, found.satisfied, found.score, found.images) == (2, True, 1.0, 2)
    assert found.first_score == pytest.approx(2 / 3)
    assert (found.failed, found.mended) == (1, 1)
    assert found.by_task == {"choose_skills": 1, "write_prompts": 1, "decompose": 1, "judge": 2, "refine": 1}
    assert found.calls == sum(found.by_task.values())
    assert found.drawn == (task.prompt, f"{task.prompt}, attempt 2")


def test_the_options_are_those_of_the_trial() -> None:
    (task,) = prompts_of(1, 3, 0)
    context = context_of(Trial(task, 0, 4, "thoughts", "mine"))
    assert context == {"profile": "mine", "max_rounds": 4, "memory": "thoughts", "lessons": False}


def test_other_image_models_have_no_layouts() -> None:
    settings = load_settings()
    assert draws_layouts(settings, "sketch")
    assert not draws_layouts(settings, "sd-turbo")
    with pytest.raises(GemsConfigError, match="'nobody'"):
        draws_layouts(settings, "nobody")
    done = CliRunner().invoke(main, ["--profile", "nobody"])
    assert done.exit_code == 1
    assert "'nobody'" in done.output


def test_the_papers_figures_stand_beside_each_value() -> None:
    assert tuple(memory_report.PAPER) == tuple(memory_report.READ) == memory.MODES
