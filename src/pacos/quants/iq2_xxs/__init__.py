"""IQ2_XXS: 256 weights in vectors of 8 from a grid of 256, w = d / 8 * (2 * scale + 1) * (+-level), level in 8, 25, 43.

Layout, 66 bytes: d f16, then for each 32 weights 4 bytes of indices into the grid and a u32: four times 7 bits of signs
(an eighth makes their number even) and 4 bits of scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.grids import eighth, even_signs, grid, odd, signs
from pacos.quants.on_grid import GridRules, on_grid
from pacos.quants.pieces import half_bytes

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The factor, each group's scale and signed levels."""
    groups = blocks[:, 2:].reshape(-1, 8, 8)
    words = groups[:, :, 4:].copy().view("<u4")
    packed = even_signs(words >> np.arange(0, 28, 7, dtype=np.uint32)).reshape(-1, 32)
    levels = grid("iq2_xxs")[groups[:, :, :4]].reshape(-1, 256)
    return Parts(eighth(blocks, 0), levels * signs(packed), odd(words[:, :, 0] >> 28))


def quantize(values: Floats) -> Bytes:
    """Take vectors and scales that lose least."""
    return _packed(*on_grid(values, None, _RULES))


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Take vectors and scales that lose least where it counts."""
    return _packed(*on_grid(rows, importance, _RULES))


def _packed(d: Floats, codes: Bytes, indices: Any, packed: Bytes) -> Bytes:
    seven = (packed & np.uint8(127)).astype(np.uint32).reshape(-1, 8, 4) << np.arange(0, 28, 7, dtype=np.uint32)
    words = np.bitwise_or.reduce(seven, axis=2) | codes.astype(np.uint32) << np.uint32(28)
    groups = [indices.astype(np.uint8).reshape(-1, 8, 4), words[:, :, None].astype("<u4").view(np.uint8)]
    return np.concatenate([half_bytes(d), np.concatenate(groups, axis=2).reshape(-1, 64)], axis=1)


_RULES = GridRules("iq2_xxs", 32, shells=2, tries=6, step=0.1, again=2, even=True, share=0.25, fitted=True)
FORMAT = integer_format("IQ2_XXS", 16, 256, 66, split, quantize, weighted)
