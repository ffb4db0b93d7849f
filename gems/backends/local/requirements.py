"""What the settings of a model ask for besides its weights: told before anything is spent."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from gems.backends.local.files import GGUF
from gems.backends.local.orders import LocalModel
from gems.backends.local.schedulers import find_scheduler
from gems.backends.local.weights import Weights
from gems.core.errors import GemsConfigError


def check_requirements(model: LocalModel, weights: Weights, find: Callable[[str], object] = find_spec) -> None:
    """See that the packages are there, and that the scheduler fits.

    Args:
        model: The model and its settings.
        weights: Its files.
        find: Tells of a module whether it is installed.

    Raises:
        GemsConfigError: something is missing, or does not fit.
    """
    options = model.options
    wanted = {"peft": "local.loras" if options.loras else ""}
    if weights.transformer_file is not None and weights.transformer_file.suffix.lower() == GGUF:
        wanted["gguf"] = weights.transformer_file.name
    for package, who in wanted.items():
        if who and find(package) is None:
            raise GemsConfigError(f"{who} needs the package {package}: pip install {package}")
    if options.scheduler or options.scheduler_options:
        find_scheduler(weights.scheduler, options)
