"""Q4_0: 32 weights of 4 bits, w = d * (code - 8).

Layout, 18 bytes: d f16, then 16 bytes whose low nibbles are codes 0..15 and high nibbles codes 16..31.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import half, half_bytes, pack_planes, planes, truncated
from pacos.quants.search import row_groups, signed_scale

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The scale and the centred codes."""
    return Parts(half(blocks, 0), planes(blocks[:, 2:], 4, 16).view(np.int8) - np.int8(8))


def quantize(values: Floats) -> Bytes:
    """Map the value of largest magnitude to code 0."""
    peak = np.take_along_axis(values, np.abs(values).argmax(axis=1)[:, None], axis=1)
    d = peak / np.float32(-8)
    inverse = np.where(d == 0, np.float32(0), np.float32(1) / d)
    codes = truncated(values * inverse + np.float32(8.5), 15)
    return _packed(d, codes)


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Search the scale that loses least where it counts."""
    x, weights = row_groups(rows, importance)
    return _packed(*signed_scale(x, weights, half=8))


def _packed(d: Floats, codes: Bytes) -> Bytes:
    return np.concatenate([half_bytes(d), pack_planes(codes, 4, 16)], axis=1)


FORMAT = integer_format("Q4_0", 2, 32, 18, split, quantize, weighted)
