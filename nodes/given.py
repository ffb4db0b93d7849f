"""What this very invocation was given: the options in its context, which no checkpoint keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

from langgraph.runtime import get_runtime

from gems.core.context import GemsContext
from gems.core.state import Options

CHANGEABLE: Final = (
    "max_rounds",
    "patience",
    "candidates",
    "max_calls",
    "max_tokens",
    "max_images",
    "max_cost",
    "max_seconds",
    "memory",
    "lessons",
)
"""Options that may change while a trajectory goes on."""


def read_context() -> GemsContext:
    """The options of the run. Inside a parent graph, those fields of the parent's context that have our names.

    Raises:
        GemsConfigError: a value is not allowed.
    """
    context: object = get_runtime().context
    if isinstance(context, GemsContext):
        return context
    if isinstance(context, Mapping):
        given = {name: context[name] for name in GemsContext.model_fields if name in context}
    else:
        given = {name: getattr(context, name) for name in GemsContext.model_fields if hasattr(context, name)}
    return GemsContext(**given)


def options_in_force(options: Options) -> Options:
    """A trajectory's options, and over them the limits of this invocation.

    What was given holds at once, also where a run that was interrupted goes on in the middle.
    """
    given = read_context().model_dump(include=set(CHANGEABLE), exclude_none=True)
    if options["mode"] == "paper":
        for name in ("candidates", "lessons"):  # the paper has neither
            given.pop(name, None)
    return cast("Options", {**options, **given})
