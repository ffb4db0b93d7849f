"""How servers that speak OpenAI's Images API differ in the fields of a request, as data.

Read in the sources of vLLM-Omni 0.30.0 (`entrypoints/openai/protocol/images.py`, `api_server.py`), SGLang 0.5.23
(`multimodal_gen/runtime/entrypoints/openai/image_api.py`, `protocol.py`) and the openai package 3.54.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from gems.backends.images.faults import Reply
from gems.backends.images.presets import Family, as_in_paper
from gems.core.profiles import DrawingOptions

_SAMPLING: Final = frozenset({"seed", "num_inference_steps", "guidance_scale", "true_cfg_scale", "negative_prompt"})


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one kind of server understands beyond model, prompt, n and size."""

    name: str
    understands: frozenset[str]
    seeds: bool = False
    """Whether a seed is known to decide the picture."""
    fixed: Mapping[str, str | bool] = field(default_factory=dict)
    """Sent with every request."""
    steps: Mapping[str, int] = field(default_factory=dict)
    """Steps of families whose schedule this server counts otherwise than the family's table."""


# GPT image models always answer base64 PNGs, and reject `response_format`.
OPENAI: Final = Dialect("openai", frozenset({"quality"}))
# Its Z-Image pipeline spends its last step on nothing: 9 there are 8 elsewhere.
VLLM_OMNI: Final = Dialect(
    "vllm-omni",
    _SAMPLING,
    seeds=True,
    fixed={"response_format": "b64_json", "output_format": "png"},
    steps={"z-image-turbo": 9},
)
# Without these it answers addresses of JPEGs.
SGLANG: Final = Dialect(
    "sglang", _SAMPLING | {"quality"}, seeds=True, fixed={"response_format": "b64_json", "output_format": "png"}
)
# `gems serve`: it tells of each step while it draws.
GEMS: Final = Dialect(
    "gems", _SAMPLING | {"strength"}, seeds=True, fixed={"response_format": "b64_json", "stream": True}
)
# It may ignore or refuse a seed, which is sent all the same.
GENERIC: Final = Dialect("generic", _SAMPLING | {"quality"}, fixed={"response_format": "b64_json"})

BY_SETTING: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in (OPENAI, VLLM_OMNI, SGLANG, GEMS)}

NO_EDITS: Final = "edits_not_supported"
"""What `gems serve` answers where a model cannot start from pictures."""

_COMPLAINT: Final = re.compile(
    r"unknown|unrecogni[sz]ed|unsupported|unexpected|extra|invalid|not (?:permitted|allowed|supported|accepted)",
    re.IGNORECASE,
)


class Fields(NamedTuple):
    """Fields of a request, by why they are sent."""

    asked: dict[str, Any]
    """The settings ask for them."""
    presumed: dict[str, Any]
    """The server should understand them, and the picture is better, or can be repeated, with them."""


def recognise(models: Any) -> Dialect:
    """The dialect of a server, from its answer to GET /models."""
    cards = models.get("data") if isinstance(models, dict) else None
    for card in cards if isinstance(cards, list) else ():
        owner = str(card.get("owned_by", "")).lower() if isinstance(card, dict) else ""
        if owner.startswith("vllm"):
            return VLLM_OMNI
        if owner.startswith("sglang"):
            return SGLANG
        if owner == GEMS.name:
            return GEMS
    return GENERIC


def picture_settings(options: DrawingOptions, family: Family | None) -> dict[str, Any]:
    """What decides a picture beside the request, under the names of the Images API's extensions."""
    return _preset(options, family) | _asked(options)


def fields_for(dialect: Dialect, options: DrawingOptions, family: Family | None, seed: int) -> Fields:
    """The fields to send beside model, prompt, n and size."""
    asked = {name: value for name, value in _asked(options).items() if name in dialect.understands}
    preset = _preset(options, family)
    if family is not None and family.name in dialect.steps:
        preset["num_inference_steps"] = dialect.steps[family.name]
    presumed = {name: value for name, value in (preset | {"seed": seed}).items() if name in dialect.understands}
    return Fields(asked | options.extra_body, dict(dialect.fixed) | presumed)


def complains_of(reply: Reply, fields: Fields) -> bool:
    """Whether a server refused a request because of a field that was only presumed."""
    if reply.status not in (400, 422) or not _COMPLAINT.search(reply.words):
        return False
    return any(re.search(rf"\b{re.escape(name)}\b", reply.words) for name in fields.presumed)


def _asked(options: DrawingOptions) -> dict[str, Any]:
    values = {
        "num_inference_steps": options.steps,
        "guidance_scale": options.guidance_scale,
        "true_cfg_scale": options.true_cfg_scale,
        "negative_prompt": options.negative_prompt,
        "quality": options.quality,
        # It has a default, which is not to overrule the server's own.
        "strength": options.strength if "strength" in options.model_fields_set else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _preset(options: DrawingOptions, family: Family | None) -> dict[str, Any]:
    if family is None:
        return {}
    if options.preset == "paper":
        family = as_in_paper(family)
    values = {
        "num_inference_steps": family.steps,
        "guidance_scale": family.guidance_scale,
        "true_cfg_scale": family.true_cfg_scale,
        "negative_prompt": family.negative_prompt,
    }
    return {name: value for name, value in values.items() if value is not None}
