"""What the failure of an image server means: whose fault it is, and whether the same request may be made again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import httpx

from gems.backends.cleaning import clause, clean
from gems.backends.serving import retry_after
from gems.core.errors import DrawingRefused, GemsConfigError, GemsError, ModelOutage
from gems.core.profiles import Endpoint

_NO_CREDIT: Final = re.compile(r"insufficient_quota|billing|credit balance|payment required", re.IGNORECASE)
_REFUSED_CODES: Final = re.compile(
    r"moderation_blocked|content_policy|content_filter|content_moderation|safety_violation|responsible_?ai",
    re.IGNORECASE,
)
# A bare "moderation" or "safety" is also the name of a request's field.
_REFUSED_WORDS: Final = re.compile(
    r"safety system|safety_violations|content policy|content management policy|content filter|guardrail|\bnsfw\b"
    r"|(?:blocked|rejected|refused|flagged) by (?:\w+ ){0,3}moderation",
    re.IGNORECASE,
)
_TOO_LONG: Final = re.compile(
    r"too[ _]long|too many (?:tokens|characters|words)|(?:above_)?max(?:imum)?[ _]?(?:\w+ )?length|context_length_exceeded"
    r"|(?:at most|exceeds?|less than|limit of|maximum of) (?:\w+ ){0,4}(?:tokens|characters|words)\b",
    re.IGNORECASE,
)
# A word of its own: `negative_prompt` is a setting.
_PROMPT: Final = re.compile(r"\bprompt\b", re.IGNORECASE)
# What is wrong is then the form of the request, whatever the prompt says.
_FORM: Final = re.compile(
    r"negative[ _]prompt|not permitted|field required|required (?:field|parameter|property)"
    r"|(?:unknown|unrecogni[sz]ed|unsupported|unexpected|extra|additional|missing)(?: \w+)? "
    r"(?:inputs?|parameters?|fields?|arguments?|keys?|propert)",
    re.IGNORECASE,
)


class Reply(NamedTuple):
    """A failure as the server told it. `words` are its own, not yet cleaned."""

    status: int
    words: str = ""
    code: str = ""
    wait: float | None = None

    @property
    def refuses_prompt(self) -> bool:
        """Whether the prompt, or what was drawn from it, was not allowed."""
        if self.status >= 500:
            return False
        return bool(_REFUSED_CODES.search(self.code) or _REFUSED_WORDS.search(self.words) or self._blames_prompt)

    @property
    def _blames_prompt(self) -> bool:
        """Whether another prompt may pass, as far as the words tell: it is too long, or wrong in another way."""
        if self.status == 414:  # the prompt in the address
            return True
        if self.status not in (400, 413, 422) or _FORM.search(self.words):
            return False
        return bool(_PROMPT.search(self.words) or _TOO_LONG.search(f"{self.code} {self.words}"))


def read_reply(status: int, body: str, headers: Mapping[str, str]) -> Reply:
    """Read a failure in the forms of OpenAI and vLLM (`error`), SGLang and FastAPI (`detail`), or plain text."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = "" if body.lstrip().startswith("<") else body
    words, codes = _told(content)
    return Reply(status, words, codes, retry_after(headers.get("retry-after")))


def sort_reply(endpoint: Endpoint, reply: Reply) -> GemsError:
    """The error that a failure is to be raised as."""
    words = clause(clean(reply.words, endpoint.api_key))
    said = f": {words}" if words else ""
    where = f"{endpoint.name} at {place(endpoint.base_url or 'https://api.openai.com/v1')}"
    if reply.refuses_prompt:
        return DrawingRefused(
            f"the image server refused the prompt{said or f': {clean(reply.code, endpoint.api_key)}'}"
        )
    if reply.status == 402 or _NO_CREDIT.search(reply.code):
        return GemsConfigError(f"{where} has no credit left for the key in {endpoint.key_name}{said}")
    if reply.status in (401, 403):
        return GemsConfigError(f"{where} refused the key ({reply.status}): check {endpoint.key_name}{said}")
    if reply.status == 404:
        return GemsConfigError(f"{where} was not found (404): check the model's name and the base URL{said}")
    if reply.status in (408, 409, 429) or (reply.status == 503 and reply.wait is not None):
        return ModelOutage(f"{where} is busy ({reply.status}){said}", again="free", wait=reply.wait)
    if reply.status == 501:
        return ModelOutage(f"{where} cannot do this (501){said}", again="never")
    if reply.status >= 500:
        return ModelOutage(f"{where} failed ({reply.status}){said}", again="paid", wait=reply.wait)
    if reply.status < 400:
        return GemsConfigError(
            f"{where} sends callers elsewhere ({reply.status}): set the base URL to its final address"
        )
    return GemsConfigError(f"{where} refused the request ({reply.status}){said}")


def sort_break(endpoint: Endpoint, error: BaseException | None) -> GemsError:
    """The error that a broken connection is to be raised as."""
    where = f"{endpoint.name} at {place(endpoint.base_url or 'https://api.openai.com/v1')}"
    said = clean(f"{type(error).__name__} {error}", endpoint.api_key)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return ModelOutage(f"{where} cannot be reached: {said}", again="free")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL | httpx.LocalProtocolError):
        return GemsConfigError(f"{where} cannot be asked: check the base URL and the key in {endpoint.key_name}")
    return ModelOutage(f"{where} did not answer: {said}", again="paid")


def place(url: str) -> str:
    """A server's address without what may be a secret."""
    parts = httpx.URL(url)
    return f"{parts.scheme}://{parts.netloc.decode('ascii')}{parts.path.rstrip('/')}"


def _told(content: Any) -> tuple[str, str]:
    """The words and the codes of an error body."""
    if isinstance(content, str):
        return content, ""
    if isinstance(content, list):  # FastAPI: one entry for each field that is wrong
        return "; ".join(_told(entry)[0] for entry in content), ""
    if not isinstance(content, dict):
        return "", ""
    if isinstance(content.get("loc"), list):
        return f"{'.'.join(str(part) for part in content['loc'])}: {content.get('msg', '')}", ""
    for inner in ("error", "detail"):
        if content.get(inner):
            words, codes = _told(content[inner])
            return words or str(content.get("message") or ""), codes or _codes(content)
    return str(content.get("message") or ""), _codes(content)


def _codes(content: Mapping[str, Any]) -> str:
    return " ".join(str(content[name]) for name in ("code", "type") if content.get(name))
