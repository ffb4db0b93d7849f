"""What can be known of a profile's models before they are asked for anything: keys, servers, names, prices."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

import httpx

from gems.app.local_servers import COMFYUI, start_hint
from gems.app.terminal import one_line
from gems.app.wording import money
from gems.backends.chat.abilities import Abilities
from gems.backends.chat.book import ServerBook
from gems.backends.hosts import is_local
from gems.backends.json_object import json_object
from gems.core.profiles import Endpoint, Profile
from gems.core.settings import IN_PROCESS, UNNAMED_KEY, Settings
from gems.core.state import ROLES, Role

SECONDS: Final = 5.0
"""Time limit of a look at a server."""
OPENAI: Final = "https://api.openai.com/v1"

_FORMS: Final = {
    "json_schema": "JSON by a schema",
    "json_object": "JSON without a schema",
    "text": "JSON in plain text",
}
_NAMED: Final = 5
"""Models named in place of one that is not there."""
_LONGEST_NAME: Final = 80
_VERSION: Final = re.compile(r"/v\d")
"""What the path of an API mostly has in it: `/v1`, `/v1beta/openai`, `/api/paas/v4`."""


class Finding(NamedTuple):
    """One thing that was looked at. `remedy` says what to do when it is not well and `found` does not say so already."""

    what: str
    health: Literal["ok", "warn", "bad"]
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A model of the profile with what it is there for."""

    name: str
    """`mllm`, `images`, or the roles that have a model of their own."""
    endpoint: Endpoint
    roles: tuple[Role, ...] = ()
    """Empty for the one that draws."""

    @property
    def url(self) -> str | None:
        """Where its server is; None for one that has none."""
        defaults = {"openai": OPENAI, "comfyui": f"http://127.0.0.1:{COMFYUI.port}"}
        return self.endpoint.base_url or defaults.get(self.endpoint.provider)


def parts_of(settings: Settings, profile: Profile) -> list[Part]:
    """Every distinct model: those that answer, then the one that draws."""
    groups: list[tuple[Endpoint, list[Role]]] = []
    for role in ROLES:
        endpoint = settings.chat(profile, role)
        same = next((roles for known, roles in groups if _place(known) == _place(endpoint)), None)
        if same is None:
            groups.append((endpoint, [role]))
        else:
            same.append(role)
    shared = _place(settings.chat(profile))
    chats = [
        Part("mllm" if _place(endpoint) == shared else "+".join(roles), endpoint, tuple(roles))
        for endpoint, roles in groups
    ]
    return [*chats, Part("images", settings.images(profile))]


def _place(endpoint: Endpoint) -> tuple[str, str | None, str]:
    return endpoint.name, endpoint.base_url, endpoint.key_name


# Keys


def check_key(part: Part) -> Finding | None:
    """Whether the key is set, by its variable; never the key. None where none is needed."""
    endpoint, what = part.endpoint, f"{part.name} key"
    if endpoint.provider in IN_PROCESS or (part.url and not endpoint.base_url and is_local(part.url)):
        return None
    if endpoint.api_key is not None:
        return Finding(what, "ok", f"set, for {endpoint.name}")
    if endpoint.base_url is None:
        return Finding(
            what, "bad", f"none for {endpoint.name}", f"set {endpoint.key_name}, in the environment or in .env"
        )
    if endpoint.key_name == UNNAMED_KEY or endpoint.key_name.startswith("GEMS_"):
        return Finding(what, "ok", f"none; the server at {endpoint.base_url} may need none")
    health: Literal["warn", "bad"] = "warn" if is_local(endpoint.base_url) else "bad"
    remedy = f"set {endpoint.key_name}, in the environment or in .env"
    return Finding(what, health, f"none for {endpoint.name}, though the profile names {endpoint.key_name}", remedy)


# Servers


async def check_server(client: httpx.AsyncClient, part: Part) -> Finding | None:
    """Whether the server answers, and has the model. None where there is none to ask."""
    url, provider = part.url, part.endpoint.provider
    paths = {"openai": "/models", "comfyui": "/system_stats", "reference": ""}
    if url is None or provider not in paths:
        return None
    what, address = f"{part.name} at", url.rstrip("/") + paths[provider]
    try:
        reply = await client.get(address, headers=_headers(part))
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return Finding(what, "bad", f"{url} does not answer ({type(error).__name__})", start_hint(provider, url))
    if provider == "reference":
        return Finding(what, "ok", f"{url} answers")
    if reply.status_code in (401, 403):
        said = "refuses the key" if part.endpoint.api_key else "wants a key"
        return Finding(what, "bad", f"{url} {said} ({reply.status_code})", _valid_key(part.endpoint.key_name))
    if reply.status_code >= 500:
        remedy = "wait until it has loaded its model, or look at what it prints"
        return Finding(what, "warn", f"{url} answers with an error ({reply.status_code})", remedy)
    if provider == "comfyui":
        return _comfyui(what, url, reply)
    return _listing(what, url, part.endpoint.model, reply)


