"""Settings of the machine: environment, then `.env`, then `gems.toml`, then the built-in profiles.

Paths, URLs and keys live here and nowhere else: never in state, context, logs or reports.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import platformdirs
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from gems.core.context import explain
from gems.core.errors import GemsConfigError
from gems.core.state import Mode


class Endpoint(BaseModel):
    """One model: `provider:model`, where its server is, and its key."""

    model_config = ConfigDict(frozen=True)

    provider: str
    model: str = ""
    base_url: str | None = None
    api_key: SecretStr | None = None

    @property
    def name(self) -> str:
        """`provider:model`, or the provider alone."""
        return f"{self.provider}:{self.model}" if self.model else self.provider


class Profile(BaseModel):
    """A named set of models with their defaults, as `[profiles.NAME]` of `gems.toml` writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="", exclude=True, description="filled in from the table's name")
    mllm: str = Field(description="provider:model that answers the roles' questions")
    images: str = Field(description="provider:model that draws")
    mllm_base_url: str | None = None
    images_base_url: str | None = None
    api_key_env: str | None = Field(default=None, description="environment variable that holds the key of both")
    size: str = "1024x1024"
    mode: Mode = "gems"
    max_rounds: int = Field(default=5, ge=1, le=100)
    patience: int | None = Field(default=None, ge=1)
    candidates: int = Field(default=1, ge=1, le=16)
    max_images: int | None = Field(default=None, ge=1)
    max_calls: int | None = Field(default=None, ge=1)
    max_seconds: float | None = Field(default=None, gt=0)
    overlap: bool = Field(default=True, description="chat and drawing may run at the same time")
    image_side: int = Field(default=1024, ge=128, description="longest side, in pixels, of images sent to the mllm")


BUILT_IN: Final[Mapping[str, Profile]] = {
    "sketch": Profile(mllm="sketch", images="sketch"),
    "openai": Profile(
        mllm="openai:gpt-5-mini",
        images="openai:gpt-image-1-mini",
        api_key_env="OPENAI_API_KEY",
        max_images=8,
        max_calls=60,
    ),
}


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


class Settings(BaseModel):
    """The machine's settings, resolved."""

    model_config = ConfigDict(frozen=True)

    home: Path
    profile: str = "sketch"
    profiles: dict[str, Profile]
    skills: tuple[Path, ...] = ()
    prompts: Path | None = None
    """A folder of files that replace role prompts."""
    record: Path | None = None
    """A folder that every model call is written to."""
    replay: Path | None = None
    """A folder of recorded calls that answers in place of the models."""
    mllm: str | None = None
    images: str | None = None
    secrets: dict[str, SecretStr] = Field(default_factory=dict, repr=False)
    urls: dict[str, str] = Field(default_factory=dict)

    def resolve(self, name: str | None = None) -> Profile:
        """The profile of that name; without one, the configured profile with GEMS_MLLM and GEMS_IMAGES laid over it.

        What is named outright wins over the environment. The overlaid profile is called `environment`, so that a resumed
        run finds it again.

        Raises:
            GemsConfigError: there is no such profile.
        """
        overlaid = {key: value for key, value in (("mllm", self.mllm), ("images", self.images)) if value}
        name = name or (ENVIRONMENT if overlaid else self.profile)
        base = self.profile if name == ENVIRONMENT else name
        if base not in self.profiles:
            raise GemsConfigError(f"unknown profile {base!r}; there are: {', '.join(sorted(self.profiles))}")
        changes = {"name": name} | (overlaid if name == ENVIRONMENT else {})
        return self.profiles[base].model_copy(update=changes)

    def endpoint(self, profile: Profile, part: str) -> Endpoint:
        """Where the `mllm` or the `images` model of a profile is."""
        name = profile.mllm if part == "mllm" else profile.images
        provider, _, model = name.partition(":")
        url = self.urls.get(part) or (profile.mllm_base_url if part == "mllm" else profile.images_base_url)
        # OpenAI's own key goes to OpenAI alone, unless the profile says by name which key its servers get.
        shared = profile.api_key_env or ("OPENAI_API_KEY" if url is None else "")
        key = self.secrets.get(part) or self.secrets.get(shared)
        return Endpoint(provider=provider, model=model, base_url=url, api_key=key)


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
    keys = {"OPENAI_API_KEY", *(profile.api_key_env for profile in toml.profiles.values() if profile.api_key_env)}
    secrets = {name: SecretStr(env[name]) for name in keys if env.get(name)}
    urls = {}
    for part in ("mllm", "images"):
        if key := env.get(f"GEMS_{part.upper()}_API_KEY"):
            secrets[part] = SecretStr(key)
        if url := env.get(f"GEMS_{part.upper()}_BASE_URL"):
            urls[part] = url
    return Settings(
        home=Path(home).expanduser().absolute(),
        profile=env.get("GEMS_PROFILE") or toml.profile or "sketch",
        profiles={**BUILT_IN, **toml.profiles},
        skills=(*(folder / path for path in toml.skills), *skills),
        prompts=folder / prompts if prompts else None,
        record=folder / env["GEMS_RECORD"] if env.get("GEMS_RECORD") else None,
        replay=folder / env["GEMS_REPLAY"] if env.get("GEMS_REPLAY") else None,
        mllm=env.get("GEMS_MLLM") or None,
        images=env.get("GEMS_IMAGES") or None,
        secrets=secrets,
        urls=urls,
    )


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
