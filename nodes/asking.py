"""How a node asks a model: the role's instructions, one tagged JSON block, images, one reply model."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from PIL import Image

from gems.core.messages import EncodedImage, Task, compose
from gems.core.ports import Answer, ArtifactStore, Models, R, Services
from gems.core.state import GemsState, Role

Update = dict[str, Any]
Node = Callable[[GemsState], Awaitable[Update]]

JPEG_QUALITY: Final = 90


async def models_of(services: Services, state: GemsState) -> Models:
    """The models of the trajectory's profile. Made in a thread: the first time, it may read files and load packages."""
    return await asyncio.to_thread(services.models, state["options"]["profile"])


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

    Raises:
        ModelOutage: the model did not answer at all.
    """
    models = await models_of(services, state)
    prompts = await asyncio.to_thread(lambda: services.prompts)
    return await models.roles[role].ask(compose(task, prompts.get(task, built_in), fields, images), reply_model)


async def show(artifacts: ArtifactStore, artifact: str, label: str, side: int) -> EncodedImage:
    """An image as it is sent: untouched while its longest side fits `side` pixels, else scaled down as JPEG."""
    return await asyncio.to_thread(_encode, await artifacts.get(artifact), label, side)


def _encode(content: bytes, label: str, side: int) -> EncodedImage:
    with Image.open(io.BytesIO(content)) as image:
        if max(image.size) <= side:
            return EncodedImage(content, Image.MIME[image.format or "PNG"], label)
        small = image.convert("RGB")
        small.thumbnail((side, side))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=JPEG_QUALITY)
        return EncodedImage(buffer.getvalue(), "image/jpeg", label)