async def is_ollama(client: httpx.AsyncClient, part: Part) -> bool:
    """Whether a part's server is an Ollama, as it says itself."""
    address = f"{(part.url or '').rstrip('/').removesuffix('/v1')}/api/version"
    try:
        return isinstance(json_object(await client.get(address, headers=_headers(part))).get("version"), str)
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        return False


def _headers(part: Part) -> dict[str, str]:
    key = part.endpoint.api_key
    return {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}


def _valid_key(variable: str) -> str:
    if variable == UNNAMED_KEY:
        return "name a variable in api_key_env of the role, and set it to a key that is valid there"
    return f"set {variable} to a key that is valid there"


def _comfyui(what: str, url: str, reply: httpx.Response) -> Finding:
    system = json_object(reply).get("system")
    if not isinstance(system, dict):
        return Finding(what, "bad", f"{url} answers, but is not ComfyUI", start_hint("comfyui", url))
    version = one_line(str(system.get("comfyui_version", "")), _LONGEST_NAME)
    return Finding(what, "ok", f"{url} answers: ComfyUI {version}".rstrip())


def _listing(what: str, url: str, model: str, reply: httpx.Response) -> Finding:
    listed = json_object(reply).get("data")
    entries = listed if isinstance(listed, list) else []
    names = [str(entry["id"]) for entry in entries if isinstance(entry, dict) and entry.get("id")]
    if reply.status_code == 404 and not _VERSION.search(urlsplit(url).path):
        remedy = f"base URLs mostly end in /v1: try {url.rstrip('/')}/v1"
        return Finding(what, "warn", f"{url} answers, but has no list of models there (404)", remedy)
    if not names:
        return Finding(what, "ok", f"{url} answers; it does not say which models it has")
    # Ollama takes a name without a tag for the latest.
    if model in names or f"{model}:latest" in names:
        return Finding(what, "ok", f"{url} answers and has {model}")
    return Finding(what, "warn", f"{url} answers, but does not list {model!r}", _instead(model, names))


def _instead(model: str, names: Sequence[str]) -> str:
    by_end = {name.rpartition("/")[2].lower(): name for name in names}
    close = difflib.get_close_matches(model.rpartition("/")[2].lower(), by_end, n=_NAMED, cutoff=0.5)
    shown = [one_line(name, _LONGEST_NAME) for name in ([by_end[it] for it in close] or names[:_NAMED])]
    return f"{'did you mean' if close else 'it has'} {', '.join(shown)}{'?' if close else ''}"


# Abilities


def say_abilities(settings: Settings, part: Part) -> Finding | None:
    """How a model is asked after what its server refused so far; None for one that is no server's."""
    endpoint, url = part.endpoint, part.url
    if endpoint.provider != "openai" or url is None:
        return None
    abilities = ServerBook(settings.home / "servers.json").find(url.rstrip("/"), endpoint.model) or Abilities()
    output = abilities.output if endpoint.chat.output == "auto" else endpoint.chat.output
    asked = [f"replies as {_FORMS[output]}"]
    if "critic" in part.roles and endpoint.chat.logprobs is not False:
        asked.append("log-probabilities" if abilities.logprobs else "no log-probabilities, which it refused")
    return Finding(f"{part.name} is", "ok", f"asked for {' and '.join(asked)}")


# Money


def check_money(profile: Profile, parts: Sequence[Part]) -> Iterator[Finding]:
    """What calls cost, and what a run may take."""
    paid = {part.endpoint.name: part for part in parts if part.endpoint.is_paid}
    for name, part in paid.items():
        if part.endpoint.price is not None:
            yield Finding("price", "ok", f"{name}: {_priced(part)}")
            continue
        fields = "input and output" if part.roles else "image"
        remedy = f'set [prices."{name}"] in gems.toml, with {fields} in US dollars'
        if profile.max_cost is None:
            yield Finding("price", "warn", f"not known of {name}: money is not counted", remedy)
        else:
            yield Finding("price", "bad", f"not known of {name}, which max_cost {profile.max_cost:g} needs", remedy)
    limits = [
        f"{money(profile.max_cost)}" if profile.max_cost is not None else "",
        f"{profile.max_images} images" if profile.max_images is not None else "",
        f"{profile.max_calls} model calls" if profile.max_calls is not None else "",
        f"{profile.max_seconds:g} s" if profile.max_seconds is not None else "",
    ]
    named = ", ".join(filter(None, limits))
    free = "a run has no limits but its rounds: nothing here costs money, as far as one can tell"
    yield Finding("limits", "ok", f"a run takes at most {named}" if named else free)


def _priced(part: Part) -> str:
    price = part.endpoint.price
    if price is None:
        return ""
    if not part.roles:
        return f"{money(price.image)} a drawing at most"
    return f"{money(price.input)} a million tokens read, {money(price.output)} written"
