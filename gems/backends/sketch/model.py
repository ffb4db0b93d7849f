"""The text encoder and the denoiser of the sketch engine.

Two choices carry the counting. The encoder predicts for every word how many things it announces ("three": 3, the "a" of "a
photo": 0), as text-to-speech models predict durations (FastSpeech, Ren et al. 2019); their running sum tells which slots a
word speaks of. The denoiser's cross-attention is biased towards the words that speak of its slot. The rest is a diffusion
transformer (Peebles & Xie 2023) with one shared adaptive norm (PixArt-alpha, Chen et al. 2023).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple, cast

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from gems.backends.sketch import layout
from gems.backends.sketch.tokenizer import COUNTING_VALUES, MAX_TOKENS, TOKENS
from gems.backends.sketch.vocabulary import MAX_LETTERS, MAX_OBJECTS

_BIAS: Final = 4.0


class TextBatch(NamedTuple):
    """Token ids, plural flags, places in quoted text and validity, each (B, L)."""

    ids: Tensor
    plurals: Tensor
    letters: Tensor
    mask: Tensor


class TextStates(NamedTuple):
    """What the denoiser reads: B texts of L tokens."""

    states: Tensor
    """(B, L, width)"""
    announced: Tensor
    """(B, L): how many things each token announces, as predicted."""
    first: Tensor
    """(B, L): first slot of the group a token speaks of."""
    stop: Tensor
    """(B, L): slot after the last of that group."""
    letters: Tensor
    """(B, L): place within quoted text, from 1; 0 outside."""
    mask: Tensor
    """(B, L): whether there is a token."""

    def repeat(self, times: int) -> TextStates:
        """The whole batch several times over."""
        return TextStates(*(field.repeat(times, *[1] * (field.ndim - 1)) for field in self))


class Prediction(NamedTuple):
    """The denoiser's guess of the clean scene: logits, and boxes in the network's units."""

    present: Tensor
    """(B, N)"""
    classes: Tensor
    """(B, N, classes), as are `colors` and `textures`."""
    colors: Tensor
    textures: Tensor
    boxes: Tensor
    """(B, N, 3)"""
    backgrounds: Tensor
    """(B, backgrounds)"""
    letters: Tensor
    """(B, M, characters); no slots where no text is quoted."""


def _sinusoids(values: Tensor, width: int, longest: float) -> Tensor:
    rates = torch.exp(-math.log(longest) * torch.arange(width // 2, device=values.device) / (width // 2))
    angles = values.unsqueeze(-1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def split_heads(self, states: Tensor) -> Tensor:
        return states.reshape(*states.shape[:2], self.heads, -1).transpose(1, 2)

    def keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.key_value(states).chunk(2, dim=-1)
        return self.split_heads(keys), self.split_heads(values)

    def forward(self, states: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None = None) -> Tensor:
        queries = self.split_heads(self.query(states)) * (states.shape[-1] // self.heads) ** -0.5
        scores = queries @ keys.transpose(-1, -2)
        # Written out: the fused kernel's backward pass is several times slower in bfloat16 on a CPU.
        mixed = torch.softmax(scores if bias is None else scores + bias, dim=-1) @ values
        return cast("Tensor", self.out(mixed.transpose(1, 2).flatten(2)))


def _mlp(width: int, ratio: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(approximate="tanh"), nn.Linear(ratio * width, width))


class _TextBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = _Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = _mlp(width, 3)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        normed = self.norm_attention(states)
        states = states + self.attention(normed, *self.attention.keys_values(normed), bias)
        return cast("Tensor", states + self.mlp(self.norm_mlp(states)))


class SketchTextEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Words in context, and how many things each of them announces.

    Args:
        tokens: the tokenizer's tokens in the order of their ids.
        width: size of a state.
        layers: transformer layers after the convolution.
        heads: attention heads.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, tokens: list[str] | None = None, width: int = 128, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        tokens = list(tokens or TOKENS)
        self.register_to_config(tokens=tokens)
        self.words = nn.Embedding(len(tokens), width)
        self.plurals = nn.Embedding(2, width)
        self.letters = nn.Embedding(MAX_LETTERS + 1, width)
        self.conv = nn.Conv1d(width, width, 5, padding=2, groups=width)
        self.blocks = nn.ModuleList(_TextBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 1)
        self.counting = nn.Embedding(len(tokens), 1)
        for table in (self.words, self.plurals, self.letters):
            nn.init.normal_(table.weight, std=0.5)
        with torch.no_grad():
            self.counting.weight.copy_(torch.tensor([[COUNTING_VALUES.get(token, 1.0)] for token in tokens]))
            self.gate.bias.fill_(-2.0)
        self.register_buffer("places", _sinusoids(torch.arange(MAX_TOKENS), width, 1000.0) * 0.5, persistent=False)

    def forward(self, text: TextBatch) -> TextStates:
        """States of a batch of texts; tokens outside `text.mask` have no influence."""
        valid = text.mask.unsqueeze(-1)
        states = self.words(text.ids) + self.plurals(text.plurals) + self.letters(text.letters)
        states = (states + self.places[: text.ids.shape[1]]) * valid
        states = (states + self.conv(states.transpose(1, 2)).transpose(1, 2)) * valid
        bias = torch.zeros_like(text.mask, dtype=states.dtype).masked_fill(~text.mask, -torch.inf)[:, None, None]
        for block in self.blocks:
            states = block(states, bias)
        states = self.norm(states)
        announced = torch.sigmoid(self.gate(states).float()) * self.counting(text.ids).float()
        announced = announced.squeeze(-1) * text.mask
        whole = announced.detach().round().clamp(min=0)
        stop = whole.cumsum(1).clamp(max=MAX_OBJECTS)
        first = torch.where(whole > 0, whole.cumsum(1) - whole, 0.0).cummax(1).values
        return TextStates(states, announced, first, stop, text.letters, text.mask)


class BlockCondition(NamedTuple):
    """Keys, values and bias of one block's cross-attention: the same at every step, so computed once."""

    keys: Tensor
    values: Tensor
    bias: Tensor


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.norm_cross = nn.LayerNorm(width)
        self.attention = _Attention(width, heads)
        self.cross = _Attention(width, heads)
        self.mlp = _mlp(width, ratio)
        self.modulation = nn.Parameter(torch.randn(6, width) * 0.02)
        self.pull = nn.Parameter(torch.linspace(0.0, 2.0, heads) * _BIAS / 2)

    def condition(self, text: Tensor, speaks: Tensor, mask: Tensor) -> BlockCondition:
        bias = self.pull[:, None, None] * speaks[:, None]
        return BlockCondition(*self.cross.keys_values(text), bias.masked_fill(~mask[:, None, None], -torch.inf))

    def forward(self, states: Tensor, time: Tensor, condition: BlockCondition) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (time + self.modulation).chunk(6, dim=1)
        normed = self.norm(states) * (1 + scale_a) + shift_a
        states = states + gate_a * self.attention(normed, *self.attention.keys_values(normed))
        bias = condition.bias[:, :, : states.shape[1]]
        states = states + self.cross(self.norm_cross(states), condition.keys, condition.values, bias)
        normed = self.norm(states) * (1 + scale_m) + shift_m
        return states + gate_m * cast("Tensor", self.mlp(normed))


class SketchDenoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Guesses the clean scene from a noisy one and a text.

    Args:
        width: size of a state.
        layers: transformer blocks.
        heads: attention heads.
        ratio: inner width of the feed-forward part over `width`.
        text_width: size of the text encoder's states.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, width: int = 128, layers: int = 4, heads: int = 4, ratio: int = 3, text_width: int = 128
    ) -> None:
        super().__init__()
        codes = layout.make_codes()
        for name, table in codes._asdict().items():
            self.register_buffer("code_" + name, table)
        self.read_slot = nn.Linear(layout.SLOT_DIM, width)
        self.read_background = nn.Linear(layout.BACKGROUND_DIM, width)
        self.read_letter = nn.Linear(layout.LETTER_DIM, width)
        self.places = nn.Parameter(torch.randn(1 + MAX_OBJECTS + MAX_LETTERS, width) * 0.5)
        self.read_text = nn.Linear(text_width, width)
        self.read_span = nn.Linear(2 * MAX_OBJECTS, width)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, 6 * width))
        self.blocks = nn.ModuleList(_Block(width, heads, ratio) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        outputs = [1, len(codes.classes), len(codes.colors), len(codes.textures), 3]
        self.write_slot = nn.Linear(width, sum(outputs))
        self.write_background = nn.Linear(width, len(codes.backgrounds))
        self.write_letter = nn.Linear(width, len(codes.letters))
        self._outputs = outputs

    @property
    def codes(self) -> layout.Codes:
        """The fixed codes of the latent's discrete parts."""
        return layout.Codes(*(getattr(self, "code_" + name) for name in layout.Codes._fields))

    def condition(self, text: TextStates) -> list[BlockCondition]:
        """What each block reads of the text: the same at every step."""
        slots = torch.arange(MAX_OBJECTS, device=text.states.device)
        first, stop = text.first.unsqueeze(-1), text.stop.unsqueeze(-1)
        span = torch.cat([slots < first, slots < stop], dim=-1).to(text.states.dtype)
        states = self.read_text(text.states) + self.read_span(span)
        speaks = ((slots >= first) & (slots < stop)).transpose(1, 2)
        spells = text.letters.unsqueeze(1) == torch.arange(1, MAX_LETTERS + 1, device=slots.device)[:, None]
        nothing = torch.zeros_like(speaks[:, :1])
        which = torch.cat([nothing, speaks, spells], dim=1).to(states.dtype)
        return [cast("_Block", block).condition(states, which, text.mask) for block in self.blocks]

    def forward(
        self, latents: Tensor, sigma: Tensor, condition: list[BlockCondition], letters: bool = True
    ) -> Prediction:
        """Guess the clean scene.

        Args:
            latents: (B, `LATENT_DIM`), noisy.
            sigma: (B,), share of noise, 0 to 1.
            condition: of the text, from `condition`.
            letters: whether text is quoted; without, letter slots are left out.
        """
        parts = layout.split(latents)
        read = [self.read_background(parts.background).unsqueeze(1), self.read_slot(parts.slots)]
        if letters:
            read.append(self.read_letter(parts.letters))
        states = torch.cat(read, dim=1)
        states = states + self.places[: states.shape[1]]
        time = self.time(_sinusoids(sigma * 1000.0, 64, 10000.0).to(states.dtype)).unflatten(1, (6, -1))
        for block, known in zip(self.blocks, condition, strict=True):
            states = block(states, time, known)
        states = self.norm(states)
        slots = self.write_slot(states[:, 1 : 1 + MAX_OBJECTS]).split(self._outputs, dim=-1)
        noise, clean = sigma[:, None, None], 1 - sigma[:, None, None]
        power = noise**2 + clean**2
        # Preconditioning (EDM, Karras et al. 2022) for the straight path: what is left of the clean box is passed on.
        boxes = clean / power * parts.slots[..., -3:] + noise / power.sqrt() * slots[4]
        return Prediction(
            slots[0].squeeze(-1),
            slots[1],
            slots[2],
            slots[3],
            boxes,
            self.write_background(states[:, 0]),
            self.write_letter(states[:, 1 + MAX_OBJECTS :]),
        )

    def clean_latents(self, prediction: Prediction) -> Tensor:
        """The expected clean latents (B, `LATENT_DIM`) of a prediction; missing letters are blank."""
        codes = self.codes
        present = torch.sigmoid(prediction.present).unsqueeze(-1)
        content = [
            prediction.classes.softmax(-1) @ codes.classes,
            prediction.colors.softmax(-1) @ codes.colors,
            prediction.textures.softmax(-1) @ codes.textures,
            prediction.boxes,
        ]
        slots = torch.cat([2 * present - 1, *(part * present for part in content)], dim=-1)
        letters = prediction.letters.softmax(-1) @ codes.letters
        if letters.shape[1] == 0:
            letters = codes.letters[-1].expand(len(slots), MAX_LETTERS, -1)
        background = prediction.backgrounds.softmax(-1) @ codes.backgrounds
        return torch.cat([background, slots.flatten(1), letters.flatten(1)], dim=1)

    def read_latents(self, latents: Tensor) -> layout.Layout:
        """The nearest layout to clean latents."""
        codes = self.codes
        parts = layout.split(latents)
        sizes = [1, layout.CLASS_DIM, layout.COLOR_DIM, layout.TEXTURE_DIM, 3]
        _, classes, colors, textures, boxes = torch.split(parts.slots, sizes, dim=-1)
        return layout.Layout(
            parts.slots[..., 0] > 0,
            (classes @ codes.classes.T).argmax(-1),
            (colors @ codes.colors.T).argmax(-1),
            (textures @ codes.textures.T).argmax(-1),
            boxes,
            (parts.background @ codes.backgrounds.T).argmax(-1),
            (parts.letters @ codes.letters.T).argmax(-1),
        )
