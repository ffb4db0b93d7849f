"""`gems init`: looks at this machine, asks two questions at most, and writes `gems.toml`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from gems.app.choice import Choice
from gems.app.init_choices import chat_choices, image_choices, missing
from gems.app.init_file import PROFILE, render, write
from gems.app.machine import KEYS, WEIGHTS_PACKAGES, FoundServer, Machine, look_around
from gems.app.terminal import make_console
from gems.core.errors import GemsConfigError

Ask = Callable[[int], int]
"""From the number of choices to the number chosen, counted from 1."""

_SHOWN: Final = 8
"""Models named of one server, or of the cache."""
_COMMAND: Final = 32
"""Columns of a command, before what it does."""


def initialize(*, yes: bool, force: bool) -> None:
    """`gems init` in the current folder.

    Raises:
        GemsConfigError: there is a `gems.toml` and `force` is not given, or a file cannot be read or written.
    """
    folder, console = Path.cwd(), make_console(stderr=False)
    refuse_to_overwrite(folder, force=force)
    # With a GPU torch is loaded, which takes seconds.
    with console.status("Looking at this machine ...") if console.is_terminal else nullcontext():
        machine = asyncio.run(look_around(folder))
    set_up(folder, machine, console, ask=None if yes or not sys.stdin.isatty() else ask_for_number, yes=yes)


def refuse_to_overwrite(folder: Path, *, force: bool) -> None:
    """Leave a file that is there as it is.

    Raises:
        GemsConfigError: there is one.
    """
    if (folder / "gems.toml").exists() and not force:
        raise GemsConfigError(
            f"{folder / 'gems.toml'} is there already, and nothing was changed: "
            "`gems init --force` writes a new one and keeps this as gems.toml.bak"
        )


def set_up(folder: Path, machine: Machine, console: Console, *, ask: Ask | None, yes: bool = True) -> None:
    """Choose by what was found, write the file, and say what comes next.

    Args:
        folder: Where `gems.toml` goes.
        machine: What was found.
        console: Where it is told.
        ask: Puts a question; None takes the first choice of each.
        yes: Whether the user asked for that.
    """
    _say(console, "This machine")
    for line in describe(machine):
        _say(console, f"  {line}")
    if ask is None and not yes:
        _say(console, "\nNo terminal to ask on, so the first choice is taken, as with --yes.")
    chat = _choose("Who answers: plans, asks, and looks at the pictures?", chat_choices(machine), console, ask)
    images = _choose("Who draws?", image_choices(machine, chat), console, ask)
    backup = write(folder, render(chat, images, date.today()))
    _say(console, f"\nWritten: {folder / 'gems.toml'}, with the profile {PROFILE!r}")
    _say(console, f"  answers  {_named(chat)}")
    _say(console, f"  draws    {_named(images)}")
    if backup is not None:
        _say(console, f"  The one that was there is kept as {backup.name}; what else it set is not in the new one.")
    for sentence in [*missing(machine), *_overridden(machine)]:
        _say(console, f"\n{sentence}")
    _say(console, "\nNext:")
    for choice in (chat, images):
        if choice.fetch:
            _say(console, f"  {choice.fetch:<{_COMMAND}} # downloads {choice.fetched}")
    _say(console, f"  {'gems doctor':<{_COMMAND}} # tries it: one picture and two questions" + _price(chat, images))
    _say(console, '  gems run "three red apples to the left of a blue vase"')


def describe(machine: Machine) -> list[str]:
    """What was found, a line each."""
    keys = [f"{name} is {'set' if name in machine.keys else 'not set'}" for name in KEYS]
    packages = [f"{name} {machine.packages[name]}" for name in WEIGHTS_PACKAGES if name in machine.packages]
    lines = [
        f"gpu       {machine.gpu or _usable(machine) or 'none found'}",
        f"packages  {', '.join(packages) or 'none that draws'}",
        *([f"weights   {_listed([it.in_words for it in machine.held])}"] if machine.held else []),
        *(f"server    {_served(server)}" for server in machine.servers),
    ]
    if machine.comfyui:
        lines.append(
            f"server    ComfyUI at {machine.comfyui}; workflows here: {', '.join(machine.workflows) or 'none'}"
        )
    elif not machine.servers:
        lines.append("server    none found at the usual ports")
    return [*lines, f"keys      {', '.join(keys)}"]


def ask_for_number(most: int) -> int:
    """Ask on the terminal; Enter takes the first."""
    number: int = click.prompt("Number", type=click.IntRange(1, most), default=1)
    return number


def _served(server: FoundServer) -> str:
    models = _listed([model.name for model in server.models])
    return f"probably {server.name} at {server.base_url}: {models or 'no models'}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _usable(machine: Machine) -> str:
    return ", ".join(device.described for device in machine.devices)


def _choose(question: str, choices: Sequence[Choice], console: Console, ask: Ask | None) -> Choice:
    if ask is None or len(choices) == 1:
        return choices[0]
    _say(console, f"\n{question}")
    for number, choice in enumerate(choices, start=1):
        _say(console, f"  {number}  {choice.label}")
    return choices[ask(len(choices)) - 1]


def _named(choice: Choice) -> str:
    where = f" at {choice.base_url}" if choice.base_url else ""
    return f"{choice.model}{where} ({choice.comment})"


def _price(*choices: Choice) -> str:
    return ", which cost money" if any(choice.is_paid for choice in choices) else ""


def _overridden(machine: Machine) -> list[str]:
    if not machine.overriding:
        return []
    return [f"Set in your environment or `.env`, and stronger than gems.toml: {', '.join(machine.overriding)}."]


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True)
