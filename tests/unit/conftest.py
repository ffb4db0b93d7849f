"""Unit tests open no socket; a finished run for those that show one."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

import pytest
from PIL import Image
from pytest_socket import disable_socket

from gems.core.state import GemsState
from gems.memory import FileArtifacts


@pytest.fixture(autouse=True)
def _no_sockets() -> None:
    # A pair of Unix sockets is how an event loop wakes itself up.
    disable_socket(allow_unix_socket=True)


@pytest.fixture
def artifacts(tmp_path: Path) -> FileArtifacts:
    """An empty store."""
    return FileArtifacts(tmp_path / "artifacts")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """From a family to the folder of its tiny pipeline, written once; tests that change one copy it."""

    @cache
    def write(family: str) -> Path:
        from gems.evals.tiny import build_tiny

        return build_tiny(family, tmp_path_factory.mktemp("tiny") / family)

    return write


@pytest.fixture
def finished_run(artifacts: FileArtifacts) -> Callable[[int, int], Awaitable[GemsState]]:
    """The state of a finished run, its images stored in a width and height of the caller's."""

    async def load(width: int, height: int) -> GemsState:
        run: GemsState = json.loads((Path(__file__).parent / "cli_run.json").read_text(encoding="utf-8"))
        for number, attempt in enumerate(run["attempts"]):
            if "artifact" in attempt:
                buffer = io.BytesIO()
                Image.new("RGB", (width, height), (40 * number, 90, 120)).save(buffer, "PNG")
                attempt["artifact"] = await artifacts.put(buffer.getvalue())
        return run

    return load
