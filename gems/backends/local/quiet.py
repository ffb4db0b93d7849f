"""Silence for the libraries that draw: what matters of their notices is said in our own words."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

WORKERS: Final = "gems-"
"""How the names of the threads begin that are hushed."""
_LIBRARIES: Final = ("diffusers", "transformers", "peft", "accelerate", "torch")

_loading = threading.Lock()


class _OursOnly(logging.Filter):
    """Lets errors pass, and all that other threads say: the process may use the libraries for itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to pass it on."""
        return record.levelno >= logging.ERROR or not (record.threadName or "").startswith(WORKERS)


class _Ear(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self._heard.append(record.getMessage())


_OURS_ONLY: Final = _OursOnly()


def hush() -> None:
    """Keep the libraries' warnings away from people. May be called again and again: others change filters too."""
    for library in _LIBRARIES:
        warnings.filterwarnings("ignore", module=rf"{library}\b")
        for handler in logging.getLogger(library).handlers:
            handler.addFilter(_OURS_ONLY)


@contextmanager
def listening(library: str) -> Iterator[list[str]]:
    """What a library warns of in this thread meanwhile."""
    heard: list[str] = []
    ear = _Ear(heard)
    logger = logging.getLogger(library)
    level = logger.level
    logger.addHandler(ear)
    logger.setLevel(logging.WARNING)
    try:
        yield heard
    finally:
        logger.setLevel(level)
        logger.removeHandler(ear)


@contextmanager
def one_load() -> Iterator[None]:
    """Load weights without progress bars. One thread at a time: the libraries change torch's own functions meanwhile."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    with _loading:
        hush()
        libraries = (diffusers_logging, transformers_logging)
        shown = [library for library in libraries if library.is_progress_bar_enabled()]
        for library in shown:
            library.disable_progress_bar()
        try:
            yield
        finally:
            for library in shown:
                library.enable_progress_bar()
