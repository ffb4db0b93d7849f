"""What a row's thread holds already, and whether the row still asks for the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from langgraph.types import StateSnapshot

from gems.app.batch.rows import Row
from gems.app.runner import OPTIONS, is_pending
from gems.app.terminal import one_line
from gems.core.state import GemsState

MARK: Final = "gems_batch"
"""The metadata field that says that a batch made the checkpoint: its options are those of a row."""
Standing = Literal["new", "begun", "ended"]

_FIXED: Final = ("profile", "mode", "seed", "skills")
"""Options that no later call can change."""
_OF_A_CALL: Final = "accept_changes"
"""An option that speaks of the call, not of the picture."""


def standing_of(snapshot: StateSnapshot) -> Standing:
    """Whether a thread is still to be started, was begun and not ended, or has nothing left to do."""
    if is_pending(snapshot):
        return "begun"
    return "ended" if "request" in snapshot.values else "new"


def changes(row: Row, references: Sequence[str], snapshot: StateSnapshot) -> list[str]:
    """How the row differs from what its thread was begun with: `seed was 7, is 8`.

    A person may have gone on with the thread since, by a follow-up or a raised limit. Then what still holds of the first
    call is compared: the first prompt, and the options that cannot change.

    Args:
        row: The row as it stands in the file.
        references: The artifacts of its reference images.
        snapshot: The thread, which has a request.
    """
    state: GemsState = snapshot.values  # type: ignore[assignment]
    request = state["request"]
    metadata: Mapping[str, Any] = snapshot.metadata or {}
    said = request.get("said") or [request["prompt"]]
    found = [] if said[0] == row.prompt else [_change("prompt", said[0], row.prompt)]
    if len(said) == 1 and request.get("references", []) != list(references):
        found.append("the reference images are others")
    if MARK in metadata:
        before = json.loads(str(metadata.get(OPTIONS, "{}")))
        names = dict.fromkeys([*before, *row.options])
    else:
        before = _fixed(state)
        names = dict.fromkeys(name for name in before if name in row.options)
    return found + _differences(before, row.options, [name for name in names if name != _OF_A_CALL])


def _fixed(state: GemsState) -> dict[str, Any]:
    options = state["options"]
    return {"size": f"{options['width']}x{options['height']}", **{name: options[name] for name in _FIXED}}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [_change(name, before.get(name), now.get(name)) for name in names if before.get(name) != now.get(name)]


def _change(name: str, before: object, now: object) -> str:
    old, new = ("left out" if value is None else one_line(repr(value), 60) for value in (before, now))
    return f"{name} was {old}, is {new}"
