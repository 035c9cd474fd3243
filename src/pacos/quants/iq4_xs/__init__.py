"""IQ4_XS: 256 weights of 4 bits in 8 groups, w = d * (scale - 32) * level with the levels of IQ4_NL.

Layout, 136 bytes: d f16, 8 upper pairs of bits of scales in a u16, their 8 lower nibbles in 4 bytes (low nibble first),
128 bytes of codes (each 16 bytes hold two planes of 16 codes, low nibbles first).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.levels import nearest_nonlinear, nonlinear, nonlinear_scale
from pacos.quants.pieces import half, half_bytes, integers, pack_planes, planes, through_half
from pacos.quants.search import shared_scale

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The factor, each group's scale and the levels."""
    scales = planes(blocks[:, 4:8], 4, 1) | planes(blocks[:, 2:4], 2, 1) << np.uint8(4)
    return Parts(half(blocks, 0), nonlinear(planes(blocks[:, 8:], 4, 16)), scales.view(np.int8) - np.int8(32))


def quantize(values: Floats) -> Bytes:
    """Search each group's scale, share them in six bits each, then take the nearest levels."""
    scales = nonlinear_scale(values.reshape(-1, 32)).reshape(-1, 8)
    factor = shared_scale(scales, 32)
    d = through_half(np.divide(np.float32(1), factor, out=np.zeros_like(factor), where=factor != 0))
    coded = integers(scales * factor, -32, 31)
    step = (d * coded).reshape(-1, 1)
    grouped = values.reshape(-1, 32)
    codes = nearest_nonlinear(np.divide(grouped, step, out=np.zeros_like(grouped), where=step != 0))
    six = (coded + np.float32(32)).astype(np.uint8)
    low, high = pack_planes(six & np.uint8(15), 4, 1), pack_planes(six >> np.uint8(4), 2, 1)
    return np.concatenate([half_bytes(d), high, low, pack_planes(codes.reshape(-1, 256), 4, 16)], axis=1)


FORMAT = integer_format("IQ4_XS", 23, 256, 136, split, quantize)
