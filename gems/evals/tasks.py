"""What every benchmark of layouts has in common: a prompt, its place in the report, and what makes a layout true."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from gems.backends.sketch.scene import Scene
from gems.core.errors import GemsConfigError

RowT = TypeVar("RowT", bound=BaseModel)


class LayoutTask(Protocol):
    """One prompt of a benchmark that is scored on the layout of its picture."""

    @property
    def prompt(self) -> str:
        """What is to be drawn."""
        ...

    @property
    def benchmark(self) -> str:
        """The benchmark's name."""
        ...

    @property
    def stratum(self) -> str:
        """The line of the report it counts in: a tag, or a number of atoms."""
        ...

    @property
    def things(self) -> int:
        """How many things it asks for in all."""
        ...

    def holds(self, scene: Scene) -> bool:
        """Whether a layout is right by the benchmark's own rule."""
        ...

    def holds_exactly(self, scene: Scene) -> bool:
        """Whether a layout is right, and has no more of each thing than was asked for."""
        ...


def read_rows(path: Path, model: type[RowT]) -> list[RowT]:
    """The rows of a JSON lines file.

    Raises:
        GemsConfigError: the file cannot be read, holds no row, or a line does not fit; the message names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GemsConfigError(f"benchmark file {path} cannot be read: {error}") from error
    rows = [_read_row(path, number, line, model) for number, line in enumerate(lines, start=1) if line.strip()]
    if not rows:
        raise GemsConfigError(f"benchmark file {path} holds no prompt")
    return rows


def _read_row(path: Path, number: int, line: str, model: type[RowT]) -> RowT:
    try:
        return model.model_validate_json(line)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise GemsConfigError(f"{path}, line {number}: {place or 'row'}: {problem['msg']}") from error


def article(phrase: str) -> str:
    """The phrase after its indefinite article, chosen by its first letter as both benchmarks do."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
