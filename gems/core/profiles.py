"""What a profile is: who answers and who draws, how they are called, what they cost, and what a run may take."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator

from gems.core.context import Size
from gems.core.errors import GemsConfigError
from gems.core.state import CriticMode, MemoryMode, Mode, ReviewMode, Role

_TABLE: Final = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)
"""Of what stands in `gems.toml`. Strict, because otherwise `max_cost = true` would be a dollar."""
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]*")
"""Of capital letters alone, as such names are everywhere: most keys have small ones."""

_NOT_IN_CHAT_BODY: Final[Mapping[str, str]] = {
    "model": "set mllm, or the model of a role",
    "messages": "the roles write it",
    "n": "one reply is asked for, and reserved",
    "max_tokens": "set chat.max_tokens, which is what is reserved",
    "max_completion_tokens": "set chat.max_tokens, which is what is reserved",
    "response_format": "set chat.output",
    "stream": "replies are read whole",
}
_NOT_IN_DRAWING_BODY: Final[Mapping[str, str]] = {
    "model": "set images",
    "prompt": "the loop writes it",
    "n": "set candidates: one drawing a call is asked for, and reserved",
    "size": "set size of the profile, or --size",
    "seed": "set --seed",
    "image": "pass --reference",
}
"""Fields that are ours, each with what to do instead."""


def check_url(url: str) -> str:
    """The URL of a server. It carries no key, because it is shown and logged.

    Raises:
        ValueError: not http or https, no such port, or there is a user, a password, a query or a fragment in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(it.isspace() for it in url):
        raise ValueError("a base URL begins with http:// or https://, and a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a base URL carries no user, key or query: name the key's variable in api_key_env")
    try:
        has_port = parts.port != 0
    except ValueError:
        has_port = False
    if not has_port:
        raise ValueError("the port of a base URL is a number from 1 to 65535")
    return url


def _check_variable(name: str) -> str:
    """The name of an environment variable. What is written in its place may be the key itself, and is not repeated.

    Raises:
        ValueError: it is no such name.
    """
    if not _VARIABLE.fullmatch(name):
        raise ValueError(
            "name the variable that holds the key, in capital letters, digits and _ (such as OPENAI_API_KEY), and put the "
            "key into the environment or .env"
        )
    return name


