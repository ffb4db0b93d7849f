"""Checkpoints of earlier versions: brought up to the present one when they are read, or refused in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from gems.core.errors import GemsConfigError
from gems.core.state import SCHEMA, GemsState

_OPTIONS_OF_2: Final[Mapping[str, Any]] = {
    "max_tokens": None,
    "review": "none",
    "memory": "experience",
    "lessons": False,
}
_STATE_OF_2: Final[Mapping[str, Any]] = {
    "follow_up": "",
    "since": 0,
    "rulings": [],
    "remarks": [],
    "wish": "",
    "thoughts": [],
    "digest": {"until": 0, "text": ""},
    "lessons": [],
    "distilled": 0,
}


def up_to_date(state: GemsState) -> GemsState:
    """The state, or what one node of it was sent, as this version of GEMS writes it.

    Raises:
        GemsConfigError: it was written by a newer version.
    """
    version = state.get("schema", 1)
    if version > SCHEMA:
        raise GemsConfigError(
            f"this run was written by a newer GEMS (state version {version}; this one reads up to {SCHEMA}): upgrade GEMS"
        )
    if version == SCHEMA or "options" not in state:
        return state
    options = {**_OPTIONS_OF_2, **state["options"]}
    return cast("GemsState", {**_STATE_OF_2, **state, "options": options, "schema": SCHEMA})
