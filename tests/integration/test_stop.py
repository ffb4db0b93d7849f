"""`gems stop`: a run in another process ends after its step, wherever the checkpoints lie."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gems.app.cli import main

WORKER = Path(__file__).parent / "stop_worker.py"


@pytest.fixture(params=["files", "postgres"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A run on thread `t` in a process of its own, amid its drawings."""
    if request.param == "postgres":
        monkeypatch.setenv("GEMS_DATABASE_URL", request.getfixturevalue("database_url"))
    command = [sys.executable, str(WORKER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


def gems(*command: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(command)
    return int(left.value.code or 0)


def test_a_run_of_another_process_stops_after_its_step(
    run: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert gems("stop", "t", "--no-wait", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"thread_id": "t", "status": "asked"}
    assert gems("stop", "t") == 0
    assert capsys.readouterr().out.endswith("Stopped. Go on with: gems resume t\n")
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 0
    told = json.loads(out)
    assert told["status"] == "running"
    assert told["left"], "the next steps wait on the thread"
    assert gems("stop", "t") == 2
    assert "nobody runs thread 't' at the moment" in capsys.readouterr().err
