"""The way to any image generator: in turn, within the trajectory's limits, in time, and again where that helps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gems.backends.serving import Gate, Places, Turns
from gems.core.ports import Capabilities, Drawing, DrawRequest, ImageGenerator, PricedByRequest, Progress
from gems.core.profiles import DrawingOptions
from gems.core.spending import Spend

MOST_WAITING: Final = 1000
"""Drawings that a model in this process is asked for at the same time."""


class GuardedImages:
    """An image generator behind a gate. Steps may be reported again when a drawing is repeated."""

    def __init__(
        self, inner: ImageGenerator, gate: Gate, image_price: float, look_price: float = 0.0, look_tokens: int = 1
    ) -> None:
        """Take who draws.

        Args:
            inner: Makes one attempt a call.
            gate: Its turns, time limit and repeats.
            image_price: What one drawing costs at most, in US dollars, unless `inner` knows it better for each.
            look_price: What one look at it costs at most: a picture that nobody could look at is not worth its price.
            look_tokens: The tokens that one look may take at most.
        """
        self._inner = inner
        self._gate = gate
        self._image_price = image_price
        self._look = Spend(calls=1, cost=look_price, tokens=look_tokens)

    @property
    def name(self) -> str:
        """The inner generator's."""
        return self._inner.name

    @property
    def identity(self) -> Mapping[str, Any]:
        """The inner generator's."""
        return self._inner.identity

    @property
    def capabilities(self) -> Capabilities:
        """The inner generator's."""
        return self._inner.capabilities

    def check(self, prompt: str, width: int, height: int) -> list[str]:
        """The inner generator's.

        Raises:
            GemsConfigError: the size or the prompt is outside what the model can do.
        """
        return self._inner.check(prompt, width, height)

    def worst_cost(self, request: DrawRequest) -> float:
        """What this drawing costs at most, in US dollars."""
        inner = self._inner
        return inner.worst_cost(request) if isinstance(inner, PricedByRequest) else self._image_price

    async def generate(self, request: DrawRequest, progress: Progress | None = None) -> Drawing:
        """Draw, once it is this drawing's turn.

        Raises:
            ModelOutage: no attempt was answered.
            DrawingRefused: the model will not draw this prompt.
            BudgetSpent: the trajectory's limits leave no room for the drawing.
            GemsConfigError: the key, the model or a setting was refused.
        """
        return await self._gate.call(
            lambda: self._inner.generate(request, progress),
            worst=Spend(images=1, cost=self.worst_cost(request)),
            paid=lambda drawing: Spend(images=1, cost=drawing.cost),
            beside=self._look,
        )


def image_turns(options: DrawingOptions, *, in_process: bool = False) -> Turns:
    """The places of an image model.

    Args:
        options: How it is called.
        in_process: Whether it runs in this process with a queue of its own, in which the drawings of all runs are to
            meet, so that they can be made together.
    """
    return Turns(MOST_WAITING if in_process else options.concurrency)


def image_gate(options: DrawingOptions, places: Places | None = None, *, in_process: bool = False) -> Gate:
    """The gate of an image model. What may have been drawn, and charged, is repeated once at most.

    Args:
        options: How it is called.
        places: Its places; default: `image_turns`.
        in_process: Whether it runs in this process with a queue of its own. It limits the time of a drawing itself
            then: only it knows when, after waiting in its queue and for weights to be loaded, that begins.
    """
    return Gate(
        "the image model" if in_process else "the image server",
        turns=places or image_turns(options, in_process=in_process),
        seconds=None if in_process else options.seconds,
        retries=options.retries,
        paid_retries=min(1, options.retries),
    )
