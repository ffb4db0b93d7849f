"""Loopback servers in a process of their own, so that what is measured does not share its interpreter lock with them."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import httpx

from gems.evals.loopback.log import Log


class LoopbackProcess:
    """`python -m gems.evals.loopback` with these arguments, for as long as it is entered."""

    url: str

    def __init__(self, *arguments: str) -> None:
        """Take the command line's arguments."""
        self._arguments = arguments
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        """Start it, and wait until it serves."""
        command = [sys.executable, "-m", "gems.evals.loopback", *self._arguments]
        # The server ends when its standard input does, so also when this process dies; leaving `Popen` closes it.
        self._process = self._exit.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._exit.close()
            raise RuntimeError(f"the loopback server did not start; exit code {self._process.returncode}")
        self.url = json.loads(line)["url"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self._exit.__exit__(kind, error, trace)

    def log(self) -> Log:
        """What it was asked so far."""
        return Log.load(httpx.get(f"{self.url}/_log", timeout=30.0).content)
