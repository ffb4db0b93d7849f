"""Settings of the machine: environment, then `.env`, then `gems.toml`, then the built-in profiles.

Paths, URLs and keys live here and nowhere else: never in state, context, logs or reports.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import platformdirs
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from gems.core.context import explain
from gems.core.errors import GemsConfigError
from gems.core.profiles import BUILT_IN, PAID_CAPS, PRICES, Endpoint, Price, Profile, check_url
from gems.core.state import ROLES, Role

ENVIRONMENT: Final = "environment"
"""The configured profile with GEMS_MLLM and GEMS_IMAGES laid over it."""


class _TomlFile(BaseModel):
    """`gems.toml`."""

    model_config = ConfigDict(extra="forbid")

    profile: str | None = None
    home: Path | None = None
    skills: list[Path] = Field(default_factory=list)
    prompts: Path | None = None
    profiles: dict[str, Profile] = Field(default_factory=dict)
    prices: dict[str, Price] = Field(default_factory=dict)


class Settings(BaseModel):
    """The machine's settings, resolved."""

    model_config = ConfigDict(frozen=True)

    home: Path
    folder: Path = Path()
    """Where `gems.toml` lies."""
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
    urls: dict[str, str] = Field(default_factory=dict)
    prices: dict[str, Price] = Field(default_factory=lambda: dict(PRICES))

    def resolve(self, name: str | None = None) -> Profile:
        """The profile of that name; without one, the configured profile with GEMS_MLLM and GEMS_IMAGES laid over it.

        What is named outright wins over the environment. The overlaid profile is called `environment`, so that a resumed
        run finds it again. A profile that costs money has limits, its own or those of `PAID_CAPS`.

        Raises:
            GemsConfigError: there is no such profile.
        """
        overlaid = {key: value for key, value in (("mllm", self.own_mllm), ("images", self.own_images)) if value}
        name = name or (ENVIRONMENT if overlaid else self.profile)
        base = self.profile if name == ENVIRONMENT else name
        if base not in self.profiles:
            raise GemsConfigError(f"unknown profile {base!r}; there are: {', '.join(sorted(self.profiles))}")
        changes = {"name": name} | (overlaid if name == ENVIRONMENT else {})
        profile = self.profiles[base].model_copy(update=changes)
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
        if own is None or (own.base_url is None and own.api_key_env is None):
            url = self.urls.get("mllm") or profile.mllm_base_url
            key_name, key = self._key("mllm", url, profile.mllm_api_key_env or profile.api_key_env)
        else:
            url = own.base_url
            key_name, key = self._key("", url, own.api_key_env)
        model = own.model if own else profile.mllm
        return self._endpoint(
            model, url, key_name, key, chat=(own and own.chat) or profile.chat, drawing=profile.drawing
        )

    def images(self, profile: Profile) -> Endpoint:
        """The model that draws."""
        url = self.urls.get("images") or profile.images_base_url
        key_name, key = self._key("images", url, profile.images_api_key_env or profile.api_key_env)
        return self._endpoint(profile.images, url, key_name, key, chat=profile.chat, drawing=profile.drawing)

    def _key(self, part: str, url: str | None, named: str | None) -> tuple[str, SecretStr | None]:
        """The variable that should hold a key, and the key."""
        # OpenAI's own key goes to OpenAI alone, unless the profile says by name which key its servers get.
        shared = named or ("OPENAI_API_KEY" if url is None else "")
        name = shared or (f"GEMS_{part.upper()}_API_KEY" if part else "api_key_env of the role")
        return name, self.secrets.get(part) or self.secrets.get(shared)

    def _endpoint(self, name: str, url: str | None, key_name: str, key: SecretStr | None, **options: Any) -> Endpoint:
        provider, _, model = name.partition(":")
        return Endpoint(
            provider=provider,
            model=model,
            base_url=url,
            api_key=key,
            key_name=key_name,
            price=self.prices.get(name),
            folder=self.folder,
            **options,
        )


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
    keys = {"OPENAI_API_KEY", *(name for profile in toml.profiles.values() for name in _key_names(profile))}
    secrets = {name: SecretStr(env[name]) for name in keys if env.get(name)}
    urls = {}
    for part in ("mllm", "images"):
        if key := env.get(f"GEMS_{part.upper()}_API_KEY"):
            secrets[part] = SecretStr(key)
        if url := env.get(f"GEMS_{part.upper()}_BASE_URL"):
            try:
                urls[part] = check_url(url)
            except ValueError as error:
                raise GemsConfigError(f"GEMS_{part.upper()}_BASE_URL: {error}") from error
    return Settings(
        home=Path(home).expanduser().absolute(),
        folder=folder,
        profile=env.get("GEMS_PROFILE") or toml.profile or "sketch",
        profiles={**BUILT_IN, **toml.profiles},
        skills=(*(folder / path for path in toml.skills), *skills),
        prompts=folder / prompts if prompts else None,
        record=folder / env["GEMS_RECORD"] if env.get("GEMS_RECORD") else None,
        replay=folder / env["GEMS_REPLAY"] if env.get("GEMS_REPLAY") else None,
        own_mllm=env.get("GEMS_MLLM") or None,
        own_images=env.get("GEMS_IMAGES") or None,
        secrets=secrets,
        urls=urls,
        prices={**PRICES, **toml.prices},
    )


def _key_names(profile: Profile) -> list[str]:
    names = [profile.api_key_env, profile.mllm_api_key_env, profile.images_api_key_env]
    return [name for name in [*names, *(role.api_key_env for role in profile.roles.values())] if name]


def _read_env(path: Path) -> dict[str, str]:
    try:
        found = dotenv_values(path) if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise GemsConfigError(f"{path}: cannot be read: {error}") from error
    return {name: value for name, value in found.items() if value is not None}


def _read_toml(path: Path) -> _TomlFile:
    if not path.is_file():
        return _TomlFile()
    try:
        return _TomlFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise GemsConfigError(f"{path}: {error}") from error
    except ValidationError as error:
        raise GemsConfigError(f"{path}: {explain(error, 'setting')}") from error
