"""The GPUs of this machine: what the driver sees, and what torch can use."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol

from gems.app.terminal import one_line
from gems.backends.local.devices import accelerators, describe_device, find_device, read_memory
from gems.backends.local.placement import GB, Memory
from gems.core.errors import GemsConfigError

GPU_SECONDS: Final = 5.0
"""Time limit of nvidia-smi, which is slow when the driver sleeps."""
_LONGEST: Final = 300
"""Characters of what torch says when it cannot be used."""


class Device(NamedTuple):
    """A device that torch can use."""

    memory: Memory
    described: str
    """For people: its name and memory."""


class Devices(Protocol):
    """Looks for devices."""

    def seen(self) -> str:
        """The GPUs as the driver tells them, in words; empty when there are none. Torch is not loaded."""
        ...

    def usable(self) -> list[Device]:
        """The accelerators that torch can use. This loads it, which takes seconds.

        Raises:
            GemsConfigError: torch cannot be used at all.
        """
        ...

    def find(self, asked: str) -> Device:
        """The device of that name; for `auto`, the accelerator with the most free memory, else the CPU.

        Raises:
            GemsConfigError: there is no such device, or torch cannot be used at all.
        """
        ...


class TorchDevices:
    """The devices of this machine."""

    def seen(self) -> str:
        """As the driver tells them."""
        return find_gpu()

    def usable(self) -> list[Device]:
        """The accelerators.

        Raises:
            GemsConfigError: torch cannot be used at all.
        """
        with _explained():
            return [_device(name) for name in accelerators()]

    def find(self, asked: str) -> Device:
        """The device of that name.

        Raises:
            GemsConfigError: there is no such device, or torch cannot be used at all.
        """
        with _explained():
            return _device(find_device(asked))


class ScriptedDevices:
    """Devices of a machine that is made up, for tests. It remembers whether anybody wanted what takes torch."""

    def __init__(
        self, *devices: Memory, seen: str = "", cpu_free: int = 16 * GB, broken: GemsConfigError | None = None
    ) -> None:
        """Take the accelerators, what the driver tells, bytes free for the CPU, and why torch cannot be used."""
        self._devices = devices
        self._seen = seen
        self._cpu = Memory("cpu", cpu_free, 2 * cpu_free, cpu_free, can_offload=False)
        self._broken = broken
        self.loads_of_torch = 0

    def seen(self) -> str:
        """As the script says."""
        return self._seen

    def usable(self) -> list[Device]:
        """As the script says.

        Raises:
            GemsConfigError: the script says so.
        """
        self._load()
        return [_scripted(memory) for memory in self._devices]

    def find(self, asked: str) -> Device:
        """One of the script's devices.

        Raises:
            GemsConfigError: the script says so, or has no such device.
        """
        self._load()
        if asked == "auto":
            return _scripted(max(self._devices, key=lambda it: it.free, default=self._cpu))
        found = next((it for it in (*self._devices, self._cpu) if it.device == asked), None)
        if found is None:
            raise GemsConfigError(f"local.device {asked!r} is not on this machine")
        return _scripted(found)

    def _load(self) -> None:
        self.loads_of_torch += 1
        if self._broken:
            raise self._broken


def find_gpu(program: str = "nvidia-smi") -> str:
    """The GPUs in words, as the driver or the processor says."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return "Apple silicon"
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        ran = subprocess.run(query, capture_output=True, text=True, timeout=GPU_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return ", ".join(filter(None, map(_gpu, ran.stdout.splitlines())))


def _gpu(line: str) -> str:
    name, _, megabytes = (part.strip() for part in line.partition(","))
    return f"{name}, {int(megabytes) / 1024:.0f} GiB" if megabytes.isdecimal() else name


def _device(name: str) -> Device:
    return Device(read_memory(name), describe_device(name))


def _scripted(memory: Memory) -> Device:
    free, total = memory.free / GB, memory.total / GB
    return Device(memory, f"{memory.device} (SCRIPTED), {free:.1f} of {total:.1f} GB free")


@contextmanager
def _explained() -> Iterator[None]:
    """Torch is a large thing over a driver that is larger still: both fail in ways of their own."""
    try:
        yield
    except (ImportError, OSError, RuntimeError) as error:
        said = one_line(str(error), _LONGEST)
        raise GemsConfigError(
            f"torch cannot be used ({type(error).__name__}: {said}): install it again, as "
            "https://pytorch.org/get-started/locally says for this machine"
        ) from error
