"""The JSON object that a server answers."""

from __future__ import annotations

from typing import Any

import httpx


def json_object(reply: httpx.Response) -> dict[str, Any]:
    """The object of a reply; empty where there is none."""
    try:
        value = reply.json() if reply.is_success else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
