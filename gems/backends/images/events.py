"""Answers of the Images API that come as server-sent events: steps on the way, and then the picture or an error."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from gems.backends.images.answers import Answer
from gems.backends.images.faults import Reply, read_reply
from gems.core.ports import Progress

EVENTS: Final = "text/event-stream"


async def read_events(lines: AsyncIterator[str], progress: Progress | None) -> Answer | Reply:
    """What the server answers in the end; a stream that breaks off is an answer without a picture.

    Args:
        lines: The lines of the body.
        progress: Told of the steps.
    """
    # Read to the end, so that the connection can be used again.
    final: Answer | Reply | None = None
    data: list[str] = []
    async for line in lines:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:"))
        elif not line:
            event = _parsed("\n".join(data))
            data.clear()
            final = final or _final(event)
            if progress is not None:
                _tell(progress, event)
    return final or Answer("application/json", b"{}")


def _parsed(content: str) -> Mapping[str, Any]:
    """The object that an event carries; an empty one where it carries none."""
    try:
        event = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _final(event: Mapping[str, Any]) -> Answer | Reply | None:
    """The answer that an event is; None where more is to come."""
    if str(event.get("type", "")).endswith(".completed"):
        return Answer("application/json", json.dumps({"data": [event]}).encode())
    error = event.get("error")
    if not isinstance(error, dict):
        return None
    status, wait = error.get("status"), error.get("retry_after")
    headers = {} if wait is None else {"retry-after": str(wait)}
    return read_reply(status if isinstance(status, int) else 500, json.dumps({"error": error}), headers)


def _tell(progress: Progress, event: Mapping[str, Any]) -> None:
    step, steps = event.get("step"), event.get("steps")
    if str(event.get("type", "")).endswith(".progress") and isinstance(step, int) and isinstance(steps, int):
        progress(step, steps)
