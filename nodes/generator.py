"""The generator: draws candidates, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, NotRequired

from typing_extensions import TypedDict

from gems.core.errors import BudgetSpent, DrawingRefused, ModelOutage
from gems.core.events import DrawingStep, Drawn, NotDrawn, candidate_letter, emit, emitter
from gems.core.ports import DrawRequest, Models, Services
from gems.core.state import Attempt, Failure, GemsState, Options, Proposal, Span, Usage, add_usage
from gems.memory.artifacts import artifact_id
from gems.memory.ledger import drawing_key
from gems.memory.png import export_png, to_png
from gems.nodes.asking import Node, Update, kept, models_of

KEY_FIELD: Final = "gems:key"
"""The text field of a stored PNG that carries its drawing key."""


class Wanted(TypedDict):
    """One drawing to be made."""

    proposal: Proposal
    source: str | None
    """Artifact of the image that an edit starts from."""


class Task(TypedDict):
    """What one generator is sent: drawings to be made, and the few facts of the trajectory that it needs."""

    schema: int
    trajectory_id: str
    made_with: NotRequired[dict[str, str]]
    options: Options
    usage: Usage
    spans: list[Span]
    references: list[str]
    wanted: list[Wanted]
    alone: bool
    """Whether nobody else draws: if nothing can be drawn, the step fails, and can be resumed."""


class _Made(NamedTuple):
    attempt: Attempt
    usage: Usage
    warnings: tuple[str, ...] = ()
    outage: Exception | None = None
    """Why nothing was drawn, where the same drawing may work later."""


class _Received(NamedTuple):
    artifact: str
    reused: bool
    """Whether this trajectory had received it before."""
    seconds: float = 0.0
    """What its drawing took, without waiting for its turn."""
    cost: float = 0.0
    warnings: tuple[str, ...] = ()


def make_generator(services: Services) -> Node:
    """The generator node.

    A failed drawing becomes an attempt with its failure, so that its siblings live. Where nobody else draws and nothing
    could be drawn, the step raises instead, and the run can be resumed.
    """

    async def generator(state: GemsState) -> Update:
        task: Task = state  # type: ignore[assignment]  # what was sent, not the graph's state
        models = await models_of(services, state)
        made = await asyncio.gather(*(_make(services, models, task, wanted) for wanted in task["wanted"]))
        outages = [it.outage for it in made if it.outage]
        if task["alone"] and len(outages) == len(made):
            raise outages[0]
        usage = Usage()
        for it in made:
            usage = add_usage(usage, it.usage)
        warnings = [warning for it in made for warning in it.warnings]
        return {"attempts": [it.attempt for it in made], "usage": usage, "warnings": warnings}

    return generator


async def _make(services: Services, models: Models, task: Task, wanted: Wanted) -> _Made:
    attempt: Attempt = {**wanted["proposal"]}  # type: ignore[typeddict-item]  # a proposal is an attempt's beginning
    try:
        received = await _draw(services, models, task, wanted)
    except DrawingRefused as error:
        return _not_drawn(attempt, "refused", error)
    except BudgetSpent as error:
        return _not_drawn(attempt, "budget", error)
    except Exception as error:
        # Whatever it is, siblings in flight must live; if nothing is drawn at all, the round is drawn again, and raises.
        return _not_drawn(attempt, "outage", error)
    attempt["artifact"], attempt["reused"] = received.artifact, received.reused
    emit(
        Drawn(
            event="drawn",
            attempt=attempt["id"],
            round=attempt["round"],
            candidate=candidate_letter(attempt["id"]),
            artifact=received.artifact,
            seconds=received.seconds,
            reused=received.reused,
            prompt=attempt["prompt"],
            seed=attempt["seed"],
            action=attempt["action"],
            parent=attempt["parent"],
        )
    )
    if received.reused:
        return _Made(attempt, Usage(reused=1))
    return _Made(attempt, Usage(images=1, image_seconds=received.seconds, cost=received.cost), received.warnings)


def _not_drawn(attempt: Attempt, failure: Failure, error: Exception) -> _Made:
    emit(
        NotDrawn(
            event="not_drawn",
            attempt=attempt["id"],
            round=attempt["round"],
            candidate=candidate_letter(attempt["id"]),
            error=str(error),
        )
    )
    attempt["failure"], attempt["error"] = failure, str(error)
    return _Made(attempt, Usage(), outage=error if failure == "outage" else None)


async def _draw(services: Services, models: Models, task: Task, wanted: Wanted) -> _Received:
    proposal, options, images, artifacts = wanted["proposal"], task["options"], models.images, services.artifacts
    request = DrawRequest(
        prompt=proposal["prompt"],
        seed=proposal["seed"],
        width=options["width"],
        height=options["height"],
        source=await artifacts.get(wanted["source"]) if wanted["source"] else None,
        references=tuple([await artifacts.get(reference) for reference in task["references"]]),
    )

    def find_key() -> str:
        return drawing_key(images.identity, request, None if images.capabilities.seeds else proposal["id"])

    # In a thread: an image model may have to read its weights to say what it is.
    key = await asyncio.to_thread(find_key)
    known = await services.ledger.find(task["trajectory_id"], key)
    if known is not None and await artifacts.has(known):
        return _Received(known, reused=True)
    drawing = await images.generate(request, _progress(proposal))
    artifact = await kept(_store(services, task["trajectory_id"], key, drawing.png))
    return _Received(artifact, False, drawing.seconds, drawing.cost, drawing.warnings)


async def _store(services: Services, trajectory_id: str, key: str, content: bytes) -> str:
    """Keep a received image, and answer its artifact.

    Raises:
        ModelOutage: the bytes are no image.
    """
    try:
        png = export_png(await asyncio.to_thread(to_png, content), {KEY_FIELD: key})
    except ValueError as error:
        raise ModelOutage(f"the image model answered with bytes that are no image: {error}") from error
    # Recorded first: whenever the process dies, an image whose file is there can be found.
    await services.ledger.record(trajectory_id, key, artifact_id(png))
    return await services.artifacts.put(png)


def _progress(proposal: Proposal) -> Callable[[int, int], None]:
    write = emitter()
    candidate = candidate_letter(proposal["id"])

    def report(step: int, steps: int) -> None:
        write(
            DrawingStep(
                event="drawing",
                attempt=proposal["id"],
                round=proposal["round"],
                candidate=candidate,
                step=step,
                steps=steps,
            )
        )

    return report
