"""Random weights, decided by a seed alone, that let prompt and noise through to the pixels."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import nn

_SMALL: Final = 0.1
_SHARPENED: Final = re.compile(r"(?:^|[._])[qv](?:[._]|$)")
_SHARPNESS: Final = 4.0


def fill(module: nn.Module, seed: int) -> None:
    """Overwrite all parameters of a module, none of which is left as its class initialised it.

    Matrices and kernels keep the variance of what comes in (1/sqrt(fan in), LeCun et al. 1998) and tables of embeddings
    have variance 1, so a tiny model neither fades to grey nor overflows. Queries and values are larger: attention that
    weighs hundreds of tokens alike would hardly tell one prompt from another. Each parameter has noise of its own, decided
    by its name, so that a layer more does not change the others. On the `meta` device there is nothing to fill.
    """
    import torch
    from torch import nn

    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.is_meta:
                continue
            generator = torch.Generator(parameter.device).manual_seed(zlib.crc32(name.encode()) ^ seed)
            parameter.normal_(generator=generator)
            if id(parameter) not in tables:
                _scale(name, parameter)
    module.eval()


def _scale(name: str, noise: nn.Parameter) -> None:
    gain = _SHARPNESS if _SHARPENED.search(name) else 1.0
    if name.endswith(("bias", "pad_token")):
        noise.mul_(_SMALL)
    elif noise.numel() == noise.shape[0]:
        # A single value for each channel is the scale of a norm, however many dimensions it is written in.
        noise.mul_(_SMALL).add_(1).mul_(gain)
    else:
        noise.mul_(gain / noise[0].numel() ** 0.5)
