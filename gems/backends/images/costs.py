"""What a drawing that is billed by tokens may cost at most, from its request alone.

The output tokens of GPT image models follow from quality and size. gpt-image-1, -mini and -1.5, by OpenAI's image generation
guide (low, medium, high): 272, 1056, 4160 for 1024x1024; 408, 1584, 6240 for 1024x1536; 400, 1568, 6208 for 1536x1024.
gpt-image-2, by the calculator in that guide: 196, 1756, 7024 for 1024x1024 and 5488 for 1536x1024 in high.
"""

from __future__ import annotations

import math
from typing import Final

from gems.backends.images.presets import family_of
from gems.core.ports import DrawRequest
from gems.core.profiles import Endpoint

_SQUARE_TOKENS: Final = {"low": 272, "medium": 1056, "high": 4160}
"""gpt-image-1's for 1024x1024. By pixels from there, 1024x1536 comes out exactly, and 1536x1024 2% too high at most."""
_GRID: Final = {"low": 16, "medium": 48, "high": 96}
"""gpt-image-2's cells along the longer side."""
_TOKENS_WRITTEN: Final = 1000
"""Models from gpt-image-1.5 on may write words too, and nobody says how many: a guess on the high side."""
_TOKENS_OF_INPUT: Final = 8400
"""Tokens of one input image at most: 65, 129 for each of 16 tiles, and 6240 for high fidelity (OpenAI's vision guide)."""
_TOKENS_AROUND: Final = 100
"""Of the frame that a prompt is put into."""


def worst_cost(endpoint: Endpoint, request: DrawRequest, inputs: int) -> float:
    """What a drawing costs at most, in US dollars; never less than the price of an image.

    Where the price table names tokens, another model than OpenAI's is taken for the dearest of them.

    Args:
        endpoint: Model, price, and the quality that is asked for; without one the server may choose the highest.
        request: What is to be drawn.
        inputs: How many images are sent along.
    """
    price = endpoint.price
    if price is None:
        return 0.0
    # A byte is the least that a token stands for.
    read = len(request.prompt.encode("utf-8", "surrogatepass")) + _TOKENS_AROUND + inputs * _TOKENS_OF_INPUT
    written = _most_written(endpoint, request.width, request.height)
    return max(price.image, (price.input * read + price.output * written) / 1_000_000)


def _most_written(endpoint: Endpoint, width: int, height: int) -> int:
    drawing, family = endpoint.drawing, family_of(endpoint.model)
    asked = str(drawing.extra_body.get("quality", drawing.quality))
    quality = asked if asked in _GRID else "high"
    older = math.ceil(_SQUARE_TOKENS[quality] * max(1.0, width * height / 1024**2))
    if family is not None and family.name == "gpt-image-1":
        return older + (_TOKENS_WRITTEN if "1.5" in endpoint.model else 0)
    newer = _by_grid(_GRID[quality], width, height)
    if family is not None and family.name == "gpt-image-2":
        return newer + _TOKENS_WRITTEN
    return max(older, newer) + _TOKENS_WRITTEN


def _by_grid(long_cells: int, width: int, height: int) -> int:
    """gpt-image-2's tokens: cells of a grid of the picture's shape, each of half a token and one for every 4 megapixels."""
    short_cells = math.ceil(long_cells * min(width, height) / max(width, height))
    return math.ceil(long_cells * short_cells * (0.5 + width * height / 4_000_000))
