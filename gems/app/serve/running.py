"""The life of the server: it listens while it loads, serves, and ends in good order when it is told to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Final

import uvicorn

from gems.app.serve.access import Access
from gems.app.serve.desk import Desk
from gems.app.serve.routes import make_app

LAST_SECONDS: Final = 20.0
"""What is drawn has so long to be finished once the server is told to stop."""
_ANSWER_SECONDS: Final = 5
"""For answers to reach their clients after that."""
_KEPT_SECONDS: Final = 75
"""An idle connection is kept; longer than clients keep theirs, or else one might ask while it is closed."""
_HEAD_BYTES: Final = 131_072
"""Of a request's head: the reference protocol has the whole prompt in it."""


class _Uvicorn(uvicorn.Server):
    """Asks us what a signal means. Its own way ends the process by the same signal, once more."""

    def __init__(self, config: uvicorn.Config, on_signal: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_signal = on_signal
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """A handler may run between any two instructions, so it only posts to the loop."""
        self._loop.call_soon_threadsafe(self._on_signal)


async def run_server(
    desk: Desk,
    access: Access,
    sockets: list[socket.socket],
    on_ready: Callable[[], None],
    on_stopping: Callable[[int], None] = lambda _: None,
    last: float = LAST_SECONDS,
) -> None:
    """Serve until a signal says to stop: the first lets what is drawn be finished, the second does not.

    Args:
        desk: Takes the drawings in.
        access: Who may ask.
        sockets: Where to listen; they are closed in the end.
        on_ready: Called once the models are loaded.
        on_stopping: Called with the number of drawings that are to be finished.
        last: Seconds that what is drawn has to be finished.

    Raises:
        GemsConfigError: the weights cannot be loaded.
    """
    signals: asyncio.Queue[None] = asyncio.Queue()
    config = uvicorn.Config(
        make_app(desk, access),
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        http="h11",
        ws="none",
        h11_max_incomplete_event_size=_HEAD_BYTES,
        timeout_keep_alive=_KEPT_SECONDS,
        timeout_graceful_shutdown=_ANSWER_SECONDS,
    )
    server = _Uvicorn(config, lambda: signals.put_nowait(None))
    serving = asyncio.create_task(server.serve(sockets))
    try:
        await _first(signals.get(), _load(desk, on_ready), asyncio.shield(serving))
        desk.stop()
        on_stopping(desk.studio.figures().drawing)
        await _first(signals.get(), desk.finish(last))
        await desk.finish(0)
    finally:
        server.should_exit = True
        await serving
        await asyncio.to_thread(desk.studio.close)


async def _load(desk: Desk, on_ready: Callable[[], None]) -> None:
    await desk.load()
    on_ready()
    await asyncio.Event().wait()  # for ever: what comes next is a signal


async def _first(*works: Awaitable[object]) -> None:
    """Wait until one of them is done, and cancel the others.

    Raises:
        Exception: that one failed.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    for task in done:
        task.result()
