"""Turns settings into models. Adapters are chosen here and nowhere else, and loaded only when chosen."""

from __future__ import annotations

from collections.abc import Mapping

from gems.backends.recording import record, replay
from gems.core.errors import GemsConfigError
from gems.core.ports import ChatRole, ImageGenerator, Models
from gems.core.settings import Endpoint, Settings
from gems.core.state import ROLES, Role


def make_models(
    settings: Settings,
    profile_name: str,
    own_roles: Mapping[Role, ChatRole] | None = None,
    own_images: ImageGenerator | None = None,
) -> Models:
    """The models of a profile.

    Args:
        settings: The machine's settings.
        profile_name: A profile's name.
        own_roles: A caller's own chat models by role. When all roles are there, the profile's is not made.
        own_images: A caller's own image model.

    Raises:
        GemsConfigError: no such profile or provider, or a key is missing.
    """
    if settings.replay:
        return replay(settings.replay)
    profile = settings.resolve(profile_name)
    roles, mllm = dict(own_roles or {}), "your own"
    if missing := set(ROLES) - roles.keys():
        endpoint = settings.endpoint(profile, "mllm")
        roles, mllm = dict.fromkeys(missing, make_chat(endpoint)) | roles, endpoint.name
    images = own_images or make_images(settings.endpoint(profile, "images"))
    models = Models(roles, images, mllm, profile.overlap, profile.image_side)
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