def _check_body(body: dict[str, Any], ours: Mapping[str, str]) -> dict[str, Any]:
    """Fields that are sent beside ours, and would win over them.

    Raises:
        ValueError: one of them is ours, or is nothing that JSON can say.
    """
    for name in body:
        if name in ours:
            raise ValueError(f"{name!r} must not stand here: {ours[name]}")
    try:
        json.dumps(body, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError("JSON has no dates, inf and nan: write a text or a number") from error
    return body


Url = Annotated[str, AfterValidator(check_url)]
Variable = Annotated[str, AfterValidator(_check_variable)]
ChatBody = Annotated[dict[str, Any], AfterValidator(partial(_check_body, ours=_NOT_IN_CHAT_BODY))]
DrawingBody = Annotated[dict[str, Any], AfterValidator(partial(_check_body, ours=_NOT_IN_DRAWING_BODY))]


class Price(BaseModel):
    """What a model costs, in US dollars."""

    model_config = _TABLE

    input: float = Field(default=0.0, ge=0, description="a million tokens read")
    output: float = Field(default=0.0, ge=0, description="a million tokens written, thoughts included")
    image: float = Field(default=0.0, ge=0, description="one drawing at the profile's size and quality, at most")


class ChatOptions(BaseModel):
    """How a chat model is called."""

    model_config = _TABLE

    concurrency: int = Field(default=8, ge=1, description="most calls to the server at the same time")
    seconds: float = Field(default=180.0, gt=0, description="time limit of one call")
    retries: int = Field(default=2, ge=0, description="repeats of a call that failed, where a repeat can help")
    output: Literal["auto", "json_schema", "json_object", "text"] = Field(
        default="auto", description="how JSON is asked for; auto takes the first of these that the server understands"
    )
    logprobs: bool | None = Field(default=None, description="ask for log-probabilities; left out, where they are given")
    max_tokens: int = Field(default=16_384, ge=256, description="most tokens of one reply, thoughts included")
    temperature: float | None = Field(default=None, ge=0)
    extra_body: ChatBody = Field(default_factory=dict, description="fields of your server's own, sent as they are")


class DrawingOptions(BaseModel):
    """How an image server is called. What decides a picture goes into its key."""

    model_config = _TABLE

    concurrency: int = Field(default=4, ge=1, description="most drawings asked for at the same time")
    seconds: float = Field(default=600.0, gt=0, description="time limit of one drawing")
    retries: int = Field(
        default=2, ge=0, description="repeats where the server did nothing; one where it may have drawn"
    )
    server: Literal["auto", "openai", "vllm-omni", "sglang", "gems"] = "auto"
    preset: Literal["recommended", "paper"] = Field(
        default="recommended", description="the settings of the model's family: its makers', or those of the paper"
    )
    edit: bool | None = Field(default=None, description="whether the model can edit; left out, by its name")
    steps: int | None = Field(default=None, ge=1)
    guidance_scale: float | None = Field(default=None, ge=0)
    true_cfg_scale: float | None = Field(default=None, ge=0)
    negative_prompt: str | None = None
    strength: float = Field(
        default=0.6, gt=0, le=1, description="of an edit by a model that redraws the picture: 1 keeps nothing of it"
    )
    quality: str | None = None
    notes: str = Field(default="", description="what the planner and refiner should know about the model's prompts")
    nodes: dict[str, str] = Field(
        default_factory=dict,
        description="where a ComfyUI workflow takes prompt, seed, width, ...: title or id, then .input",
    )
    extra_body: DrawingBody = Field(default_factory=dict, description="fields of your server's own, sent as they are")


class Lora(BaseModel):
    """Weights laid over a model's own."""

    model_config = _TABLE

    path: str = Field(description="a safetensors file, from the folder of gems.toml")
    scale: float = 1.0


class LocalOptions(BaseModel):
    """How weights run on this machine's own devices: `diffusers:` models. What decides a picture goes into its key."""

    model_config = _TABLE

    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$",
        description="auto takes the accelerator with the most free memory, else the CPU",
    )
    placement: Literal["auto", "resident", "offload", "fp8", "nf4"] = Field(
        default="auto", description="auto decides by free memory; all but resident move parts in and out of the device"
    )
    dtype: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        default="auto", description="auto: bf16; fp16 where weights are stored so; fp32 on a CPU"
    )
    revision: str | None = Field(default=None, description="of the hub's repository: a branch, tag or commit")
    base: str = Field(
        default="", description="model that has what a single file lacks: configs, tokenizers, other parts"
    )
    transformer: str = Field(default="", description="a GGUF or safetensors file in place of the base's transformer")
    loras: tuple[Lora, ...] = ()
    scheduler: str = Field(default="", description="class of diffusers in place of the model's own scheduler")
    scheduler_options: dict[str, Any] = Field(default_factory=dict)
    batch: int = Field(default=4, ge=1, description="most drawings in one go")
    idle_seconds: float = Field(default=600.0, gt=0, description="unused for so long, weights leave the device")
    compile: bool = Field(default=False, description="torch.compile: slow to begin, faster after, best with one size")

    @field_validator("loras", mode="before")
    @classmethod
    def _lists_are_written(cls, value: object) -> object:
        """TOML has lists only."""
        return tuple(value) if isinstance(value, list) else value


class CriticOptions(BaseModel):
    """How pictures are judged."""

    model_config = _TABLE

    mode: CriticMode = Field(default="batch", description="one call for all requirements, or one for each")


class RoleModel(BaseModel):
    """A model of one role alone. What is left out is the profile's."""

    model_config = _TABLE

    model: str = Field(description="provider:model")
    base_url: Url | None = None
    api_key_env: Variable | None = None
    chat: ChatOptions | None = None


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
    local: LocalOptions = LocalOptions()
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
        return self.api_key is not None or (self.provider == "openai" and self.base_url is None)


