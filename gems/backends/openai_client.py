"""The client of OpenAI's package, kept from telling other servers what the environment holds for OpenAI.

Importing this loads openai.
"""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import openai


def make_client(base_url: str, key: str | None, http: httpx.AsyncClient, seconds: float) -> openai.AsyncOpenAI:
    """A client that makes each request once.

    OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS, which the package reads by itself, reach OpenAI alone.

    Args:
        base_url: The server.
        key: Its key; None where there is none.
        http: What carries the requests.
        seconds: Time limit of a request.
    """
    kind = openai.AsyncOpenAI if _is_openai(base_url) else _ForeignClient
    return kind(
        base_url=base_url,
        api_key=key or "none",
        timeout=seconds,
        max_retries=0,
        # Newer ones name a fork of httpx in the signature, and take either.
        http_client=cast("Any", http),
    )


class _ForeignClient(openai.AsyncOpenAI):
    @property
    def default_headers(self) -> dict[str, str | openai.Omit]:
        """All that is sent, rather than what is left of the parent's: that grows with the package."""
        plain = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": self.user_agent}
        return {**plain, **self.auth_headers}


def _is_openai(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "api.openai.com" or host.endswith(".api.openai.com")
