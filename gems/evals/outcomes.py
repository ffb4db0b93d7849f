"""One prompt through the agent, as comparisons of options need it: what it came to, what it cost, what was drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from gems.core.errors import GemsError
from gems.core.ports import Services
from gems.core.state import GemsState, GivenLesson
from gems.evals.runs import LayoutOf, measure_run
from gems.evals.tasks import LayoutTask
from gems.graph import build_graph
from gems.nodes.distiller import evidence

THREAD: Final = RunnableConfig(configurable={"thread_id": "outcome"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one prompt. `error` says why the run could not be made; then nothing else counts."""

    benchmark: str
    stratum: str
    prompt: str
    seed: int
    rounds: int = 0
    satisfied: bool = False
    """Whether the critic found everything met at the end."""
    score: float = 0.0
    """Share of requirements that the critic found met in the best picture."""
    first_score: float = 0.0
    """The same in the best picture of the first round."""
    true: bool | None = None
    """Whether the best picture is right by its layout; None where there is none."""
    first_true: bool | None = None
    images: int = 0
    calls: int = 0
    """Of chat models, of all tasks."""
    by_task: Mapping[str, int] = field(default_factory=dict)
    """Calls by task."""
    tokens: int = 0
    """Read and written."""
    seconds: float = 0.0
    drawn: tuple[str, ...] = ()
    """The prompts of its pictures, in order."""
    given: tuple[GivenLesson, ...] = ()
    """Lessons of others that its roles were given."""
    failed: int = 0
    """Requirements that were unmet at some time."""
    mended: int = 0
    """Those of them that a later prompt met: what lessons are made of."""
    error: str = ""


async def run_outcome(
    services: Services, task: LayoutTask, seed: int, context: Mapping[str, Any], layout_of: LayoutOf | None
) -> Outcome:
    """Run the agent on a task's prompt.

    Args:
        services: What the nodes use.
        task: The prompt and its rule.
        seed: The run's seed, which its first picture has too.
        context: Further options of the run.
        layout_of: The layout that a prompt and a seed give; None where the pictures are not of the embedded engine, and
            nobody but the critic can say whether they are right.

    A run that ends in an error of ours is an outcome with that error.
    """
    begun = Outcome(task.benchmark, task.stratum, task.prompt, seed)
    saver = InMemorySaver()
    graph = build_graph(services, checkpointer=saver)
    if layout_of is None:
        options: Any = {"seed": seed, **context}
        try:
            await graph.ainvoke({"prompt": task.prompt}, THREAD, context=options)  # type: ignore[call-overload]
        except GemsError as error:
            return replace(begun, error=f"{type(error).__name__}: {error}")
        thread = THREAD
    else:
        measured = await measure_run(graph, task, seed, layout_of, context)
        if measured.error:
            return replace(begun, error=measured.error)
        begun = replace(begun, true=measured.best_true, first_true=measured.first_true)
        # The saver is this run's own, and knows one thread.
        (name,) = {it.config["configurable"]["thread_id"] for it in saver.list(None)}
        thread = RunnableConfig(configurable={"thread_id": name})
    state: GemsState = (await graph.aget_state(thread)).values  # type: ignore[assignment]
    return await _filled(services, begun, state)


async def _filled(services: Services, begun: Outcome, state: GemsState) -> Outcome:
    usage, result = state["usage"], state["result"]
    first = [it.get("score", 0.0) for it in state["attempts"] if it["round"] == 1]
    told = evidence({**state, "distilled": 0})
    calls = await services.journal.calls(state["trajectory_id"])
    return replace(
        begun,
        rounds=state["round"],
        satisfied=state["stop_reason"] == "satisfied",
        score=float(result.get("score", 0.0)),
        first_score=max(first, default=0.0),
        images=usage.get("images", 0),
        calls=usage.get("mllm_calls", 0),
        by_task=dict(Counter(str(call["task"]) for call in calls)),
        tokens=usage.get("input_tokens", 0) + usage.get("output_tokens", 0),
        seconds=float(result.get("seconds", 0.0)),
        drawn=tuple(it["prompt"] for it in state["attempts"] if "artifact" in it),
        given=tuple(state.get("lessons", [])),
        failed=len(told),
        mended=sum(item["fixed"] is not None for item in told),
    )
