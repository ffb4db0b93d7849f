"""What this machine has: GPUs, packages, weights, servers that answer, and keys (only whether they are set)."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
from dotenv import dotenv_values

from gems.app.accelerators import Device, Devices, TorchDevices
from gems.app.held_weights import Held, held_pipelines
from gems.app.local_servers import COMFYUI, GEMS_SERVE, OLLAMA, OPENAI_LIKE
from gems.app.packages import CPU_BUILD, GPU_BUILDS, Version, installed_version, torch_build
from gems.backends.json_object import json_object
from gems.backends.local.devices import host_free
from gems.core.errors import GemsConfigError

SECONDS: Final = 0.5
"""Time limit of a look at a server: on this machine it answers at once, or there is none."""
KEYS: Final = ("OPENAI_API_KEY", "OPENROUTER_API_KEY")
WEIGHTS_PACKAGES: Final = ("torch", "diffusers", "transformers")
"""What draws with weights of one's own."""
OVERRIDING: Final = frozenset(
    {"GEMS_PROFILE", "GEMS_MLLM", "GEMS_IMAGES", "GEMS_MLLM_BASE_URL", "GEMS_IMAGES_BASE_URL"}
)
"""Variables that win over what `gems.toml` says of models."""

_MOST_MODELS: Final = 50
_MODEL_NAME: Final = re.compile(r"[\w./:@+ -]{1,200}", re.ASCII)
"""What a model may be called: a name goes into a file and onto the terminal."""
_DRAWS: Final = re.compile(
    r"z-image|qwen-image|flux|stable-diffusion|(^|[/_-])sdxl?([._-]|$)|sd3|hunyuan-?image|hidream|gpt-image|dall-e|pixart|sana",
    re.IGNORECASE,
)
_SEES: Final = re.compile(
    r"([^a-z]|\d)vl([^a-z]|$)|vision|llava|pixtral|internvl|minicpm-v|gemma-?3(?!n?[:-](270m|1b))|gemma-?4|qwen-?3\.[5-9]|"
    r"molmo|moondream|kimi-k2\.5|glm-4\.[156]v|mistral-small-?3\.[12]|llama-?4|ovis|step3",
    re.IGNORECASE,
)
_NO_CHAT: Final = re.compile(r"embed|rerank|bge-|whisper|tts", re.IGNORECASE)


_OPENAI_LIKE_URLS: Final[Mapping[str, str]] = {
    server.name: f"http://127.0.0.1:{server.port}/v1" for server in OPENAI_LIKE
}


class Addresses(NamedTuple):
    """Where servers are looked for. Tests give their own."""

    ollama: str = f"http://127.0.0.1:{OLLAMA.port}"
    openai_like: Mapping[str, str] = _OPENAI_LIKE_URLS
    """By name."""
    comfyui: str = f"http://127.0.0.1:{COMFYUI.port}"


class FoundModel(NamedTuple):
    """A model of a server."""

    name: str
    sees: bool | None
    """Whether it reads pictures; None where nothing tells."""
    draws: bool = False


