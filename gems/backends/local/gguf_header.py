"""The header of a GGUF file: pairs of keys and values, then the name, shape, type and place of each tensor.

The format is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. Sizes of
the types' blocks are ggml's; only types that diffusers can read are known here.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import BinaryIO, Final, NamedTuple

from gems.backends.local.tensors import DamagedWeights, Tensor

MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_MOST: Final = 1_000_000
"""Pairs, tensors or characters of a name, beyond which a file is not believed."""
_MOST_SIDES: Final = 8
_ALIGNMENT: Final = 32
"""Bytes to a multiple of which the tensors begin, unless the file says otherwise."""
_STRING: Final = 8
_ARRAY: Final = 9
_VALUE_BYTES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


class _Kind(NamedTuple):
    """A type: so many weights are stored in so many bytes."""

    name: str
    weights: int
    bytes: int


_KINDS: Final[Mapping[int, _Kind]] = {
    0: _Kind("fp32", 1, 4),
    1: _Kind("fp16", 1, 2),
    2: _Kind("q4_0", 32, 18),
    3: _Kind("q4_1", 32, 20),
    6: _Kind("q5_0", 32, 22),
    7: _Kind("q5_1", 32, 24),
    8: _Kind("q8_0", 32, 34),
    10: _Kind("q2_k", 256, 84),
    11: _Kind("q3_k", 256, 110),
    12: _Kind("q4_k", 256, 144),
    13: _Kind("q5_k", 256, 176),
    14: _Kind("q6_k", 256, 210),
    20: _Kind("iq4_nl", 32, 18),
    23: _Kind("iq4_xs", 256, 136),
    30: _Kind("bf16", 1, 2),
}


def read_gguf(stream: BinaryIO, size: int) -> tuple[Tensor, ...]:
    """The tensors of a file, in the order of its header.

    Args:
        stream: The file, at its beginning.
        size: Its length in bytes.

    Raises:
        DamagedWeights: the file is cut off, empty, no GGUF file, or of a type that diffusers cannot read.
    """
    reader = _Reader(stream, size)
    if reader.take(4) != MAGIC:
        raise DamagedWeights("is no GGUF file: it does not begin with GGUF")
    version = reader.number("<I")
    if version not in _VERSIONS:
        raise DamagedWeights(f"is a GGUF file of version {version}, where 2 and 3 can be read")
    tensors, pairs = reader.count(), reader.count()
    if not tensors:
        raise DamagedWeights("holds no tensors")
    alignment = _ALIGNMENT
    for _ in range(pairs):
        key, kind = reader.text(), reader.number("<I")
        if key == "general.alignment" and kind == 4:
            alignment = max(1, reader.number("<I"))
        else:
            reader.skip_value(kind)
    placed = [_tensor(reader) for _ in range(tensors)]
    whole = -(-reader.position // alignment) * alignment + max(it.end for it in placed)
    if size < whole:
        raise DamagedWeights(f"is cut off: it has {size:,} bytes of {whole:,}")
    return tuple(it.tensor for it in placed)


class _Placed(NamedTuple):
    tensor: Tensor
    end: int
    """In bytes from the first tensor."""


def _tensor(reader: _Reader) -> _Placed:
    name, sides = reader.text(), reader.number("<I")
    if sides > _MOST_SIDES:
        raise DamagedWeights(f"is damaged: a tensor of it has {sides} dimensions")
    parameters = math.prod(reader.number("<Q") for _ in range(sides))
    kind, offset = reader.number("<I"), reader.number("<Q")
    if kind not in _KINDS:
        raise DamagedWeights(f"holds weights of the GGUF type {kind}, which diffusers cannot read")
    stored = _KINDS[kind]
    return _Placed(Tensor(name, stored.name, parameters), offset + parameters // stored.weights * stored.bytes)


class _Reader:
    """Takes a header apart, and never goes beyond the end of the file."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self.position = 0

    def take(self, length: int) -> bytes:
        self._advance(length)
        return self._stream.read(length)

    def number(self, form: str) -> int:
        value: int = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def count(self) -> int:
        value = self.number("<Q")
        if value > _MOST:
            raise DamagedWeights("is damaged: its header speaks of more than a file can hold")
        return value

    def text(self) -> str:
        return self.take(self.count()).decode(errors="replace")

    def skip_value(self, kind: int) -> None:
        if kind == _STRING:
            self._skip(self.number("<Q"))
        elif kind == _ARRAY:
            of, length = self.number("<I"), self.number("<Q")
            if of in _VALUE_BYTES:
                self._skip(length * _VALUE_BYTES[of])
            elif of == _STRING:
                for _ in range(length):
                    self._skip(self.number("<Q"))
            else:
                raise DamagedWeights("is damaged: a value in its header is of no known type")
        elif kind in _VALUE_BYTES:
            self._skip(_VALUE_BYTES[kind])
        else:
            raise DamagedWeights("is damaged: a value in its header is of no known type")

    def _skip(self, length: int) -> None:
        self._advance(length)
        self._stream.seek(length, 1)

    def _advance(self, length: int) -> None:
        self.position += length
        if self.position > self._size:
            raise DamagedWeights("is cut off: it ends within its header")
