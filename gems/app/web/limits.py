"""How much the server takes, and from whom: settings that only its doors read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from dotenv import dotenv_values

from gems.core.errors import GemsConfigError
from gems.core.settings import TOKENS, Settings

BODY_BYTES: Final = 2 * 2**20
"""Of a request, and of a message of a WebSocket: a thread's whole state is a fraction of it."""
UPLOAD_BYTES: Final = 32 * 2**20
"""Of a picture that is sent."""
RUNS_AT_ONCE: Final = 10
"""Of an owner, where others are let in and nothing is set."""
REQUESTS_PER_MINUTE: Final = 120
"""That cost something, of an owner."""
ATTEMPTS_PER_MINUTE: Final = 20
"""To sign in, and with tokens that are none, of an address."""
_MOST: Final = 1_000_000
_ORIGIN: Final = re.compile(r"https?://[^/?#@\s]+")


@dataclass(frozen=True, slots=True)
class WebLimits:
    """The limits of a server."""

    runs_at_once: int | None = None
    """GEMS_RUNS_AT_ONCE: runs of an owner that may be under way; None: as many as come."""
    requests_per_minute: int = REQUESTS_PER_MINUTE
    """GEMS_REQUESTS_PER_MINUTE: requests of an owner that start runs or bring pictures."""
    origins: tuple[str, ...] = ()
    """GEMS_ORIGINS: whose pages may use the server, besides its own."""
    is_open: bool = False
    """GEMS_OPEN: whether other machines are let in without a token."""


def load_limits(settings: Settings, environ: Mapping[str, str] | None = None) -> WebLimits:
    """The limits that the environment and `.env` name, for a server with these settings.

    Args:
        settings: Where `.env` lies, and whether there are tokens.
        environ: The environment; default `os.environ`. It wins over `.env`.

    Raises:
        GemsConfigError: a value is not allowed.
    """
    environ = os.environ if environ is None else environ
    try:
        written = dotenv_values(settings.folder / ".env") if (settings.folder / ".env").is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise GemsConfigError(f"{Path('.env')}: cannot be read: {error}") from error
    given = {name: (value or "").strip() for name, value in {**written, **environ}.items()}
    is_open = _read_switch("GEMS_OPEN", given.get("GEMS_OPEN", ""))
    if is_open and settings.tokens:
        raise GemsConfigError(f"GEMS_OPEN lets anyone in, {TOKENS} only some: leave one of them out")
    meets_others = is_open or bool(settings.tokens)
    runs = _read_number("GEMS_RUNS_AT_ONCE", given.get("GEMS_RUNS_AT_ONCE", ""))
    return WebLimits(
        runs_at_once=runs or (RUNS_AT_ONCE if meets_others else None),
        requests_per_minute=_read_number("GEMS_REQUESTS_PER_MINUTE", given.get("GEMS_REQUESTS_PER_MINUTE", ""))
        or REQUESTS_PER_MINUTE,
        origins=tuple(_read_origin(part.strip()) for part in given.get("GEMS_ORIGINS", "").split(",") if part.strip()),
        is_open=is_open,
    )


def _read_number(name: str, text: str) -> int | None:
    if not text:
        return None
    number = int(text) if re.fullmatch("[0-9]{1,7}", text) else 0
    if not 1 <= number <= _MOST:
        raise GemsConfigError(f"{name} is {text!r}: write a whole number, 1 to {_MOST}, or leave it out")
    return number


def _read_switch(name: str, text: str) -> bool:
    if text.lower() not in ("", "0", "1", "false", "true"):
        raise GemsConfigError(f"{name} is {text!r}: write 1 or 0")
    return text.lower() in ("1", "true")


def _read_origin(text: str) -> str:
    origin = text.rstrip("/").lower()
    try:
        is_one = bool(_ORIGIN.fullmatch(origin) and urlsplit(origin).hostname) and urlsplit(origin).port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise GemsConfigError(
            f"GEMS_ORIGINS: {text!r} is no origin: write e.g. https://chat.example.com, without a path"
        )
    return origin
