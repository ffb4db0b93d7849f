"""How a node asks a model: the role's instructions, one tagged JSON block, images, one reply model."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from PIL import Image

from gems.core.errors import BudgetSpent, GemsConfigError
from gems.core.messages import EncodedImage, Task, compose
from gems.core.ports import Answer, ArtifactStore, Capabilities, ImageGenerator, Models, R, Services
from gems.core.state import GemsState, Options, Role, Usage

T = TypeVar("T")
Update = dict[str, Any]
Node = Callable[[GemsState], Awaitable[Update]]

JPEG_QUALITY: Final = 90
REFERENCES: Final = (
    "The reference pictures are the user's own. The request speaks of them, and what it takes from them must be there."
)
_WITH_REFERENCES: Final[frozenset[Task]] = frozenset({"write_prompts", "decompose", "judge", "refine"})


async def models_of(services: Services, state: GemsState) -> Models:
    """The models of the trajectory's profile. Made in a thread: the first time, it may read files and load packages.

    Raises:
        GemsConfigError: the profile means other models than those the trajectory was begun with.
    """
    return await asyncio.to_thread(same_models, services, state["options"])


async def abilities_of(images: ImageGenerator) -> Capabilities:
    """What an image model can do. Asked in a thread: it may have to read its files for that."""
    return await asyncio.to_thread(lambda: images.capabilities)


def same_models(services: Services, options: Options) -> Models:
    """As `models_of`; this may block."""
    models = services.models(options["profile"])
    if options["models"] != models.names:
        before, now = (" and ".join(names.values()) for names in (options["models"], models.names))
        raise GemsConfigError(
            f"this run was begun with {before}, but the profile {options['profile']!r} now means {now}: set the models "
            "back, or start a new run"
        )
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
) -> Answer[R]:
    """Ask the model of a role, with the built-in instructions or those that replace them on this machine.

    Where the limits leave no room for the call, the answer says so, and the node goes on without it.

    Raises:
        ModelOutage: the model did not answer at all.
    """
    models = await models_of(services, state)
    prompts = await asyncio.to_thread(lambda: services.prompts)
    instructions = prompts.get(task, built_in)
    references = state["request"].get("references", []) if task in _WITH_REFERENCES else []
    if references:
        instructions = f"{instructions}\n{REFERENCES}"
        shown = (
            show(services.artifacts, artifact, f"Reference picture {number}:", models.image_side)
            for number, artifact in enumerate(references, start=1)
        )
        images = [*images, *await asyncio.gather(*shown)]
    try:
        return await models.roles[role].ask(compose(task, instructions, fields, images), reply_model)
    except BudgetSpent:
        return Answer(None, Usage(), problem="over budget")


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
    return await asyncio.to_thread(_encode, await artifacts.get(artifact), label, side)


def _encode(content: bytes, label: str, side: int) -> EncodedImage:
    with Image.open(io.BytesIO(content)) as image:
        if max(image.size) <= side:
            return EncodedImage(content, Image.MIME[image.format or "PNG"], label)
        # Without need, `convert` would copy the whole picture.
        small = image if image.mode == "RGB" else image.convert("RGB")
        small.thumbnail((side, side))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=JPEG_QUALITY)
        return EncodedImage(buffer.getvalue(), "image/jpeg", label)
