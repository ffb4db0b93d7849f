"""What goes wrong between us and the hub, in one sentence each, with the remedy."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from gems.backends.cleaning import clause, clean
from gems.core.errors import GemsConfigError

TOKENS: Final = "https://huggingface.co/settings/tokens"
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_NAME: Final = ("name or service not known", "name resolution", "nodename nor servname", "getaddrinfo", "no address")
"""How systems say that a name has no address."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the hub was asked for, and as whom."""

    endpoint: str
    repository: str
    revision: str
    token: SecretStr | None = None

    @property
    def page(self) -> str:
        """Where a person sees it."""
        return f"{self.endpoint}/{self.repository}"


def refusal(asked: Asked, status: int, code: str, said: str, name: str = "") -> GemsConfigError:
    """The hub's refusal.

    Args:
        asked: What it refused.
        status: Of its reply.
        code: Its own word for the reason (`X-Error-Code`); may be empty.
        said: Its own sentence; may be empty.
        name: The file, where one was asked for.
    """
    said = clause(clean(said, asked.token))
    own = f" ({said})" if said else ""
    if code == "GatedRepo":
        return _gated(asked)
    if code == "RevisionNotFound":
        return GemsConfigError(
            f"{asked.repository!r} has no revision {asked.revision!r}: see its branches and tags at {asked.page}/tree/main"
        )
    if code == "EntryNotFound":
        return GemsConfigError(
            f"{asked.repository!r} has no file {name!r} at revision {asked.revision!r}{own}: see {asked.page}"
        )
    if status == 401 and asked.token and code != "RepoNotFound":
        return GemsConfigError(
            f"{asked.endpoint} does not accept your token{own}: make a new one at {TOKENS}, and set HF_TOKEN to it"
        )
    if status in (401, 404):
        return GemsConfigError(
            f"{asked.endpoint} knows no model {asked.repository!r} that you may see: check the name; if it is private, set "
            "HF_TOKEN to a token that may read it"
        )
    if status == 403:
        return GemsConfigError(f"{asked.endpoint} does not let you read {asked.repository!r}{own}: see {asked.page}")
    if status == 429:
        return GemsConfigError(
            f"{asked.endpoint} has had too many requests of yours{own}: wait some minutes, and run it again"
        )
    return GemsConfigError(f"{asked.endpoint} answered with status {status}{own}: run it again later")


def unreachable(asked: Asked, error: BaseException) -> GemsConfigError:
    """The hub could not be asked at all, or did not answer to the end."""
    said = clause(clean(str(error), asked.token)) or type(error).__name__
    if any(words in said.lower() for words in _NO_NAME):
        return GemsConfigError(
            f"the name of {asked.endpoint} cannot be looked up ({said}): check the connection, or HF_ENDPOINT"
        )
    return GemsConfigError(
        f"{asked.endpoint} cannot be reached ({said}): check the connection and any proxy, or HF_ENDPOINT; then run it again"
    )


def broken_off(asked: Asked, name: str, why: str) -> GemsConfigError:
    """A download that did not come to its end, however often it was taken up again."""
    said = clause(clean(why, asked.token))
    return GemsConfigError(
        f"the download of {name} from {asked.repository!r} broke off again and again ({said}): run it again; it goes on "
        "from where it stopped"
    )


def misdelivered(asked: Asked, name: str, how: str) -> GemsConfigError:
    """What came is not what the hub had listed. It is not kept."""
    return GemsConfigError(
        f"{name} of {asked.repository!r} came {how}, and was thrown away: run it again; if that does not help, a proxy in "
        "between may change it"
    )


def no_room(cache: Path, needed: int, free: int) -> GemsConfigError:
    """The disk is too small for what is wanted; in bytes."""
    return GemsConfigError(
        f"{needed / 1e9:.2f} GB are needed, and {free / 1e9:.2f} GB are free at {cache}: make room there, or set HF_HOME to "
        "a folder on a larger disk"
    )


def disk_fault(cache: Path, error: OSError) -> GemsConfigError:
    """The cache could not be written to."""
    if error.errno in _NO_ROOM:
        return GemsConfigError(
            f"the disk of {cache} is full: make room, and run it again; it goes on from where it stopped"
        )
    if isinstance(error, PermissionError):
        return GemsConfigError(
            f"{error.filename or cache} cannot be written to: let your user write there, or set HF_HOME"
        )
    why = error.strerror or type(error).__name__
    return GemsConfigError(f"{error.filename or cache} cannot be written to ({why}): set HF_HOME to a folder that can")


def _gated(asked: Asked) -> GemsConfigError:
    accept = f"{asked.repository!r} is gated: accept its terms at {asked.page}"
    if asked.token:
        return GemsConfigError(f"{accept} with the account of your token; some owners let you wait for their answer")
    return GemsConfigError(f"{accept}, then set HF_TOKEN to a token of that account ({TOKENS})")
