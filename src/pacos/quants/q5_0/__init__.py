"""Q5_0: 32 weights of 5 bits, w = d * (code - 16).

Layout, 22 bytes: d f16, 32 fifth bits in 4 bytes, then 16 bytes whose low nibbles are the lower four bits of codes
0..15 and high nibbles those of codes 16..31.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import fifth_bits, half, half_bytes, pack_planes, planes, truncated
from pacos.quants.search import row_groups, signed_scale

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The scale and the centred codes."""
    codes = planes(blocks[:, 6:], 4, 16) | fifth_bits(blocks[:, 2:6]) << np.uint8(4)
    return Parts(half(blocks, 0), codes.view(np.int8) - np.int8(16))


def quantize(values: Floats) -> Bytes:
    """Map the value of largest magnitude to code 0."""
    peak = np.take_along_axis(values, np.abs(values).argmax(axis=1)[:, None], axis=1)
    d = peak / np.float32(-16)
    inverse = np.where(d == 0, np.float32(0), np.float32(1) / d)
    codes = truncated(values * inverse + np.float32(16.5), 31)
    return _packed(d, codes)


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Search the scale that loses least where it counts."""
    x, weights = row_groups(rows, importance)
    return _packed(*signed_scale(x, weights, half=16))


def _packed(d: Floats, codes: Bytes) -> Bytes:
    high = np.packbits(codes >> np.uint8(4), axis=1, bitorder="little")
    return np.concatenate([half_bytes(d), high, pack_planes(codes & np.uint8(15), 4, 16)], axis=1)


FORMAT = integer_format("Q5_0", 6, 32, 22, split, quantize, weighted)
