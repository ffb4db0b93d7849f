"""How alike two texts are in meaning, without a network: the mean of their tokens' static vectors.

The vectors and the tokenizer are two files in the wheel of `wordllama` (Miller 2024: token embeddings of large language
models, trained further for such means). Its code is never imported: it sets up logging for everybody, and its own loader
looks for the tokenizer in the network. English is what it knows best; what it is worth,
`python -m gems.evals.recall` measures.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gems.core.errors import GemsConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Vectors = NDArray[np.float32]
PACKAGE: Final = "wordllama"
_WEIGHTS: Final = "weights/l2_supercat_256.safetensors"
_TOKENIZER: Final = "tokenizers/l2_supercat_tokenizer_config.json"
_REMEMBERED: Final = 4096
"""Texts whose vectors are kept, 1 KB each: all lessons of several owners."""


class TextEmbedding(Protocol):
    """Turns texts into vectors. It blocks: call it in a thread."""

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """One row of length 1 for each text, or of zeros where a text says nothing; their products are cosines.

        Raises:
            GemsConfigError: what it needs is not installed, or damaged.
        """
        ...


class _Files(NamedTuple):
    tokenizer: Tokenizer
    table: NDArray[np.float16]
    """One row for each token."""


class StaticEmbedding:
    """The vectors of `wordllama`, loaded when first used. Safe between threads."""

    def __init__(self, package: str = PACKAGE) -> None:
        """Read the files of `package`."""
        self._package = package
        self._loading = threading.Lock()
        self._vector = lru_cache(maxsize=_REMEMBERED)(self._embed)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """As `TextEmbedding.vectors`; a row has 256 numbers."""
        rows = [self._vector(text) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self._loaded.table.shape[1]), np.float32)

    def _embed(self, text: str) -> Vectors:
        tokenizer, table = self._loaded
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        mean: Vectors = table[ids].astype(np.float32).sum(axis=0)
        length = float(np.linalg.norm(mean))
        return mean / np.float32(length) if length else mean

    @property
    def _loaded(self) -> _Files:
        with self._loading:
            return self._files

    @cached_property
    def _files(self) -> _Files:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        spec = find_spec(self._package)
        if spec is None or not spec.submodule_search_locations:
            raise GemsConfigError(
                f"lessons need the package {self._package!r}, which is not installed: pip install "
                f"{self._package}==0.2.2.post0, or set lessons = false in the profile"
            )
        folder = Path(spec.submodule_search_locations[0])
        try:
            tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
            table = load_file(folder / _WEIGHTS)["embedding.weight"]
        except Exception as error:  # the tokenizer's errors have no class of their own
            raise GemsConfigError(
                f"the files of {self._package!r} in {folder} cannot be read ({error}): install it again, or set "
                "lessons = false in the profile"
            ) from error
        return _Files(tokenizer, table)
