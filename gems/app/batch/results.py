"""`results.jsonl`: one object a prompt.

While the batch runs, each row is appended and flushed as it ends; when the batch ends, the file is written once more, whole
and in the order of the prompts. So ten thousand rows cost ten thousand short writes and two long ones, a reader never sees
half a row, and what a kill leaves is true: the next start writes the file anew from the threads.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any, Final

from gems.app.batch.rows import Row
from gems.app.export import OutFolder
from gems.app.outcome import Outcome
from gems.core.errors import GemsConfigError

RESULTS: Final = "results.jsonl"


def result_row(row: Row, outcome: Outcome, image: str | None) -> dict[str, Any]:
    """A row of the results. `image` is the best picture's file, as seen from the results' folder."""
    return {
        "id": row.id,
        "thread_id": row.thread_id,
        "prompt": row.prompt,
        "status": outcome.status,
        "stop_reason": outcome.stop_reason,
        "score": outcome.score,
        "rounds": outcome.rounds,
        "image": image,
        "usage": outcome.usage,
        "error": asdict(outcome.error) if outcome.error else None,
    }


class Results:
    """The results in a folder, a row for each prompt that has ended."""

    def __init__(self, folder: OutFolder) -> None:
        """Write into `folder`."""
        self._folder = folder
        self._lines: dict[int, bytes] = {}

    def keep(self, number: int, result: dict[str, Any]) -> None:
        """Take in the row of the prompt with this number, for the next `rewrite`."""
        self._lines[number] = json.dumps(result, ensure_ascii=False).encode() + b"\n"

    def append(self, number: int, result: dict[str, Any]) -> None:
        """Take in the row, and write it behind all others; it is on disk when this returns.

        Raises:
            GemsConfigError: the file cannot be written.
        """
        self.keep(number, result)
        try:
            with (self._folder.path / RESULTS).open("ab") as file:
                file.write(self._lines[number])
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unwritten(error) from error

    def rewrite(self) -> None:
        """Write all rows in the order of the prompts, whole or not at all. Without any, there is no file.

        Raises:
            GemsConfigError: the file cannot be written.
        """
        try:
            if not self._lines:
                (self._folder.path / RESULTS).unlink(missing_ok=True)
                return
            self._folder.write(RESULTS, b"".join(self._lines[number] for number in sorted(self._lines)))
        except OSError as error:
            raise self._unwritten(error) from error

    def _unwritten(self, error: OSError) -> GemsConfigError:
        path = self._folder.path / RESULTS
        return GemsConfigError(
            f"cannot write {path}: {error.strerror or error}; the runs are kept: make room, and give the command again"
        )
