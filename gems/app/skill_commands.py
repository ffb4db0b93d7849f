"""What `gems skills` does."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.text import Text

from gems.app.terminal import make_console, printable
from gems.core.errors import GemsConfigError
from gems.core.settings import load_settings
from gems.skills import FolderSkills, new_skill, validate_skill


def list_skills() -> None:
    """Names and descriptions; what is wrong with others goes to stderr."""
    library = FolderSkills(load_settings().skills)
    console = make_console(stderr=False)
    cards = library.cards()
    width = max((len(card.name) for card in cards), default=0)
    for card in cards:
        console.print(Text.assemble((f"{card.name:<{width}}  ", "bold"), printable(card.description)), soft_wrap=True)
    for warning in library.warnings():
        make_console(stderr=True).print(Text(printable(warning), "yellow"), soft_wrap=True)


def show_skill(name: str) -> None:
    """The text a model gets, and on stderr which files it came from."""
    skill = FolderSkills(load_settings().skills).read(name)
    click.echo(skill.instructions)
    make_console(stderr=True).print(Text(f"from {', '.join(skill.files)}", "dim"), soft_wrap=True)


def validate(path: Path) -> int:
    """One line for each problem. The exit code is 2 when there is any.

    Raises:
        GemsConfigError: there is no skill at all.
    """
    folders = [path] if path.is_file() or (path / "SKILL.md").exists() else _subfolders(path)
    problems = [problem for folder in folders for problem in validate_skill(folder)]
    for problem in problems:
        click.echo(str(problem))
    if not problems:
        click.echo(f"{len(folders)} skill{'' if len(folders) == 1 else 's'}, nothing wrong")
    return 2 if problems else 0


def new(folder: Path, name: str, description: str) -> None:
    """The draft's path on stdout, and on stderr what is left to do."""
    path = new_skill(folder, name, description)
    click.echo(str(path))
    console = make_console(stderr=True)
    console.print(f"Fill it in, check it with `gems skills validate {path.parent}`,", soft_wrap=True)
    if folder.absolute() not in [own.absolute() for own in load_settings().skills]:
        setting = f'GEMS_SKILLS="{folder.absolute()}"'
        console.print(
            f"and let GEMS find it: {setting} (several: joined by {os.pathsep!r}), or `skills` in gems.toml",
            soft_wrap=True,
        )


def _subfolders(path: Path) -> list[Path]:
    found = sorted(part for part in path.iterdir() if part.is_dir() and not part.name.startswith((".", "_")))
    if not found:
        raise GemsConfigError(f"{path} holds no skill: expected SKILL.md in it, or in folders below it")
    return found
