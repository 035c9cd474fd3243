"""IQ3_XXS: 256 weights in vectors of 4 from a grid of 256, w = d / 4 * (2 * scale + 1) * (+-level), level in 4..62.

Layout, 98 bytes: d f16, 64 bytes of indices, then for each 32 weights a u32: four times 7 bits of signs of 8 weights
(an eighth makes their number even) and 4 bits of scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.grids import even_signs, grid, odd, signs
from pacos.quants.on_grid import GridRules, on_grid
from pacos.quants.pieces import half, half_bytes

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The factor, each group's scale and signed levels."""
    words = blocks[:, 66:].copy().view("<u4").reshape(-1, 8, 1)
    packed = even_signs(words >> np.arange(0, 28, 7, dtype=np.uint32)).reshape(-1, 32)
    levels = grid("iq3_xxs")[blocks[:, 2:66]].reshape(-1, 256)
    return Parts(half(blocks, 0) / np.float32(4), levels * signs(packed), odd(words[:, :, 0] >> 28))


def quantize(values: Floats) -> Bytes:
    """Take vectors and scales that lose least."""
    return _packed(*on_grid(values, None, _RULES))


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Take vectors and scales that lose least where it counts."""
    return _packed(*on_grid(rows, importance, _RULES))


def _packed(d: Floats, codes: Bytes, indices: Any, packed: Bytes) -> Bytes:
    seven = (packed & np.uint8(127)).astype(np.uint32).reshape(-1, 8, 4) << np.arange(0, 28, 7, dtype=np.uint32)
    words = np.bitwise_or.reduce(seven, axis=2) | codes.astype(np.uint32) << np.uint32(28)
    return np.concatenate([half_bytes(d), indices.astype(np.uint8), words.astype("<u4").view(np.uint8)], axis=1)


_RULES = GridRules("iq3_xxs", 32, shells=2, tries=15, step=0.2, again=0, even=True, times=2, tiny=1e-8, factor=1.0125)
FORMAT = integer_format("IQ3_XXS", 18, 256, 98, split, quantize, weighted)
