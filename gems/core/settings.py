"""Settings of the machine: environment, then `.env`, then `gems.toml`, then the built-in profiles.

Paths, URLs and keys live here and nowhere else: never in state, context, logs or reports.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import platformdirs
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from gems.core.context import explain
from gems.core.errors import GemsConfigError
from gems.core.profiles import BUILT_IN, PAID_CAPS, PRICES, Endpoint, Price, Profile, RoleModel, check_url
from gems.core.state import ROLES, Role

ENVIRONMENT: Final = "environment"
"""The configured profile with GEMS_MLLM and GEMS_IMAGES laid over it."""

IN_PROCESS: Final = ("sketch", "diffusers")
"""Providers whose models run in this process: no server, and no key."""

TOKENS: Final = "GEMS_TOKENS"
LEAST_TOKEN: Final = 16
"""Characters of a token."""
_TOKEN: Final = re.compile("[!-+\\--~]+")
"""What can be sent and written in a list: printable ASCII without blanks and commas."""
_OWNER: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_MOST_DAYS: Final = 36500
_POSTGRES: Final = ("postgresql://", "postgres://")
Part = Literal["mllm", "images"]
_PARTS: Final[tuple[Part, ...]] = ("mllm", "images")
UNNAMED_KEY: Final = "api_key_env of the role"
"""The `key_name` of a role that has a server of its own and names no key for it."""


class _Server(NamedTuple):
    """Where a model is, and whose key may go there."""

    url: str | None
    variables: tuple[str, ...]
    """Environment variables: the first that is set holds the key; if none is, the last should be."""


class _TomlFile(BaseModel):
    """`gems.toml`."""

    model_config = ConfigDict(extra="forbid")

    profile: str | None = None
    home: Path | None = None
    owner: str | None = None
    keep_days: int | None = Field(default=None, ge=1, le=_MOST_DAYS)
    skills: list[Path] = Field(default_factory=list)
    prompts: Path | None = None
    profiles: dict[str, Profile] = Field(default_factory=dict)
    prices: dict[str, Price] = Field(default_factory=dict)

    @field_validator("profiles")
    @classmethod
    def _has_free_names(cls, value: dict[str, Profile]) -> dict[str, Profile]:
        if ENVIRONMENT in value:
            raise ValueError(f"{ENVIRONMENT!r} is the name of what GEMS_MLLM and GEMS_IMAGES make: choose another name")
        return value


class Settings(BaseModel):
    """The machine's settings, resolved."""

    model_config = ConfigDict(frozen=True)

    home: Path
    folder: Path = Path()
    """Where `gems.toml` lies."""
    database_url: SecretStr | None = None
    """GEMS_DATABASE_URL: a Postgres database that holds what else lies in files of `home`, but for the images."""
    owner: str = "me"
    """Whose lessons are meant where nobody else is named."""
    tokens: dict[str, SecretStr] = Field(default_factory=dict, repr=False)
    """GEMS_TOKENS: whom `langgraph dev` and its like let in, each with a token; empty: whoever is at this machine."""
    public_url: str | None = None
    """GEMS_PUBLIC_URL: where others reach the server; by itself, `langgraph dev` says where it listens."""
    artifacts_url: str | None = None
    """GEMS_ARTIFACTS_URL: where images are kept, if not in `home`."""
    keep_days: int | None = None
    """Days after which `gems prune` forgets a thread that nobody touched; None: never."""
    profile: str = "sketch"
    profiles: dict[str, Profile]
    skills: tuple[Path, ...] = ()
    prompts: Path | None = None
    """A folder of files that replace role prompts."""
    record: Path | None = None
    """A folder that every model call is written to."""
    replay: Path | None = None
    """A folder of recorded calls that answers in place of the models."""
    own_mllm: str | None = None
    """GEMS_MLLM."""
    own_images: str | None = None
    """GEMS_IMAGES."""
    secrets: dict[str, SecretStr] = Field(default_factory=dict, repr=False)
    """Keys, by the environment variables that hold them."""
    urls: dict[Part, str] = Field(default_factory=dict)
    """GEMS_MLLM_BASE_URL and GEMS_IMAGES_BASE_URL."""
    prices: dict[str, Price] = Field(default_factory=lambda: dict(PRICES))

    def resolve(self, name: str | None = None) -> Profile:
        """The profile of that name; without one, the configured profile with GEMS_MLLM and GEMS_IMAGES laid over it.

        What is named outright wins over the environment. The overlaid profile is called `environment`, so that a resumed
        run finds it again. A profile that costs money has limits, its own or those of `PAID_CAPS`.

        Raises:
            GemsConfigError: there is no such profile.
        """
        name = name or (ENVIRONMENT if self.own_mllm or self.own_images else self.profile)
        base = self.profile if name == ENVIRONMENT else name
        if base not in self.profiles:
            raise GemsConfigError(f"unknown profile {base!r}; there are: {', '.join(sorted(self.profiles))}")
        profile = self.profiles[base].model_copy(update={"name": name})
        if name == ENVIRONMENT:
            profile = _overlay(profile, self.own_mllm or profile.mllm, self.own_images or profile.images)
        if self.is_paid(profile):
            caps = {limit: most for limit, most in PAID_CAPS.items() if getattr(profile, limit) is None}
            profile = profile.model_copy(update=caps)
        return profile

    def is_paid(self, profile: Profile) -> bool:
        """Whether a model of the profile costs money."""
        endpoints = [self.images(profile), *(self.chat(profile, role) for role in ROLES)]
        return any(endpoint.is_paid for endpoint in endpoints)

    def chat(self, profile: Profile, role: Role | None = None) -> Endpoint:
        """The chat model of a role, or the one of the roles that have none of their own."""
        own = profile.roles.get(role) if role else None
        endpoint = self._endpoint(profile, "mllm", own.model if own else profile.mllm, own)
        return endpoint.model_copy(update={"chat": own.chat}) if own and own.chat else endpoint

    def images(self, profile: Profile) -> Endpoint:
        """The model that draws."""
        return self._endpoint(profile, "images", profile.images)

    def _endpoint(self, profile: Profile, part: Part, name: str, own: RoleModel | None = None) -> Endpoint:
        provider, _, model = name.partition(":")
        url, variables = self._server(profile, part, provider, own)
        should = variables[-1] if variables else _own_key(part)
        key_name = next((variable for variable in variables if variable in self.secrets), should)
        return Endpoint(
            provider=provider,
            model=model,
            base_url=url,
            api_key=self.secrets.get(key_name) if variables else None,
            key_name=key_name,
            chat=profile.chat,
            drawing=profile.drawing,
            local=profile.local,
            price=self.prices.get(name),
            folder=self.folder,
        )

    def _server(self, profile: Profile, part: Part, provider: str, own: RoleModel | None) -> _Server:
        """Where a model is, and whose key may go there: whoever names a server's key has named the server too."""
        if provider in IN_PROCESS:
            url = profile.mllm_base_url if part == "mllm" else profile.images_base_url
            if url and provider == "diffusers":
                raise GemsConfigError(
                    f"{part}_base_url is {url!r}, but diffusers: models are drawn by this process: leave it out, or write "
                    "openai:MODEL for a model of that server"
                )
            return _Server(None, ())
        if own and own.base_url:
            return _Server(own.base_url, (own.api_key_env or UNNAMED_KEY,))
        if part in self.urls:
            return _Server(self.urls[part], (_own_key(part),))
        url = profile.mllm_base_url if part == "mllm" else profile.images_base_url
        if url is None and provider != "openai":
            return _Server(None, ())  # it runs here
        if own and own.api_key_env:
            return _Server(url, (own.api_key_env,))
        named = profile.mllm_api_key_env if part == "mllm" else profile.images_api_key_env
        unnamed = "OPENAI_API_KEY" if url is None else _own_key(part)
        return _Server(url, (_own_key(part), named or profile.api_key_env or unnamed))


