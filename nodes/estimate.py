"""What a trajectory may come to, told before its first call."""

from __future__ import annotations

from typing import Final

from gems.core.events import Estimate
from gems.core.ports import Prices
from gems.core.state import Options

INPUT_TOKENS: Final = 3000
"""Tokens read in a typical call: `make bench` (section wire) counts about half of that in text, and an image."""
OUTPUT_TOKENS: Final = 1500
"""Tokens written in a typical call, a thinking model's thoughts included."""
QUESTIONS: Final = 10
"""Requirements of a typical request."""


def estimate(options: Options, prices: Prices | None) -> Estimate:
    """Images, calls and money if every round is needed; less when the picture is right before, never above the limits."""
    images = options["max_rounds"] * options["candidates"]
    looks = QUESTIONS if options["critic"] == "single" else 1
    # Three calls plan; a round looks at each picture, and each round after the first refines and compresses.
    calls = 3 + images * looks + 2 * (options["max_rounds"] - 1)
    calls += options["lessons"]
    images = min(images, options["max_images"] or images)
    calls = min(calls, options["max_calls"] or calls)
    cost = None
    if prices is not None:
        chat = INPUT_TOKENS * prices.input + OUTPUT_TOKENS * prices.output
        cost = images * prices.image + calls * chat / 1e6
        cost = min(cost, options["max_cost"] or cost)
    return Estimate(images=images, calls=calls, cost=cost, max_cost=options["max_cost"])
