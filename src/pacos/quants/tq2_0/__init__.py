"""TQ2_0: 256 weights of 2 bits of which three levels are used, w = d * (code - 1).

Layout, 66 bytes: 64 bytes of codes (each 32 bytes hold four planes of 32 codes, low bits first), d f16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import half, half_bytes, pack_planes, planes, ternary

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The scale and the centred codes."""
    one = np.ones((len(blocks), 1), np.int8)
    return Parts(half(blocks, 64), planes(blocks[:, :64], 2, 32).view(np.int8) - np.int8(1), one)


def quantize(values: Floats) -> Bytes:
    """Map the largest magnitude to 1 and round."""
    d, codes = ternary(values)
    return np.concatenate([pack_planes(codes, 2, 32), half_bytes(d)], axis=1)


FORMAT = integer_format("TQ2_0", 35, 256, 66, split, quantize)
