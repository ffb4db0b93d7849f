"""Tokenizers of the real classes with one token for each byte or character: no vocabulary to download."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

QWEN_SPECIAL: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|image_pad|>",
    "<|vision_start|>",
    "<|vision_end|>",
)
"""In the order of their ids, after the 256 bytes."""
QWEN_TOKENS: Final = 256 + len(QWEN_SPECIAL)
CLIP_TOKENS: Final = 2 * 256 + 2
"""Each byte within a word and at its end, then start and end of the text."""
CLIP_START: Final = CLIP_TOKENS - 2
CLIP_END: Final = CLIP_TOKENS - 1
_END_OF_TEXT: Final = "<|endoftext|>"
_END_OF_TURN: Final = "<|im_end|>"
_CHAT_TEMPLATE: Final = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_T5_SPECIAL: Final = ("<pad>", "</s>", "<unk>", "\N{LOWER ONE EIGHTH BLOCK}")
"""The last one stands for a space."""
_T5_CHARACTERS: Final = string.digits + string.ascii_letters + string.punctuation
T5_TOKENS: Final = len(_T5_SPECIAL) + len(_T5_CHARACTERS)


def qwen_tokenizer() -> Qwen2Tokenizer:
    """A byte is a token. With a chat template, as Z-Image and FLUX.2 need it."""
    from transformers import Qwen2Tokenizer

    ids = {token: number for number, token in enumerate((*_byte_symbols(), *QWEN_SPECIAL))}
    tokenizer = Qwen2Tokenizer(
        vocab=ids,
        merges=[],
        unk_token=None,
        pad_token=_END_OF_TEXT,
        eos_token=_END_OF_TURN,
        additional_special_tokens=list(QWEN_SPECIAL),
        model_max_length=4096,
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer


def clip_tokenizer(padding: str = _END_OF_TEXT) -> CLIPTokenizer:
    """A byte is a token, so a text is cut after 75 bytes. SDXL's second encoder and SD 2 pad with `!`."""
    from transformers import CLIPTokenizer

    symbols = _byte_symbols()
    tokens = (*symbols, *(f"{symbol}</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>")
    ids = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=ids, merges=[], pad_token=padding, model_max_length=77)


def t5_tokenizer() -> T5Tokenizer:
    """An ASCII character is a token; all others are unknown."""
    from transformers import T5Tokenizer

    pieces = [(token, 0.0) for token in _T5_SPECIAL] + [(character, -1.0) for character in _T5_CHARACTERS]
    return T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)


def _byte_symbols() -> list[str]:
    """The characters that stand for the 256 bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())
