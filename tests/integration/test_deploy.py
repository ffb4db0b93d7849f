"""What the images of deploy/ would run, run here: the same settings, commands and checks, without Docker."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml
from langgraph_sdk import get_sync_client

from gems.evals.postgres import LoopbackPostgres
from gems.evals.tiny import build_tiny

DEPLOY = Path(__file__).parents[2] / "deploy"
TOKEN = "token-of-anna-0123456789"
GEMS = [sys.executable, "-c", "from gems.app.cli import main; main()"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def running(command: Sequence[str], folder: Path, environ: Mapping[str, str], check: Sequence[str]) -> Iterator[None]:
    """A server, once the check of its health says that it is well; before, it must say that it is not."""
    log = folder / "server.log"
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environ}
    with log.open("w") as said:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=said, stderr=subprocess.STDOUT)
        try:
            assert not is_well(check), "nobody can be well so soon"
            deadline = time.monotonic() + 180
            while not is_well(check):
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.5)
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def is_well(check: Sequence[str]) -> bool:
    return subprocess.run(check, capture_output=True).returncode == 0


def check_of(words: Sequence[str], inside: int, port: int) -> list[str]:
    """A check of an image, on this machine's Python and port."""
    name, *rest = words
    assert name == "python"
    assert sum(f":{inside}/" in word for word in rest) == 1
    return [sys.executable, *(word.replace(f":{inside}/", f":{port}/") for word in rest)]


@pytest.mark.long
def test_the_image_server_runs_as_its_image_says(tmp_path: Path) -> None:
    build_tiny("sd-turbo", tmp_path / "sd-turbo")
    text = (DEPLOY / "Dockerfile.serve").read_text()
    command, check = (json.loads(it) for it in re.findall(r"CMD (\[.*\])", text)[::-1])
    port = free_port()
    given = {"stabilityai/sd-turbo": "./sd-turbo", "8000": str(port)}
    arguments = [given.get(word, word) for word in command]
    address = f"http://127.0.0.1:{port}"
    wanted = {"prompt": "a cat", "size": "64x64", "steps": 1}
    environ = {"GEMS_SERVE_TOKENS": TOKEN}
    with running([*GEMS, *arguments], tmp_path, environ, check_of(check, 8000, port)):
        assert httpx.post(f"{address}/v1/images/generations", json=wanted).status_code == 401
        bearer = {"authorization": f"Bearer {TOKEN}"}
        drawn = httpx.post(f"{address}/v1/images/generations", json=wanted, headers=bearer, timeout=60)
        assert drawn.status_code == 200, drawn.text


def test_the_server_runs_as_its_image_says_on_the_database_that_is_made_for_it(
    postgres: LoopbackPostgres, tmp_path: Path
) -> None:
    """With the memory of `langgraph dev` in the place of the LangGraph server's own database, which needs a licence."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute((DEPLOY / "postgres" / "10-gems.sql").read_bytes())
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    told = dict(re.findall(r"^ENV (LANG\w+)=('.*')$", dockerfile, re.MULTILINE))
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["server"]
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    environ: dict[str, str] = {
        **{name: shlex.split(value)[0] for name, value in told.items()},
        "GEMS_HOME": str(tmp_path / "home"),
        "GEMS_DATABASE_URL": postgres.url("gems"),
        "GEMS_TOKENS": f"anna:{TOKEN}",
        "GEMS_PUBLIC_URL": address,
        "GEMS_PROFILE": "sketch",
        "LANGSMITH_TRACING": "false",
        "DATABASE_URI": ":memory:",
        "REDIS_URI": "fake",
        "LANGGRAPH_RUNTIME_EDITION": "inmem",
        "MIGRATIONS_PATH": "__inmem",
        "LANGSMITH_LANGGRAPH_API_VARIANT": "local_dev",
    }
    check = check_of(service["healthcheck"]["test"][1:], 8000, port)
    command = [sys.executable, "-m", "uvicorn", "langgraph_api.server:app", "--port", str(port)]
    with running(command, tmp_path, environ, check):
        assert httpx.get(f"{address}/gems/runs").status_code == 401
        bearer = {"authorization": f"Bearer {TOKEN}"}
        with get_sync_client(url=address, headers=bearer) as client:
            given: Any = {"input": {"prompt": "two red apples"}, "context": {"max_rounds": 1, "seed": 1}}
            thread = client.threads.create()["thread_id"]
            output: Any = client.runs.wait(thread, "gems", **given)
        picture = httpx.get(output["result"]["image_url"])
        assert picture.headers["content-type"] == "image/png"
        (run,) = httpx.get(f"{address}/gems/runs", headers=bearer).json()["runs"]
        assert run["prompt"] == "two red apples"
    with psycopg.connect(postgres.url("gems")) as connection:
        assert connection.execute("SELECT prompt FROM gems.runs").fetchall() == [("two red apples",)]
    assert not list((tmp_path / "home").rglob("*.sqlite")), "all but the images is in Postgres"


@pytest.fixture(autouse=True, scope="module")
def _without_the_database(postgres: LoopbackPostgres) -> Iterator[None]:
    """The database of that name goes when this file is done."""
    yield
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS gems WITH (FORCE)")
