"""What goes wrong when weights are loaded, in one clear message each. The files themselves were looked at before."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gems.backends.cleaning import clean
from gems.backends.local.hub_cache import is_hub_id, pull_command
from gems.backends.local.orders import LocalModel
from gems.core.errors import GemsConfigError

_MISFIT: Final = re.compile(
    r"size mismatch|shape mismatch|expected shape|missing key|unexpected key|mismatched|no keys? (?:were )?found|"
    r"newly initialized|meta tensor|cannot be loaded because the following keys are missing",
    re.IGNORECASE,
)
_NO_MEMORY: Final = re.compile(
    r"out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED", re.IGNORECASE
)
_PACKAGE: Final = re.compile(
    r"pip install [`'\"]?([\w-]+)|No module named '(\w+)'|requires (?:the )?`?([\w-]+)`? ?(?:library|package)"
)


@contextmanager
def explain_load(model: LocalModel) -> Iterator[None]:
    """Turn what libraries raise into a sentence. Running out of the device's memory passes as it is: that can be mended.

    Raises:
        GemsConfigError: says what is wrong, and what to do.
    """
    try:
        yield
    except GemsConfigError:
        raise
    except MemoryError as error:
        raise GemsConfigError(
            f"{model.source} does not fit into this machine's memory: close what else runs, or choose a smaller model"
        ) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise GemsConfigError(_explained(model, error)) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device ran out of its memory. Not all of torch's parts have the error of their own for it."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))
    )


def let_go(error: BaseException | None) -> None:
    """Have an error and its causes hold no frames: those keep tensors, which are the device's memory.

    Where it came from stays as a note.
    """
    while error is not None and error.__traceback__ is not None:
        error.add_note("".join(traceback.format_tb(error.__traceback__)))
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _explained(model: LocalModel, error: Exception) -> str:
    said = clean(str(error)) or type(error).__name__
    if isinstance(error, ImportError) and (found := _PACKAGE.search(str(error))):
        package = next(filter(None, found.groups()))
        return f"{model.source} needs the package {package}: pip install {package}"
    if _MISFIT.search(str(error)):
        what = "its LoRAs" if model.options.loras else "its parts"
        return (
            f"{model.source}: the weights do not fit the configuration of {what}; is a file another model's? ({said})"
        )
    remedy = pull_command(model.source) if is_hub_id(model.source) else "check the files"
    return f"{model.source} cannot be loaded: {type(error).__name__}: {said}; {remedy}"
