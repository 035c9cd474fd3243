"""IQ4_XS: 256 weights of 4 bits in 8 groups, w = d * (scale - 32) * level with the levels of IQ4_NL.

Layout, 136 bytes: d f16, 8 upper pairs of bits of scales in a u16, their 8 lower nibbles in 4 bytes (low nibble first),
128 bytes of codes (each 16 bytes hold two planes of 16 codes, low nibbles first).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.levels import NONLINEAR, nearest_nonlinear, nonlinear
from pacos.quants.pieces import half, half_bytes, integers, pack_planes, planes
from pacos.quants.search import level_scale, total, weights_of

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The factor, each group's scale and the levels."""
    scales = planes(blocks[:, 4:8], 4, 1) | planes(blocks[:, 2:4], 2, 1) << np.uint8(4)
    return Parts(half(blocks, 0), nonlinear(planes(blocks[:, 8:], 4, 16)), scales.view(np.int8) - np.int8(32))


def quantize(values: Floats) -> Bytes:
    """Search each group's scale, share them in six bits each, then take the nearest levels."""
    return _searched(values, values * values)


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """The same by what loses least where it counts."""
    x = rows.reshape(-1, 256)
    return _searched(x, weights_of(x, importance.reshape(-1, 256), total(x * x) * np.float32(2 / 256)))


def _searched(x: Floats, weights: Floats) -> Bytes:
    scales = level_scale(x.reshape(-1, 32), weights.reshape(-1, 32), NONLINEAR, 7).reshape(-1, 8)
    peak = np.take_along_axis(scales, np.abs(scales).argmax(axis=1)[:, None], axis=1)
    d = -peak / np.float32(32)
    inverse = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)
    coded = integers(inverse * scales, -32, 31)
    step = (d * coded).reshape(-1, 1)
    inverse = np.divide(np.float32(1), step, out=np.zeros_like(step), where=step != 0)
    return _packed(inverse * x.reshape(-1, 32), d, coded)


def _packed(quotients: Floats, d: Floats, coded: Floats) -> Bytes:
    """Blocks of this factor and these group scales, with the levels nearest to weights that are divided by both."""
    codes = nearest_nonlinear(quotients)
    six = (coded + np.float32(32)).astype(np.uint8)
    low, high = pack_planes(six & np.uint8(15), 4, 1), pack_planes(six >> np.uint8(4), 2, 1)
    return np.concatenate([half_bytes(d), high, low, pack_planes(codes.reshape(-1, 256), 4, 16)], axis=1)


FORMAT = integer_format("IQ4_XS", 23, 256, 136, split, quantize, weighted)
