"""Which versions of packages are installed, without loading any."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Final

CPU_BUILD: Final = "CPU build"
GPU_BUILDS: Final = ("ROCm build", "Intel GPU build")
"""For GPUs that nvidia-smi does not see."""
Version = Callable[[str], str | None]
"""From a package's name to its version; None where it is not installed."""


def installed_version(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def torch_build(version: str) -> str:
    """`2.9.0+cu128` is built for CUDA: what a version says of that, in words; one without such an end may be any."""
    _, _, build = version.partition("+")
    kinds = {"cu": "CUDA build", "cpu": CPU_BUILD, "rocm": GPU_BUILDS[0], "xpu": GPU_BUILDS[1]}
    return next((word for start, word in kinds.items() if build.startswith(start)), "")
