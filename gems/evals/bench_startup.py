"""How long a fresh process takes before it can work."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

from gems.evals.figures import Figure, Target

RUNS: Final = 5
HELP_SECONDS: Final = 0.5
HEAVY: Final = ("torch", "diffusers", "transformers", "openai")
"""Packages that must not load with the graph."""


def seconds(command: Sequence[str]) -> float:
    """Median of `RUNS` runs of a command, after one that warms the disk's cache.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    laps = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # our own interpreter
        laps.append(time.perf_counter() - started)
    return statistics.median(laps[1:])


def loaded_by_graph() -> list[str]:
    """Which heavy packages are in memory after `import gems.graph`."""
    code = f"import gems.graph, sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    return done.stdout.split()


def measure_startup() -> list[Figure]:
    """Seconds of `import gems.graph` and of `gems --help`, the interpreter's own start among them."""
    heavy = loaded_by_graph()
    help_command = [sys.executable, "-c", "from gems.app.cli import main; main(['--help'])"]
    return [
        Figure("python -c pass", seconds([sys.executable, "-c", "pass"]), "s"),
        Figure("import gems.graph", seconds([sys.executable, "-c", "import gems.graph"]), "s"),
        Figure("gems --help", seconds(help_command), "s", Target("under", HELP_SECONDS)),
        Figure("heavy packages that gems.graph loads", len(heavy), "", Target("at most", 0), ", ".join(heavy)),
    ]
