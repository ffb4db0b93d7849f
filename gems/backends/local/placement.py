"""How a model's parts are laid out over a device's memory and the machine's, decided by sizes alone.

The rules are estimates: the weights times a share for what surrounds them, and a fixed working memory for one picture of a
megapixel. What turns out wrong is mended once, after the device has run out of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from gems.core.profiles import LocalOptions

How = Literal["resident", "offload", "nf4"]
Dtype = Literal["bf16", "fp16", "fp32"]

GB: Final = 1_000_000_000
WORKING: Final = 3 * GB
"""Bytes that drawing one picture of a megapixel takes besides the weights."""
WORKING_MORE: Final = GB * 3 // 2
"""Bytes of each further picture in the same go."""
RESIDENT_SHARE: Final = 1.15
OFFLOAD_SHARE: Final = 1.1
NF4_SHARE: Final = 0.35
"""Of the bytes in bf16: 4 bits a weight, and what is not quantized."""
LARGE: Final = GB // 2
"""Bytes of a part from which on storing it smaller is worth what it costs of the picture."""
MEGAPIXEL: Final = 1024 * 1024
BYTES: Final[Mapping[Dtype, int]] = {"bf16": 2, "fp16": 2, "fp32": 4}


class Memory(NamedTuple):
    """What a device has, in bytes. Where the device has no memory of its own, both are the machine's."""

    device: str
    free: int
    total: int
    host_free: int
    can_offload: bool = True
    """Whether weights can wait in the machine's memory for their turn on the device."""
    can_quantize: bool = False
    """Whether the package for 4-bit weights is installed, and knows the device."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the weights lie and what they are stored as.

    `offload` keeps them in the machine's memory and brings each part to the device for its turn; `nf4` does so with parts
    of 4 bits. Parts in `cast` are stored in 8 bits and computed in `dtype`.
    """

    how: How
    dtype: Dtype
    cast: frozenset[str] = frozenset()
    quantized: frozenset[str] = frozenset()
    spare: int = 0
    """Bytes left on the device beside the weights and one picture."""

    @property
    def label(self) -> str:
        """For people: `resident, bf16`; `offload, fp8`."""
        how = "offload" if self.how == "nf4" else self.how
        return f"{how}, {'nf4' if self.quantized else 'fp8' if self.cast else self.dtype}"

    def most_together(self, pixels: int) -> int:
        """Pictures of that size that can be drawn in one go, as far as memory goes; at least one."""
        return 1 + max(0, int(self.spare / (WORKING_MORE * _megapixels(pixels))))


class TooLarge(Exception):
    """No placement fits. `needed` is what the most modest one would take on the device, in bytes."""

    def __init__(self, needed: int, *, of_host: bool = False) -> None:
        super().__init__(needed)
        self.needed = needed
        self.of_host = of_host


class _Layout(NamedTuple):
    placement: Placement
    device_bytes: float
    host_bytes: float


def place(
    parts: Mapping[str, int],
    memory: Memory,
    dtype: Dtype,
    options: LocalOptions,
    pixels: int = MEGAPIXEL,
    fixed: frozenset[str] = frozenset(),
) -> Placement:
    """The first layout that fits: everything resident; parts in turn, those that need it in 8 bits; parts of 4 bits.

    Args:
        parts: Weights by the pipeline's part: how many.
        memory: What the device and the machine have.
        dtype: What is computed in, and stored unless it is too large.
        options: `placement` may ask for one layout; it is then refused or taken.
        pixels: Of one picture.
        fixed: Parts that stay as they are stored; of these, `parts` says how many weights of `dtype` would be as large.

    Raises:
        TooLarge: none fits.
    """
    smallest: _Layout | None = None
    for layout in _layouts(parts, memory, dtype, options, WORKING * _megapixels(pixels), fixed):
        if layout.device_bytes <= memory.free and layout.host_bytes <= memory.host_free:
            spare = int(memory.free - layout.device_bytes)
            return _with_spare(layout.placement, spare)
        if smallest is None or layout.device_bytes < smallest.device_bytes:
            smallest = layout
    if smallest is None:  # only offloading layouts were asked for, and the device knows none
        raise TooLarge(0)
    of_host = smallest.device_bytes <= memory.free
    raise TooLarge(int(smallest.host_bytes if of_host else smallest.device_bytes), of_host=of_host)


def _layouts(
    parts: Mapping[str, int],
    memory: Memory,
    dtype: Dtype,
    options: LocalOptions,
    working: float,
    fixed: frozenset[str],
) -> Iterator[_Layout]:
    asked = options.placement
    sizes = {name: count * BYTES[dtype] for name, count in parts.items()}
    total, largest = sum(sizes.values()), max(sizes.values(), default=0)
    if asked in ("auto", "resident"):
        yield _Layout(Placement("resident", dtype), total * RESIDENT_SHARE + working, 0)
    if not memory.can_offload:
        return
    if asked in ("auto", "offload"):
        yield _Layout(Placement("offload", dtype), largest * OFFLOAD_SHARE + working, total)
    if asked in ("auto", "fp8"):
        can_shrink = {name: size for name, size in sizes.items() if name not in fixed}
        if asked == "auto":
            # Only what has no room on the device: 8 bits cost a little of the picture.
            cast = frozenset(name for name, size in can_shrink.items() if size * OFFLOAD_SHARE > memory.free - working)
            yield _in_8_bits(parts, sizes, cast, dtype, working)
        cast = frozenset(name for name, size in can_shrink.items() if size > LARGE)
        yield _in_8_bits(parts, sizes, cast, dtype, working)
    if asked == "nf4" or (asked == "auto" and memory.can_quantize):
        quantized = frozenset(name for name, size in sizes.items() if name not in fixed and size > LARGE)
        stored = {name: size * NF4_SHARE if name in quantized else size for name, size in sizes.items()}
        # What is quantized comes to the machine's memory in turn, a part at a time, and all of it is on the device once.
        together = sum(stored[name] for name in quantized)
        yield _Layout(
            Placement("nf4", dtype, quantized=quantized),
            max(max(stored.values(), default=0) + working, together),
            max(largest, sum(stored.values())),
        )


def _in_8_bits(
    parts: Mapping[str, int], sizes: Mapping[str, int], cast: frozenset[str], dtype: Dtype, working: float
) -> _Layout:
    stored = {name: parts[name] if name in cast else size for name, size in sizes.items()}
    largest = max(stored.values(), default=0)
    return _Layout(Placement("offload", dtype, cast=cast), largest * OFFLOAD_SHARE + working, sum(stored.values()))


def _with_spare(placement: Placement, spare: int) -> Placement:
    return Placement(placement.how, placement.dtype, placement.cast, placement.quantized, spare)


def _megapixels(pixels: int) -> float:
    """Of a picture; small ones take as much as one of a quarter of a megapixel."""
    return max(0.25, pixels / MEGAPIXEL)
