"""The pictures of a batch: the best of each prompt under its id, and on request the whole folder of its run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from langgraph.types import StateSnapshot

from gems.app.batch.rows import Row
from gems.app.export import TRAJECTORY, OutFolder, export_run, labelled
from gems.app.outcome import best_attempt
from gems.core.errors import GemsConfigError, GemsRunError
from gems.core.ports import ArtifactStore
from gems.core.state import GemsState


class Pictures:
    """Files in the folder of results. What is there already, and no older than its run, is not written again."""

    def __init__(self, folder: OutFolder, artifacts: ArtifactStore, *, full: bool) -> None:
        """Write into `folder`; with `full`, what `gems run` writes goes into a folder of each row's own."""
        self._folder = folder
        self._artifacts = artifacts
        self._full = full

    async def keep(self, row: Row, snapshot: StateSnapshot) -> str | None:
        """Write what the row has drawn, and answer the name of its best picture's file; None: it has no picture.

        Raises:
            GemsConfigError: the folder cannot be written.
            GemsRunError: a stored picture is lost.
        """
        state: GemsState = snapshot.values  # type: ignore[assignment]
        best = best_attempt(state)
        if best is None:
            return None
        models = state["options"]["models"]
        name = f"{row.id}.png"
        if not _is_current(self._folder.path / name, snapshot):
            content = await self._artifacts.get(best["artifact"])
            self._write(name, labelled(content, row.thread_id, state, best, models))
        folder = OutFolder(self._folder.path / row.id)
        if self._full and not _is_current(folder.path / TRAJECTORY, snapshot):
            folder.prepare()
            exported = await export_run(folder, row.thread_id, state, self._artifacts, models)
            if exported.problems:
                raise GemsRunError("; ".join(exported.problems))
        return name

    def _write(self, name: str, content: bytes) -> None:
        try:
            self._folder.write(name, content)
        except OSError as error:
            raise GemsConfigError(
                f"cannot write {self._folder.path / name}: {error.strerror or error}; the run itself is kept"
            ) from error


def _is_current(path: Path, snapshot: StateSnapshot) -> bool:
    """Whether the file was written after the run's last step."""
    if snapshot.created_at is None or not path.exists():
        return False
    return path.stat().st_mtime >= datetime.fromisoformat(snapshot.created_at).timestamp()
