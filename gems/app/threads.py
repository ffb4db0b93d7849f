"""Thread ids of the command line: short, readable, safe as a file name on every system."""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from typing import Final

from gems.core.errors import GemsConfigError

_ALLOWED: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
# Letters and digits that are not mistaken for each other when copied by hand.
_TAIL: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_BRANCH: Final = re.compile(rf"-fork-[{_TAIL}]{{4}}$")
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
)
"""Names that Windows keeps for devices: no folder can be called so."""


def new_thread_id(now: datetime) -> str:
    """An id such as `20261122-143012-k7mq`: its time of birth sorts it, its tail tells apart those of one second."""
    return f"{now:%Y%m%d-%H%M%S}-{_tail()}"


def branch_thread_id(parent: str) -> str:
    """An id such as `red-apples-fork-k7mq` for a branch of `red-apples`, and for a branch of that branch too."""
    return f"{_BRANCH.sub('', parent)[:54]}-fork-{_tail()}"


def check_thread_id(thread_id: str) -> str:
    """The id itself.

    Raises:
        GemsConfigError: it could not be a folder's name.
    """
    if not _ALLOWED.fullmatch(thread_id) or thread_id.lower() in _DEVICES:
        shown = thread_id if len(thread_id) <= 60 else f"{thread_id[:57]}..."
        raise GemsConfigError(
            f"thread {shown!r}: use 1 to 64 letters, digits, - and _, the first not -, e.g. red-apples-2"
        )
    return thread_id


def _tail() -> str:
    return "".join(secrets.choice(_TAIL) for _ in range(4))
