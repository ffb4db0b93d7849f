"""`gems.toml` as `gems init` writes it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date
from itertools import count
from pathlib import Path
from typing import Final

from gems.app.choice import Choice
from gems.core.errors import GemsConfigError
from gems.core.profiles import PAID_CAPS

PROFILE: Final = "mine"
"""The profile that is written."""
MOST_MONEY: Final = 1.0
"""Dollars that a run of a paid profile may cost."""


def render(chat: Choice, images: Choice, written: date) -> str:
    """The whole file."""
    return "\n".join([*_head(written), *_profile(chat, images), *_drawing(images), *_prices(chat, images)]) + "\n"


def write(folder: Path, text: str) -> Path | None:
    """Write `gems.toml`, whole or not at all, and answer where the one that was there is kept now.

    Raises:
        GemsConfigError: the folder cannot be written.
    """
    path = folder / "gems.toml"
    draft = folder / f".gems.toml.{os.getpid()}"
    try:
        draft.write_text(text, encoding="utf-8")
        backup = _free_name(folder) if path.exists() else None
        if backup is not None:
            path.rename(backup)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise GemsConfigError(f"cannot write {path}: {error.strerror or error}") from error
    return backup


def _free_name(folder: Path) -> Path:
    names = (folder / f"gems.toml.bak{number or ''}" for number in count())
    return next(path for path in names if not path.exists())


def _head(written: date) -> Iterator[str]:
    yield f"# Settings of GEMS for this folder, written by `gems init` on {written.isoformat()}. Change them as you like;"
    yield "# `gems doctor` checks them. Keys do not belong here: put them into the environment, or into `.env` beside it."
    yield ""
    yield f'profile = "{PROFILE}"  # the one used without --profile; built in are also sketch, openai and z-image-turbo'
    yield ""


def _profile(chat: Choice, images: Choice) -> Iterator[str]:
    yield f"[profiles.{PROFILE}]"
    yield "# Who answers: plans, asks, and looks at the pictures."
    yield from _model("mllm", chat)
    yield "# Who draws."
    yield from _model("images", images)
    if images.size is not None:
        yield f"size = {_quoted(images.size)}  # what the model was made for"
    if images.is_weights and chat.is_served_here:
        yield "overlap = false  # who answers and who draws take turns, as they share this machine's memory"
    if chat.is_paid or images.is_paid:
        yield "# The most that one run may take; each can be set for a run alone, e.g. gems run --max-cost 0.2."
        yield f"max_cost = {MOST_MONEY}  # US dollars, by the prices below or, for OpenAI's own models, built in"
        for limit, most in PAID_CAPS.items():
            yield f"{limit} = {most}"
    yield "# More can be set here, with these defaults:"
    yield "# max_rounds = 5"
    yield "# candidates = 1      # pictures a round"
    if images.size is None:
        yield '# size = "1024x1024"'
    if not chat.is_embedded:
        yield f"# A role may have a model of its own, e.g. [profiles.{PROFILE}.roles] with"
        yield '# critic = "provider:model"'


def _model(part: str, choice: Choice) -> Iterator[str]:
    yield f"{part} = {_quoted(choice.model)}  # {choice.comment}"
    if choice.base_url is not None:
        yield f"{part}_base_url = {_quoted(choice.base_url)}"
    if choice.key:
        yield f"{part}_api_key_env = {_quoted(choice.key)}  # the variable that holds the key"


def _drawing(images: Choice) -> Iterator[str]:
    if images.quality is not None:
        yield ""
        yield f"[profiles.{PROFILE}.drawing]"
        yield f"quality = {_quoted(images.quality)}  # low, medium or high: it decides most of the price"


def _prices(*choices: Choice) -> Iterator[str]:
    for choice in choices:
        if choice.price is not None:
            yield ""
            yield f"[prices.{_quoted(choice.model)}]  # US dollars a million tokens: a list price, check yours"
            yield f"input = {choice.price.input}"
            yield f"output = {choice.price.output}"


def _quoted(text: str) -> str:
    """A basic string of TOML; for printable text it is that of JSON."""
    return json.dumps(text, ensure_ascii=False)
