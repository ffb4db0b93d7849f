"""What is checked before anything is spent: the request, its pictures, and the limits."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

from gems.core.context import MAX_PROMPT
from gems.core.errors import GemsConfigError
from gems.core.ports import DrawRequest, ImageGenerator, Models, PricedByRequest, Services
from gems.core.state import Options

PLANNING: Final = 3
"""Calls of a first round where the skills are given: a prompt, the requirements, a look."""


def read_prompt(prompt: object) -> str:
    """The prompt without blanks at its ends.

    Raises:
        GemsConfigError: it is no text, or too long.
    """
    if not isinstance(prompt, str):
        raise GemsConfigError(f"the prompt is {type(prompt).__name__}, not text")
    if len(prompt) > MAX_PROMPT:
        raise GemsConfigError(f"the prompt has {len(prompt)} characters; the limit is {MAX_PROMPT}: shorten it")
    # Cc: control characters; Cs: halves of surrogate pairs, which is what decoded binary leaves behind.
    strange = next(
        (char for char in prompt if unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\r\t"), None
    )
    if strange is not None:
        raise GemsConfigError(f"the prompt holds {strange!r}, which is no text: is it a binary file?")
    return prompt.strip()


def read_restart(restart: object) -> bool:
    """Whether to begin anew. A word is not taken for yes: what it would cost is a trajectory.

    Raises:
        GemsConfigError: it is neither true nor false.
    """
    if not isinstance(restart, bool | None):
        raise GemsConfigError(f"restart is true or false, not {restart!r}")
    return bool(restart)


async def read_references(services: Services, references: object) -> list[str]:
    """The ids of reference images that are stored.

    Raises:
        GemsConfigError: one is no id of a stored image.
    """
    if not isinstance(references, list):
        raise GemsConfigError(f"references are a list of artifact ids, not {type(references).__name__}")
    for artifact in references:
        if not isinstance(artifact, str):
            raise GemsConfigError(f"a reference is an artifact id, not {type(artifact).__name__}")
        if not await services.artifacts.has(artifact):
            raise GemsConfigError(
                f"there is no image {artifact!r} to refer to: store it first, and give its artifact id"
            )
    return list(references)


def check_limits(options: Options, models: Models) -> None:
    """Refuse limits with which no picture could be drawn and looked at.

    Raises:
        GemsConfigError: a limit is too small, or money has a limit and no price.
    """
    least = PLANNING + 1 if options["skills"] is None else PLANNING
    if options["max_calls"] is not None and options["max_calls"] < least:
        raise GemsConfigError(
            f"max_calls {options['max_calls']} is too small: planning, and one look at one picture, take {least} calls"
        )
    if options["max_tokens"] is not None and options["max_tokens"] < models.call_tokens:
        raise GemsConfigError(
            f"max_tokens {options['max_tokens']} is too small: one look at a picture may take {models.call_tokens}; raise "
            "it, or lower chat.max_tokens in the profile"
        )
    if options["max_cost"] is not None and models.prices is not None:
        drawing = DrawRequest("", options["seed"], options["width"], options["height"])
        images = models.images
        picture = images.worst_cost(drawing) if isinstance(images, PricedByRequest) else models.prices.image
        most = picture + models.prices.call
        if options["max_cost"] < most:
            raise GemsConfigError(
                f"max_cost {options['max_cost']:g} is too small: one picture, and one look at it, may take ${most:.4f}; "
                "raise it, or lower chat.max_tokens in the profile"
            )
    if options["max_cost"] is not None and models.prices is None:
        raise GemsConfigError(
            f"max_cost {options['max_cost']:g} needs the prices of all models of the profile {options['profile']!r}: "
            'set them in gems.toml as [prices."provider:model"] with input, output and image'
        )


def check_references(images: ImageGenerator, references: Sequence[str]) -> None:
    """Refuse more reference images than the model takes.

    Raises:
        GemsConfigError: it takes fewer.
    """
    most = images.capabilities.references
    if len(references) > most:
        raise GemsConfigError(
            f"{images.name} takes {most or 'no'} reference images, not {len(references)}: choose another profile, or set "
            "drawing.edit = true in this one if its model can edit"
        )
