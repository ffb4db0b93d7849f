"""A real Postgres server, started once for the tests of a worker that need it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gems.evals.postgres import LoopbackPostgres
from gems.memory.postgres import postgres_at


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