def load_settings(folder: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings that hold in a folder (default: the current one).

    Args:
        folder: Where `.env` and `gems.toml` are looked for.
        environ: The environment; default `os.environ`. It wins over `.env`, which wins over `gems.toml`.

    Raises:
        GemsConfigError: a file is unreadable, or a value is not allowed.
    """
    folder = folder or Path.cwd()
    env = {**_read_env(folder / ".env"), **(os.environ if environ is None else environ)}
    toml = _read_toml(folder / "gems.toml")
    home = env.get("GEMS_HOME") or toml.home or platformdirs.user_data_path("gems", appauthor=False)
    skills = [Path(part) for part in env.get("GEMS_SKILLS", "").split(os.pathsep) if part]
    prompts = env.get("GEMS_PROMPTS") or toml.prompts
    keys = {"OPENAI_API_KEY", *map(_own_key, _PARTS), *_key_names(toml.profiles.values())}
    # A blank at either end is never part of a key, and would be sent with it.
    secrets = {name: _secret(name, key) for name in keys if (key := env.get(name, "").strip())}
    return Settings(
        home=Path(home).expanduser().absolute(),
        folder=folder,
        database_url=_read_database_url(env.get("GEMS_DATABASE_URL", "").strip()),
        owner=env.get("GEMS_OWNER", "").strip() or toml.owner or "me",
        tokens=_read_tokens(env.get(TOKENS, "")),
        public_url=_read_public_url(env.get("GEMS_PUBLIC_URL", "").strip() or env.get("LANGGRAPH_API_URL", "").strip()),
        artifacts_url=env.get("GEMS_ARTIFACTS_URL", "").strip() or None,
        keep_days=_read_days(env.get("GEMS_KEEP_DAYS", "").strip()) or toml.keep_days,
        profile=env.get("GEMS_PROFILE") or toml.profile or "sketch",
        profiles={**BUILT_IN, **toml.profiles},
        skills=(*(folder / path for path in toml.skills), *skills),
        prompts=folder / prompts if prompts else None,
        record=folder / env["GEMS_RECORD"] if env.get("GEMS_RECORD") else None,
        replay=folder / env["GEMS_REPLAY"] if env.get("GEMS_REPLAY") else None,
        own_mllm=env.get("GEMS_MLLM") or None,
        own_images=env.get("GEMS_IMAGES") or None,
        secrets=secrets,
        urls=_read_urls(env),
        prices={**PRICES, **toml.prices},
    )


def _own_key(part: Part) -> str:
    return f"GEMS_{part.upper()}_API_KEY"


def _key_names(profiles: Iterable[Profile]) -> Iterator[str]:
    for profile in profiles:
        names = [profile.api_key_env, profile.mllm_api_key_env, profile.images_api_key_env]
        yield from filter(None, [*names, *(role.api_key_env for role in profile.roles.values())])


def _secret(name: str, key: str) -> SecretStr:
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise GemsConfigError(f"{name} holds characters that no key has: set it again")
    return SecretStr(key)


def _overlay(profile: Profile, mllm: str, images: str) -> Profile:
    """The profile with these models. What belongs to the server of a model that is replaced goes with it."""
    changes: dict[str, Any] = {
        "api_key_env": None,
        "mllm_api_key_env": profile.mllm_api_key_env or profile.api_key_env,
        "images_api_key_env": profile.images_api_key_env or profile.api_key_env,
    }
    if mllm != profile.mllm:
        chat = profile.chat.model_copy(update={"extra_body": {}})
        changes |= {"mllm": mllm, "mllm_base_url": None, "mllm_api_key_env": None, "roles": {}, "chat": chat}
    if images != profile.images:
        drawing = profile.drawing.model_copy(update={"extra_body": {}, "server": "auto", "nodes": {}})
        changes |= {"images": images, "images_base_url": None, "images_api_key_env": None, "drawing": drawing}
    return profile.model_copy(update=changes)


def _read_urls(env: Mapping[str, str]) -> dict[Part, str]:
    urls: dict[Part, str] = {}
    for part in _PARTS:
        name = f"GEMS_{part.upper()}_BASE_URL"
        try:
            if url := env.get(name):
                urls[part] = check_url(url)
        except ValueError as error:
            raise GemsConfigError(f"{name}: {error}") from error
    return urls


def _read_database_url(url: str) -> SecretStr | None:
    # The URL itself stays unsaid: it may hold a password.
    if url and not url.startswith(_POSTGRES):
        raise GemsConfigError("GEMS_DATABASE_URL: write postgresql://USER:PASSWORD@HOST/DATABASE, or leave it out")
    return SecretStr(url) if url else None


def _read_tokens(text: str) -> dict[str, SecretStr]:
    tokens: dict[str, SecretStr] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        owner, _, token = part.partition(":")
        # What is wrong is told without the part itself: a token may stand where a name should.
        if not _OWNER.fullmatch(owner) or len(token) < LEAST_TOKEN or not _TOKEN.fullmatch(token):
            raise GemsConfigError(
                f"{TOKENS}: write NAME:TOKEN, with commas between several; a name has letters, digits, . _ @ -, a token "
                f'{LEAST_TOKEN} or more ASCII characters; make one with python -c "import secrets; '
                'print(secrets.token_urlsafe())"'
            )
        if owner in tokens or token in (it.get_secret_value() for it in tokens.values()):
            raise GemsConfigError(f"{TOKENS}: the name or token of {owner!r} is there twice")
        tokens[owner] = SecretStr(token)
    return tokens


def _read_public_url(url: str) -> str | None:
    try:
        return check_url(url) if url else None
    except ValueError as error:
        raise GemsConfigError(f"GEMS_PUBLIC_URL: {error}") from error


def _read_days(text: str) -> int | None:
    if not text:
        return None
    days = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0
    if not 1 <= days <= _MOST_DAYS:
        raise GemsConfigError(f"GEMS_KEEP_DAYS is {text!r}: write whole days, 1 to {_MOST_DAYS}, or leave it out")
    return days


def _read_env(path: Path) -> dict[str, str]:
    try:
        found = dotenv_values(path) if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise GemsConfigError(f"{path}: cannot be read: {error}") from error
    return {name: value for name, value in found.items() if value is not None}


def _read_toml(path: Path) -> _TomlFile:
    try:
        if not path.exists():
            return _TomlFile()
        if not path.is_file():
            raise GemsConfigError(
                f"{path} is a folder or the like, not a file: rename it, or write your settings there"
            )
        return _TomlFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise GemsConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        raise GemsConfigError(f"{path}: {explain(error, 'setting')}") from error
