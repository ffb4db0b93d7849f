"""What a run came to: the object that `--json` prints, and the exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from gems.app.said import conversation, ruled_by_user, told_digest
from gems.core.errors import GemsConfigError, GemsError
from gems.core.state import (
    Attempt,
    Digest,
    Forked,
    GemsState,
    GivenLesson,
    Remark,
    Ruling,
    Status,
    StopReason,
    Verdict,
    seconds_spent,
)

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_INPUT: Final = 2
EXIT_WAITING: Final = 3
EXIT_STOPPED: Final = 130
NO_VERDICT: Final = Verdict(verdict="unknown", evidence="", confidence=0.0)
"""What stands for the answer to a question that was not asked yet."""

_COUNTED: Final = ("mllm_calls", "input_tokens", "output_tokens", "images", "reused", "images_sent")
_TIMED: Final = ("mllm_seconds", "image_seconds")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command failed. `kind`: `input` is the caller's to mend, `run` is not, `unexpected` is a defect of ours."""

    kind: Literal["input", "run", "unexpected"]
    message: str

    @property
    def exit_code(self) -> int:
        """2 for bad input or settings, else 1."""
        return EXIT_INPUT if self.kind == "input" else EXIT_FAILED


def describe(error: BaseException) -> Failure:
    """An exception as a person should read it."""
    if isinstance(error, GemsConfigError):
        return Failure("input", str(error))
    if isinstance(error, GemsError):
        return Failure("run", str(error))
    return Failure("unexpected", f"{type(error).__name__}: {error}".removesuffix(": "))


@dataclass(frozen=True, slots=True)
class Best:
    """The best attempt. `path` is where its image lies."""

    artifact: str
    path: str
    prompt: str
    seed: int
    round: int


@dataclass(frozen=True, slots=True)
class RequirementResult:
    """A requirement with the verdict on the best image."""

    id: str
    question: str
    kind: str
    verdict: str
    evidence: str
    by_user: bool
    """Whether a person gave the verdict."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """One drawing. Without an image, `error` says why."""

    id: str
    round: int
    action: str
    prompt: str
    seed: int
    parent: str | None
    artifact: str | None
    path: str | None
    reused: bool
    error: str | None
    score: float | None
    verdicts: dict[str, Verdict]
    ruled: list[str]
    """Requirements whose verdict a person gave."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run. The fields, in this order, are the object of `--json`; of a refused run only `error` and ids are set."""

    thread_id: str | None
    status: Status | Literal["waiting"]
    stop_reason: StopReason | None = None
    score: float | None = None
    limit: str | None = None
    """The option that ended it, where a limit did."""
    rounds: int = 0
    since: int = 0
    """Rounds that were done when the last message came."""
    best: Best | None = None
    requirements: list[RequirementResult] = field(default_factory=list)
    attempts: list[AttemptResult] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """The user's own words: the request, and what followed."""
    waiting: dict[str, Any] | None = None
    """The question that a person is to answer."""
    rulings: list[Ruling] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    lessons: list[GivenLesson] = field(default_factory=list)
    """Those of earlier runs that this one was given."""
    digest: Digest | None = None
    """What the rounds taught whose experiences are no longer shown to the refiner."""
    usage: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    forked: Forked | None = None
    """Where it began, if it is a branch of another run."""
    out: str | None = None
    error: Failure | None = None

    def as_json(self) -> dict[str, Any]:
        """The object as JSON values."""
        return asdict(self)

    def with_error(self, error: BaseException) -> Outcome:
        """The same run, failed."""
        return replace(self, status="failed", stop_reason="failed", error=describe(error))

    def exported(self, folder: Path, best: Path | None, problems: list[str]) -> Outcome:
        """The same run, its images copied to a folder."""
        here = replace(self.best, path=str(best)) if self.best and best else self.best
        return replace(self, out=str(folder), best=here, warnings=[*self.warnings, *problems])

    @property
    def exit_code(self) -> int:
        """0 done, 1 failed, 2 bad input or settings, 3 waits for an answer, 130 stopped."""
        if self.error:
            return self.error.exit_code
        codes = {"stopped": EXIT_STOPPED, "failed": EXIT_FAILED, "waiting": EXIT_WAITING}
        return codes.get(self.status, EXIT_DONE)


def refused(thread_id: str | None, error: BaseException) -> Outcome:
    """A run that failed before it had a state, or without adding to it."""
    stopped = isinstance(error, KeyboardInterrupt | asyncio.CancelledError)
    if stopped:
        return Outcome(thread_id, "stopped", "stopped", usage=spent({}))
    return Outcome(thread_id, "failed", "failed", usage=spent({}), error=describe(error))


