"""The command line itself: commands, options, help, usage errors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gems import __version__
from gems.app.cli import main
from gems.app.threads import check_thread_id, new_thread_id
from gems.app.wording import cost, duration, expected, money, percent
from gems.core.events import Estimate


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_help_names_the_commands_in_the_order_they_are_needed() -> None:
    result = call("--help")
    assert result.exit_code == 0
    commands = re.findall(r"^  ([\w-]+)  ", result.output.partition("Commands:")[2], re.MULTILINE)
    assert commands[:7] == ["run", "resume", "runs", "show", "report", "follow-up", "review"]
    assert commands[-5:] == ["skills", "init", "pull", "doctor", "serve"]
    assert {"stop", "fork", "diff", "batch", "lessons"} <= set(commands)
    assert "3 it waits for your answer" in " ".join(result.output.split())


def test_run_has_the_options_of_a_run() -> None:
    text = call("run", "--help").output
    limits = ("max-rounds", "max-images", "max-calls", "max-seconds", "candidates")
    memory = ("review", "memory", "no-lessons")
    options = (
        *limits,
        *memory,
        "profile",
        "seed",
        "size",
        "skill",
        "no-skills",
        "paper",
        "thread",
        "out",
        "json",
        "debug",
    )
    assert [name for name in options if f"--{name}" not in text] == []


def test_version() -> None:
    assert __version__ in call("--version").output


def test_help_loads_nothing_heavy() -> None:
    heavy = ("torch", "langgraph", "pydantic", "rich", "PIL", "jinja2")
    code = f"import sys, gems.app.cli; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("run", "x", "--max-rounds", "many"),
        ("run", "x", "--nonsense"),
        ("run", "x", "--skill", "a", "--no-skills"),
        ("resume",),
        ("run", "x", "--review", "always"),
        ("follow-up", "x"),
        ("review", "x", "--nonsense"),
        ("show", "x", "--calls", "--attempt", "1.1"),
        ("nonsense",),
        ("runs", "--limit", "0"),
        ("doctor", "--pictures", "3"),
    ],
)
def test_bad_usage_is_2_and_says_where_help_is(arguments: tuple[str, ...]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
    assert result.stdout == ""


def test_bad_usage_has_its_object_too() -> None:
    result = call("run", "x", "--max-rounds", "many", "--json")
    assert result.exit_code == 2
    run = json.loads(result.stdout)
    assert run["error"]["kind"] == "input"
    assert "many" in run["error"]["message"]
    assert run["thread_id"] is None


def test_errors_of_other_commands() -> None:
    result = call("show", "nope")
    assert result.exit_code == 2
    assert "no run on thread 'nope'" in result.stderr
    assert "Traceback" not in result.stderr
    assert json.loads(call("show", "nope", "--json").stdout)["error"]["kind"] == "input"
    assert "Traceback" in call("show", "nope", "--debug").stderr


def test_settings_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "gems.toml").write_text("profile = [", encoding="utf-8")
    result = call("runs")
    assert result.exit_code == 2
    assert "gems.toml" in result.stderr


def test_skills_are_listed_shown_made_and_checked(tmp_path: Path) -> None:
    assert "spatial-layout" in call("skills", "list").stdout
    assert len(call("skills", "show", "text-rendering").stdout) > 300
    assert call("skills", "show", "nope").exit_code == 2
    made = call("skills", "new", "pixel-art", "--description", "Draws as on old screens. Use when pixels are wanted.")
    assert made.exit_code == 0
    path = Path(made.stdout.strip())
    assert path == Path("skills/pixel-art/SKILL.md")
    assert call("skills", "validate", str(path.parent)).exit_code == 0
    assert "1 skill, nothing wrong" in call("skills", "validate", "skills").stdout
    path.write_text("---\nname: other\n---\n", encoding="utf-8")
    broken = call("skills", "validate", "skills")
    assert broken.exit_code == 2
    assert re.search(r"SKILL\.md:\d+: ", broken.stdout)
    assert call("skills", "new", "Bad Name", "--description", "x").exit_code == 2
    (tmp_path / "empty").mkdir()
    assert call("skills", "validate", "empty").exit_code == 2


def test_a_broken_skill_is_named_when_skills_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "own" / "broken"
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\nname: broken\n---\n", encoding="utf-8")
    monkeypatch.setenv("GEMS_SKILLS", str(tmp_path / "own"))
    result = call("skills", "list")
    assert result.exit_code == 0
    assert "SKILL.md:" in result.stderr
    assert "spatial-layout" in result.stdout


def test_thread_ids_are_made_of_time_and_chance() -> None:
    now = datetime(2026, 11, 22, 14, 30, 12)
    made = {new_thread_id(now) for _ in range(50)}
    assert all(re.fullmatch(r"20261122-143012-[a-z2-9]{4}", thread_id) for thread_id in made)
    assert len(made) > 45
    assert [check_thread_id(thread_id) for thread_id in made]


def test_figures_for_people() -> None:
    assert [percent(it) for it in (None, 0, 0.996, 0.5, 1.0)] == ["–", "0%", "99%", "50%", "100%"]
    assert [duration(it) for it in (0, 0.123, 4.56, 42.4, 125)] == ["0 s", "0.12 s", "4.6 s", "42 s", "2 min 05 s"]
    usage = dict.fromkeys(("images", "reused", "mllm_calls", "input_tokens", "output_tokens"), 0)
    timed = {"image_seconds": 0.0, "mllm_seconds": 0.0, "seconds": 0.5, "cost": 0.0}
    assert cost({**usage, **timed, "images": 1}) == "1 image · 0 model calls · 0.5 s in all"
    assert cost(
        {**usage, **timed, "images": 2, "reused": 1, "image_seconds": 3, "mllm_calls": 1, "input_tokens": 1200}
    ) == ("2 images and 1 found again (3 s) · 1 model call (1,200 tokens in, 0 out) · 0.5 s in all")
    assert cost({**usage, **timed, "cost": 0.0421}).endswith("0.5 s in all · $0.0421")
    assert [money(it) for it in (0.0042, 1.25, 1234.5)] == ["$0.0042", "$1.25", "$1,234.50"]


def test_what_a_run_may_come_to() -> None:
    estimate = Estimate(images=5, calls=16, cost=0.0, max_cost=None)
    assert expected(estimate) == "at most 5 images, about 16 model calls"
    assert expected({**estimate, "cost": 0.12}) == "at most 5 images, about 16 model calls, about $0.12"
    assert expected({**estimate, "cost": None}).endswith("; what they cost is not known")
    assert expected({**estimate, "cost": 0.12, "max_cost": 1.0}).endswith("about $0.12; never more than $1.00")
