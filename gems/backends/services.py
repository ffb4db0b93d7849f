"""Turns settings into models. Adapters are chosen here and nowhere else, and loaded only when chosen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable
from urllib.parse import urlsplit

from pydantic import SecretStr

from gems.backends.chat.book import ServerBook
from gems.backends.chat.counted import CountedRole
from gems.backends.chat.errors import HOSTED
from gems.backends.chat.role import LangChainRole
from gems.backends.chat.server import IMAGE_TOKENS, MILLION
from gems.backends.images.guarded import GuardedImages, image_gate, image_turns
from gems.backends.recording import record, replay
from gems.backends.serving import Gate, Places, Turns
from gems.backends.sharing import ONE_GPU, SharedGpu
from gems.backends.turnstile import Turnstile
from gems.core.errors import GemsConfigError
from gems.core.ports import ChatRole, ImageGenerator, Models, Prices
from gems.core.profiles import DrawingOptions, Endpoint, Price
from gems.core.settings import IN_PROCESS, Settings
from gems.core.state import ROLES, Role

if TYPE_CHECKING:
    import httpx

FREE: Final = Price()


WITH_LOGPROBS: Final[frozenset[Role]] = frozenset({"critic"})
"""Roles whose log-probabilities are used."""


WITH_QUEUE: Final = ("diffusers",)
"""Image providers that queue the drawings of this process and limit their time themselves."""


QUESTION_TOKENS: Final = 4000
"""Tokens of a critic's instructions and questions, at most."""


@runtime_checkable
class _Closable(Protocol):
    async def aclose(self) -> None: ...


def make_models(
    settings: Settings,
    profile_name: str,
    own_roles: Mapping[Role, ChatRole] | None = None,
    own_images: ImageGenerator | None = None,
    turnstile: Turnstile = ONE_GPU,
) -> Models:
    """The models of a profile. Whoever answers or draws, each call reserves before what it may cost.

    Args:
        settings: The machine's settings.
        profile_name: A profile's name.
        own_roles: A caller's own chat models by role. When all roles are there, the profile's is not made.
        own_images: A caller's own image model.
        turnstile: Whose turn it is, where the profile's chat and drawing must not overlap.

    Raises:
        GemsConfigError: no such profile or provider, or a key is missing.
    """
    if settings.replay:
        taped = replay(settings.replay)
        roles = {role: _counted(model) for role, model in taped.roles.items()}
        return replace(taped, roles=roles, images=GuardedImages(taped.images, image_gate(DrawingOptions()), 0.0))
    profile = settings.resolve(profile_name)
    own = own_roles or {}
    endpoints = {role: settings.chat(profile, role) for role in ROLES if role not in own}
    drawn_by = settings.images(profile)
    gpu = None if profile.overlap else SharedGpu(None if own_images else _drawn_at(drawn_by), turnstile)
    made = make_chats(endpoints, ServerBook(settings.home / "servers.json"), gpu=gpu)
    roles = {role: _own_role(model, gpu) for role, model in own.items()} | made
    shares = gpu is not None and (bool(own) or any(map(gpu.is_shared_with, endpoints.values())))
    drawer = own_images or make_images(drawn_by, shares_device=shares)
    queues = own_images is None and drawn_by.provider in WITH_QUEUE
    places: Places = image_turns(profile.drawing, in_process=queues)
    prices = _prices(endpoints.values(), None if own_images else drawn_by)
    call_tokens = max(map(_look_tokens, endpoints.values()), default=0)
    images = GuardedImages(
        drawer,
        image_gate(profile.drawing, gpu.drawing(drawer, places) if gpu else places, in_process=queues),
        prices.image if prices else 0.0,
        prices.call if prices else 0.0,
        max(1, call_tokens),
    )
    models = Models(
        roles,
        images,
        mllm=" + ".join(dict.fromkeys(endpoint.name for endpoint in endpoints.values())) or "your own",
        overlap=profile.overlap,
        image_side=profile.image_side,
        prices=prices,
        call_tokens=call_tokens,
        # What is the caller's own is not ours to close.
        closing=_closing(*made.values(), None if own_images else drawer),
    )
    return record(models, settings.record) if settings.record else models


def make_chats(
    endpoints: Mapping[Role, Endpoint],
    book: ServerBook,
    transport: httpx.AsyncBaseTransport | None = None,
    gpu: SharedGpu | None = None,
) -> dict[Role, ChatRole]:
    """The chat models of roles. Roles at one server share its places.

    Args:
        endpoints: The model of each role.
        book: What is known of servers.
        transport: What carries requests; default: the network.
        gpu: For which chat and drawing take turns; None: they do not.

    Raises:
        GemsConfigError: no such provider, or a key is missing.
    """
    turns: dict[str, Turns] = {}
    made: dict[tuple[str, SecretStr | None, bool], ChatRole] = {}
    roles = {}
    for role, endpoint in endpoints.items():
        places = turns.setdefault(_server(endpoint), Turns(endpoint.chat.concurrency))
        logprobs = endpoint.chat.logprobs if endpoint.chat.logprobs is not None else role in WITH_LOGPROBS
        # The dump masks keys: the same model under two keys would be taken for one.
        key = endpoint.model_dump_json(), endpoint.api_key, logprobs
        if key not in made:
            gate = _chat_gate(endpoint, gpu.chat(endpoint, places) if gpu else places)
            made[key] = make_chat(endpoint, gate, book, logprobs=logprobs, transport=transport)
        roles[role] = made[key]
    return roles