def outcome_of(
    thread_id: str,
    state: GemsState,
    path: Callable[[str], Path | str],
    *,
    stopped: bool = False,
    waiting: Mapping[str, Any] | None = None,
) -> Outcome:
    """What a trajectory has come to.

    Args:
        thread_id: The thread.
        state: The thread's state; may lack what no step has written yet.
        path: Where an artifact lies.
        stopped: The user stopped it, which the state cannot know.
        waiting: The question that it waits with, which the state cannot know either.
    """
    attempts = state.get("attempts", [])
    best = best_attempt(state)
    status: Status | Literal["waiting"] = state.get("status", "running")
    if waiting is not None:
        status = "waiting"
    elif stopped and status == "running":
        status = "stopped"
    return Outcome(
        thread_id=thread_id,
        status=status,
        stop_reason="stopped" if status == "stopped" else state.get("stop_reason"),
        score=best.get("score") if best else None,
        limit=state.get("result", {}).get("limit") if state.get("stop_reason") == "budget" else None,
        rounds=max((attempt["round"] for attempt in attempts), default=0),
        since=state.get("since", 0),
        best=_best_result(best, path) if best else None,
        requirements=_requirement_results(state, best),
        attempts=[attempt_result(state, attempt, path) for attempt in attempts],
        said=conversation(state),
        waiting=dict(waiting) if waiting is not None else None,
        rulings=list(state.get("rulings", [])),
        remarks=list(state.get("remarks", [])),
        lessons=list(state.get("lessons", [])),
        digest=told_digest(state),
        usage=spent(state),
        warnings=list(state.get("warnings", [])),
        forked=state.get("forked"),
        error=_why_failed(attempts) if status == "failed" else None,
    )


def _why_failed(attempts: Sequence[Attempt]) -> Failure:
    errors = [attempt["error"] for attempt in attempts if "error" in attempt]
    return Failure("run", f"no image could be drawn: {errors[-1]}" if errors else "no image could be drawn")


def best_attempt(state: GemsState) -> Attempt | None:
    """The best attempt; before the first review, the one with the highest score that has an image."""
    drawn = [attempt for attempt in state.get("attempts", []) if "artifact" in attempt]
    chosen = next((attempt for attempt in drawn if attempt["id"] == state.get("best")), None)
    return chosen or max(drawn, key=lambda attempt: attempt.get("score", -1.0), default=None)


def spent(state: GemsState) -> dict[str, float]:
    """The usage with every field present, and `seconds`, the time in which the trajectory was worked on."""
    usage = state.get("usage", {})
    counted = {name: usage.get(name, 0) for name in _COUNTED}
    timed = {name: round(float(usage.get(name, 0.0)), 3) for name in _TIMED}  # type: ignore[arg-type]
    counted["cost"] = round(usage.get("cost", 0.0), 6)
    return {**counted, **timed, "seconds": round(seconds_spent(state.get("spans", [])), 3)}  # type: ignore[dict-item]


def _best_result(best: Attempt, path: Callable[[str], Path | str]) -> Best:
    artifact = best["artifact"]
    return Best(artifact, str(path(artifact)), best["prompt"], best["seed"], best["round"])


def _requirement_results(state: GemsState, best: Attempt | None) -> list[RequirementResult]:
    verdicts = best.get("verdicts", {}) if best else {}
    ruled = ruled_by_user(state, best) if best else []
    results = []
    for requirement in state.get("requirements", []):
        verdict = verdicts.get(requirement["id"], NO_VERDICT)
        results.append(
            RequirementResult(
                requirement["id"],
                requirement["question"],
                requirement["kind"],
                verdict["verdict"],
                verdict["evidence"],
                requirement["id"] in ruled,
            )
        )
    return results


def attempt_result(state: GemsState, attempt: Attempt, path: Callable[[str], Path | str]) -> AttemptResult:
    """One attempt whole."""
    artifact = attempt.get("artifact")
    return AttemptResult(
        id=attempt["id"],
        round=attempt["round"],
        action=attempt["action"],
        prompt=attempt["prompt"],
        seed=attempt["seed"],
        parent=attempt["parent"],
        artifact=artifact,
        path=str(path(artifact)) if artifact else None,
        reused=attempt.get("reused", False),
        error=attempt.get("error"),
        score=attempt.get("score"),
        verdicts=attempt.get("verdicts", {}),
        ruled=ruled_by_user(state, attempt),
    )
