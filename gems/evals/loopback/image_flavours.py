"""Image servers as they differ: the fields they know, their defaults, their errors and answers.

Field rules from the servers' sources and OpenAI's API reference: vLLM-Omni `entrypoints/openai/protocol/images.py`;
SGLang `multimodal_gen/runtime/entrypoints/openai/{protocol,image_api}.py`.
"""

from __future__ import annotations

import base64
import functools
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from gems.evals.loopback.pictures import Encoding
from gems.evals.loopback.wire import Reply, as_json

ImageFlavour = Literal["openai", "vllm-omni", "sglang", "reference"]
IMAGE_FLAVOURS: Final[tuple[ImageFlavour, ...]] = ("openai", "vllm-omni", "sglang", "reference")

_OPENAI_FIELDS: Final = frozenset(
    [
        "model",
        "prompt",
        "n",
        "size",
        "quality",
        "background",
        "output_format",
        "output_compression",
        "moderation",
        "stream",
        "partial_images",
        "user",
        "input_fidelity",
    ]
)
_OPENAI_SIZES: Final = ("1024x1024", "1024x1536", "1536x1024", "auto")
SGLANG_SEED: Final = 42
"""What SGLang draws with when nobody names a seed: the same picture every time."""


@dataclass(frozen=True, slots=True)
class Order:
    """A request that was understood."""

    prompt: str
    width: int
    height: int
    encoding: Encoding
    seed: int | None
    url: bool
    """Whether the answer is a place rather than the bytes."""


class Rejected(Exception):
    """The server will not take the request; the reply says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def error(flavour: ImageFlavour, status: int, message: str, param: str | None = None, code: str | None = None) -> Reply:
    """An error in the server's own shape."""
    if flavour in ("sglang", "reference"):
        return as_json({"detail": message}, status)
    if flavour == "vllm-omni":
        kind = "BadRequestError" if status == 400 else "InternalServerError"
        return as_json({"error": {"message": message, "type": kind, "param": param, "code": status}}, status)
    kind = "image_generation_user_error" if status == 400 else "server_error"
    return as_json({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def moderation(flavour: ImageFlavour) -> Reply:
    """The answer to a prompt that is not to be drawn. Only OpenAI has one of its own; others pass a proxy's on."""
    message = "Your request was rejected by the safety system. safety_violations=[violence]."
    return error(flavour, 400, message, code="moderation_blocked")


def read_order(flavour: ImageFlavour, model: str, fields: Mapping[str, Any]) -> Order:
    """Understand a request's fields; those of a form are all text.

    Raises:
        Rejected: the server would not take it.
    """
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise Rejected(error(flavour, 400, "prompt: Field required", "prompt"))
    if flavour == "openai":
        _check_openai(model, fields)
    elif flavour == "vllm-omni":
        _check_vllm_omni(model, fields)
    size = fields.get("size") or "1024x1024"
    if fields.get("width") and fields.get("height") and flavour == "sglang":
        size = f"{fields['width']}x{fields['height']}"
    width, _, height = ("1024x1024" if size == "auto" else size).partition("x")
    default = "jpeg" if flavour == "sglang" else "png"
    if flavour == "sglang" and fields.get("background") == "transparent":
        default = "png"
    url = flavour == "sglang" and (fields.get("response_format") or "url") == "url"
    return Order(
        prompt=prompt,
        width=int(width),
        height=int(height),
        encoding=cast("Encoding", fields.get("output_format") or default),
        seed=_seed(flavour, fields),
        url=url,
    )


def answer(flavour: ImageFlavour, order: Order, picture: bytes, seconds: float) -> dict[str, Any]:
    """The body of a reply whose picture is in it."""
    entry: dict[str, Any] = {"b64_json": _base64(picture)}
    body: dict[str, Any] = {"created": int(time.time()), "data": [entry]}
    size = f"{order.width}x{order.height}"
    if flavour == "openai":
        body |= {"background": "opaque", "output_format": order.encoding, "quality": "medium", "size": size}
        body["usage"] = {
            "input_tokens": len(order.prompt) // 4,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": len(order.prompt) // 4},
            "output_tokens": 1056,
            "total_tokens": 1056 + len(order.prompt) // 4,
        }
    else:
        entry |= {"url": None, "revised_prompt": order.prompt if flavour == "sglang" else None}
    if flavour == "vllm-omni":
        body |= {"output_format": order.encoding, "size": size, "metrics": {"total_time_s": round(seconds, 3)}}
    if flavour == "sglang":
        entry["file_path"] = None
        body |= {"id": uuid.uuid4().hex, "peak_memory_mb": 21_504.0, "inference_time_s": round(seconds, 3)}
    return body


@functools.lru_cache(maxsize=2)
def _base64(picture: bytes) -> str:
    """A prepared picture is encoded once: what this takes is not the drawing's time."""
    return base64.b64encode(picture).decode()


def _seed(flavour: ImageFlavour, fields: Mapping[str, Any]) -> int | None:
    seed = fields.get("seed")
    if isinstance(seed, Sequence) and not isinstance(seed, str):
        seed = seed[0] if seed else None
    if seed is None:
        return SGLANG_SEED if flavour == "sglang" else None
    return int(seed)


def _check_openai(model: str, fields: Mapping[str, Any]) -> None:
    def reject(message: str, param: str, code: str) -> Rejected:
        return Rejected(error("openai", 400, message, param, code))

    if strange := sorted(fields.keys() - _OPENAI_FIELDS):
        raise reject(f"Unknown parameter: '{strange[0]}'.", strange[0], "unknown_parameter")
    if fields.get("model") != model:
        wanted = fields.get("model")
        raise reject(f"Invalid value: '{wanted}'. The model does not exist.", "model", "invalid_value")
    size = fields.get("size", "auto")
    if size not in _OPENAI_SIZES and model.startswith("gpt-image-1"):
        choices = ", ".join(f"'{it}'" for it in _OPENAI_SIZES[:-1])
        raise reject(f"Invalid value: '{size}'. Supported values are: {choices}, and 'auto'.", "size", "invalid_value")
    if not 1 <= int(fields.get("n", 1)) <= 10:
        raise reject("Invalid 'n': integer out of range. Expected a value from 1 to 10.", "n", "integer_out_of_range")


def _check_vllm_omni(model: str, fields: Mapping[str, Any]) -> None:
    def reject(message: str, param: str) -> Rejected:
        return Rejected(error("vllm-omni", 400, message, param))

    if fields.get("model") not in (None, "", model):
        raise reject(f"Model mismatch: request specifies '{fields['model']}' but server is running '{model}'.", "model")
    if fields.get("response_format", "b64_json") != "b64_json":
        raise reject("Only 'b64_json' or 'file' response format is supported", "response_format")
    for name, least, most in (
        ("num_inference_steps", 1, 200),
        ("guidance_scale", 0, 20),
        ("true_cfg_scale", 0, 20),
        ("n", 1, 10),
    ):
        if fields.get(name) is not None and not least <= float(fields[name]) <= most:
            raise reject(f"{name}: Input should be between {least} and {most}", name)
    if fields.get("size") and "x" not in str(fields["size"]) and fields["size"] != "auto":
        raise reject("size must be in format 'WIDTHxHEIGHT' (e.g., '1024x1024')", "size")
