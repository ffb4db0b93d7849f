"""How a node asks a model: the role's instructions, one tagged JSON block, images, one reply model."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from PIL import Image

from gems.core.errors import BudgetSpent
from gems.core.messages import EncodedImage, Task, compose
from gems.core.ports import Answer, ArtifactStore, Capabilities, ImageGenerator, Models, R, Services
from gems.core.state import GemsState, Options, Role, Ruling, Usage
from gems.nodes.fingerprint import check_unchanged, made_with
from gems.nodes.given import read_context
from gems.nodes.journalled import call_key, question_of, recalled, reply_of, usage_once

T = TypeVar("T")
Update = dict[str, Any]
Node = Callable[[GemsState], Awaitable[Update]]

JPEG_QUALITY: Final = 90
REFERENCES: Final = (
    "The reference pictures are the user's own. The request speaks of them, and what it takes from them must be there."
)
RULINGS: Final = "`rulings` are what the user decided about earlier pictures: they are true, and you judge as they did."
_WITH_RULINGS: Final[frozenset[Task]] = frozenset({"judge", "refine"})
_WITH_REFERENCES: Final[frozenset[Task]] = frozenset({"write_prompts", "decompose", "judge", "refine"})


async def models_of(services: Services, state: GemsState) -> Models:
    """The models of the trajectory's profile. Made in a thread: the first time, it may read files and load packages.

    Raises:
        GemsConfigError: what the trajectory was begun with has changed since.
    """
    return await asyncio.to_thread(same_models, services, state["options"], state.get("made_with"))


async def abilities_of(images: ImageGenerator) -> Capabilities:
    """What an image model can do. Asked in a thread: it may have to read its files for that."""
    return await asyncio.to_thread(lambda: images.capabilities)


async def accepted_changes(services: Services, state: GemsState) -> Update:
    """What the trajectory is made with from now on, where this invocation accepts that it changed; else nothing."""
    if not read_context().accept_changes:
        return {}
    models = await models_of(services, state)
    now = await asyncio.to_thread(made_with, services, models)
    return {"options": {**state["options"], "models": models.names}, "made_with": now}


def same_models(services: Services, options: Options, begun_with: Mapping[str, str] | None = None) -> Models:
    """As `models_of`; this may block."""
    models = services.models(options["profile"])
    if not read_context().accept_changes:
        check_unchanged(begun_with or options["models"], made_with(services, models))
    return models


def version(services: Services, task: Task, built_in: str) -> dict[str, str]:
    """The task with a short digest of the instructions in force: the built-in text, or what replaces it here."""
    text = services.prompts.get(task, built_in)
    return {task: hashlib.sha256(text.encode()).hexdigest()[:12]}


async def ask(
    services: Services,
    state: GemsState,
    role: Role,
    task: Task,
    built_in: str,
    fields: Mapping[str, Any],
    reply_model: type[R],
    images: Sequence[EncodedImage] = (),
    notes: Sequence[str] = (),
) -> Answer[R]:
    """Ask the model of a role, with the built-in instructions or those that replace them on this machine.

    `notes` stand behind the instructions, whoever wrote these: each says what a field is that is not always there.

    What this execution of the node has received before, and a kill took from it, comes from the journal. Where the limits
    leave no room for the call, the answer says so, and the node goes on without it.

    Raises:
        ModelOutage: the model did not answer at all.
    """
    models = await models_of(services, state)
    prompts = await asyncio.to_thread(lambda: services.prompts)
    instructions = prompts.get(task, built_in)
    references = state["request"].get("references", []) if task in _WITH_REFERENCES else []
    if references:
        notes = [*notes, REFERENCES]
        shown = (
            show(services.artifacts, artifact, f"Reference picture {number}:", models.image_side)
            for number, artifact in enumerate(references, start=1)
        )
        images = [*images, *await asyncio.gather(*shown)]
    if ruled := state.get("rulings") if task in _WITH_RULINGS else None:
        notes = [*notes, RULINGS]
        questions = {item["id"]: item["question"] for item in state["requirements"]}
        fields = {**fields, "rulings": [_ruling(it, questions) for it in ruled if it["requirement"] in questions]}
    instructions = "\n".join([instructions, *notes])
    question = question_of(role, task, instructions, fields, images)
    key = call_key(question)
    journal = await asyncio.to_thread(lambda: services.journal) if key else None
    if journal and (known := recalled(await journal.find(state["trajectory_id"], key), reply_model)):
        return replace(known, usage=usage_once(key, known.usage))
    try:
        answer = await models.roles[role].ask(compose(task, instructions, fields, images), reply_model)
    except BudgetSpent:
        return Answer(None, Usage(), problem="over budget")
    if journal and answer.problem != "over budget":
        usage_once(key, answer.usage)
        await kept(journal.record(state["trajectory_id"], key, question | reply_of(answer)))
    return answer


def _ruling(ruling: Ruling, questions: Mapping[str, str]) -> dict[str, str]:
    told = {"question": questions[ruling["requirement"]], "verdict": ruling["verdict"], "attempt": ruling["attempt"]}
    return {**told, "note": ruling["note"]} if ruling["note"] else told


async def kept(work: Coroutine[Any, Any, T]) -> T:
    """The result of keeping something received: cancelled meanwhile, even more than once, it is kept all the same."""
    keeping = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not keeping.done():
        try:
            await asyncio.wait([keeping])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return keeping.result()


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in order. When one fails, the others are cancelled: what is not begun is not paid for."""
    tasks: list[asyncio.Task[T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks.extend(group.create_task(part) for part in work)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def show(artifacts: ArtifactStore, artifact: str, label: str, side: int) -> EncodedImage:
    """An image as it is sent: untouched while its longest side fits `side` pixels, else scaled down as JPEG."""
    return await asyncio.to_thread(_encode, artifact, await artifacts.get(artifact), label, side)


def _encode(artifact: str, content: bytes, label: str, side: int) -> EncodedImage:
    with Image.open(io.BytesIO(content)) as image:
        if max(image.size) <= side:
            return EncodedImage(content, Image.MIME[image.format or "PNG"], label, artifact)
        # Without need, `convert` would copy the whole picture.
        small = image if image.mode == "RGB" else image.convert("RGB")
        small.thumbnail((side, side))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=JPEG_QUALITY)
        return EncodedImage(buffer.getvalue(), "image/jpeg", label, artifact)
