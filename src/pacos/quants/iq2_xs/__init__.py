"""IQ2_XS: 256 weights in vectors of 8 from a grid of 512, w = d / 8 * (2 * scale + 1) * (+-level), level in 8, 25, 43.

Layout, 74 bytes: d f16, 32 u16 of 9 bits of index and 7 bits of signs (an eighth makes their number even), 8 bytes of
a 4-bit scale for each 16 weights, low nibble first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.grids import eighth, even_signs, grid, odd, signs
from pacos.quants.on_grid import GridRules, on_grid
from pacos.quants.pieces import half_bytes, pack_planes, planes

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The factor, each group's scale and signed levels."""
    words = blocks[:, 2:66].copy().view("<u2")
    levels = grid("iq2_xs")[words & np.uint16(511)].reshape(-1, 256)
    return Parts(eighth(blocks, 0), levels * signs(even_signs(words >> 9)), odd(planes(blocks[:, 66:], 4, 1)))


def quantize(values: Floats) -> Bytes:
    """Take vectors and scales that lose least."""
    return _packed(*on_grid(values, None, _RULES))


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Take vectors and scales that lose least where it counts."""
    return _packed(*on_grid(rows, importance, _RULES))


def _packed(d: Floats, codes: Bytes, indices: Any, packed: Bytes) -> Bytes:
    words = indices.astype("<u2") | (packed & np.uint8(127)).astype("<u2") << np.uint16(9)
    return np.concatenate([half_bytes(d), words.view(np.uint8), pack_planes(codes, 4, 1)], axis=1)


_RULES = GridRules("iq2_xs", 16, shells=2, tries=9, step=0.1, again=0, even=True, share=0.25)
FORMAT = integer_format("IQ2_XS", 17, 256, 74, split, quantize, weighted)
