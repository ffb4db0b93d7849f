"""Fixtures for all tests: every test has its own home, and no test sees the settings of this machine."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings


def pytest_collection_finish() -> None:
    """Modules stay: garbage is looked for only among what the tests make, which is a hundredth of all objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("GEMS_") or name == "OPENAI_API_KEY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("GEMS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose home is the test's own folder.

    Lessons are off: they cost a call at the end of a run, and tie one run to the next. Their own tests turn them on.
    """
    profiles = {name: profile.model_copy(update={"lessons": False}) for name, profile in BUILT_IN.items()}
    return Settings(home=tmp_path / "home", profiles=profiles)
