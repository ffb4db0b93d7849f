"""What a file of weights says it holds, before any weight of it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


class Tensor(NamedTuple):
    """One tensor of a file: its name, the type its weights are stored in (`bf16`, `fp32`, `q4_k`), and how many they are."""

    name: str
    dtype: str
    parameters: int


class DamagedWeights(Exception):
    """A file is not what its name promises. The message says how, not where."""


def main_dtype(tensors: Iterable[Tensor]) -> str:
    """The type that most weights are stored in; empty when there are none."""
    counts: Counter[str] = Counter()
    for tensor in tensors:
        counts[tensor.dtype] += tensor.parameters
    return counts.most_common(1)[0][0] if counts else ""
