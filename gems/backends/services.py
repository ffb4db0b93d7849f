"""Turns settings into models. Adapters are chosen here and nowhere else, and loaded only when chosen."""

from __future__ import annotations

from gems.backends.recording import record, replay
from gems.core.errors import GemsConfigError
from gems.core.ports import ChatRole, ImageGenerator, Models
from gems.core.settings import Endpoint, Settings
from gems.core.state import ROLES


def make_models(settings: Settings, profile_name: str) -> Models:
    """The models of a profile.

    Raises:
        GemsConfigError: no such profile or provider, or a key is missing.
    """
    profile = settings.resolve(profile_name)
    if settings.replay:
        return replay(settings.replay)
    mllm = settings.endpoint(profile, "mllm")
    models = Models(
        roles=dict.fromkeys(ROLES, make_chat(mllm)),
        images=make_images(settings.endpoint(profile, "images")),
        mllm=mllm.name,
        overlap=profile.overlap,
        image_side=profile.image_side,
    )
    return record(models, settings.record) if settings.record else models


def make_chat(endpoint: Endpoint) -> ChatRole:
    """The chat model at an endpoint.

    Raises:
        GemsConfigError: no such provider, or its key is missing.
    """
    if endpoint.provider == "sketch":
        from gems.backends.chat.role import LangChainRole
        from gems.backends.sketch.chat import SketchChat

        return LangChainRole(SketchChat(), json_schema=True)
    if endpoint.provider == "openai":
        from gems.backends.chat.openai import make_openai_chat

        return make_openai_chat(endpoint)
    raise GemsConfigError(
        f"unknown mllm provider {endpoint.provider!r} in {endpoint.name!r}; there are: openai, sketch"
    )


def make_images(endpoint: Endpoint) -> ImageGenerator:
    """The image model at an endpoint.

    Raises:
        GemsConfigError: no such provider, or its key is missing.
    """
    if endpoint.provider == "sketch":
        from gems.backends.sketch.images import SketchImages

        return SketchImages()
    if endpoint.provider == "openai":
        from gems.backends.images.openai import OpenAIImages

        return OpenAIImages(endpoint)
    raise GemsConfigError(
        f"unknown images provider {endpoint.provider!r} in {endpoint.name!r}; there are: openai, sketch"
    )
