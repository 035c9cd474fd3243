"""IQ4_NL: 32 weights of 4 bits, w = d * level, where a code stands for one of 16 uneven levels from -127 to 113.

Layout, 18 bytes: d f16, then 16 bytes whose low nibbles are codes 0..15 and high nibbles codes 16..31.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.levels import nearest_nonlinear, nonlinear, nonlinear_scale
from pacos.quants.pieces import half, half_bytes, pack_planes, planes

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The scale and the levels."""
    return Parts(half(blocks, 0), nonlinear(planes(blocks[:, 2:], 4, 16)))


def quantize(values: Floats) -> Bytes:
    """Search the scale, then take the nearest levels."""
    d = nonlinear_scale(values)
    codes = nearest_nonlinear(np.divide(values, d, out=np.zeros_like(values), where=d != 0))
    return np.concatenate([half_bytes(d), pack_planes(codes, 4, 16)], axis=1)


FORMAT = integer_format("IQ4_NL", 20, 32, 18, split, quantize)
