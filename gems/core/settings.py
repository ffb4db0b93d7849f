"""Settings of the machine: environment, then `.env`, then `gems.toml`, then the built-in profiles.

Paths, URLs and keys live here and nowhere else: never in state, context, logs or reports.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import platformdirs
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from gems.core.context import explain
from gems.core.errors import GemsConfigError
from gems.core.state import ROLES, CriticMode, Mode, Role


class Price(BaseModel):
    """What a model costs, in US dollars."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(default=0.0, ge=0, description="a million tokens read")
    output: float = Field(default=0.0, ge=0, description="a million tokens written, thoughts included")
    image: float = Field(default=0.0, ge=0, description="one drawing at the profile's size and quality, at most")


class ChatOptions(BaseModel):
    """How a chat model is called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concurrency: int = Field(default=8, ge=1, description="most calls to the server at the same time")
    seconds: float = Field(default=180.0, gt=0, description="time limit of one call")
    retries: int = Field(default=2, ge=0, description="repeats of a call that failed, where a repeat can help")
    output: Literal["auto", "json_schema", "json_object", "text"] = Field(
        default="auto", description="how JSON is asked for; auto takes the first of these that the server understands"
    )
    logprobs: bool | None = Field(default=None, description="ask for log-probabilities; left out, where they are given")
    max_tokens: int = Field(default=16_384, ge=256, description="most tokens of one reply, thoughts included")
    temperature: float | None = Field(default=None, ge=0)
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="fields of your server's own, sent as they are"
    )


class DrawingOptions(BaseModel):
    """How an image server is called. What decides a picture goes into its key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concurrency: int = Field(default=4, ge=1, description="most drawings asked for at the same time")
    seconds: float = Field(default=600.0, gt=0, description="time limit of one drawing")
    retries: int = Field(
        default=2, ge=0, description="repeats where the server did nothing; one where it may have drawn"
    )
    server: Literal["auto", "openai", "vllm-omni", "sglang"] = "auto"
    edit: bool | None = Field(default=None, description="whether the model can edit; left out, by its name")
    steps: int | None = Field(default=None, ge=1)
    guidance_scale: float | None = Field(default=None, ge=0)
    true_cfg_scale: float | None = Field(default=None, ge=0)
    negative_prompt: str | None = None
    quality: str | None = None
    notes: str = Field(default="", description="what the planner and refiner should know about the model's prompts")
    nodes: dict[str, str] = Field(
        default_factory=dict,
        description="where a ComfyUI workflow takes prompt, seed, width, ...: title or id, then .input",
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="fields of your server's own, sent as they are"
    )


class CriticOptions(BaseModel):
    """How pictures are judged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: CriticMode = Field(default="batch", description="one call for all requirements, or one for each")


class RoleModel(BaseModel):
    """A model of one role alone. What is left out is the profile's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="provider:model")
    base_url: str | None = None
    api_key_env: str | None = None
    chat: ChatOptions | None = None

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        return value if value is None else check_url(value)


class Endpoint(BaseModel):
    """One model: `provider:model`, where its server is, its key, and how it is called."""

    model_config = ConfigDict(frozen=True)

    provider: str
    model: str = ""
    base_url: str | None = None
    api_key: SecretStr | None = None
    key_name: str = ""
    """The environment variable that should hold the key, for messages."""
    chat: ChatOptions = ChatOptions()
    drawing: DrawingOptions = DrawingOptions()
    price: Price | None = None
    """None: nobody said what it costs."""
    folder: Path = Path()
    """Where `gems.toml` lies: a model that is a file is looked for from here."""

    @property
    def name(self) -> str:
        """`provider:model`, or the provider alone."""
        return f"{self.provider}:{self.model}" if self.model else self.provider

    @property
    def is_paid(self) -> bool:
        """Whether calls are charged, as far as one can tell: a key is what one pays with."""
        return self.provider == "openai" and (self.api_key is not None or self.base_url is None)


class Profile(BaseModel):
    """A named set of models with their defaults, as `[profiles.NAME]` of `gems.toml` writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="", exclude=True, description="filled in from the table's name")
    mllm: str = Field(description="provider:model that answers the roles' questions")
    images: str = Field(description="provider:model that draws")
    mllm_base_url: str | None = None
    images_base_url: str | None = None
    api_key_env: str | None = Field(default=None, description="environment variable that holds the key of both")
    mllm_api_key_env: str | None = None
    images_api_key_env: str | None = None
    roles: dict[Role, RoleModel] = Field(default_factory=dict, description="models of single roles")
    chat: ChatOptions = ChatOptions()
    drawing: DrawingOptions = DrawingOptions()
    critic: CriticOptions = CriticOptions()
    size: str = "1024x1024"
    mode: Mode = "gems"
    max_rounds: int = Field(default=5, ge=1, le=100)
    patience: int | None = Field(default=None, ge=1)
    candidates: int = Field(default=1, ge=1, le=16)
    max_images: int | None = Field(default=None, ge=1)
    max_calls: int | None = Field(default=None, ge=1)
    max_seconds: float | None = Field(default=None, gt=0)
    max_cost: float | None = Field(default=None, gt=0)
    overlap: bool = Field(default=True, description="chat and drawing may run at the same time")
    image_side: int = Field(default=1024, ge=128, description="longest side, in pixels, of images sent to the mllm")

    @field_validator("roles", mode="before")
    @classmethod
    def _short_roles(cls, value: object) -> object:
        """`critic = "openai:small"` is short for a table with that model alone."""
        if not isinstance(value, Mapping):
            return value
        return {role: {"model": model} if isinstance(model, str) else model for role, model in value.items()}

    @field_validator("mllm_base_url", "images_base_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        return value if value is None else check_url(value)


def check_url(url: str) -> str:
    """The URL of a server. It carries no key, because it is shown and logged.

    Raises:
        ValueError: not http or https, or there is a user, a password or a query in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a base URL begins with http:// or https://, and a host")
    if parts.username or parts.password or parts.query:
        raise ValueError("a base URL carries no user, key or query: name the key's variable in api_key_env")
    return url


BUILT_IN: Final[Mapping[str, Profile]] = {
    "sketch": Profile(mllm="sketch", images="sketch"),
    "openai": Profile(
        mllm="openai:gpt-5-mini",
        images="openai:gpt-image-1-mini",
        api_key_env="OPENAI_API_KEY",
        drawing=DrawingOptions(quality="medium"),
        max_cost=1.0,
    ),
    # The paper's own set-up: Kimi K2.5 behind SGLang, Z-Image-Turbo behind the authors' image server.
    "paper": Profile(
        mllm="openai:moonshotai/Kimi-K2.5",
        mllm_base_url="http://localhost:30000/v1",
        images="reference:z-image-turbo",
        images_base_url="http://localhost:8000",
        mode="paper",
        critic=CriticOptions(mode="single"),
    ),
}

PRICES: Final[Mapping[str, Price]] = {
    # US dollars, OpenAI's list prices of March 2026: check yours, and set [prices] where they differ.
    "openai:gpt-5-mini": Price(input=0.25, output=2.0),
    "openai:gpt-image-1-mini": Price(input=2.5, output=8.0, image=0.015),
}

PAID_CAPS: Final[Mapping[str, int]] = {"max_images": 8, "max_calls": 60}
"""Limits of a profile that costs money and names none of its own."""


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
