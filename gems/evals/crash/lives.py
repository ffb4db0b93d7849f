"""Lives: processes that run one command of the `gems` command line, and are killed after so many seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

PATIENCE: Final = 120.0
"""Seconds after which a life that nobody meant to kill counts as hung, and is killed all the same."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a life is to do."""

    arguments: tuple[str, ...]
    """Of the command line, such as `resume` and a thread."""
    folder: str
    """Where it works."""
    environment: Mapping[str, str]
    """Variables set in addition to those of this process."""
    output: str
    """The file that gets what it writes."""
    seconds: float
    """Seconds until it is killed."""
    fresh: bool = False
    """Whether it is an interpreter of its own, rather than a fork of one that has everything imported."""
    aim: str = ""
    """A file whose appearance shortens its life, if it is to."""
    after: float = 0.0
    """Seconds that it lives on once that file is there."""


@dataclass(frozen=True, slots=True)
class Life:
    """How a life went. Times are readings of `time.monotonic()`, which all processes of a machine share."""

    born: float
    died: float
    """When it was killed or, where it was not, found to have ended."""
    killed: bool
    """Whether it died of our signal; one that was quicker was not killed."""
    code: int
    """The exit code, or the negative number of the signal that it died of."""


class Zygote:
    """The process that the lives are forked from, for as long as it is entered."""

    def __init__(self) -> None:
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        """Start it, and wait until it has imported everything."""
        command = [sys.executable, "-m", "gems.evals.crash.zygote"]
        # It ends when its standard input does, so also when this process dies; leaving `Popen` closes it.
        self._process = self._exit.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        )
        self._hear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self._exit.__exit__(kind, error, trace)

    def live(self, order: Order) -> Life:
        """Run a life to its end."""
        if self._process.stdin is None:
            raise RuntimeError("the zygote has no standard input")
        self._process.stdin.write(f"{json.dumps(asdict(order))}\n")
        self._process.stdin.flush()
        return Life(**json.loads(self._hear()))

    def _hear(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._exit.close()
            raise RuntimeError(f"the zygote is gone; exit code {self._process.returncode}")
        return line


def last_words(output: Path, longest: int = 600) -> str:
    """The end of what a life wrote."""
    text = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
    return text.strip()[-longest:]
