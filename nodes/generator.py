"""The generator: draws one candidate, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from typing_extensions import TypedDict

from gems.core.errors import BudgetSpent, DrawingRefused, GemsConfigError, ModelOutage
from gems.core.events import emit, emitter
from gems.core.ports import DrawRequest, Models, Services
from gems.core.state import Attempt, Failure, GemsState, Options, Proposal, Span, Usage
from gems.memory.artifacts import artifact_id
from gems.memory.ledger import drawing_key
from gems.memory.png import export_png, to_png
from gems.nodes.asking import Node, Update, models_of

KEY_FIELD: Final = "gems:key"
"""The text field of a stored PNG that carries its drawing key."""


class Task(TypedDict):
    """What one generator is sent: its proposal, and the few facts of the trajectory it needs."""

    trajectory_id: str
    options: Options
    usage: Usage
    spans: list[Span]
    proposal: Proposal
    references: list[str]
    source: str | None
    """Artifact of the image that an edit starts from."""
    alone: bool
    """Whether an outage is to stop the run, to be resumed; otherwise it is kept as the attempt's failure."""


class _Received(NamedTuple):
    artifact: str
    reused: bool
    """Whether this trajectory had received it before."""
    seconds: float = 0.0
    """What its drawing took, without waiting for its turn."""
    cost: float = 0.0


def make_generator(services: Services) -> Node:
    """The generator node.

    A failed drawing becomes an attempt with its failure, so that its siblings live. `alone`, an outage raises instead, and
    the run can be resumed.
    """

    async def generator(state: GemsState) -> Update:
        task: Task = state  # type: ignore[assignment]  # what was sent, not the graph's state
        proposal = task["proposal"]
        attempt: Attempt = {**proposal}  # type: ignore[typeddict-item]  # a proposal is an attempt's beginning
        models = await models_of(services, state)
        try:
            received = await _draw(services, models, task)
        except DrawingRefused as error:
            return _not_drawn(attempt, "refused", error)
        except BudgetSpent as error:
            return _not_drawn(attempt, "budget", error)
        except GemsConfigError:
            raise
        except Exception as error:
            # Whatever it is, siblings in flight must live; if nothing is drawn at all, the round is drawn again, and raises.
            if task["alone"]:
                raise
            return _not_drawn(attempt, "outage", error)
        emit(
            "drawn",
            attempt=attempt["id"],
            artifact=received.artifact,
            seconds=received.seconds,
            reused=received.reused,
            prompt=attempt["prompt"],
            seed=attempt["seed"],
            action=attempt["action"],
        )
        usage = Usage(reused=1)
        if not received.reused:
            usage = Usage(images=1, image_seconds=received.seconds, cost=received.cost)
        attempt["artifact"], attempt["reused"] = received.artifact, received.reused
        return {"attempts": [attempt], "usage": usage}

    return generator


def _not_drawn(attempt: Attempt, failure: Failure, error: Exception) -> Update:
    emit("not_drawn", attempt=attempt["id"], error=str(error))
    attempt["failure"], attempt["error"] = failure, str(error)
    return {"attempts": [attempt]}


async def _draw(services: Services, models: Models, task: Task) -> _Received:
    proposal, options, images, artifacts = task["proposal"], task["options"], models.images, services.artifacts
    request = DrawRequest(
        prompt=proposal["prompt"],
        seed=proposal["seed"],
        width=options["width"],
        height=options["height"],
        source=await artifacts.get(task["source"]) if task["source"] else None,
        references=tuple([await artifacts.get(reference) for reference in task["references"]]),
    )
    attempt = None if images.capabilities.seeds else proposal["id"]
    # In a thread: an image model may have to read its weights to say what it is.
    key = await asyncio.to_thread(lambda: drawing_key(images.identity, request, attempt))
    known = await services.ledger.find(task["trajectory_id"], key)
    if known is not None and await artifacts.has(known):
        return _Received(known, reused=True)
    drawing = await images.generate(request, _progress(proposal["id"]))
    storing = asyncio.ensure_future(_store(services, task["trajectory_id"], key, drawing.png))
    try:
        artifact = await asyncio.shield(storing)
    except asyncio.CancelledError:
        await storing  # what was received is kept, also when the run is being stopped
        raise
    return _Received(artifact, reused=False, seconds=drawing.seconds, cost=drawing.cost)


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


def _progress(attempt_id: str) -> Callable[[int, int], None]:
    write = emitter()

    def report(step: int, steps: int) -> None:
        write({"event": "drawing", "attempt": attempt_id, "step": step, "steps": steps})

    return report
