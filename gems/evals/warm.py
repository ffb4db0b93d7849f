"""Processes that are forked from one that has imported everything already: real ones, without the seconds of imports.

`python -m gems.evals.warm MODULE ...` is that one. It forks for each line it reads, and says how a fork ended when it is
asked. A fork has its own memory, folder, environment, signals and death, and stands where a new interpreter stands after
its imports; what a module reads of the environment when it is imported, it has read before. There must be no thread yet.
Where a system cannot fork, each is a new interpreter.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Final, Protocol, Self

PATIENCE: Final = 300.0
"""Seconds after which a process counts as hung."""
_LOOK: Final = 0.01
"""Seconds between two looks at whether one has ended."""
_STREAMS: Final = ("in", "out", "err")
"""The files of a process, by their descriptors."""
_KILL: Final[int] = getattr(signal, "SIGKILL", signal.SIGTERM)


class Forked:
    """One process. What it writes goes to files, which can be read while it runs."""

    def __init__(self, warm: Warm, pid: int, folder: Path) -> None:
        """Stand for that process of `warm`, with its files in a folder."""
        self.pid = pid
        self.returncode: int | None = None
        self._warm = warm
        self._folder = folder

    @property
    def out(self) -> str:
        """Its standard output so far."""
        return (self._folder / "out").read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        """Its standard error so far."""
        return (self._folder / "err").read_text(encoding="utf-8")

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._warm.ask({"ended": self.pid})
        return self.returncode

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code, once it has ended.

        Raises:
            TimeoutError: it has not, and was killed.
        """
        deadline = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"still running after {seconds:g} s: {self.out}{self.err}")
            time.sleep(_LOOK)
        return code

    def done(self, seconds: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Its end.

        Raises:
            TimeoutError: it has none.
        """
        return subprocess.CompletedProcess((), self.wait(seconds), self.out, self.err)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        # Whoever was not asked about has not been reaped, so its number is no other process's yet.
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        self.send_signal(_KILL)


class Warm:
    """The process that has imported some modules, for as long as it is entered. Its forks end with it."""

    def __init__(self, *modules: str) -> None:
        """Have these imported."""
        self._modules = modules
        self._count = 0

    def __enter__(self) -> Self:
        """Start it, and wait until it has imported them."""
        self._scratch = TemporaryDirectory(prefix="gems-warm-")
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "gems.evals.warm", *self._modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self._scratch.name,
        )
        self._hear()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._process.communicate()
        self._scratch.cleanup()

    def start(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None, given: str = ""
    ) -> Forked:
        """Start a process.

        Args:
            command: `[sys.executable, "-c", CODE, *ARGUMENTS]`.
            env: Its whole environment; None for that of the caller.
            cwd: Its folder; None for that of the caller.
            given: What stands on its standard input.

        Raises:
            ValueError: the command is another one.
        """
        python, option, code, *arguments = command
        if (python, option) != (sys.executable, "-c"):
            raise ValueError(f"{python!r} {option!r} cannot be forked: give sys.executable and '-c'")
        self._count += 1
        folder = Path(self._scratch.name) / str(self._count)
        folder.mkdir()
        for name in _STREAMS:
            (folder / name).write_text(given if name == "in" else "", encoding="utf-8")
        order = {
            "code": code,
            "arguments": arguments,
            "environment": dict(os.environ if env is None else env),
            "cwd": str(cwd or Path.cwd()),
            "folder": str(folder),
        }
        return Forked(self, self.ask(order), folder)

    def run(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None, given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """The same, to its end."""
        return self.start(command, env, cwd, given).done()

    def ask(self, order: Mapping[str, Any]) -> Any:
        """Its answer to an order.

        Raises:
            RuntimeError: it has died.
        """
        if self._process.stdin is not None:
            self._process.stdin.write(f"{json.dumps(order)}\n")
            self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> Any:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError(f"the warm process has died; exit code {self._process.poll()}")
        return json.loads(line)


def serve(modules: Sequence[str]) -> Mapping[str, Any] | None:
    """Import, and then answer each order. In a fork it returns the order that the fork is to carry out.

    Raises:
        RuntimeError: an import has started a thread, which a fork would not have.
    """
    for name in modules:
        importlib.import_module(name)
    if threading.active_count() > 1:
        raise RuntimeError(f"an import started threads: {threading.enumerate()[1:]!r}")
    gc.collect()
    gc.freeze()  # a fork's collections then leave the shared pages alone
    children: dict[int, _Child] = {}
    _say(None)
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        if "ended" in order:
            _say(children[order["ended"]].poll())
            continue
        child: _Child | None = _Fork.of_this_process() if hasattr(os, "fork") else _interpreter(order)
        if child is None:
            return order
        children[child.pid] = child
        _say(child.pid)
    for left in children.values():
        left.kill()
    return None


class _Child(Protocol):
    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def kill(self) -> None: ...


class _Fork:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    @classmethod
    def of_this_process(cls) -> Self | None:
        """The fork; None in the fork itself."""
        pid = os.fork()
        return cls(pid) if pid else None

    def poll(self) -> int | None:
        if self._code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if ended else None
        return self._code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, _KILL)


def _interpreter(order: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    with ExitStack() as stack:
        given, out, err = (stack.enter_context((Path(order["folder"]) / name).open("r+b")) for name in _STREAMS)
        return subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-c", order["code"], *order["arguments"]],
            stdin=given,
            stdout=out,
            stderr=err,
            cwd=order["cwd"],
            env=order["environment"],
        )


def become(order: Mapping[str, Any]) -> None:
    """Carry out an order as a new interpreter would; exceptions, exit codes and threads are left to this one's end."""
    folder = Path(order["folder"])
    for descriptor, name in enumerate(_STREAMS):
        opened = os.open(folder / name, os.O_RDWR | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    # Those that there were have read ahead, and buffer.
    sys.stdin, sys.stdout, sys.stderr = (
        open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115 - a descriptor has no path
        for descriptor, mode in enumerate(("r", "w", "w"))
    )
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    sys.argv = ["-c", *order["arguments"]]
    sys.path[0] = ""
    sys.modules["__main__"] = main = ModuleType("__main__")
    exec(compile(order["code"], "<string>", "exec"), main.__dict__)  # noqa: S102 - what `python -c` does


def _say(answer: Any) -> None:
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    ordered = serve(sys.argv[1:])
    if ordered:
        become(ordered)
