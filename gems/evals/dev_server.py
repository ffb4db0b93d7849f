"""A real `langgraph dev` in a folder of its own, which can be killed and started again as after a power cut."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

START_SECONDS: Final = 120.0
"""Patience, not a target: a busy machine starts slowly."""
STOP_SECONDS: Final = 20.0
_LOG: Final = "server.log"


class DevServer:
    """Runs for as long as it is entered, with the `langgraph.json` it was given and the `gems.toml` of its folder."""

    def __init__(
        self, config: Path, folder: Path, *, jobs: int | None = None, environ: Mapping[str, str] | None = None
    ) -> None:
        """Prepare it.

        Args:
            config: The `langgraph.json`.
            folder: Where it runs. Its home is the folder `home` therein.
            jobs: Most runs at once; left out, what the server does by itself.
            environ: Variables beside those of this process.
        """
        self.folder = folder
        self.home = folder / "home"
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._jobs = jobs
        self._environ = dict(environ or {})
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copy(config, folder / "langgraph.json")

    @property
    def log(self) -> str:
        """What it wrote since it was started for the first time."""
        return (self.folder / _LOG).read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start it, and wait until it serves.

        Raises:
            RuntimeError: it does not.
        """
        command = [str(Path(sys.executable).parent / "langgraph"), "dev", "--no-browser", "--no-reload"]
        command += ["--port", str(self._port)]
        if self._jobs is not None:
            command += ["--n-jobs-per-worker", str(self._jobs)]
        environ = {
            **os.environ,
            "GEMS_HOME": str(self.home),
            "LANGSMITH_TRACING": "false",
            "LANGGRAPH_CLI_NO_ANALYTICS": "1",
            **self._environ,
        }
        with (self.folder / _LOG).open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                command, cwd=self.folder, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait(self._process)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End it at once, without a chance to save anything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"langgraph dev ended with {process.returncode}: {self.log[-3000:]}")
            try:
                if httpx.get(f"{self.url}/ok", timeout=2.0).status_code == httpx.codes.OK:
                    return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise RuntimeError(f"langgraph dev did not serve within {START_SECONDS:g} s: {self.log[-3000:]}")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
