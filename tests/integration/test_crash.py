"""Processes really killed: a run goes on where it stopped, and nothing received is drawn again or lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gems.core.profiles import BUILT_IN
from gems.core.settings import Settings
from gems.graph import open_graph
from gems.memory import FileArtifacts, read_png_text

WORKER = Path(__file__).parent / "crash_worker.py"
ROUNDS, CANDIDATES = 4, 3


def start(home: Path, log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(WORKER), str(home), str(log), str(ROUNDS)], env=os.environ)


def stored_keys(home: Path) -> set[str]:
    return {read_png_text(path.read_bytes())["gems:key"] for path in (home / "artifacts").rglob("*.png")}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_run_killed_at_random_moments_ends_as_if_undisturbed(tmp_path: Path) -> None:
    chance = random.Random(11)
    home, log = tmp_path / "killed", tmp_path / "log"
    log.touch()
    kills = 0
    for _ in range(40):
        stored, begun = stored_keys(home), log.read_text().split()
        process = start(home, log)
        while process.poll() is None and len(log.read_text().split()) == len(begun):
            time.sleep(0.005)  # each life is killed some moments after its first new drawing
        try:
            assert process.wait(chance.uniform(0, 0.25)) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        assert not stored & set(log.read_text().split()[len(begun) :]), "a stored image was drawn again"
        assert stored <= stored_keys(home), "a stored image was lost"
        if process.returncode == 0:
            break
    else:
        pytest.fail("the run never ended")
    assert kills >= 3
    drawings = Counter(log.read_text().split())
    assert set(drawings) == stored_keys(home)
    assert len(drawings) == ROUNDS * CANDIDATES
    assert drawings.total() - len(drawings) <= kills * CANDIDATES, "more was drawn again than was in flight"
    undisturbed = tmp_path / "undisturbed"
    assert start(undisturbed, tmp_path / "log2").wait(120) == 0
    assert final(home) == final(undisturbed)


def final(home: Path) -> dict[str, Any]:
    settings = Settings(home=home, profiles=dict(BUILT_IN))
    with open_graph(settings) as graph:
        values: dict[str, Any] = graph.get_state({"configurable": {"thread_id": "t"}}).values
    for attempt in values["attempts"]:
        path = FileArtifacts(home / "artifacts").path(attempt["artifact"])
        assert read_png_text(path.read_bytes())["gems:key"]
    names = ("id", "prompt", "seed", "artifact", "score", "verdicts")
    return {
        "attempts": [{name: it[name] for name in names} for it in values["attempts"]],
        "experiences": values["experiences"],
        "stop_reason": values["stop_reason"],
        "best": values["best"],
    }
