"""What the server answers in place of a picture, in the form that the route's clients read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from gems.core.errors import DrawingRefused, ModelOutage

GONE: Final = 499
"""What the log says of a client that hung up; nobody is told."""


class Refusal(Exception):
    """A request that is not answered with a picture."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        wait: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Say why.

        Args:
            status: The HTTP status.
            message: For people.
            param: The field that is to be mended.
            code: What programs go by, in OpenAI's words where there are such.
            wait: Seconds after which another try may do better.
            headers: Further headers of the reply.
        """
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.wait = wait
        self.headers = dict(headers or {})

    def as_error(self) -> dict[str, Any]:
        """The error object of OpenAI's API."""
        return {"message": self.message, "type": _kind(self.status), "param": self.param, "code": self.code}

    def as_event(self) -> dict[str, Any]:
        """The error object of an event, which has no status line and no headers beside it."""
        waiting = {} if self.wait is None else {"retry_after": math.ceil(self.wait)}
        return self.as_error() | {"status": self.status} | waiting

    def response(self, path: str) -> Response:
        """The reply, in the form of the protocol that the path belongs to."""
        content = {"error": self.as_error()} if path.startswith("/v1/") else {"detail": self.message}
        waiting = {} if self.wait is None else {"retry-after": str(math.ceil(self.wait))}
        return JSONResponse(content, self.status, {**waiting, **self.headers})


class ClientGone(Exception):
    """The client hung up."""


def refusal_for(error: Exception, told: Callable[[str], str] = str) -> Refusal:
    """How an error is told to a client. What is wrong with this machine gets no words: they could name files of it.

    Args:
        error: What the studio raised, or a refusal.
        told: Puts the names that the world knows into the studio's words.
    """
    if isinstance(error, Refusal):
        return error
    if isinstance(error, DrawingRefused):
        return Refusal(400, told(str(error)), param="prompt", code="moderation_blocked")
    if isinstance(error, ModelOutage):
        words = told(str(error))
        if isinstance(error.__cause__, TimeoutError):
            return Refusal(504, words, code="timeout")
        if error.again == "free":
            return Refusal(503, words, code="unavailable", wait=error.wait or 1.0)
        return Refusal(500, words, code="drawing_failed")
    return Refusal(500, "the server failed; its log says why", code="internal_error")


def stopping() -> Refusal:
    """For whoever comes, or still waits, while the server stops."""
    return Refusal(503, "the server is stopping", code="unavailable", wait=5.0)


def _kind(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