def make_chat(
    endpoint: Endpoint,
    gate: Gate,
    book: ServerBook,
    *,
    logprobs: bool,
    transport: httpx.AsyncBaseTransport | None = None,
) -> ChatRole:
    """The chat model at an endpoint.

    Raises:
        GemsConfigError: no such provider, or its key is missing.
    """
    if endpoint.provider == "sketch":
        from gems.backends.sketch.chat import SketchChat

        return LangChainRole(SketchChat(), output="json_schema")
    if endpoint.provider == "openai":
        from gems.backends.chat.openai import make_openai_chat

        return make_openai_chat(endpoint, gate, book, logprobs=logprobs, transport=transport)
    raise GemsConfigError(
        f"unknown mllm provider {endpoint.provider!r} in {endpoint.name!r}; there are: openai, sketch"
    )


def make_images(endpoint: Endpoint, *, shares_device: bool = False) -> ImageGenerator:
    """The image model at an endpoint, for one attempt a call.

    Args:
        endpoint: The model.
        shares_device: Whether a chat model takes turns with it on one device.

    Raises:
        GemsConfigError: no such provider, or its key is missing.
    """
    if endpoint.provider == "sketch":
        if missing := [package for package in ("torch", "diffusers") if find_spec(package) is None]:
            raise GemsConfigError(
                f"the embedded engine draws with {' and '.join(missing)}, not installed here: pip install "
                f"{' '.join(missing)}, or choose other models with `gems init`"
            )
        from gems.backends.sketch.images import SketchImages

        return SketchImages()
    if endpoint.provider == "diffusers":
        from gems.backends.local.images import LocalImages

        return LocalImages(endpoint, shares_device=shares_device)
    if endpoint.provider == "openai":
        from gems.backends.images.openai import OpenAIImages

        return OpenAIImages(endpoint)
    if endpoint.provider == "reference":
        from gems.backends.images.reference import ReferenceImages

        return ReferenceImages(endpoint)
    if endpoint.provider == "comfyui":
        from gems.backends.images.comfyui.images import ComfyImages

        return ComfyImages(endpoint, endpoint.folder)
    raise GemsConfigError(
        f"unknown images provider {endpoint.provider!r} in {endpoint.name!r}; there are: comfyui, diffusers, openai, "
        "reference, sketch"
    )


def _server(endpoint: Endpoint) -> str:
    """What is the same for two URLs of one server."""
    parts = urlsplit(endpoint.base_url or HOSTED)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"


def _drawn_at(endpoint: Endpoint) -> str | None:
    """The URL of who draws; None where that is this process."""
    return None if endpoint.provider in IN_PROCESS else endpoint.base_url or HOSTED


def _chat_gate(endpoint: Endpoint, turns: Places) -> Gate:
    chat = endpoint.chat
    return Gate(
        f"the chat model {endpoint.name}",
        turns=turns,
        seconds=chat.seconds,
        retries=chat.retries,
        paid_retries=chat.retries,
    )


def _own_role(model: ChatRole, gpu: SharedGpu | None) -> ChatRole:
    counted = _counted(model)
    return gpu.role(model, counted) if gpu else counted


def _counted(model: ChatRole) -> ChatRole:
    return model if isinstance(model, LangChainRole) else CountedRole(model)


def _prices(chats: Iterable[Endpoint], images: Endpoint | None) -> Prices | None:
    """The dearest of each; None when a model that is paid for has no price."""
    chats = list(chats)
    endpoints = [*chats, images] if images else chats
    if any(endpoint.is_paid and endpoint.price is None for endpoint in endpoints):
        return None
    told = [endpoint.price or FREE for endpoint in chats]
    return Prices(
        input=max((price.input for price in told), default=0.0),
        output=max((price.output for price in told), default=0.0),
        image=images.price.image if images and images.price else 0.0,
        call=max((_worst_look(endpoint) for endpoint in chats), default=0.0),
    )


def _closing(*parts: object) -> list[Callable[[], Awaitable[None]]]:
    """A role made for several is closed more than once, which does no harm."""
    return [part.aclose for part in parts if isinstance(part, _Closable)]


def _look_tokens(endpoint: Endpoint) -> int:
    return IMAGE_TOKENS + QUESTION_TOKENS + endpoint.chat.max_tokens


def _worst_look(endpoint: Endpoint) -> float:
    price = endpoint.price or FREE
    return (price.input * (IMAGE_TOKENS + QUESTION_TOKENS) + price.output * endpoint.chat.max_tokens) / MILLION
