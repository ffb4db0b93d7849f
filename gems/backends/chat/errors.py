"""Errors of client libraries as ours: who can mend them, and whether the same call may be made again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from gems.backends.cleaning import clause, clean
from gems.backends.serving import retry_after
from gems.core.errors import GemsConfigError, GemsError, ModelOutage
from gems.core.profiles import Endpoint

HOSTED: Final = "https://api.openai.com/v1"

_PROGRAMMING: Final = (ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError)
_REFUSED: Final = re.compile(
    r"content_?policy|content_?filter|content management policy|moderation|flagged|usage policy|data_?inspection",
    re.IGNORECASE,
)
# llama.cpp (with status 500), OpenRouter (404), vLLM (400).
_BLIND: Final = re.compile(
    r"image input|mmproj|at most 0 image|not a multimodal model|not support (?:images?|vision)", re.IGNORECASE
)
_TOO_LONG: Final = re.compile(r"context.{0,12}(length|window|size)|too long|token count exceeds", re.IGNORECASE)
_LIMIT: Final = re.compile(r"max_(completion_)?tokens", re.IGNORECASE)
_NO_CREDIT: Final = re.compile(r"insufficient[_ ](quota|balance|credit)", re.IGNORECASE)
_UNREACHED: Final = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ConnectionRefusedError"}
_IDLE: Final = {408, 409, 429, 503, 529}
"""Statuses that say that no work was done."""


def words_of(error: Exception) -> str:
    """What the server said, as it said it; empty where no server answered."""
    body = getattr(error, "body", None)
    said = _said(body) if body else ""
    return said or str(getattr(error, "message", None) or error)


def refusal_of(error: Exception) -> str:
    """The server's words, if it will not answer for what was asked; empty for any other error."""
    words = words_of(error)
    told = f"{getattr(error, 'code', None)} {words}"
    return words if status_of(error) in (400, 403) and _REFUSED.search(told) else ""


def status_of(error: Exception) -> int | None:
    """The HTTP status of the answer, if there was one."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def explain(error: Exception, endpoint: Endpoint | None = None) -> Exception:
    """An error of a client library as one of ours; a programming error stays what it is."""
    if isinstance(error, GemsError):
        return error
    status = status_of(error)
    if status is not None:
        return _answered(error, status, endpoint)
    if isinstance(error, _PROGRAMMING):
        return error
    who, name = _who(endpoint), type(error).__name__
    if any(type(it).__name__ in _UNREACHED for it in _chain(error)):
        remedy = f": check that the server at {_url(endpoint)} runs" if endpoint else ""
        return ModelOutage(f"{who} cannot be reached ({name}){remedy}", again="free")
    return ModelOutage(f"{who} did not answer: {name}", again="paid")


def _answered(error: Exception, status: int, endpoint: Endpoint | None) -> Exception:
    who = _who(endpoint)
    words = clause(clean(words_of(error), endpoint.api_key if endpoint else None))
    if _BLIND.search(words):
        return GemsConfigError(f"{who} cannot see pictures ({status}): {words}; choose a model that can for the critic")
    if status == 402 or (status == 429 and _NO_CREDIT.search(str(getattr(error, "body", "")))):
        return GemsConfigError(f"{who} has no credit left ({status}): {words}")
    if status in _IDLE:
        return ModelOutage(f"{who} is busy ({status}): {words}", again="free", wait=_asked_wait(error))
    if status >= 500:
        return ModelOutage(f"{who} failed ({status}): {words}", again="paid", wait=_asked_wait(error))
    if status < 400 or status in (401, 403, 404, 405):
        return GemsConfigError(_refused_call(status, words, endpoint))
    return GemsConfigError(f"{who} cannot take the call ({status}): {words}{_remedy(words, endpoint)}")


def _remedy(words: str, endpoint: Endpoint | None) -> str:
    if _TOO_LONG.search(words):
        return "; lower image_side in the profile, or choose a model with a longer context"
    if _LIMIT.search(words) and endpoint and endpoint.price and (endpoint.price.input or endpoint.price.output):
        return (
            "; without a limit of tokens, a model that has a price could cost more than max_cost: "
            f'if {endpoint.name} is free, set its input and output to 0 in [prices."{endpoint.name}"]'
        )
    return ""


def _refused_call(status: int, words: str, endpoint: Endpoint | None) -> str:
    if endpoint is None:
        return f"the chat model refused the call ({status}): check its key, base URL and model name"
    if status in (401, 403):
        state = "its value is refused" if endpoint.api_key else "it is not set"
        return (
            f"{_url(endpoint)} refused the key of {endpoint.name} ({status}): {words}; check {endpoint.key_name}: "
            f"{state}; `gems init` helps"
        )
    return (
        f"{_url(endpoint)} does not serve {endpoint.name} ({status}): {words}; check the model's name and the base URL, "
        "which mostly ends in /v1"
    )


def _who(endpoint: Endpoint | None) -> str:
    return f"the chat model {endpoint.name}" if endpoint else "the chat model"


def _url(endpoint: Endpoint) -> str:
    return endpoint.base_url or HOSTED


def _asked_wait(error: Exception) -> float | None:
    headers: Any = getattr(getattr(error, "response", None), "headers", None)
    if headers is None:
        return None
    milliseconds = retry_after(headers.get("retry-after-ms"))
    return retry_after(headers.get("retry-after")) if milliseconds is None else milliseconds / 1000


def _said(body: object) -> str:
    """The message in an error's body: servers write it under different names, or as a list of problems."""
    if isinstance(body, dict):
        for name in ("message", "error", "detail"):
            if body.get(name):
                return _said(body[name])
    return str(body)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
