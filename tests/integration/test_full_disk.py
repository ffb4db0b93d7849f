"""A disk that is full in the middle of a write: an error in words, nothing half-written, and the run goes on later.

The limit of the system on the size of a file stands in for the disk: a write beyond it fails half-way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gems.memory import FileArtifacts
from gems.memory.artifacts import artifact_id

resource = pytest.importorskip("resource", reason="Windows has no limits of this kind")
PROMPT = "two red dogs and three blue cats"


def gems(*arguments: str, most_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most_bytes, most_bytes)) if most_bytes else None
    return subprocess.run(
        [sys.executable, "-c", "from gems.app.cli import main; main()", *arguments],
        env=os.environ,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.long
@pytest.mark.parametrize("most_bytes", [60_000])
def test_a_full_disk_loses_nothing_and_the_run_goes_on(tmp_path: Path, most_bytes: int) -> None:
    options = ["--thread", "t", "--seed", "4", "--max-rounds", "3", "--json", "--out", str(tmp_path / "out")]
    failed = gems("run", PROMPT, *options, most_bytes=most_bytes)
    assert failed.returncode in (1, 2), failed.stderr
    told = json.loads(failed.stdout)["error"]
    assert told["kind"] in ("input", "run"), told
    assert "Traceback" not in failed.stderr
    home = Path(os.environ["GEMS_HOME"])
    check_whole(home)
    goes_on = ["resume", "t", "--json", "--out", str(tmp_path / "out")]
    after = gems(*goes_on)
    if "there is no run" in after.stdout:  # nothing could be kept at all: then it is begun again
        after = gems("run", PROMPT, *options)
    assert after.returncode == 0, after.stderr
    result: dict[str, Any] = json.loads(after.stdout)
    assert result["status"] == "done"
    assert Path(result["best"]["path"]).is_file()
    check_whole(home)


def check_whole(home: Path) -> None:
    artifacts = FileArtifacts(home / "artifacts")
    for path in artifacts.folder.rglob("*.png"):
        assert artifact_id(path.read_bytes()) == path.stem
    assert not list(artifacts.folder.rglob(".part-*"))


STORE = """
import asyncio, resource, sys
from pathlib import Path
from gems.core.errors import GemsConfigError
from gems.memory import FileArtifacts

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    asyncio.run(FileArtifacts(Path(sys.argv[1])).put(bytes(50_000)))
except GemsConfigError as error:
    print(error)
"""


def test_a_picture_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STORE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith(f"cannot store an image in {tmp_path}")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
