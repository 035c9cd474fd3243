"""Q4_1: 32 weights of 4 bits with a minimum, w = d * code + m.

Layout, 20 bytes: d f16, m f16, then 16 bytes whose low nibbles are codes 0..15 and high nibbles codes 16..31.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import half, half_bytes, pack_planes, planes, truncated
from pacos.quants.search import Grid, row_groups, scale_and_minimum

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """Scale, codes, and the minimum, which is added."""
    codes = planes(blocks[:, 4:], 4, 16)
    return Parts(half(blocks, 0), codes, dmin=half(blocks, 2), minimums=np.full((len(blocks), 1), -1))


def quantize(values: Floats) -> Bytes:
    """Map the block's range to codes 0..15."""
    low = values.min(axis=1, keepdims=True)
    d = (values.max(axis=1, keepdims=True) - low) / np.float32(15)
    inverse = np.where(d == 0, np.float32(0), np.float32(1) / d)
    codes = truncated((values - low) * inverse + np.float32(0.5), 15)
    return _packed(d, low, codes)


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Search scale and minimum that lose least where it counts."""
    d, minimum, codes = scale_and_minimum(*row_groups(rows, importance), Grid(15, -0.9, 0.05, 36))
    return _packed(d, np.float32(0) - minimum, codes)


def _packed(d: Floats, low: Floats, codes: Bytes) -> Bytes:
    return np.concatenate([half_bytes(d), half_bytes(low), pack_planes(codes, 4, 16)], axis=1)


FORMAT = integer_format("Q4_1", 3, 32, 20, split, quantize, weighted)
