"""`gems serve`: from what was typed to a server that runs."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
from dotenv import dotenv_values

from gems.app.wording import plural
from gems.core.errors import GemsConfigError
from gems.core.profiles import Endpoint
from gems.core.settings import Settings, load_settings

if TYPE_CHECKING:
    from gems.app.serve.served import ServedModel
    from gems.backends.local.studio import Studio

MakeStudio = Callable[[Sequence[str]], "Studio"]
"""From the names of devices to a studio on them."""

_PROVIDER: Final = "diffusers"
_NEEDED: Final = {"starlette": "starlette", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
"""Packages by the modules that they are imported as."""
_FOR_EVER: Final = 1e9
"""Seconds."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What was typed."""

    models: tuple[str, ...] = ()
    profile: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    devices: str | None = None
    queue: int = 64
    anyone: bool = False


class Chosen(NamedTuple):
    """A model to serve, and the size that its profile names."""

    endpoint: Endpoint
    size: str | None = None


def serve(options: ServeOptions, make_studio: MakeStudio | None = None) -> int:
    """Serve until told to stop, and answer the exit code.

    Args:
        options: What was typed.
        make_studio: Where drawings are made; default: on this machine's devices.

    Raises:
        GemsConfigError: a package is missing, the port is taken, or the models cannot be served.
    """
    check_packages()
    from gems.app.serve.access import access_for, read_tokens
    from gems.app.serve.desk import Desk, Limits
    from gems.app.serve.listening import address_of, listen
    from gems.app.serve.running import run_server

    access = access_for(options.host, read_tokens(_environment()), anyone=options.anyone)
    chosen = choose(options, load_settings())
    models = served_models(chosen)
    sockets = listen(options.host, options.port)
    try:
        devices = chosen_devices(options.devices, chosen[0].endpoint)
        click.echo(f"Loading {_names(models)} on {', '.join(devices)} ...", err=True)
        limits = Limits(options.queue, chosen[0].endpoint.drawing.seconds)
        desk = Desk((make_studio or _local_studio)(devices), models, limits, devices)
        line = ready_line(models, devices, address_of(options.host, sockets), has_tokens=bool(access.tokens))
        asyncio.run(run_server(desk, access, sockets, lambda: click.echo(line), _tell_stopping))
    finally:
        for opened in sockets:
            opened.close()
    click.echo("Stopped.", err=True)
    return 0


def check_packages(find: Callable[[str], Any] = find_spec) -> None:
    """See that the packages of the extra are installed; `find` tells of a module.

    Raises:
        GemsConfigError: some are not.
    """
    if missing := [package for module, package in _NEEDED.items() if find(module) is None]:
        raise GemsConfigError(f"gems serve needs {', '.join(missing)}: pip install {' '.join(missing)}")


def choose(options: ServeOptions, settings: Settings) -> list[Chosen]:
    """The models to serve. They keep their weights, unless a profile says for how long.

    Raises:
        GemsConfigError: there is no such profile, or its images are not drawn by weights of one's own.
    """
    if options.models and options.profile:
        raise GemsConfigError("MODEL and --profile exclude each other: a profile names its model")
    if options.models:
        given = [model.removeprefix(f"{_PROVIDER}:") for model in options.models]
        return [Chosen(_kept(Endpoint(provider=_PROVIDER, model=model, folder=settings.folder))) for model in given]
    profile = settings.resolve(options.profile)
    found = settings.images(profile)
    if found.provider != _PROVIDER:
        raise GemsConfigError(
            f"profile {profile.name!r} draws with {found.name!r}, which is nothing to serve: name a model (gems serve "
            f"stabilityai/sd-turbo) or a profile whose images are {_PROVIDER}:MODEL (gems serve --profile sd-turbo)"
        )
    return [Chosen(_kept(found), profile.size if "size" in profile.model_fields_set else None)]


def served_models(chosen: Sequence[Chosen]) -> list[ServedModel]:
    """How they are served.

    Raises:
        GemsConfigError: weights are not here or not whole, or two models would go by one name.
    """
    from gems.app.serve.served import serve_model
    from gems.backends.local.orders import LocalModel
    from gems.backends.local.pipelines import facts_of
    from gems.backends.local.weights import find_weights

    models = []
    for endpoint, size in chosen:
        weights = find_weights(LocalModel(endpoint.model, endpoint.local, endpoint.folder))
        models.append(serve_model(endpoint, facts_of(weights.pipeline_class), size))
    name, count = Counter(model.name.lower() for model in models).most_common(1)[0]
    if count > 1:
        raise GemsConfigError(f"{count} models would be called {name!r}: clients could not tell them apart")
    return models


def chosen_devices(asked: str | None, first: Endpoint) -> list[str]:
    """The devices to draw on, by torch's names: those that were typed, else the one that the first model names.

    This loads torch.

    Raises:
        GemsConfigError: there is no such device.
    """
    from gems.backends.local.devices import accelerators, find_device

    if asked == "all":
        return accelerators() or ["cpu"]
    if not asked:
        return [find_device(first.local.device)]
    return list(dict.fromkeys(find_device(part.strip(), "--devices") for part in asked.split(",")))


def ready_line(models: Sequence[ServedModel], devices: Sequence[str], address: str, *, has_tokens: bool) -> str:
    """What to tell once the server is ready: where it is, and how a profile is pointed at it."""
    first = models[0]
    edit = ", edit = true" if first.inputs else ""
    key = ', images_api_key_env = "GEMS_IMAGES_API_KEY"' if has_tokens else ""
    return (
        f"Ready: {_names(models)} on {', '.join(devices)} at {address}; in a profile of gems.toml: "
        f'images = "openai:{first.name}", images_base_url = "{address}/v1"{key}, drawing = {{ server = "gems"{edit} }}'
    )


def _tell_stopping(drawing: int) -> None:
    if drawing:
        click.echo(f"Stopping: {plural(drawing, 'drawing')} may be finished; once more, and nothing is.", err=True)


def _kept(endpoint: Endpoint) -> Endpoint:
    if "idle_seconds" in endpoint.local.model_fields_set:
        return endpoint
    return endpoint.model_copy(update={"local": endpoint.local.model_copy(update={"idle_seconds": _FOR_EVER})})


def _environment() -> Mapping[str, str]:
    written = {name: value for name, value in dotenv_values(Path.cwd() / ".env").items() if value is not None}
    return {**written, **os.environ}


def _names(models: Sequence[ServedModel]) -> str:
    return ", ".join(model.name for model in models)


def _local_studio(devices: Sequence[str]) -> Studio:
    from gems.backends.local.workers import LocalStudio

    return LocalStudio(devices)
