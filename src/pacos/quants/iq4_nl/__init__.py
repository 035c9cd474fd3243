"""IQ4_NL: 32 weights of 4 bits, w = d * level, where a code stands for one of 16 uneven levels from -127 to 113.

Layout, 18 bytes: d f16, then 16 bytes whose low nibbles are codes 0..15 and high nibbles codes 16..31.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.levels import NONLINEAR, nearest_nonlinear, nonlinear, nonlinear_scale
from pacos.quants.pieces import half, half_bytes, pack_planes, planes
from pacos.quants.search import level_scale, total, weights_of

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The scale and the levels."""
    return Parts(half(blocks, 0), nonlinear(planes(blocks[:, 2:], 4, 16)))


def quantize(values: Floats) -> Bytes:
    """Search the scale that loses least, then take the nearest levels."""
    return _searched(values, values * values)


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Search the scale that loses least where it counts."""
    x, importance = rows.reshape(-1, 32), importance.reshape(-1, 32)
    return _searched(x, weights_of(x, importance, total(x * x) * np.float32(2 / 32)))


def quick(values: Floats) -> Bytes:
    """Try five scales in place of sixteen; native pages do the same."""
    d = nonlinear_scale(values)
    return _packed(np.divide(values, d, out=np.zeros_like(values), where=d != 0), d)


def _searched(x: Floats, weights: Floats) -> Bytes:
    d = level_scale(x, weights, NONLINEAR, 7)
    return _packed(np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0) * x, d)


def _packed(quotients: Floats, d: Floats) -> Bytes:
    """Blocks of this scale, with the levels nearest to weights that are divided by it."""
    return np.concatenate([half_bytes(d), pack_planes(nearest_nonlinear(quotients), 4, 16)], axis=1)


FORMAT = integer_format("IQ4_NL", 20, 32, 18, split, quantize, weighted, quick)
