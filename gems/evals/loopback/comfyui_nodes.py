"""The nodes that the loopback's ComfyUI knows: their inputs, what is wrong with a workflow of them, and what they make.

A node makes a digest of all that it was made from, and a size: so whatever changes a workflow changes its picture, and
nothing else does. Kinds of faults and their wording are ComfyUI's (`execution.py`): clients show them to people.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from PIL import Image

Json: TypeAlias = dict[str, Any]
Prompt: TypeAlias = Mapping[str, Json]
Files: TypeAlias = Callable[[str], bytes | None]
"""The content of an uploaded file, by its name."""

CHECKPOINTS: Final = ("tiny.safetensors",)
MOST_SEED: Final = 2**64 - 1
WIDGETS: Final[Mapping[str, type | tuple[type, ...]]] = {"INT": int, "FLOAT": (int, float), "STRING": str}


class Input(NamedTuple):
    """What an input takes: the kind of a link, `INT`, `FLOAT` or `STRING` within limits, or one of some choices."""

    kind: str
    choices: tuple[str, ...] = ()
    least: float = 0
    most: float = float("inf")


@dataclass(frozen=True, slots=True)
class NodeType:
    """A kind of node.

    `saves` is the folder that its pictures go to; `steps` says that it counts a sampler's steps, `tiles` how many other
    pieces of work it counts.
    """

    inputs: Mapping[str, Input]
    outputs: tuple[str, ...] = ()
    saves: Literal["", "output", "temp"] = ""
    steps: bool = False
    tiles: int = 0


class Made(NamedTuple):
    """What a node made: sizes in pixels, a colour as 0xRRGGBB. `number` is what a node of numbers holds."""

    digest: str
    width: int
    height: int
    steps: int
    number: int
    colour: int


def _links(**kinds: str) -> dict[str, Input]:
    return {name: Input(kind) for name, kind in kinds.items()}


_SIZE: Final = {"width": Input("INT", least=16, most=16384), "height": Input("INT", least=16, most=16384)}
_BATCH: Final = {"batch_size": Input("INT", least=1, most=4096)}
_STEPS: Final = Input("INT", least=1, most=10000)
_CFG: Final = Input("FLOAT", least=0, most=100)
_SEED: Final = Input("INT", most=MOST_SEED)
_TEXT: Final = Input("STRING")
_SAMPLER: Final = {"sampler_name": Input("COMBO", ("euler",)), "scheduler": Input("COMBO", ("normal", "simple"))}

NODE_TYPES: Final[Mapping[str, NodeType]] = {
    "CheckpointLoaderSimple": NodeType({"ckpt_name": Input("COMBO", CHECKPOINTS)}, ("MODEL", "CLIP", "VAE")),
    "CLIPTextEncode": NodeType({"text": _TEXT, **_links(clip="CLIP")}, ("CONDITIONING",)),
    "ConditioningZeroOut": NodeType(_links(conditioning="CONDITIONING"), ("CONDITIONING",)),
    "FluxGuidance": NodeType({"guidance": _CFG, **_links(conditioning="CONDITIONING")}, ("CONDITIONING",)),
    "ReferenceLatent": NodeType(_links(conditioning="CONDITIONING", latent="LATENT"), ("CONDITIONING",)),
    "PrimitiveString": NodeType({"value": _TEXT}, ("STRING",)),
    "PrimitiveInt": NodeType({"value": Input("INT", least=-MOST_SEED, most=MOST_SEED)}, ("INT",)),
    "EmptyLatentImage": NodeType({**_SIZE, **_BATCH}, ("LATENT",)),
    "EmptyImage": NodeType({**_SIZE, **_BATCH, "color": Input("INT", most=0xFFFFFF)}, ("IMAGE",)),
    "LoadImage": NodeType({"image": Input("FILE")}, ("IMAGE", "MASK")),
    "VAEEncode": NodeType(_links(pixels="IMAGE", vae="VAE"), ("LATENT",)),
    "VAEDecode": NodeType(_links(samples="LATENT", vae="VAE"), ("IMAGE",)),
    "VAEDecodeTiled": NodeType(
        {
            "tile_size": Input("INT", least=64, most=4096),
            "overlap": Input("INT", most=4096),
            **_links(samples="LATENT", vae="VAE"),
        },
        ("IMAGE",),
        tiles=9,
    ),
    "KSampler": NodeType(
        {
            "seed": _SEED,
            "steps": _STEPS,
            "cfg": _CFG,
            **_SAMPLER,
            "denoise": Input("FLOAT", most=1),
            **_links(model="MODEL", positive="CONDITIONING", negative="CONDITIONING", latent_image="LATENT"),
        },
        ("LATENT",),
        steps=True,
    ),
    "RandomNoise": NodeType({"noise_seed": _SEED}, ("NOISE",)),
    "BasicGuider": NodeType(_links(model="MODEL", conditioning="CONDITIONING"), ("GUIDER",)),
    "KSamplerSelect": NodeType({"sampler_name": Input("COMBO", ("euler",))}, ("SAMPLER",)),
    "BasicScheduler": NodeType(
        {
            "scheduler": Input("COMBO", ("normal", "simple")),
            "steps": _STEPS,
            "denoise": Input("FLOAT", most=1),
            **_links(model="MODEL"),
        },
        ("SIGMAS",),
    ),
    "SamplerCustomAdvanced": NodeType(
        _links(noise="NOISE", guider="GUIDER", sampler="SAMPLER", sigmas="SIGMAS", latent_image="LATENT"),
        ("LATENT", "LATENT"),
        steps=True,
    ),
    "SaveImage": NodeType({"filename_prefix": _TEXT, **_links(images="IMAGE")}, saves="output"),
    "PreviewImage": NodeType(_links(images="IMAGE"), saves="temp"),
}


@dataclass(slots=True)
class Findings:
    """What a look at a workflow found: the outputs that can be run, and the faults, as ComfyUI reports them."""

    good: list[str] = field(default_factory=list)
    error: Json | None = None
    node_errors: dict[str, Json] = field(default_factory=dict)


def validate(prompt: Prompt, files: Files) -> Findings:
    """Look at a workflow before it is queued."""
    found = Findings()
    for node, it in prompt.items():
        if it.get("class_type") not in NODE_TYPES:
            title = it.get("_meta", {}).get("title", it.get("class_type"))
            message = f"Node '{title}' not found. The custom node may not be installed."
            found.error = _fault("missing_node_type", message, f"Node ID '#{node}'")
            return found
    outputs = [node for node, it in prompt.items() if NODE_TYPES[it["class_type"]].saves]
    if not outputs:
        found.error = _fault("prompt_no_outputs", "Prompt has no outputs", "")
        return found
    faults = {node: _faults(prompt, it, files) for node, it in prompt.items()}
    for output in outputs:
        bad = [node for node in order(prompt, output) if faults[node]]
        if not bad:
            found.good.append(output)
        for node in bad:
            entry = {"errors": faults[node], "dependent_outputs": [], "class_type": prompt[node]["class_type"]}
            found.node_errors.setdefault(node, entry)["dependent_outputs"].append(output)
    if not found.good:
        lines = [f"{it['message']}: {it['details']}" for node in found.node_errors for it in faults[node]]
        found.error = _fault("prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(lines))
    return found


def order(prompt: Prompt, output: str) -> list[str]:
    """The nodes that an output needs, each after those that feed it."""
    done: dict[str, None] = {}

    def visit(node: str) -> None:
        for value in prompt[node]["inputs"].values():
            if is_link(value) and value[0] not in done and value[0] in prompt:
                visit(value[0])
        done[node] = None

    visit(output)
    return list(done)


def is_link(value: object) -> bool:
    """Whether an input is fed by another node."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def make(node: Json, feeding: Mapping[str, Made], files: Files) -> Made:
    """What a node makes.

    Args:
        node: Its class and inputs.
        feeding: What was made for the inputs that are links.
        files: The uploaded files.
    """
    links = {name: it for name, it in feeding.items() if not it.number}
    inputs: Json = node["inputs"] | {name: it.number for name, it in feeding.items()}
    size = next(((it.width, it.height) for it in links.values() if it.width), (0, 0))
    steps = next((it.steps for it in links.values() if it.steps), 0)
    colour = inputs.get("color")
    if node["class_type"] == "LoadImage":
        content = files(inputs["image"]) or b""
        inputs["image"] = hashlib.sha256(content).hexdigest()
        with Image.open(io.BytesIO(content)) as image:
            size = image.size
            colour = int.from_bytes(image.convert("RGB").crop((0, 0, 1, 1)).tobytes())
    elif NODE_TYPES[node["class_type"]].saves:
        colour = links["images"].colour
    if "width" in inputs and "height" in inputs:
        size = inputs["width"], inputs["height"]
    own = {name: value for name, value in inputs.items() if name not in links}
    made_from = [node["class_type"], own, {name: it.digest for name, it in links.items()}]
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    number = inputs["value"] if node["class_type"] == "PrimitiveInt" else 0
    colour = int(digest[:6], 16) if colour is None else colour
    return Made(digest, *size, steps=inputs.get("steps", steps), number=number, colour=colour)


