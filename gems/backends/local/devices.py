"""The devices of this machine, and what memory they have free. Most of these functions load torch, and may block."""

from __future__ import annotations

import gc
import importlib.util
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from gems.backends.local.placement import Dtype, Memory
from gems.core.errors import GemsConfigError

if TYPE_CHECKING:
    import torch

ReadMemory = Callable[[str], Memory]
"""From a device's name to its memory."""

CPU_SHARE: Final = 0.9
"""Of the machine's free memory that weights may take: the loop and the system go on beside them."""
_CGROUP: Final = Path("/sys/fs/cgroup")
_OWN_CGROUP: Final = Path("/proc/self/cgroup")
_QUANTIZES: Final = ("cuda", "xpu")


def find_device(asked: str, setting: str = "local.device") -> str:
    """The device of that name; for `auto`, the accelerator with the most free memory, else the CPU.

    Args:
        asked: The name.
        setting: Where it was written, for messages.

    Raises:
        GemsConfigError: there is no such device.
    """
    present = accelerators()
    if asked == "auto":
        return max(present, key=lambda device: read_memory(device).free, default="cpu")
    if asked == "cpu" or asked in present:
        return asked
    first = next((device for device in present if device.partition(":")[0] == asked), None)
    if first is None:
        there = ", ".join([*present, "cpu"])
        raise GemsConfigError(f"{setting} {asked!r} is not on this machine; there are: {there}")
    return first


def accelerators() -> list[str]:
    """The names of all accelerators that torch can use."""
    import torch

    if torch.cuda.is_available():
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if torch.xpu.is_available():
        return [f"xpu:{number}" for number in range(torch.xpu.device_count())]
    return ["mps"] if torch.backends.mps.is_available() else []


def read_memory(device: str) -> Memory:
    """What a device has free now."""
    import torch

    host = host_free()
    kind = device.partition(":")[0]
    if kind in ("cuda", "xpu"):
        part: Any = torch.cuda if kind == "cuda" else torch.xpu
        free, total = part.mem_get_info(device)
        # What torch keeps for itself of memory that was given back is free for us.
        free += part.memory_reserved(device) - part.memory_allocated(device)
        offloads = importlib.util.find_spec("accelerate") is not None
        quantizes = offloads and kind in _QUANTIZES and importlib.util.find_spec("bitsandbytes") is not None
        return Memory(device, free, total, host, offloads, quantizes)
    free, total = host, psutil.virtual_memory().total
    if kind == "mps":
        total = torch.mps.recommended_max_memory()
        free = min(free, total - torch.mps.driver_allocated_memory())
    return Memory(device, free, total, free, can_offload=False)


def host_free() -> int:
    """Bytes of the machine's memory that weights may take now. This loads no torch."""
    return int(min(psutil.virtual_memory().available, _container_free()) * CPU_SHARE)


def torch_dtype(dtype: Dtype) -> torch.dtype:
    """As torch names it."""
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[dtype]


def _container_free(root: Path = _CGROUP, own: Path = _OWN_CGROUP) -> float:
    """What a container's control groups may still take, in bytes; infinite where there is no limit.

    Of Linux's second version each group above has a say; of the first the machine shows a container its own.
    """
    frees = [_group_free(root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")]
    try:
        line = next(it for it in own.read_text(encoding="ascii").splitlines() if it.startswith("0::"))
    except (OSError, ValueError, StopIteration):
        line = "0::/"
    folder = root / line.removeprefix("0::").lstrip("/")
    for group in (folder, *folder.parents):
        frees.append(_group_free(group, "memory.max", "memory.current", "inactive_file"))
        if group == root:
            break
    return min(frees)


def _group_free(folder: Path, most_in: str, held_in: str, given_up: str) -> float:
    try:
        most, held = (int((folder / name).read_text(encoding="ascii")) for name in (most_in, held_in))
        # What is only a copy of files is given up when it is needed.
        cached = re.search(rf"^{given_up} (\d+)$", (folder / "memory.stat").read_text(encoding="ascii"), re.MULTILINE)
    except (OSError, ValueError):
        return math.inf
    return max(0, most - held + (int(cached[1]) if cached else 0))


def use_device(device: str) -> None:
    """Have this thread's tensors go there where a library does not say which device it means."""
    import torch

    kind = device.partition(":")[0]
    if kind in ("cuda", "xpu"):
        getattr(torch, kind).set_device(device)


def empty_cache(device: str) -> None:
    """Give back what nobody holds any more."""
    import torch

    gc.collect()
    kind = device.partition(":")[0]
    if kind in ("cuda", "xpu", "mps"):
        getattr(torch, kind).empty_cache()


def describe_device(device: str) -> str:
    """For people: its name and memory."""
    import torch

    kind = device.partition(":")[0]
    name = torch.cuda.get_device_name(device) if kind == "cuda" else kind.upper()
    memory = read_memory(device)
    return f"{device} ({name}), {memory.free / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"
