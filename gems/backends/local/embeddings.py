"""Encoded prompts, kept: a prompt that is drawn again, with another seed or beside others, is not encoded again."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gems.backends.local.orders import Sampling
from gems.backends.local.pipelines import Encoding

if TYPE_CHECKING:
    from torch import Tensor

Encoded = Mapping[str, Any]
"""Arguments of a call, each with a leading dimension of one, or a list of one."""

MOST_KEPT: Final = 64
"""Prompts. One takes 2 to 4 MB of the device's memory."""


class _Key(NamedTuple):
    text: str
    negative: str | None
    guided: bool


class PromptEmbeddings:
    """Embeddings of one pipeline's prompts; the latest used are kept."""

    def __init__(self, pipe: Any, encoding: Encoding, most_tokens: int | None = None) -> None:
        """Encode with `pipe`, as `encoding` says; of a prompt, `most_tokens` are read."""
        self._pipe = pipe
        self._most_tokens = most_tokens
        self._encoding = encoding
        self._parameters = inspect.signature(pipe.encode_prompt).parameters
        self._kept: OrderedDict[_Key, Encoded] = OrderedDict()
        self.encoded = 0
        """How many prompts were encoded."""

    def suits(self, sampling: Sampling) -> bool:
        """Whether a call with these settings takes embeddings; where it encodes a negative prompt itself, it does not."""
        guides = sampling.guidance_scale is None or sampling.guidance_scale > 1
        return self._encoding.negative != "none" or not guides

    def arguments(self, prompts: Sequence[str], sampling: Sampling) -> dict[str, Any]:
        """What a call takes in place of the prompts. Each is encoded alone, so that a batch gives what one alone gives."""
        rows = [self._find(_Key(prompt, sampling.negative_prompt, self._guided(sampling))) for prompt in prompts]
        if self._encoding.join == "pad":
            return _padded(rows)
        if len(rows) == 1:
            return dict(rows[0])
        join = _concatenated if self._encoding.join == "list" else _stacked
        return {name: join([row[name] for row in rows]) for name in rows[0]}

    def forget(self) -> None:
        """Let the memory go."""
        self._kept.clear()

    def _guided(self, sampling: Sampling) -> bool:
        """Whether a call may need the negative prompt; one that it then does not need does no harm."""
        if self._encoding.negative == "with":
            return sampling.guidance_scale is None or sampling.guidance_scale > 0
        return (sampling.true_cfg_scale or 0.0) > 1 and sampling.negative_prompt is not None

    def _find(self, key: _Key) -> Encoded:
        if key not in self._kept:
            self._kept[key] = self._encode(key)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _encode(self, key: _Key) -> Encoded:
        self.encoded += 1
        found = self._ask(key.text, key.negative, guided=key.guided)
        if self._encoding.negative == "apart" and key.guided:
            negative = self._ask(key.negative or "", None, guided=False)
            found |= {f"negative_{name}": value for name, value in negative.items()}
        return found

    def _ask(self, text: str, negative: str | None, *, guided: bool) -> dict[str, Any]:
        import torch

        wanted = {
            "prompt": [text],
            "device": self._pipe._execution_device,
            "num_images_per_prompt": 1,
            "do_classifier_free_guidance": guided,
            "negative_prompt": None if negative is None else [negative],
            "max_sequence_length": self._most_tokens,
        }
        with torch.no_grad():
            results = self._pipe.encode_prompt(
                **{name: value for name, value in wanted.items() if name in self._parameters}
            )
        named = zip(self._encoding.results, results, strict=True)
        return {name: value for name, value in named if name and (guided or not name.startswith("negative_"))}


def _concatenated(parts: Sequence[list[Any]]) -> list[Any]:
    return [row for part in parts for row in part]


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    import torch

    return torch.cat(list(parts))


def _padded(rows: Sequence[Encoded]) -> dict[str, Any]:
    """Embeddings [1, length, width] of unlike lengths, with their masks [1, length]; a mask that is None lets all pass."""
    from torch.nn.functional import pad

    batch: dict[str, Any] = {}
    for name in [name for name in rows[0] if not name.endswith("_mask")]:
        embeds = [row[name] for row in rows]
        given = [row[f"{name}_mask"] for row in rows]
        masks = [
            own.new_ones(own.shape[:2], dtype=int) if mask is None else mask
            for own, mask in zip(embeds, given, strict=True)
        ]
        longest = max(own.shape[1] for own in embeds)
        batch[name] = _stacked([pad(own, (0, 0, 0, longest - own.shape[1])) for own in embeds])
        batch[f"{name}_mask"] = _stacked([pad(mask, (0, longest - mask.shape[1])) for mask in masks])
    return batch
