"""From weights to a pipeline on a device: parts, adapters, scheduler, and where everything lies."""

from __future__ import annotations

import importlib.util
import inspect
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gems.backends.images.presets import Family, family_of
from gems.backends.local.devices import torch_dtype
from gems.backends.local.embeddings import PromptEmbeddings
from gems.backends.local.faults import explain_load
from gems.backends.local.lengths import CutOff, cut_off
from gems.backends.local.orders import LocalModel, Order
from gems.backends.local.pipelines import PipelineFacts, facts_of
from gems.backends.local.placement import Dtype, Placement
from gems.backends.local.quiet import listening, one_load
from gems.backends.local.requirements import check_requirements
from gems.backends.local.schedulers import find_scheduler
from gems.backends.local.weights import Weights, path_of
from gems.core.errors import GemsConfigError
from gems.core.profiles import LocalOptions, Lora

_SENSITIVE: Final = ("pos_embed", "patch_embed", "norm", "lm_head", "^proj_in$", "^proj_out$")
"""Layers that are small, and that a picture suffers from when they are stored in 8 bits; and one that shares its weights
with an embedding."""
UNIFIED: Final = ("cpu", "mps")
"""Devices whose memory is the machine's."""
_DENOISERS: Final = ("transformer", "unet")


@dataclass(slots=True)
class Loaded:
    """A pipeline with its weights, as one thread owns it."""

    model: LocalModel
    pipe: Any
    facts: PipelineFacts
    device: str
    placement: Placement
    embeddings: PromptEmbeddings | None
    most_tokens: int | None = None
    """Longest prompt that is read."""
    stored_bytes: int = 0
    """Of the weights, as they lie in memory."""
    warnings: tuple[str, ...] = ()
    """What did not fit when it was loaded."""
    used: float = field(default_factory=time.monotonic)
    """When it was last at work, by the monotonic clock."""
    _is_resting: bool = field(default=False, init=False)
    _redraws: Any = field(default=None, init=False)
    _most_together: int | None = field(default=None, init=False)
    """What running out of memory has taught."""

    def pipe_for(self, order: Order) -> Any:
        """The pipeline that draws an order: over a given picture, it is another class with the same parts."""
        if not order.images or not self.facts.redraws_by:
            return self.pipe
        if self._redraws is None:
            self._redraws = _sibling(self.pipe, self.facts.redraws_by)
        return self._redraws

    def texts(self, prompts: list[str], order: Order) -> dict[str, Any]:
        """The arguments of a call that say what to draw; encoded before, where the class allows it."""
        sampling = order.sampling
        limit = {"max_sequence_length": self.most_tokens}
        if self.embeddings and not order.images and self.embeddings.suits(sampling):
            return self.embeddings.arguments(prompts, sampling) | limit
        negative = None if sampling.negative_prompt is None else [sampling.negative_prompt] * len(prompts)
        return {"prompt": prompts, "negative_prompt": negative} | limit

    def cut_off(self, prompt: str) -> CutOff | None:
        """What of a prompt is not read; None when all is."""
        from transformers import PreTrainedTokenizerBase

        tokenizer = getattr(self.pipe, self.facts.counts_by, None)
        # Some have a processor there, which takes a text for the address of a picture.
        tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
        if not isinstance(tokenizer, PreTrainedTokenizerBase) or self.most_tokens is None:
            return None
        return cut_off(tokenizer, prompt, self.most_tokens - self.facts.frame_tokens, before=self.facts.before)

    def most_together(self, order: Order) -> int:
        """Orders like this that can be drawn in one go."""
        limits = [self.model.options.batch, self.placement.most_together(order.width * order.height)]
        return min(limits if self._most_together is None else [*limits, self._most_together])

    def lower_together(self, tried: int) -> None:
        """So many at once were too many."""
        self._most_together = max(1, tried // 2)

    def idle_left(self) -> float:
        """Seconds until it has been idle for as long as its weights may stay."""
        return self.used + self.model.options.idle_seconds - time.monotonic()

    def forget(self) -> None:
        """Let go what can be made again."""
        if self.embeddings:
            self.embeddings.forget()

    def rest(self) -> None:
        """Leave the device's memory to others; the weights wait in the machine's."""
        self.forget()
        # Before: what is moved in part has to be moved back too.
        self._is_resting = True
        if self.placement.how == "resident":
            self.pipe.to("cpu")
        else:
            self.pipe.maybe_free_model_hooks()

    @property
    def device_bytes(self) -> int:
        """What it holds of the device between drawings."""
        has_left = self._is_resting and self.device not in UNIFIED
        return 0 if has_left or self.placement.how != "resident" else self.stored_bytes

    @property
    def host_bytes(self) -> int:
        """What it holds of the machine's memory between drawings."""
        return self.stored_bytes if self.device in UNIFIED else self.stored_bytes - self.device_bytes

    def wake(self) -> None:
        """Be ready to draw again."""
        if self._is_resting and self.placement.how == "resident":
            self.pipe.to(self.device)
        self._is_resting = False

    def relieve(self, host_free: int) -> bool:
        """Take less of the device's memory from now on, after it ran out. Answers whether there was something to do.

        Args:
            host_free: Bytes that the machine's memory has room for.
        """
        vae = getattr(self.pipe, "vae", None)
        done = False
        if vae is not None and hasattr(vae, "enable_tiling") and not getattr(vae, "use_tiling", True):
            vae.enable_tiling()
            done = True
        if self.placement.how == "resident" and can_offload(self.device) and self.stored_bytes <= host_free:
            self.pipe.enable_model_cpu_offload(device=self.device)
            self.placement = Placement("offload", self.placement.dtype)
            done = True
        return done


def can_offload(device: str) -> bool:
    """Whether parts can wait in the machine's memory for their turn."""
    return device.partition(":")[0] in ("cuda", "xpu") and importlib.util.find_spec("accelerate") is not None


def choose_dtype(weights: Weights, device: str, asked: str) -> Dtype:
    """What to compute in: on an accelerator 16 bits, as the weights are stored; on a CPU 32, which it is built for."""
    if asked != "auto":
        return asked  # type: ignore[return-value]  # the settings know no other
    if device == "cpu":
        return "fp32"
    stored = [part.dtype for part in weights.parts.values() if part.dtype and not part.is_quantized]
    return "fp16" if stored and all(dtype == "fp16" for dtype in stored) else "bf16"


def load(model: LocalModel, weights: Weights, device: str, placement: Placement) -> Loaded:
    """Load a pipeline. Only safetensors and GGUF files are read, only from this machine, and no code but diffusers' is run.

    Raises:
        GemsConfigError: something is wrong with the files, the settings, or this version of diffusers.
        torch.OutOfMemoryError: there is less memory than was thought.
    """
    check_requirements(model, weights)
    with one_load(), explain_load(model):
        pipe = _assemble(model, weights, placement)
        warnings = _adapt(pipe, model, weights, placement)
        _cast(pipe, placement)
        pipe.set_progress_bar_config(disable=True)
        if placement.how == "resident":
            pipe.to(device)
        else:
            pipe.enable_model_cpu_offload(device=device)
        if model.options.compile:
            # In whole graphs, prompts of other lengths and parts in 8 bits would be errors.
            _denoiser(pipe).compile_repeated_blocks(fullgraph=False)
    facts = facts_of(type(pipe).__name__)
    most_tokens = _most_tokens(pipe, facts, family_of(model.source) or family_of(model.options.base))
    embeddings = PromptEmbeddings(pipe, facts.encoding, most_tokens) if facts.encoding else None
    return Loaded(model, pipe, facts, device, placement, embeddings, most_tokens, _stored_bytes(pipe), warnings)


def _stored_bytes(pipe: Any) -> int:
    import torch

    parts = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    return sum(weight.nbytes for part in parts for weight in part.parameters())


def _assemble(model: LocalModel, weights: Weights, placement: Placement) -> Any:
    import diffusers
    import torch

    pipeline_class: Any = getattr(diffusers, weights.pipeline_class, None)
    if not _is_pipeline(pipeline_class):
        raise GemsConfigError(
            f"{model.source} is a {weights.pipeline_class!r}, which diffusers {diffusers.__version__} does not have: "
            "install a newer one, or choose another model"
        )
    dtype = torch_dtype(placement.dtype)
    common: dict[str, Any] = {"dtype": dtype, "local_files_only": True}
    if weights.single_file is not None:
        if not hasattr(pipeline_class, "from_single_file"):
            raise GemsConfigError(f"{weights.pipeline_class} cannot be loaded from a single file: take its folder")
        return pipeline_class.from_single_file(str(weights.single_file), config=str(weights.folder), **common)
    common |= {"use_safetensors": True, "trust_remote_code": False}
    if importlib.util.find_spec("accelerate") is None:
        common["low_cpu_mem_usage"] = False  # any other value only makes diffusers warn that accelerate is missing
    if weights.variant:
        common["variant"] = weights.variant
    if placement.quantized:
        common["quantization_config"] = diffusers.PipelineQuantizationConfig(
            quant_backend="bitsandbytes_4bit",
            quant_kwargs={
                "load_in_4bit": True,
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_compute_dtype": dtype,
            },
            components_to_quantize=sorted(placement.quantized),
        )
    if weights.transformer_file is not None:
        common["transformer"] = _transformer(weights, dtype)
    for name in weights.unneeded:
        common[name] = None
    with torch.inference_mode(mode=False):
        return pipeline_class.from_pretrained(str(weights.folder), **common)


def _is_pipeline(found: Any) -> bool:
    import diffusers

    return isinstance(found, type) and issubclass(found, diffusers.DiffusionPipeline)


def _transformer(weights: Weights, dtype: Any) -> Any:
    import diffusers

    part = weights.parts["transformer"]
    model_class = getattr(diffusers, part.class_name)
    options: dict[str, Any] = {"config": str(weights.folder), "subfolder": "transformer", "dtype": dtype}
    path = weights.transformer_file
    if path is not None and path.suffix.lower() == ".gguf":
        options["quantization_config"] = diffusers.GGUFQuantizationConfig(compute_dtype=dtype)
    return model_class.from_single_file(str(path), local_files_only=True, **options)


def _adapt(pipe: Any, model: LocalModel, weights: Weights, placement: Placement) -> tuple[str, ...]:
    """Lay LoRAs over the weights, and change the scheduler. Answers what of it does not fit."""
    options = model.options
    warnings = [_add_lora(pipe, path_of(model, lora.path), name) for name, lora in _named(options)]
    if options.loras:
        pipe.set_adapters([name for name, _ in _named(options)], [lora.scale for lora in options.loras])
        if not placement.quantized and not any(part.is_quantized for part in weights.parts.values()):
            # Melted into the weights they cost nothing at each step; quantized weights cannot take them up.
            # By its own choice FLUX.1 would leave its text encoder's part out.
            parts = [part for part, adapters in pipe.get_list_adapters().items() if adapters]
            pipe.fuse_lora(components=parts, adapter_names=[name for name, _ in _named(options)])
            pipe.unload_lora_weights()
    if options.scheduler or options.scheduler_options:
        chosen = find_scheduler(type(pipe.scheduler).__name__, options)
        pipe.scheduler = chosen.from_config(pipe.scheduler.config, **options.scheduler_options)
    return tuple(warning for warning in warnings if warning)


def _named(options: LocalOptions) -> list[tuple[str, Lora]]:
    return [(f"lora{number}", lora) for number, lora in enumerate(options.loras)]


def _add_lora(pipe: Any, path: Path, name: str) -> str:
    """Lay a LoRA beside the weights. Answers with a warning where only a part of it fits."""
    with listening("diffusers") as heard:
        pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name, local_files_only=True)
    if not any(name in names for names in pipe.get_list_adapters().values()):
        raise GemsConfigError(f"the LoRA {path.name} does not fit {type(pipe).__name__}: is it another model's?")
    unfit = any("unexpected keys" in said or "missing keys" in said for said in heard)
    return f"only a part of the LoRA {path.name} fits {type(pipe).__name__}: is it another model's?" if unfit else ""