def _faults(prompt: Prompt, node: Json, files: Files) -> list[Json]:
    found = []
    for name, wanted in NODE_TYPES[node["class_type"]].inputs.items():
        if name not in node["inputs"]:
            found.append(_fault("required_input_missing", "Required input is missing", name, input_name=name))
        elif fault := _value_fault(prompt, name, node["inputs"][name], wanted, files):
            found.append(fault)
    return found


def _value_fault(prompt: Prompt, name: str, value: Any, wanted: Input, files: Files) -> Json | None:
    if is_link(value):
        outputs = NODE_TYPES[prompt[value[0]]["class_type"]].outputs
        if outputs[value[1]] == wanted.kind:
            return None
        details = f"{name}, received_type({outputs[value[1]]}) mismatch input_type({wanted.kind})"
        return _fault("return_type_mismatch", "Return type mismatch between linked nodes", details, input_name=name)
    if wanted.kind == "FILE":
        if files(value) is not None:
            return None
        details = f"{name} - Invalid image file: {value}"
        return _fault("custom_validation_failed", "Custom validation failed for node", details, input_name=name)
    if wanted.choices:
        if value in wanted.choices:
            return None
        details = f"{name}: '{value}' not in {list(wanted.choices)}"
        return _fault("value_not_in_list", "Value not in list", details, input_name=name)
    if wanted.kind not in WIDGETS or not isinstance(value, WIDGETS[wanted.kind]):
        message = f"Failed to convert an input value to a {wanted.kind} value"
        return _fault("invalid_input_type", message, f"{name}, {value}", input_name=name)
    if isinstance(value, (int, float)) and value < wanted.least:
        message = f"Value {value} smaller than min of {wanted.least}"
        return _fault("value_smaller_than_min", message, name, input_name=name)
    if isinstance(value, (int, float)) and value > wanted.most:
        return _fault("value_bigger_than_max", f"Value {value} bigger than max of {wanted.most}", name, input_name=name)
    return None


def _fault(kind: str, message: str, details: str, **extra: str) -> Json:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}
