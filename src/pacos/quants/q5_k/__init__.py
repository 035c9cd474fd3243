"""Q5_K: 256 weights of 5 bits in 8 groups, w = d * scale * code - dmin * minimum.

Layout, 176 bytes: d f16, dmin f16, 12 bytes of 8 six-bit scales and 8 six-bit minimums, 32 bytes of fifth
bits (group j of 32 codes in bit j), 128 bytes of the lower four bits (each 32 bytes hold two planes of 32 codes).
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
    return parts_of(blocks[:, :16], planes(blocks[:, 48:], 4, 32) | planes(blocks[:, 16:48], 1, 32) << np.uint8(4))


def quantize(values: Floats) -> Bytes:
    """Search each group's scale and minimum, then share them in six bits each."""
    return _packed(*headers_and_codes(values, top=31, first=-0.5, steps=15))


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """As `quantize`, by what loses least where it counts."""
    return _packed(*weighted_headers_and_codes(rows, importance, top=31))


def _packed(headers: Bytes, codes: Bytes) -> Bytes:
    fifth, low = pack_planes(codes >> np.uint8(4), 1, 32), pack_planes(codes & np.uint8(15), 4, 32)
    return np.concatenate([headers, fifth, low], axis=1)


FORMAT = integer_format("Q5_K", 13, 256, 176, split, quantize, weighted)
