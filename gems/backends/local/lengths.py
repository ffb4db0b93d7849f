"""How much of a prompt a text encoder reads."""

from __future__ import annotations

from typing import Any, NamedTuple


class CutOff(NamedTuple):
    """A prompt that is too long: its tokens, those that are read, and the words beyond them."""

    tokens: int
    read: int
    lost: str


def cut_off(tokenizer: Any, prompt: str, most: int, before: str = "") -> CutOff | None:
    """What is lost of a prompt; None when all is read.

    Args:
        tokenizer: Of the text encoder.
        prompt: The prompt.
        most: Tokens that are read, of what stands before the prompt and of the prompt.
        before: What stands before it.
    """
    ids = _tokens(tokenizer, prompt)
    most -= len(_tokens(tokenizer, before))
    if len(ids) <= most:
        return None
    return CutOff(len(ids), most, tokenizer.decode(ids[most:], skip_special_tokens=True).strip())


def _tokens(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, truncation=False, verbose=False, add_special_tokens=False)["input_ids"]
    return ids
