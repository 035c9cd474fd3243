"""Q2_0: 64 weights of 2 bits, w = d * (code - 1): -d, 0, d or 2 * d.

Layout, 18 bytes: d f16, then 16 bytes of codes, four to a byte, low bits first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import half, half_bytes, pack_planes, planes, ternary

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The scale, for each 32 weights, and the centred codes."""
    return Parts(half(blocks, 0).repeat(2, axis=1), planes(blocks[:, 2:], 2, 1).view(np.int8) - np.int8(1))


def quantize(values: Floats) -> Bytes:
    """Map the largest magnitude to 1 and round, as ggml does, which leaves 2 unused."""
    d, codes = ternary(values)
    return np.concatenate([half_bytes(d), pack_planes(codes, 2, 1)], axis=1)


FORMAT = integer_format("Q2_0", 42, 64, 18, split, quantize)
