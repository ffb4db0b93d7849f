"""A request as it came and a reply as it goes, whatever the protocol above them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

JSON: Final = "application/json"
HTML: Final = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1><hr>nginx</body></html>"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Header names are in small letters."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The path, without the query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        """The query's values by name."""
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def key(self) -> str:
        """The bearer token, or an empty text."""
        return self.headers.get("authorization", "").removeprefix("Bearer ").strip()


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply, or less: `hang_up` closes the connection after so many bytes of it; None sends it whole."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up: int | None = None

    def cut(self, sent: int) -> Reply:
        """The same, with the connection closed after so many bytes of its body."""
        return replace(self, hang_up=sent)


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON reply."""
    return Reply(status, json.dumps(value, ensure_ascii=False).encode(), JSON, headers or {})


def html_page() -> Reply:
    """What a proxy says for a server behind it, with a status that promises better."""
    return Reply(200, HTML, "text/html; charset=utf-8")