def _cast(pipe: Any, placement: Placement) -> None:
    """Store parts in 8 bits; each layer computes in the full type."""
    if not placement.cast:
        return
    import torch
    from diffusers.hooks import apply_layerwise_casting

    for name in sorted(placement.cast):
        part = getattr(pipe, name)
        # Layers whose type is asked for by those before them; of diffusers' models and of transformers' (T5's `wo`).
        asked = [getattr(part, of, None) or () for of in ("_skip_layerwise_casting_patterns", "_keep_in_fp32_modules")]
        apply_layerwise_casting(
            part,
            storage_dtype=torch.float8_e4m3fn,
            compute_dtype=torch_dtype(placement.dtype),
            skip_modules_pattern=(*_SENSITIVE, *(pattern for patterns in asked for pattern in patterns)),
            # What comes out of these is what all other layers compute in, and what a text encoder calls its own type.
            skip_modules_classes=(torch.nn.Embedding,),
        )


def _sibling(pipe: Any, class_name: str) -> Any:
    """A pipeline of another class with the same parts. Its scheduler is its own: it holds the place in a drawing.

    Not `from_pipe`, which would cast the shared parts to 32 bits.
    """
    import diffusers

    sibling_class = getattr(diffusers, class_name)
    takes = inspect.signature(sibling_class.__init__).parameters
    parts = {**pipe.config, **pipe.components, "scheduler": pipe.scheduler.from_config(pipe.scheduler.config)}
    sibling = sibling_class(**{name: part for name, part in parts.items() if name in takes})
    sibling.set_progress_bar_config(disable=True)
    return sibling


def _denoiser(pipe: Any) -> Any:
    return next(part for name in _DENOISERS if (part := getattr(pipe, name, None)) is not None)


def _most_tokens(pipe: Any, facts: PipelineFacts, family: Family | None) -> int | None:
    """The longest prompt. Of a class that is not known, by what its call does when it is not told."""
    said = inspect.signature(pipe.__call__).parameters.get("max_sequence_length")
    of_class = facts.prompt_tokens or (said.default if said and isinstance(said.default, int) else None)
    limits = [of_class, family.prompt_tokens if family else None]
    return min((limit for limit in limits if limit is not None), default=None)
