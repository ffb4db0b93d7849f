"""One prompt through the agent, with the truth of every picture by its layout.

The truth comes from the layout that a prompt and a seed give, drawn again outside the run; the critic, who sees pixels
alone, has no part in it.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from langchain_core.runnables import RunnableConfig

from gems.backends.sketch.questions import read_question
from gems.backends.sketch.scene import Scene
from gems.backends.sketch.truth import answer
from gems.core.errors import GemsError
from gems.core.state import Attempt, GemsState, Requirement
from gems.evals.tasks import LayoutTask
from gems.graph import GemsGraph

LayoutOf = Callable[[str, int], Scene]
"""The layout that a prompt and a seed give."""

_RUN_NAMESPACE: Final = uuid.UUID("6e0f6d4e-6d1f-4f0e-9a3c-0d6d8d0f2b11")


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The critic's answers against the layout: `accepted` met but false, `rejected` unmet but true, `unknown` not given."""

    asked: int = 0
    accepted: int = 0
    rejected: int = 0
    unknown: int = 0

    def __add__(self, other: Verdicts) -> Verdicts:
        """The two tallies as one."""
        own, others = dataclasses.astuple(self), dataclasses.astuple(other)
        return Verdicts(*(one + two for one, two in zip(own, others, strict=True)))


class CheckedVerdicts(NamedTuple):
    """A tally, and the questions that were answered wrongly."""

    tally: Verdicts
    mistakes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DrawnAttempt:
    """One picture of a run. `score` is the critic's; `true` by the benchmark's rule, `exact` with exact counts too."""

    id: str
    action: str
    prompt: str
    seed: int
    score: float | None
    true: bool
    exact: bool
    mistakes: tuple[str, ...] = ()
    """Questions that the critic answered wrongly by the layout."""


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """What came of one prompt.

    `once` is whether the request itself, drawn once, is true; `error` says why the run could not be made.
    """

    benchmark: str
    stratum: str
    prompt: str
    seed: int
    once: bool = False
    attempts: tuple[DrawnAttempt, ...] = ()
    best: str | None = None
    rounds: int = 0
    stop_reason: str = ""
    seconds: float = 0.0
    verdicts: Verdicts = Verdicts()
    error: str = ""

    @property
    def first_true(self) -> bool:
        """Whether the first picture of the run is true."""
        return bool(self.attempts) and self.attempts[0].true

    @property
    def best_true(self) -> bool:
        """Whether the picture that the run ends with is true."""
        return any(attempt.true for attempt in self.attempts if attempt.id == self.best)

    @property
    def best_exact(self) -> bool:
        """Whether it also has no more of each thing than was asked for."""
        return any(attempt.exact for attempt in self.attempts if attempt.id == self.best)

    @property
    def any_true(self) -> bool:
        """Whether any picture of the run is true."""
        return any(attempt.true for attempt in self.attempts)

    @property
    def satisfied(self) -> bool:
        """Whether the critic found everything met."""
        return self.stop_reason == "satisfied"


async def measure_run(
    graph: GemsGraph, task: LayoutTask, seed: int, layout_of: LayoutOf, context: Mapping[str, Any] | None = None
) -> MeasuredRun:
    """Run the agent on a task's prompt and look up the truth.

    Args:
        graph: The agent, with a checkpointer.
        task: The prompt and its rule.
        seed: The run's seed, which its first picture has too.
        layout_of: The layout that a prompt and a seed give.
        context: Further options of the run.

    A run that ends in an error of ours is a measured run with that error, not true.
    """
    begun = MeasuredRun(task.benchmark, task.stratum, task.prompt, seed)
    thread = str(uuid.uuid5(_RUN_NAMESPACE, f"{seed} {task.prompt}"))
    config = RunnableConfig(configurable={"thread_id": thread})
    try:
        once = task.holds(layout_of(task.prompt, seed))
        options: Any = {"seed": seed, **(context or {})}
        await graph.ainvoke({"prompt": task.prompt}, config, context=options)  # type: ignore[call-overload]
    except GemsError as error:
        return dataclasses.replace(begun, error=f"{type(error).__name__}: {error}")
    state: GemsState = (await graph.aget_state(config)).values  # type: ignore[assignment]
    return _measured(dataclasses.replace(begun, once=once), task, state, layout_of)


def _measured(begun: MeasuredRun, task: LayoutTask, state: GemsState, layout_of: LayoutOf) -> MeasuredRun:
    attempts, verdicts = [], Verdicts()
    for attempt in state["attempts"]:
        if "artifact" not in attempt:
            continue
        scene = layout_of(attempt["prompt"], attempt["seed"])
        checked = check_verdicts(attempt, state["requirements"], scene)
        verdicts += checked.tally
        attempts.append(
            DrawnAttempt(
                attempt["id"],
                attempt["action"],
                attempt["prompt"],
                attempt["seed"],
                attempt.get("score"),
                task.holds(scene),
                task.holds_exactly(scene),
                checked.mistakes,
            )
        )
    return dataclasses.replace(
        begun,
        attempts=tuple(attempts),
        best=state["best"],
        rounds=state["round"],
        stop_reason=state["stop_reason"] or "",
        seconds=float(state["result"].get("seconds", 0.0)),
        verdicts=verdicts,
    )


def check_verdicts(attempt: Attempt, requirements: Sequence[Requirement], scene: Scene) -> CheckedVerdicts:
    """The critic's verdicts on one picture against its layout.

    Skipped ones, and questions outside the engine's vocabulary, are not counted.
    """
    asked = accepted = rejected = unknown = 0
    mistakes = []
    for requirement in requirements:
        verdict = attempt.get("verdicts", {}).get(requirement["id"])
        question = read_question(requirement["question"])
        if verdict is None or question is None or verdict["verdict"] == "skipped":
            continue
        asked += 1
        true = answer(question, scene)
        if verdict["verdict"] == "unknown":
            unknown += 1
        elif (verdict["verdict"] == "met") != true:
            accepted += not true
            rejected += true
            mistakes.append(f"{verdict['verdict']}: {requirement['question']} ({verdict['evidence']})")
    return CheckedVerdicts(Verdicts(asked, accepted, rejected, unknown), tuple(mistakes))
