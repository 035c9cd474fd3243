"""Q5_1: 32 weights of 5 bits with a minimum, w = d * code + m.

Layout, 24 bytes: d f16, m f16, 32 fifth bits in 4 bytes, then 16 bytes whose low nibbles are the lower four bits of
codes 0..15 and high nibbles those of codes 16..31.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import fifth_bits, half, half_bytes, pack_planes, planes, truncated
from pacos.quants.search import Grid, row_groups, scale_and_minimum

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """Scale, codes, and the minimum, which is added."""
    codes = planes(blocks[:, 8:], 4, 16) | fifth_bits(blocks[:, 4:8]) << np.uint8(4)
    return Parts(half(blocks, 0), codes, dmin=half(blocks, 2), minimums=np.full((len(blocks), 1), -1))


def quantize(values: Floats) -> Bytes:
    """Map the block's range to codes 0..31."""
    low = values.min(axis=1, keepdims=True)
    d = (values.max(axis=1, keepdims=True) - low) / np.float32(31)
    inverse = np.where(d == 0, np.float32(0), np.float32(1) / d)
    codes = truncated((values - low) * inverse + np.float32(0.5), 31)
    return _packed(d, low, codes)


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Search scale and minimum that lose least where it counts."""
    d, minimum, codes = scale_and_minimum(*row_groups(rows, importance), Grid(31, -0.9, 0.05, 36))
    return _packed(d, np.float32(0) - minimum, codes)


def _packed(d: Floats, low: Floats, codes: Bytes) -> Bytes:
    high = np.packbits(codes >> np.uint8(4), axis=1, bitorder="little")
    low_bits = pack_planes(codes & np.uint8(15), 4, 16)
    return np.concatenate([half_bytes(d), half_bytes(low), high, low_bits], axis=1)


FORMAT = integer_format("Q5_1", 7, 32, 24, split, quantize, weighted)
