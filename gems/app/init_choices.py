"""Who can answer and who can draw, on a machine as it was found; the best first."""

from __future__ import annotations

from typing import Final

from gems.app.choice import Choice
from gems.app.local_choices import cpu_choices, gpu_choices, gpu_sentences
from gems.app.local_servers import OLLAMA
from gems.app.machine import FoundModel, Machine
from gems.core.profiles import PRICES

_OFFERED: Final = 4
"""Models of one server that are offered."""
_OPENAI_CHAT: Final = "openai:gpt-5-mini"
_OPENAI_IMAGES: Final = "openai:gpt-image-1-mini"
_OPENROUTER_CHAT: Final = "openai:openai/gpt-5-mini"
_OLLAMA_CHAT: Final = "qwen3-vl:8b"
"""What the built-in profiles with weights of one's own ask."""
_OLLAMA_SIZE: Final = "6.1 GB"


EMBEDDED_CHAT: Final = Choice(
    "the embedded engine: no key, no server; it understands its own pictures only",
    "sketch",
    comment="the embedded engine",
)
EMBEDDED_IMAGES: Final = Choice(
    "the embedded engine: no key, no GPU; scenes of icons, from a small vocabulary",
    "sketch",
    comment="the embedded engine",
)
EMBEDDED_FOR_A_REAL_CHAT: Final = Choice(
    "the embedded engine: icons only, and it refuses words it does not know, which a real model will use: "
    "good for trying the chat model, not for work",
    "sketch",
    comment="the embedded engine: for trying the chat model; it refuses prompts outside its small vocabulary",
)


def chat_choices(machine: Machine) -> list[Choice]:
    """Who can answer.

    What runs here and sees pictures comes first, since it costs nothing; then what costs money; then what may not see, and
    what would have to be downloaded; the embedded engine last. Where nothing real draws, the embedded engine is the best:
    it and its pictures belong together.
    """
    certain = [*_served(machine, sees=True), *_hosted_chat(machine)]
    real = [*certain, *_served(machine, sees=None), *_to_be_pulled(machine)]
    return [*real, EMBEDDED_CHAT] if real_images(machine) else [EMBEDDED_CHAT, *real]


def image_choices(machine: Machine, chat: Choice) -> list[Choice]:
    """Who can draw, for one who answers. The embedded critic cannot judge real pictures, so it gets its own alone."""
    if chat.is_embedded:
        return [EMBEDDED_IMAGES]
    return [*real_images(machine), EMBEDDED_FOR_A_REAL_CHAT]


def real_images(machine: Machine) -> list[Choice]:
    """Image models other than the embedded engine.

    What is up and running comes first; then weights for a GPU here, which cost nothing either; then what costs money; last
    what takes a minute.
    """
    found = [
        Choice(
            f"{model.name}, from the server at {server.base_url}",
            f"openai:{model.name}",
            server.base_url,
            comment="served here",
        )
        for server in machine.servers
        for model in [model for model in server.models if model.draws][:_OFFERED]
    ]
    if machine.comfyui:
        found += [
            Choice(f"ComfyUI here, with the workflow {name}", f"comfyui:{name}", machine.comfyui, comment="ComfyUI")
            for name in machine.workflows[:_OFFERED]
        ]
    found += gpu_choices(machine)
    if "OPENAI_API_KEY" in machine.keys:
        found.append(
            Choice(
                "OpenAI's gpt-image-1-mini (costs money)",
                _OPENAI_IMAGES,
                key="OPENAI_API_KEY",
                comment="costs money",
                quality="medium",
            )
        )
    return [*found, *cpu_choices(machine)]


def missing(machine: Machine) -> list[str]:
    """What would make more possible, in sentences."""
    said = list(gpu_sentences(machine))
    if machine.comfyui and not machine.workflows:
        said.append(
            f"ComfyUI answers at {machine.comfyui}: to draw with it, save a workflow of yours with Export (API) as a "
            "JSON file in this folder, and run `gems init --force`."
        )
    blind = [
        f"{model.name} at {server.base_url}"
        for server in machine.servers
        for model in server.models
        if model.sees is False and not model.draws
    ]
    if blind:
        said.append(
            f"Not offered, because they do not see pictures, as the critic must: {', '.join(blind[:_OFFERED])}."
        )
    answers = len(chat_choices(machine)) > 1
    if answers and not real_images(machine):
        said.append(
            "Something here answers, but nothing real draws: set OPENAI_API_KEY, or start an image server (vLLM-Omni, "
            "SGLang, ComfyUI), and run `gems init --force`."
        )
    elif not answers and real_images(machine):
        said.append(
            "Something here can draw, but nothing real answers, and the embedded engine cannot judge real pictures: set a "
            "key, or start a server with a model that sees (such as `ollama run qwen3-vl:8b`), and run `gems init --force`."
        )
    elif not answers:
        said.append(
            "For real models set OPENAI_API_KEY (in the environment or in `.env`), or start servers of your own, and run "
            "`gems init --force`."
        )
    return said


def _served(machine: Machine, sees: bool | None) -> list[Choice]:
    def offered(models: tuple[FoundModel, ...]) -> list[FoundModel]:
        return [model for model in models if model.sees is sees and not model.draws][:_OFFERED]

    doubt = "" if sees else ", if it can see pictures"
    return [
        Choice(
            f"{model.name}, from the server at {server.base_url} (probably {server.name}){doubt}",
            f"openai:{model.name}",
            server.base_url,
            comment=f"served here, probably by {server.name}{doubt and ': the critic must see pictures'}",
        )
        for server in machine.servers
        for model in offered(server.models)
    ]


def _to_be_pulled(machine: Machine) -> list[Choice]:
    """What an Ollama beside a GPU of ours could answer with, where none of its models sees."""
    ollama = next((server for server in machine.servers if server.name == OLLAMA.name), None)
    if ollama is None or not gpu_choices(machine) or any(model.sees for model in ollama.models):
        return []
    return [
        Choice(
            f"{_OLLAMA_CHAT}, from the Ollama at {ollama.base_url}: to be downloaded ({_OLLAMA_SIZE})",
            f"openai:{_OLLAMA_CHAT}",
            ollama.base_url,
            comment=f"served here by {OLLAMA.name}",
            fetch=f"ollama pull {_OLLAMA_CHAT}",
            fetched=_OLLAMA_SIZE,
        )
    ]


def _hosted_chat(machine: Machine) -> list[Choice]:
    found = []
    if "OPENAI_API_KEY" in machine.keys:
        found.append(
            Choice("OpenAI's gpt-5-mini (costs money)", _OPENAI_CHAT, key="OPENAI_API_KEY", comment="costs money")
        )
    if "OPENROUTER_API_KEY" in machine.keys:
        found.append(
            Choice(
                "gpt-5-mini by OpenRouter (costs money)",
                _OPENROUTER_CHAT,
                "https://openrouter.ai/api/v1",
                key="OPENROUTER_API_KEY",
                comment="costs money",
                price=PRICES[_OPENAI_CHAT],
            )
        )
    return found
