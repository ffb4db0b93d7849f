"""Opens a skill's files: SKILL.md, and the references it links to. No path may leave the skill's folder.

The folder itself may be a symbolic link: whoever put it there chose its target. What lies inside may not lead out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from gems.skills.format import Head, Link, Problem, linked_files, parse_head

MAX_BYTES: Final = 40_000
"""UTF-8 bytes that a skill may have in all, SKILL.md and references together: about 10,000 tokens of English.

Bytes, because a file's size is known without opening it: a skill that is too long is skipped at listing."""

_NAMES: Final = ("SKILL.md", "skill.md")
_REFERENCES: Final = "references/"


class Reading(NamedTuple):
    """A skill read whole.

    `files` are the files that were opened, relative to the skill's folder, SKILL.md first; `digest` is the first 12 hex
    digits of the SHA-256 over their names and texts; `links` are all links to markdown files, read or not; `problems`
    says what was left out and why.
    """

    head: Head
    instructions: str
    files: tuple[str, ...]
    digest: str
    links: tuple[Link, ...]
    problems: tuple[Problem, ...]


class UnreadableFile(Exception):
    """A file of a skill cannot be read. `line` is 0 where the fault is not in the text."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class _OpenedFile(NamedTuple):
    path: str
    text: str


def skill_file(folder: Path) -> Path:
    """Where the folder's SKILL.md is, or would have to be."""
    return next((folder / name for name in _NAMES if _exists(folder / name)), folder / _NAMES[0])


def read_head(folder: Path) -> Head:
    """Read a skill's name and description. The text below them is neither read nor judged."""
    file = skill_file(folder)
    try:
        with _open_inside(folder, file.name, MAX_BYTES) as stream:
            return parse_head(enumerate(_lines(stream), 1), file, folder_name(folder))
    except UnreadableFile as error:
        return Head(None, (Problem(file, error.line or 1, error.message),))


def read_skill(folder: Path) -> Reading:
    """Read a skill's text and the references it links to.

    A reference that cannot be read, or no longer fits into `MAX_BYTES`, is left out whole and named in `problems`.

    Raises:
        UnreadableFile: SKILL.md itself cannot be read.
    """
    file = skill_file(folder)
    lines = _read_lines(folder, file.name, MAX_BYTES)
    rest = enumerate(lines, 1)
    head = parse_head(rest, file, folder_name(folder))
    body = list(rest)
    text = "\n".join(lines)
    links = linked_files(body)
    references, problems = _read_references(folder, file, links, MAX_BYTES - len(text.encode()))
    instructions = "\n".join(line for _, line in body).strip()
    if head.card and not instructions:
        problems.append(Problem(file, max(len(lines), 1), "no instructions follow the head"))
    parts = [instructions, *(f'<file path="{part.path}">\n{part.text.strip()}\n</file>' for part in references)]
    opened = [_OpenedFile(file.name, text), *references]
    return Reading(
        head=head,
        instructions="\n\n".join(parts),
        files=tuple(part.path for part in opened),
        digest=_digest(opened),
        links=tuple(links),
        problems=(*head.problems, *problems),
    )


def folder_name(folder: Path) -> str:
    """The folder's own name, also for `.`; a symbolic link is called by its own name, not its target's."""
    return folder.absolute().name if folder.name not in ("", "..") else folder.resolve().name


def _read_references(
    folder: Path, file: Path, links: Iterable[Link], room: int
) -> tuple[list[_OpenedFile], list[Problem]]:
    references: list[_OpenedFile] = []
    problems: list[Problem] = []
    for link in links:
        if not link.path.startswith(_REFERENCES):
            problems.append(Problem(file, link.line, f"{link.path} is not read: only {_REFERENCES}*.md are"))
            continue
        try:
            text = "\n".join(_read_lines(folder, link.path, room))
        except UnreadableFile as error:
            inside = error.line > 0
            problems.append(
                Problem(folder / link.path, error.line, error.message)
                if inside
                else Problem(file, link.line, f"{link.path}: {error.message}")
            )
            continue
        room -= len(text.encode())
        references.append(_OpenedFile(link.path, text))
    return references, problems


def _read_lines(folder: Path, relative: str, room: int) -> list[str]:
    with _open_inside(folder, relative, room) as stream:
        return list(_lines(stream))


@contextmanager
def _open_inside(folder: Path, relative: str, room: int) -> Iterator[BinaryIO]:
    target = _target(folder, relative)
    try:
        size = target.stat().st_size
        stream = target.open("rb")
    except OSError as error:
        raise UnreadableFile(0, f"cannot be opened: {error.strerror}") from error
    with stream:
        if size > room:
            left = f"{room} of the {MAX_BYTES} bytes that a skill may have are left"
            raise UnreadableFile(0, f"too long: it has {size} bytes, and {left}")
        yield stream


def _target(folder: Path, relative: str) -> Path:
    """The regular file that a path means, inside the folder once all links are followed."""
    try:
        target = (folder / relative).resolve(strict=True)
        inside = target.is_relative_to(folder.resolve(strict=True))
        # Opening a pipe would wait for a writer for ever.
        regular = target.is_file()
    except FileNotFoundError as error:
        raise UnreadableFile(0, "the file is missing") from error
    except OSError as error:
        raise UnreadableFile(0, f"cannot be opened: {error.strerror}") from error
    except (RuntimeError, ValueError) as error:
        # Path.resolve on a loop of links (before Python 3.13), and on a NUL byte in the path.
        raise UnreadableFile(0, f"cannot be opened: {error}") from error
    if not inside:
        raise UnreadableFile(0, "leads out of the skill's folder")
    if not regular:
        raise UnreadableFile(0, "not a regular file")
    return target


def _lines(stream: BinaryIO) -> Iterator[str]:
    """The lines, decoded one at a time, so that a fault has a line number and the listing stops at the head."""
    number = 0
    try:
        for number, raw in enumerate(stream, 1):
            if b"\0" in raw:
                raise UnreadableFile(number, "a NUL byte: this is no text file")
            # Editors on Windows put a byte order mark before the first line.
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UnreadableFile(number, "not UTF-8 text") from error
    except OSError as error:
        raise UnreadableFile(number + 1, f"cannot be read: {error.strerror}") from error


def _digest(files: Iterable[_OpenedFile]) -> str:
    """Line ends do not count: a checkout on Windows has the same digest."""
    digest = sha256()
    for file in files:
        digest.update(f"{file.path}\0{file.text}\0".encode())
    return digest.hexdigest()[:12]


def _exists(path: Path) -> bool:
    """Also a link that leads nowhere: what is wrong with it is told when it is opened."""
    try:
        path.lstat()
    except OSError:
        return False
    return True