class FoundServer(NamedTuple):
    """A server that answered. `base_url` is the one for `gems.toml`."""

    name: str
    base_url: str
    models: tuple[FoundModel, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found."""

    gpu: str = ""
    """In words; empty when there is none."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Versions by name."""
    devices: Sequence[Device] = ()
    """The accelerators that torch can use."""
    torch_problem: str = ""
    """Why torch cannot be used at all."""
    host_free: int = 0
    """Bytes of the machine's memory that weights may take."""
    held: Sequence[Held] = ()
    """Pipelines in the Hugging Face cache."""
    servers: Sequence[FoundServer] = ()
    comfyui: str | None = None
    """Where ComfyUI answered."""
    workflows: Sequence[str] = ()
    """API-format workflows of ComfyUI in the folder."""
    keys: frozenset[str] = frozenset()
    """Names of the variables that are set."""
    overriding: Sequence[str] = ()
    """Variables of GEMS in the environment, which win over `gems.toml`."""


async def look_around(
    folder: Path,
    addresses: Addresses | None = None,
    environ: Mapping[str, str] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    devices: Devices | None = None,
    version: Version = installed_version,
) -> Machine:
    """Look at everything at the same time.

    Args:
        folder: Where `.env` and workflows are looked for.
        addresses: Where servers are looked for; default: their usual ports on this machine.
        environ: The environment; default `os.environ`.
        transport: How HTTP requests travel; default: by the network, never through a proxy.
        devices: Looks for GPUs; default: in this machine.
        version: Tells which packages are installed.

    Raises:
        GemsConfigError: `.env` cannot be read.
    """
    where = addresses or Addresses()
    names = _set_names(folder, os.environ if environ is None else environ)
    transport = transport or httpx.AsyncHTTPTransport(trust_env=False)
    async with httpx.AsyncClient(timeout=SECONDS, transport=transport, trust_env=False) as client:
        drawing, comfyui, servers = await asyncio.gather(
            asyncio.to_thread(_drawing, devices or TorchDevices(), version),
            _answers(client, f"{where.comfyui}/system_stats"),
            _servers(client, where),
        )
    return replace(
        drawing,
        servers=servers,
        comfyui=where.comfyui if comfyui else None,
        workflows=find_workflows(folder),
        keys=frozenset(names & set(KEYS)),
        overriding=sorted(names & OVERRIDING),
    )


def _set_names(folder: Path, environ: Mapping[str, str]) -> set[str]:
    path = folder / ".env"
    try:
        both = {**(dotenv_values(path) if path.is_file() else {}), **environ}
    except (OSError, UnicodeDecodeError) as error:
        raise GemsConfigError(f"{path}: cannot be read: {error}") from error
    return {name for name, value in both.items() if value and value.strip()}


def _drawing(devices: Devices, version: Version) -> Machine:
    """What of a machine draws with weights of one's own."""
    gpu, packages = devices.seen(), find_packages(version)
    if any(name not in packages for name in WEIGHTS_PACKAGES):
        return Machine(gpu, packages)
    usable, problem = _usable(devices, gpu, torch_build(version("torch") or ""))
    return Machine(gpu, packages, usable, problem, host_free(), held_pipelines())


def _usable(devices: Devices, gpu: str, build: str) -> tuple[list[Device], str]:
    """The accelerators, and why torch cannot be used. It is loaded only where it may find some: that takes seconds."""
    if not (gpu or build in GPU_BUILDS) or build == CPU_BUILD:
        return [], ""
    try:
        return devices.usable(), ""
    except GemsConfigError as error:
        return [], str(error)


def find_packages(version: Version = installed_version) -> dict[str, str]:
    """Versions of the packages that draw on this machine; torch's says whether it is built for a GPU."""
    found = {name: it for name in WEIGHTS_PACKAGES if (it := version(name))}
    if build := torch_build(found.get("torch", "")):
        found["torch"] += f" ({build})"
    return found


def find_workflows(folder: Path) -> list[str]:
    """JSON files of the folder that hold a workflow of ComfyUI in its API format."""
    return [path.name for path in sorted(folder.glob("*.json"))[:_MOST_MODELS] if _is_workflow(path)]


def _is_workflow(path: Path) -> bool:
    try:
        nodes = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size < 2**22 else None
    except (OSError, ValueError, RecursionError):
        return False
    return (
        isinstance(nodes, dict)
        and bool(nodes)
        and all(isinstance(node, dict) and "class_type" in node for node in nodes.values())
    )


# Servers


async def _json(client: httpx.AsyncClient, method: str, url: str, body: object = None) -> Any:
    """The JSON object that a server answers; empty where there is none."""
    try:
        async with asyncio.timeout(2 * SECONDS):
            reply = await client.request(method, url, json=body)
    except (httpx.HTTPError, OSError, ValueError):  # TimeoutError is an OSError
        return {}
    return json_object(reply)


async def _servers(client: httpx.AsyncClient, where: Addresses) -> list[FoundServer]:
    found = await asyncio.gather(
        _ollama(client, where.ollama), *(_openai_like(client, name, url) for name, url in where.openai_like.items())
    )
    return [server for server in found if server is not None]


async def _answers(client: httpx.AsyncClient, url: str) -> bool:
    return bool(await _json(client, "GET", url))


def _listed(entries: object, key: str) -> list[str]:
    names = [entry.get(key) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [name for name in names if isinstance(name, str) and _MODEL_NAME.fullmatch(name)][:_MOST_MODELS]


async def _ollama(client: httpx.AsyncClient, url: str) -> FoundServer | None:
    reply = await _json(client, "GET", f"{url}/api/tags")
    if "models" not in reply:
        return None
    names = [name for name in _listed(reply["models"], "name") if not _NO_CHAT.search(name)]
    shown = await asyncio.gather(*(_json(client, "POST", f"{url}/api/show", {"model": name}) for name in names))
    models = [FoundModel(name, _ollama_sees(name, card)) for name, card in zip(names, shown, strict=True)]
    return FoundServer(OLLAMA.name, f"{url}/v1", tuple(models))


def _ollama_sees(name: str, card: Mapping[str, Any]) -> bool:
    able = card.get("capabilities")
    return "vision" in able if isinstance(able, list) else bool(_SEES.search(name))


async def _openai_like(client: httpx.AsyncClient, name: str, url: str) -> FoundServer | None:
    reply = await _json(client, "GET", f"{url}/models")
    if "data" not in reply:
        return None
    if _is_gems_serve(reply["data"]):
        drawing = _listed(reply["data"], "id")
        return FoundServer(GEMS_SERVE, url, tuple(FoundModel(it, sees=False, draws=True) for it in drawing))
    names = [it for it in _listed(reply["data"], "id") if not _NO_CHAT.search(it)]
    return FoundServer(name, url, tuple(_told(names, _multimodal(reply))))


def _is_gems_serve(entries: object) -> bool:
    """Whether the models are those of an image server of our own, whatever they are called."""
    found = entries if isinstance(entries, list) else []
    return any(isinstance(entry, dict) and entry.get("owned_by") == "gems" for entry in found)


def _multimodal(reply: Mapping[str, Any]) -> set[str]:
    """llama.cpp says of its models whether they see."""
    entries = reply.get("models")
    found = entries if isinstance(entries, list) else []
    return {
        str(entry.get("name"))
        for entry in found
        if isinstance(entry, dict) and "multimodal" in (entry.get("capabilities") or [])
    }


def _told(names: Iterable[str], multimodal: set[str]) -> Iterable[FoundModel]:
    for name in names:
        draws = bool(_DRAWS.search(name))
        sees = True if name in multimodal or _SEES.search(name) else None
        yield FoundModel(name, False if draws else sees, draws)
