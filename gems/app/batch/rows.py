"""The file of a batch: one JSON object a line. All lines are checked before anything is spent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gems.app.threads import check_thread_id
from gems.core.context import MAX_PROMPT, GemsContext, Size, explain
from gems.core.errors import GemsConfigError
from gems.nodes.checking import read_prompt

MOST_ROWS: Final = 100_000
MOST_LINE: Final = 2**20
"""Bytes of one line: far more than the longest prompt takes."""
MOST_TOLD: Final = 5
"""Bad lines that are named; beyond that they are counted."""
_DIGITS: Final = 5
"""Of a row's number, so that a file that grows keeps the ids of its rows."""
_LONGEST_ID: Final = 64
_LONGEST_NAME: Final = 40
"""Characters of a name that is made of the file's; the rest of a thread's id is the row's."""
_OWN: Final = ("id", "prompt", "references")


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt of a batch. `options` are fields of `GemsContext`: the command's, and over them the row's own."""

    number: int
    """Its place among the rows, from 1."""
    line: int
    id: str
    thread_id: str
    prompt: str
    references: tuple[Path, ...]
    options: Mapping[str, Any]


class _Fields(GemsContext):
    """What may stand in a line. An empty prompt would mean something else to the graph: to go on."""

    # Strict, because `"seed": true` is a slip and no number.
    model_config = ConfigDict(strict=True)

    def __init__(self, **given: Any) -> None:
        """As pydantic's: whoever reads the line explains what is wrong with it."""
        BaseModel.__init__(self, **given)

    id: str | int | None = None
    prompt: str = Field(max_length=MAX_PROMPT)
    references: list[str] = Field(default_factory=list, max_length=16)

    @field_validator("prompt")
    @classmethod
    def _says_something(cls, prompt: str) -> str:
        try:
            text = read_prompt(prompt)
        except GemsConfigError as error:
            raise ValueError(str(error)) from error
        if not text:
            raise ValueError("it is empty: say what to draw")
        return text

    @field_validator("size")
    @classmethod
    def _is_a_size(cls, size: str | None) -> str | None:
        try:
            return size and "x".join(map(str, Size.parse(size)))
        except GemsConfigError as error:
            raise ValueError(str(error)) from error

    @field_validator("review")
    @classmethod
    def _asks_nobody(cls, review: str | None) -> str | None:
        if review not in (None, "none"):
            raise ValueError("a batch asks nobody: leave it out, and use `gems run` for what a person is to look at")
        return review


class _Line(NamedTuple):
    number: int
    content: bytes


def read_rows(path: Path, name: str, options: Mapping[str, Any], most: int = MOST_ROWS) -> list[Row]:
    """The rows of a file, in its order. Blank lines are skipped.

    Args:
        path: The file. Paths in it are relative to its folder.
        name: The batch, with which the ids of its threads begin.
        options: What every row is given, where it says nothing else.
        most: Rows that are taken.

    Raises:
        GemsConfigError: a line cannot be used, there is none, or there are too many; the first few bad ones are named.
    """
    rows: list[Row] = []
    problems: list[str] = []
    lines_by_id: dict[str, int] = {}
    for line in _lines(path):
        if len(rows) + len(problems) == most:
            raise GemsConfigError(f"{path} has more than {most:,} prompts: split it, and give each part a --name")
        try:
            row = _read(line, len(rows) + len(problems) + 1, path.parent, name, options)
            _check_id(row, lines_by_id)
        except GemsConfigError as error:
            problems.append(f"line {line.number}: {error}")
        else:
            rows.append(row)
    if problems:
        raise GemsConfigError(told(f"{path} cannot be used", problems))
    if not rows:
        raise GemsConfigError(f'{path} holds no prompt: write one JSON object a line, such as {{"prompt": "two dogs"}}')
    return rows


def name_of(path: Path) -> str:
    """A batch's name from its file's, such that it can begin a thread's id."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-")[:_LONGEST_NAME]
    try:
        return check_thread_id(name)
    except GemsConfigError:
        return "batch"


def told(what: str, problems: list[str]) -> str:
    """Several problems as one message, a line each."""
    more = len(problems) - MOST_TOLD
    shown = [*problems[:MOST_TOLD], *([f"and {more} more"] if more > 0 else [])]
    return "\n  ".join([f"{what}:", *shown])


def _lines(path: Path) -> Iterator[_Line]:
    """Lines that are not blank, by their numbers from 1."""
    try:
        with path.open("rb") as file:
            number = 0
            while content := file.readline(MOST_LINE + 1):
                number += 1
                if len(content) > MOST_LINE:
                    raise GemsConfigError(f"{path} line {number}: longer than {MOST_LINE:,} bytes: is it a text file?")
                if content.strip(b"\xef\xbb\xbf \t\r\n"):
                    yield _Line(number, content)
    except OSError as error:
        raise GemsConfigError(f"cannot read {path}: {error.strerror or error}") from error


def _read(line: _Line, number: int, folder: Path, name: str, options: Mapping[str, Any]) -> Row:
    fields = _parse(line.content)
    own = {field: fields[field] for field in GemsContext.model_fields if fields.get(field) is not None}
    row_id = f"{number:0{_DIGITS}d}" if fields.get("id") is None else str(fields["id"])
    references = tuple(folder / Path(reference).expanduser() for reference in fields.get("references", []))
    if missing := next((path for path in references if not path.is_file()), None):
        raise GemsConfigError(f"there is no reference image {str(missing)!r}: paths begin in the folder of the file")
    thread_id = _thread_id(name, row_id)
    return Row(number, line.number, row_id, thread_id, fields["prompt"], references, {**options, **own})


def _check_id(row: Row, lines_by_id: dict[str, int]) -> None:
    # Of ids that differ in case alone, Windows and macOS would make one file.
    first = lines_by_id.setdefault(row.id.lower(), row.line)
    if first != row.line:
        raise GemsConfigError(f"id {row.id!r} stands in line {first} already: ids must differ")


def _parse(content: bytes) -> dict[str, Any]:
    """The fields that a line gives, checked."""
    try:
        given = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise GemsConfigError(f"not UTF-8 text: {error.reason} at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise GemsConfigError(f'not JSON ({error}): write an object such as {{"prompt": "two dogs"}}') from error
    if not isinstance(given, dict):
        raise GemsConfigError(f'{type(given).__name__}, not an object: write it as {{"prompt": "two dogs"}}')
    known = (*_OWN, *GemsContext.model_fields)
    if strange := next((field for field in given if field not in known), None):
        raise GemsConfigError(f"unknown field {strange[:60]!r}; there are: {', '.join(known)}")
    if given.get("prompt") is None:
        raise GemsConfigError("prompt is missing: say what to draw")
    try:
        return _Fields(**given).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise explain(error, "input") from error


def _thread_id(name: str, row_id: str) -> str:
    """The row's thread. The row's id alone becomes a file's name too."""
    thread_id = f"{name}-{row_id}"
    try:
        check_thread_id(row_id)
        return check_thread_id(thread_id)
    except GemsConfigError:
        room = _LONGEST_ID - len(name) - 1
        shown = row_id if len(row_id) <= 60 else f"{row_id[:57]}..."
        raise GemsConfigError(
            f"id {shown!r}: use 1 to {room} letters, digits, - and _, the first not -, e.g. red-apples-2"
        ) from None
