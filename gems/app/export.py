"""The folder of a run: the best image, all others, the trajectory, the report."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gems import __version__
from gems.app.outcome import best_attempt, spent
from gems.app.report import render_report
from gems.core.errors import GemsConfigError, GemsError
from gems.core.ports import ArtifactStore
from gems.core.state import Attempt, GemsState

BEST: Final = "best.png"
TRAJECTORY: Final = "trajectory.json"
REPORT: Final = "report.html"
_IMAGE: Final = re.compile(r"round-\d{1,3}-[a-z]\.png")
_KEPT: Final = (
    "schema",
    "trajectory_id",
    "forked",
    "status",
    "stop_reason",
    "request",
    "options",
    "warnings",
    "versions",
    "made_with",
    "plan",
    "requirements",
    "round",
    "since",
    "best",
    "rulings",
    "remarks",
    "lessons",
    "thoughts",
    "experiences",
    "digest",
    "result",
)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. `problems` names images that could not be."""

    folder: Path
    best: Path | None
    report: Path
    problems: list[str] = field(default_factory=list)


class OutFolder:
    """A folder that is known to be writable before a run spends anything."""

    def __init__(self, path: Path) -> None:
        """Use `path`, relative to the current folder."""
        self.path = path.expanduser().absolute()
        self._made: list[Path] = []

    def prepare(self) -> None:
        """Make the folder and try a file in it.

        Raises:
            GemsConfigError: it cannot be written.
        """
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._made = missing
            self.write(".gems-probe", b"")
            (self.path / ".gems-probe").unlink()
        except OSError as error:
            raise GemsConfigError(
                f"cannot write to {self.path}: {error.strerror or error}; choose another --out"
            ) from error

    def withdraw(self) -> None:
        """Remove what `prepare` made, as far as it is empty."""
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return

    def write(self, name: str, content: bytes) -> Path:
        """Write a file whole or not at all."""
        path = self.path / name
        part = self.path / f".{name}.{os.getpid()}.part"
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return path

    def holds(self, state: GemsState) -> bool:
        """Whether the trajectory was exported to here as it is now: what says so is written last."""
        try:
            kept = json.loads((self.path / TRAJECTORY).read_text(encoding="utf-8"))
            drawn = [attempt["id"] for attempt in kept["attempts"]]
            told = kept["trajectory_id"], kept["request"], kept["round"], drawn
        except (OSError, ValueError, KeyError, TypeError):
            return False
        attempts = [attempt["id"] for attempt in state["attempts"]]
        return told == (state["trajectory_id"], state["request"], state["round"], attempts)

    def forget_images(self, kept: set[str]) -> None:
        """Remove the images of an earlier export into this folder, as its trajectory names them, but for those kept."""
        try:
            before = json.loads((self.path / TRAJECTORY).read_text(encoding="utf-8"))
            names = {str(attempt.get("file")) for attempt in before["attempts"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        for name in names - kept:
            if _IMAGE.fullmatch(name):
                (self.path / name).unlink(missing_ok=True)


async def export_run(
    folder: OutFolder, thread_id: str, state: GemsState, artifacts: ArtifactStore, models: Mapping[str, str]
) -> Exported:
    """Write the folder of a run. An image that is lost is named in `problems`; the rest is written all the same.

    Raises:
        GemsConfigError: the folder cannot be written.
    """
    try:
        return await _export(folder, thread_id, state, artifacts, models)
    except OSError as error:
        raise GemsConfigError(
            f"cannot write to {folder.path}: {error.strerror or error}; the run itself is kept"
        ) from error


async def _export(
    folder: OutFolder, thread_id: str, state: GemsState, artifacts: ArtifactStore, models: Mapping[str, str]
) -> Exported:
    files = image_files(state.get("attempts", []))
    folder.forget_images(set(files.values()))
    best, best_path, problems = best_attempt(state), None, []
    for attempt in state.get("attempts", []):
        if attempt["id"] not in files:
            continue
        try:
            content = labelled(await artifacts.get(attempt["artifact"]), thread_id, state, attempt, models)
        except (GemsError, ValueError) as error:
            problems.append(f"{files[attempt['id']]}: {error}")
            continue
        folder.write(files[attempt["id"]], content)
        if best is not None and attempt["id"] == best["id"]:
            best_path = folder.write(BEST, content)
    report = folder.write(REPORT, (await render_report(thread_id, state, artifacts, models)).encode())
    trajectory = json.dumps(trajectory_object(thread_id, state, models), ensure_ascii=False, indent=2)
    folder.write(TRAJECTORY, trajectory.encode())
    return Exported(folder.path, best_path, report, problems)


def image_files(attempts: Sequence[Attempt]) -> dict[str, str]:
    """The file name of each drawn attempt, by its id: `round-2-a.png` for the first of round 2."""
    names: dict[str, str] = {}
    seen: dict[int, int] = {}
    for attempt in attempts:
        place = seen.get(attempt["round"], 0)
        seen[attempt["round"]] = place + 1
        if "artifact" in attempt:
            names[attempt["id"]] = f"round-{attempt['round']}-{chr(ord('a') + place)}.png"
    return names


def trajectory_object(thread_id: str, state: GemsState, models: Mapping[str, str]) -> dict[str, Any]:
    """The whole trajectory as one JSON object; each attempt names its `file`."""
    files = image_files(state.get("attempts", []))
    kept: dict[str, Any] = {name: state[name] for name in _KEPT if name in state}
    attempts = [{**attempt, "file": files.get(attempt["id"])} for attempt in state.get("attempts", [])]
    return {
        "gems": __version__,
        "thread_id": thread_id,
        **kept,
        "models": dict(models),
        "attempts": attempts,
        "usage": spent(state),
    }


def labelled(content: bytes, thread_id: str, state: GemsState, attempt: Attempt, models: Mapping[str, str]) -> bytes:
    """The picture with its request, prompt, seed, model, thread and round in its text fields."""
    from gems.memory import export_png

    fields = {
        "request": state["request"]["prompt"],
        "prompt": attempt["prompt"],
        "seed": str(attempt["seed"]),
        "model": models.get("images", ""),
        "thread": thread_id,
        "round": str(attempt["round"]),
        "Software": f"GEMS {__version__}",
    }
    return export_png(content, fields)
