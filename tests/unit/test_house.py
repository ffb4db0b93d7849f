"""The house keeps its own rules: quick imports, packaging that is complete, one test command."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "diffusers", "transformers", "openai", "scipy")


@pytest.mark.parametrize(
    "module", ["gems.graph", "gems.app.cli", "gems.backends.sketch.chat", "gems.backends.sketch.images"]
)
def test_heavy_packages_are_not_loaded_on_import(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_every_package_is_listed() -> None:
    """Explicit packages are exact, and easily forgotten."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    rooms = {folder: package for package, folder in setup["package-dir"].items()}
    found = {"gems"}
    for init in ROOT.glob("*/**/__init__.py"):
        parts = init.parent.relative_to(ROOT).parts
        if parts[0] in rooms and "build" not in parts:
            found.add(".".join([rooms[parts[0]], *parts[1:]]))
    assert sorted(found) == setup["packages"]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = next(line for line in readme.splitlines() if line.endswith("python -m pytest"))
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_torch_is_bounded_by_what_was_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(it.startswith("torch") and it.endswith("<=2.13.0") for it in project["dependencies"])
    unbounded = [it for it in project["dependencies"] if "<" not in it and "==" not in it]
    assert unbounded == ["typing-extensions>=4.12"]
