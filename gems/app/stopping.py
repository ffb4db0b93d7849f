"""Ctrl-C during a run: once to stop after the current step, twice to stop now."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self


class CtrlC:
    """Counts presses while it is entered; of several, the third does what Ctrl-C does anywhere else.

    A plain signal handler, since event loops on Windows take none; it only posts to the loop, because a handler may
    run between any two instructions.
    """

    def __init__(self, first: Callable[[], None], second: Callable[[], None]) -> None:
        """Call `first` and `second` on the running loop at the first and second press."""
        self._answers = [first, second]
        self._loop = asyncio.get_running_loop()
        self._before: object = None
        self.presses = 0

    def __enter__(self) -> Self:
        """Take over the signal, where this thread may: only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signal back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        self.presses += 1
        if self._answers:
            self._loop.call_soon_threadsafe(self._answers.pop(0))
        else:
            signal.default_int_handler(number, frame)
