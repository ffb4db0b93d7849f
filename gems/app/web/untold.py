"""Takes out of words what is nobody's business but this machine's: paths of files, and addresses of servers.

Only what the program itself wrote is read so: in a person's prompt, or a model's evidence, a path is just a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final, cast

from gems.backends.cleaning import clean
from gems.core.state import Attempt, GemsState

_URL: Final = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>)\]]*[^\s'\"<>)\].,:;]", re.IGNORECASE)
_HOST: Final = re.compile(r"\b(?:localhost|\d{1,3}(?:\.\d{1,3}){3})(?::\d{1,5})?\b")
_PATH: Final = re.compile(r"(?<![\w.])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\:'\"<>|,;]+){2,}[/\\]?")
_MODELS: Final = ("mllm", "images")


def untold(words: str) -> str:
    """The words without paths and addresses. Of a path its last part stays: it says which file is meant."""
    words = _URL.sub("(address)", words)
    words = _PATH.sub(lambda found: re.split(r"[/\\]", found[0].rstrip("/\\"))[-1], words)
    return clean(_HOST.sub("(address)", words))


def model_name(name: str) -> str:
    """`provider:model`; of a model that is a file of this machine, the file's name alone."""
    provider, colon, model = name.partition(":")
    is_file = model.startswith(("/", "~", ".", "\\")) or re.match(r"[A-Za-z]:[/\\]", model) is not None
    is_file = is_file or "\\" in model or model.count("/") > 1
    return f"{provider}{colon}{PurePath(model.replace(chr(92), '/')).name}" if is_file else name


def model_names(names: Mapping[str, str]) -> dict[str, str]:
    """Names of models by what they do; digests that stand beside them stay."""
    return {part: model_name(name) if part in _MODELS else name for part, name in names.items()}


def shown_state(state: GemsState) -> GemsState:
    """The state as others may see it: JSON values alone, so without the chat, and without paths and addresses."""
    shown: dict[str, Any] = {name: value for name, value in state.items() if name != "messages"}
    shown["warnings"] = [untold(words) for words in state.get("warnings", [])]
    shown["attempts"] = [shown_attempt(attempt) for attempt in state.get("attempts", [])]
    if "options" in state:
        shown["options"] = {**state["options"], "models": model_names(state["options"]["models"])}
    if "result" in state:  # the address may be signed for somebody: the id says as much
        shown["result"] = {name: value for name, value in state["result"].items() if name != "image_url"}
    if "made_with" in state:
        shown["made_with"] = model_names(state["made_with"])
    return cast("GemsState", shown)


def shown_attempt(attempt: Attempt) -> Attempt:
    """An attempt whose error, if it has one, may be seen by others."""
    return {**attempt, "error": untold(attempt["error"])} if "error" in attempt else attempt
