"""Servers that people run at home: where they listen, and how they are started."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

from gems.backends.hosts import is_local


class KnownServer(NamedTuple):
    """A server by its usual port."""

    name: str
    port: int
    start: str
    """The command that starts it, with MODEL to be filled in."""


OLLAMA: Final = KnownServer("Ollama", 11434, "ollama serve")
COMFYUI: Final = KnownServer("ComfyUI", 8188, "python main.py, in ComfyUI's folder")
OPENAI_LIKE: Final = (
    KnownServer("vLLM", 8000, "vllm serve MODEL --port 8000"),
    KnownServer("SGLang", 30000, "python -m sglang.launch_server --model-path MODEL --port 30000"),
    KnownServer("llama.cpp", 8080, "llama-server -m MODEL.gguf --mmproj MMPROJ.gguf --port 8080"),
    KnownServer("LM Studio", 1234, "lms server start"),
)
"""Servers of OpenAI's protocol, of which nothing but the port tells one from another."""
GEMS_SERVE: Final = "gems serve"
"""What an image server of our own is called, which says what it is at any port."""


def start_hint(provider: str, url: str) -> str:
    """What to do about a server that does not answer."""
    if provider == "reference":
        return "start the image server of the paper's reference implementation there, or mend the base URL"
    known = {server.port: server for server in (OLLAMA, COMFYUI, *OPENAI_LIKE)}
    server = COMFYUI if provider == "comfyui" else known.get(urlsplit(url).port or 0)
    if server is None:
        return "start the server there, or mend the base URL" if is_local(url) else "check the base URL and the network"
    where = "" if is_local(url) else " on that machine"
    return f"start it{where} with `{server.start}` (that port is usually {server.name}'s), or mend the base URL"
