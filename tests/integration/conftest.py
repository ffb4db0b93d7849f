"""What tests of a worker share: a real Postgres server, and processes to fork others from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gems.evals.postgres import LoopbackPostgres
from gems.evals.warm import Warm
from gems.memory.postgres import postgres_at

COMMANDS = (
    "aiosqlite",
    "gems.app.cli",
    "gems.app.commands",
    "gems.app.doctor",
    "gems.app.exam_command",
    "gems.app.pull_command",
    "gems.app.report",
    "gems.backends.chat.openai",
    "gems.backends.images.openai",
    "gems.memory.lessons",
    "langgraph.checkpoint.sqlite.aio",
    "openai.resources.chat.completions",
    "openai.resources.images",
)
"""What most commands import."""
WEIGHTS = ("diffusers", "gems.app.serve", "gems.app.serve_command", "gems.backends.sketch.pipeline", "transformers")
"""What those import besides that load weights."""


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Processes of the command line, but for the seconds of imports; without torch and the hub's client."""
    with Warm(*COMMANDS) as process:
        yield process


@pytest.fixture(scope="session")
def warm_with_torch() -> Iterator[Warm]:
    """The same with torch and diffusers."""
    with Warm(*COMMANDS, *WEIGHTS) as process:
        yield process


@pytest.fixture(scope="session")
def postgres() -> Iterator[LoopbackPostgres]:
    """The server."""
    with LoopbackPostgres() as server:
        yield server


@pytest.fixture(scope="session")
def _one_database(postgres: LoopbackPostgres) -> str:
    return postgres.new_database()


@pytest.fixture
def database_url(postgres: LoopbackPostgres, _one_database: str) -> Iterator[str]:
    """The URL of an empty database."""
    yield _one_database
    postgres_at(_one_database).close()
    postgres.empty(_one_database)
