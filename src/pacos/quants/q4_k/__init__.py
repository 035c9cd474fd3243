"""Q4_K: 256 weights of 4 bits in 8 groups, w = d * scale * code - dmin * minimum.

Layout, 144 bytes: d f16, dmin f16, 12 bytes of 8 six-bit scales and 8 six-bit minimums, 128 bytes of codes (each
32 bytes hold two planes of 32 codes, low nibbles first).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import pack_planes, planes
from pacos.quants.six_bit_groups import headers_and_codes, parts_of, weighted_headers_and_codes

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The factors, each group's scale and minimum, and the codes."""
    return parts_of(blocks[:, :16], planes(blocks[:, 16:], 4, 32))


def quantize(values: Floats) -> Bytes:
    """Search each group's scale and minimum, then share them in six bits each."""
    return _packed(*headers_and_codes(values, top=15, first=-1.0, steps=20))


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """As `quantize`, by what loses least where it counts."""
    return _packed(*weighted_headers_and_codes(rows, importance, top=15))


def _packed(headers: Bytes, codes: Bytes) -> Bytes:
    return np.concatenate([headers, pack_planes(codes, 4, 32)], axis=1)


FORMAT = integer_format("Q4_K", 12, 256, 144, split, quantize, weighted)
