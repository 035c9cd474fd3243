"""IQ3_S: 256 weights in vectors of 4 from a grid of 512, w = d * (2 * scale + 1) * (+-level), level in 1, 3 .. 15.

Layout, 110 bytes: d f16, 64 bytes of the lower 8 bits of indices, 8 bytes of their ninth bits, 32 bytes of signs, 4
bytes of a 4-bit scale for each 32 weights, low nibble first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.grids import grid, odd, signs
from pacos.quants.on_grid import GridRules, on_grid
from pacos.quants.pieces import half, half_bytes, pack_planes, pack_wide, planes, wide

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The factor, each group's scale and signed levels."""
    levels = grid("iq3_s")[wide(blocks[:, 2:66], blocks[:, 66:74], 1)].reshape(-1, 256)
    return Parts(half(blocks, 0), levels * signs(blocks[:, 74:106]), odd(planes(blocks[:, 106:], 4, 1)))


def quantize(values: Floats) -> Bytes:
    """Take vectors and scales that lose least."""
    return _packed(*on_grid(values, None, _RULES))


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Take vectors and scales that lose least where it counts."""
    return _packed(*on_grid(rows, importance, _RULES))


def _packed(d: Floats, codes: Bytes, indices: Any, packed: Bytes) -> Bytes:
    low, high = pack_wide(indices, 1)
    return np.concatenate([half_bytes(d), low, high, packed, pack_planes(codes, 4, 1)], axis=1)


_RULES = GridRules("iq3_s", 32, shells=3, tries=9, step=0.2, again=1, times=2, tiny=0, factor=1.033)
FORMAT = integer_format("IQ3_S", 21, 256, 110, split, quantize, weighted)
