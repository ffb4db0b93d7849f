"""Which skills there are: the built-in ones, and those in the user's own folders.

Folders are looked at anew on every call, so an edited skill counts at once. All calls block; they are safe in threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from gems.core.errors import GemsConfigError
from gems.core.ports import SkillCard, SkillText
from gems.skills.format import Problem
from gems.skills.reading import UnreadableFile, read_head, read_skill, skill_file

BUILT_IN: Final = Path(__file__).parent
"""The folder of the skills that come with the package."""


class _Found(NamedTuple):
    card: SkillCard
    folder: Path


class _Listing(NamedTuple):
    found: dict[str, _Found]
    problems: list[Problem]


class FolderSkills:
    """A `SkillLibrary` over folders of skills.

    Of two skills of one name, the user's own wins over the built-in one, and an earlier folder over a later one; a
    warning names both. A broken skill hides nothing. Subfolders whose names begin with `.` or `_` are no skills.
    """

    def __init__(self, own: Sequence[Path] = (), built_in: Path = BUILT_IN) -> None:
        """Take the folders, each of which holds skills as subfolders.

        Args:
            own: the user's own folders, the most important first; `~` is the home folder.
            built_in: the folder of the skills that come with the package.

        Raises:
            GemsConfigError: one of them does not exist, cannot be listed, or is itself a skill.
        """
        folders = [*(folder.expanduser() for folder in own), built_in]
        for folder in folders:
            _check_folder(folder)
        self._folders = list({folder.resolve(): folder for folder in folders}.values())
        self._left_out: dict[str, tuple[Problem, ...]] = {}

    def cards(self) -> list[SkillCard]:
        """Names and descriptions only, by name. Broken skills are left out; `warnings` names them."""
        return sorted(found.card for found in self._listing().found.values())

    def warnings(self) -> list[str]:
        """One line for each fault, as `file:line: message`.

        Skills that were skipped, skills that hide others, and, of the skills read so far, what was left out of them.
        """
        problems = [*self._listing().problems, *(each for some in self._left_out.values() for each in some)]
        return [str(problem) for problem in problems]

    def read(self, name: str) -> SkillText:
        """The whole text: the instructions, then each reference they link to in a `<file path="...">` element.

        Raises:
            GemsConfigError: no skill of that name, or its SKILL.md cannot be read; the message says which and why.
        """
        listing = self._listing()
        found = listing.found.get(name)
        if found is None:
            raise GemsConfigError(_why_unknown(name, listing))
        try:
            reading = read_skill(found.folder)
        except UnreadableFile as error:
            problem = Problem(skill_file(found.folder), error.line or 1, error.message)
            raise GemsConfigError(f"skill {name!r} cannot be read: {problem}") from error
        self._left_out[name] = reading.problems
        return SkillText(name, reading.instructions, reading.digest, reading.files)

    def _listing(self) -> _Listing:
        listing = _Listing({}, [])
        for folder in self._folders:
            try:
                skills = sorted(_subfolders(folder))
            except OSError as error:
                listing.problems.append(Problem(folder, 1, f"the folder cannot be listed: {error.strerror}"))
                continue
            for skill in skills:
                _add(listing, skill)
        return listing


def _add(listing: _Listing, folder: Path) -> None:
    head = read_head(folder)
    listing.problems.extend(head.problems)
    if head.card is None:
        return
    winner = listing.found.setdefault(head.card.name, _Found(head.card, folder))
    if winner.folder != folder:
        listing.problems.append(
            Problem(skill_file(winner.folder), 1, f"skill {head.card.name!r} is used instead of the one in {folder}")
        )


def _subfolders(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith((".", "_")) and _may_be_folder(entry):
                yield folder / entry.name


def _may_be_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # Opening its SKILL.md will tell what is wrong with it.
        return True


def _check_folder(folder: Path) -> None:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - raises at once where the folder cannot be listed
    except FileNotFoundError as error:
        raise GemsConfigError(
            f"skills folder {str(folder)!r} does not exist; create it or take it out of your settings"
        ) from error
    except OSError as error:
        raise GemsConfigError(f"skills folder {str(folder)!r} cannot be listed: {error.strerror}") from error
    if "SKILL.md" in names:
        raise GemsConfigError(f"skills folder {str(folder)!r} is itself a skill; name {str(folder.parent)!r} instead")


def _why_unknown(name: str, listing: _Listing) -> str:
    broken = [str(problem) for problem in listing.problems if problem.file.parent.name == name]
    if broken:
        return f"skill {name!r} is broken: {'; '.join(broken)}"
    return f"no skill is named {name!r}; there are: {', '.join(sorted(listing.found)) or 'none'}"
