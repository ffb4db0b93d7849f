"""`python -m gems.evals.crash.zygote`: forks a life for each line it reads, kills it in time, and answers how it went.

A process of GEMS takes seconds to import what it needs; killed two hundred times, most lives would die of imports. So this
process imports everything once and then only waits: it runs no second thread, opens no file, starts no event loop and
touches no store. A fork of it is a process like any other - its own memory, locks, files and connections, its own death by
SIGKILL - that stands where a new one stands after its imports. Some lives are new interpreters all the same (`fresh` of an
order): they show that nothing hangs on the difference, and they die amid their imports too.

Who forks also kills and reaps, so that a process id cannot have become another process's meanwhile.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict
from typing import Final, NoReturn

from gems.evals.crash.lives import Life, Order

WARM: Final = (
    "aiosqlite",
    "gems.app.cli",
    "gems.app.commands",
    "gems.app.report",
    "gems.backends.chat.openai",
    "gems.backends.images.openai",
    "gems.backends.openai_client",
    "gems.memory.lessons",
    "langchain_openai",
    "langgraph.checkpoint.sqlite.aio",
    "openai.resources.chat.completions",
    "openai.resources.images",
    "PIL.PngImagePlugin",
)
"""What a life imports, at least most of it."""
WARM_WITH_POSTGRES: Final = ("gems.memory.postgres", "langgraph.checkpoint.postgres.aio")
START: Final = "from gems.app.cli import main; main()"
TICK: Final = 0.001
"""Seconds between two looks at a life: how exactly it dies."""
BROKEN: Final = 70
"""Exit code of a life whose error the command line let through."""


def live(order: Order) -> Life:
    """Fork a life, and wait until it has ended or been killed."""
    pid = os.fork()
    if pid == 0:
        _be(order)
    born = time.monotonic()
    deadline, aimed = born + order.seconds, bool(order.aim)
    while (now := time.monotonic()) < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return Life(born, now, killed=False, code=os.waitstatus_to_exitcode(status))
        if aimed and os.path.exists(order.aim):  # noqa: PTH110 - once a millisecond: the cheap way
            aimed, deadline = False, now + order.after
        time.sleep(TICK)
    os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    # It may have ended by itself in the last moment: a dead child waits for its parent, and feels no signal.
    return Life(born, now, killed=code == -signal.SIGKILL, code=code)


def _be(order: Order) -> NoReturn:
    """Become the life; this never returns to the zygote's own work."""
    code = BROKEN
    try:
        output = os.open(order.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.environ.update(order.environment)
        os.chdir(order.folder)
        if order.fresh:
            os.execv(sys.executable, [sys.executable, "-c", START, *order.arguments])  # noqa: S606 - no shell is wanted
        code = _obey(order)
    except BaseException:  # whatever it was: the zygote's own code must not go on here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _obey(order: Order) -> int:
    from gems.app.cli import main

    try:
        main(list(order.arguments), "gems")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def serve() -> None:
    """Import, say so with a line, and then answer each order.

    Raises:
        RuntimeError: an import has started a thread, which a fork would not have.
    """
    has_postgres = importlib.util.find_spec("langgraph.checkpoint.postgres") is not None
    for name in (*WARM, *(WARM_WITH_POSTGRES if has_postgres else ())):
        importlib.import_module(name)
    if threading.active_count() > 1:
        raise RuntimeError(f"an import started threads: {threading.enumerate()[1:]!r}")
    gc.freeze()  # a fork's collections then leave the shared pages alone
    _say("{}")
    for line in sys.stdin:
        _say(json.dumps(asdict(live(Order(**json.loads(line))))))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
