"""Quoted text is verbatim: code, not the model, makes sure that every prompt still carries it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

# Straight quotes count only around words, so that apostrophes (the dog's bone) and inches (a 12" pizza) do not.
_QUOTED: Final = re.compile(r'(?<!\w)"([^"\n]{1,200})"(?!\w)|“([^”\n]{1,200})”|(?<!\w)\'([^\'\n]{1,200})\'(?!\w)')


def quoted_texts(prompt: str) -> list[str]:
    """The texts in quotation marks, each once, in order."""
    found = (next(filter(None, match.groups())).strip() for match in _QUOTED.finditer(prompt))
    return [text for text in dict.fromkeys(found) if text]


def keep_quoted(prompt: str, texts: Sequence[str]) -> str:
    """The prompt, with every text it lost named at its end."""
    lost = [text for text in texts if not re.search(rf"(?<!\w){re.escape(text)}(?!\w)", prompt)]
    if not lost:
        return prompt
    return f"{prompt.rstrip().rstrip('.')}. " + " ".join(f'The written text reads "{text}".' for text in lost)