class Profile(BaseModel):
    """A named set of models with their defaults, as `[profiles.NAME]` of `gems.toml` writes it."""

    model_config = _TABLE

    name: str = Field(default="", exclude=True, description="filled in from the table's name")
    mllm: str = Field(description="provider:model that answers the roles' questions")
    images: str = Field(description="provider:model that draws")
    mllm_base_url: Url | None = None
    images_base_url: Url | None = None
    api_key_env: Variable | None = Field(default=None, description="environment variable that holds the key of both")
    mllm_api_key_env: Variable | None = None
    images_api_key_env: Variable | None = None
    roles: dict[Role, RoleModel] = Field(default_factory=dict, description="models of single roles")
    chat: ChatOptions = ChatOptions()
    drawing: DrawingOptions = DrawingOptions()
    local: LocalOptions = LocalOptions()
    critic: CriticOptions = CriticOptions()
    size: str = "1024x1024"
    mode: Mode = "gems"
    max_rounds: int = Field(default=5, ge=1, le=100)
    patience: int | None = Field(default=None, ge=1)
    candidates: int = Field(default=1, ge=1, le=16)
    max_images: int | None = Field(default=None, ge=1)
    max_calls: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_seconds: float | None = Field(default=None, gt=0)
    max_cost: float | None = Field(default=None, gt=0)
    review: ReviewMode = Field(default="none", description="where a person is asked")
    memory: MemoryMode = Field(default="experience", description="what the refiner reads of earlier rounds")
    lessons: bool = Field(default=True, description="lessons of earlier runs are used, and new ones kept")
    overlap: bool = Field(default=True, description="chat and drawing may run at the same time")
    image_side: int = Field(default=1024, ge=128, description="longest side, in pixels, of images sent to the mllm")

    @field_validator("roles", mode="before")
    @classmethod
    def _short_roles(cls, value: object) -> object:
        """`critic = "openai:small"` is short for a table with that model alone."""
        if not isinstance(value, Mapping):
            return value
        return {role: {"model": model} if isinstance(model, str) else model for role, model in value.items()}

    @field_validator("size")
    @classmethod
    def _is_size(cls, value: str) -> str:
        try:
            Size.parse(value)
        except GemsConfigError as error:
            raise ValueError(str(error)) from error
        return value


def _on_one_gpu(images: str, size: str = "1024x1024") -> Profile:
    """Drawing with weights of one's own, and an Ollama beside them that sees pictures; they take turns on the GPU."""
    return Profile(
        mllm="openai:qwen3-vl:8b",
        mllm_base_url="http://localhost:11434/v1",
        images=f"diffusers:{images}",
        size=size,
        overlap=False,
    )


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
    "z-image-turbo": _on_one_gpu("Tongyi-MAI/Z-Image-Turbo"),
    "qwen-image": _on_one_gpu("Qwen/Qwen-Image-2512", size="1328x1328"),
    "flux2-klein": _on_one_gpu("black-forest-labs/FLUX.2-klein-4B"),
    "flux1-schnell": _on_one_gpu("black-forest-labs/FLUX.1-schnell"),
    "sdxl": _on_one_gpu("stabilityai/stable-diffusion-xl-base-1.0"),
    "sd-turbo": _on_one_gpu("stabilityai/sd-turbo", size="512x512"),
}

PRICES: Final[Mapping[str, Price]] = {
    # US dollars, OpenAI's list prices of March 2026: check yours, and set [prices] where they differ.
    "openai:gpt-5-mini": Price(input=0.25, output=2.0),
    "openai:gpt-image-1-mini": Price(input=2.5, output=8.0, image=0.015),
}

PAID_CAPS: Final[Mapping[str, int]] = {"max_images": 8, "max_calls": 60}
"""Limits of a profile that costs money and names none of its own."""
