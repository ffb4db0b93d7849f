"""The header of a safetensors file: 8 bytes that give its length, then JSON with the type, shape and place of each tensor.

The format is that of https://huggingface.co/docs/safetensors: little-endian, and the tensors fill the rest of the file.
"""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO, Final

from gems.backends.local.tensors import DamagedWeights, Tensor

MOST_HEADER_BYTES: Final = 100_000_000
"""The limit of the format's own reader."""
_LENGTH_BYTES: Final = 8
_MOST_SIDES: Final = 64
"""Dimensions of a tensor, as torch has them."""
_NAMES: Final = {
    "F64": "fp64",
    "F32": "fp32",
    "F16": "fp16",
    "BF16": "bf16",
    "F8_E4M3": "fp8",
    "F8_E5M2": "fp8",
}
"""What we call the types that people choose among; others keep their names, in small letters."""
_BITS: Final = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    "F4": 4,
}


def read_safetensors(stream: BinaryIO, size: int) -> tuple[Tensor, ...]:
    """The tensors of a file, in the order of its header.

    Args:
        stream: The file, at its beginning.
        size: Its length in bytes.

    Raises:
        DamagedWeights: the file is cut off, or no safetensors file.
    """
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    if size < _LENGTH_BYTES or length > MOST_HEADER_BYTES:
        raise DamagedWeights("is no safetensors file: it does not begin with the length of a header")
    if _LENGTH_BYTES + length > size:
        raise DamagedWeights(f"is cut off: its header alone has {length:,} bytes, the file {size:,}")
    try:
        header = json.loads(stream.read(length))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        tensors = tuple(_tensor(name, entry) for name, entry in entries.items())
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise DamagedWeights("is no safetensors file, or its header is damaged") from error
    whole = _LENGTH_BYTES + length + end
    if size < whole:
        raise DamagedWeights(f"is cut off: it has {size:,} bytes of {whole:,}")
    if size > whole:
        raise DamagedWeights(f"is damaged: it has {size:,} bytes where its header speaks of {whole:,}")
    return tensors


def _tensor(name: str, entry: dict[str, Any]) -> Tensor:
    dtype: str = entry["dtype"]
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    # JSON has numbers that are no lengths: fractions, infinity, truth.
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)) or len(shape) > _MOST_SIDES:
        raise ValueError(name)
    parameters = math.prod(shape)
    if begin > end or (dtype in _BITS and end - begin != -(-parameters * _BITS[dtype] // 8)):
        raise ValueError(name)
    return Tensor(name, _NAMES.get(dtype, dtype.lower()), parameters)
