"""Schedulers in place of a model's own."""

from __future__ import annotations

import inspect
from typing import Any

from gems.core.errors import GemsConfigError
from gems.core.profiles import LocalOptions


def find_scheduler(own: str, options: LocalOptions) -> Any:
    """The class to take, by the settings. This loads diffusers.

    Args:
        own: The class of the model's own scheduler.
        options: Name another, or settings of it.

    Raises:
        GemsConfigError: it does not fit the model, or has no such setting.
    """
    import diffusers

    its_class = getattr(diffusers, own)
    fitting = sorted({own, *its_class._compatibles})
    name = options.scheduler or own
    if name not in fitting:
        raise GemsConfigError(
            f"local.scheduler {name!r} does not fit a model with {own}; those that do: {', '.join(fitting)}"
        )
    chosen = getattr(diffusers, name)
    known = [it for it in inspect.signature(chosen.__init__).parameters if it not in ("self", "args", "kwargs")]
    if unknown := sorted(set(options.scheduler_options) - set(known)):
        raise GemsConfigError(
            f"local.scheduler_options has {unknown[0]!r}, which {name} does not know; it knows {', '.join(known)}"
        )
    return chosen
