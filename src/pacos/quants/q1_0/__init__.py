"""Q1_0: 128 weights of one bit, w = d where the bit is set, else -d.

Layout, 18 bytes: d f16, then 16 bytes of bits, low bit first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import half, half_bytes
from pacos.quants.search import total

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The scale, for each 32 weights, and the signs."""
    bits = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little").view(np.int8)
    return Parts(half(blocks, 0).repeat(4, axis=1), bits * np.int8(2) - np.int8(1))


def quantize(values: Floats) -> Bytes:
    """Take the mean magnitude and the signs."""
    d = total(np.abs(values)) / np.float32(128)
    return np.concatenate([half_bytes(d), np.packbits(values >= 0, axis=1, bitorder="little")], axis=1)


FORMAT = integer_format("Q1_0", 41, 128, 18, split, quantize)
