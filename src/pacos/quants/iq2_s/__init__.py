"""IQ2_S: 256 weights in vectors of 8 from a grid of 1024, w = d / 8 * (2 * scale + 1) * (+-level), level in 8, 25, 43.

Layout, 82 bytes: d f16, 32 bytes of the lower 8 bits of indices, 32 bytes of signs, 8 bytes of the upper 2 bits of
indices (low bits first), 8 bytes of a 4-bit scale for each 16 weights, low nibble first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.grids import eighth, grid, odd, signs
from pacos.quants.on_grid import GridRules, on_grid
from pacos.quants.pieces import half_bytes, pack_planes, pack_wide, planes, wide

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The factor, each group's scale and signed levels."""
    levels = grid("iq2_s")[wide(blocks[:, 2:34], blocks[:, 66:74], 2)].reshape(-1, 256)
    return Parts(eighth(blocks, 0), levels * signs(blocks[:, 34:66]), odd(planes(blocks[:, 74:], 4, 1)))


def quantize(values: Floats) -> Bytes:
    """Take vectors and scales that lose least."""
    return _packed(*on_grid(values, None, _RULES))


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Take vectors and scales that lose least where it counts."""
    return _packed(*on_grid(rows, importance, _RULES))


def _packed(d: Floats, codes: Bytes, indices: Any, packed: Bytes) -> Bytes:
    low, high = pack_wide(indices, 2)
    return np.concatenate([half_bytes(d), low, packed, high, pack_planes(codes, 4, 1)], axis=1)


_RULES = GridRules("iq2_s", 16, shells=1, tries=9, step=0.1, again=0, times=2, share=0.25, tiny=1e-8, factor=0.9875)
FORMAT = integer_format("IQ2_S", 22, 256, 82, split, quantize, weighted)
