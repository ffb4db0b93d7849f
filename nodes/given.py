"""What this very invocation was given: the options in its context, which no checkpoint keeps."""

from __future__ import annotations

from collections.abc import Mapping

from langgraph.runtime import get_runtime
from pydantic import ValidationError

from gems.core.context import GemsContext, explain
from gems.core.spending import Limits
from gems.core.state import Options


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
    try:
        return GemsContext.model_validate(given)
    except ValidationError as error:
        raise explain(error, "option") from error


def limits_of(options: Options) -> Limits:
    """A trajectory's limits, and those of this invocation over them.

    What was given holds at once, also where a run that was interrupted goes on in the middle.
    """
    given = read_context()
    return Limits(
        options["max_calls"] if given.max_calls is None else given.max_calls,
        options["max_images"] if given.max_images is None else given.max_images,
        options["max_cost"] if given.max_cost is None else given.max_cost,
        options["max_seconds"] if given.max_seconds is None else given.max_seconds,
    )
