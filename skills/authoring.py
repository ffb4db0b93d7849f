"""For whoever writes a skill: a check that is stricter than reading, and a first draft to fill in."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from gems.core.errors import GemsConfigError
from gems.skills.format import Problem, description_faults, name_faults
from gems.skills.reading import UnreadableFile, read_skill, skill_file

_DRAFT: Final = """\
---
{head}---

# {title}

Say in one sentence what a prompt gains by this skill.

## Rules

1. Write rules that a reader can follow word by word: what to name, in what order, in how many words.
2. Put the rule that fails most often first.
3. Say how a rule gives way when the request asks for something else: the request always wins.

## Example

Request: what a person might type.

Prompt: the prompt you would want for it, whole.

## Before you answer

- A question that finds the commonest mistake in a prompt.
"""


def validate_skill(folder: Path) -> list[Problem]:
    """Everything wrong with a skill; empty when it is a good one.

    Stricter than reading: fields that the specification does not know, and references that no link leads to, are
    problems here.

    Args:
        folder: the skill's folder, or its SKILL.md.
    """
    if folder.is_file() and folder.name.lower() == "skill.md":
        folder = folder.parent
    file = skill_file(folder)
    try:
        reading = read_skill(folder)
    except UnreadableFile as error:
        return [Problem(file, error.line or 1, error.message)]
    linked = {link.path for link in reading.links}
    unread = [
        Problem(reference, 1, f"never read: {file.name} does not link to it")
        for reference in sorted(folder.glob("references/**/*.md"))
        if reference.relative_to(folder).as_posix() not in linked
    ]
    return [*reading.problems, *reading.head.remarks, *unread]


def new_skill(folder: Path, name: str, description: str) -> Path:
    """Write the first draft of a skill, and answer the path of its SKILL.md.

    Args:
        folder: the folder of skills to put it in; made where it does not exist.
        name: the skill's name, and its folder's.
        description: what it does and when to use it.

    Raises:
        GemsConfigError: the name or description is not allowed, something of that name exists, or it cannot be written.
    """
    description = " ".join(description.split())
    faults = [*name_faults(name), *description_faults(description)]
    if faults:
        raise GemsConfigError(f"skill {name!r} cannot be made: {'; '.join(faults)}")
    head = yaml.safe_dump({"name": name, "description": description}, sort_keys=False, allow_unicode=True, width=100)
    file = folder / name / "SKILL.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.parent.mkdir()
        file.write_text(_DRAFT.format(head=head, title=name.replace("-", " ").capitalize()), encoding="utf-8")
    except FileExistsError as error:
        raise GemsConfigError(f"{str(file.parent)!r} exists; choose another name or remove it") from error
    except OSError as error:
        raise GemsConfigError(f"{str(file)!r} cannot be written: {error.strerror}") from error
    return file
