"""What a machine says of its memory."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from gems.backends.local.devices import _container_free, find_device, read_memory
from gems.core.errors import GemsConfigError


def group(folder: Path, most: str, held: int, cached: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{held}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")


def test_a_container_has_no_more_than_its_groups_allow(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/slice/job\n")
    root = tmp_path / "fs"
    assert _container_free(root, own) == math.inf
    group(root / "slice" / "job", "max", 100)
    assert _container_free(root, own) == math.inf
    group(root / "slice", "1000", 700, cached=200)
    assert _container_free(root, own) == 500
    group(root / "slice" / "job", "400", 100)
    assert _container_free(root, own) == 300
    group(root / "slice" / "job", "400", 900)
    assert _container_free(root, own) == 0
    assert _container_free(root, tmp_path / "none") == math.inf


def test_the_first_version_of_control_groups(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text("1000")
    (folder / "memory.usage_in_bytes").write_text("600")
    (folder / "memory.stat").write_text("total_inactive_file 100\n")
    assert _container_free(tmp_path, tmp_path / "none") == 500


def test_the_cpu_has_the_machines_memory() -> None:
    memory = read_memory("cpu")
    assert 0 < memory.free == memory.host_free < memory.total
    assert not memory.can_offload


def test_devices_are_found_by_their_names() -> None:
    assert find_device("cpu") == "cpu"
    with pytest.raises(GemsConfigError, match=r"--devices 'cuda:99' is not on this machine; there are: .*cpu$"):
        find_device("cuda:99", "--devices")
