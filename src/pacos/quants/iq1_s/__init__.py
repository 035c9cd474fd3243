"""IQ1_S: 256 weights in vectors of 8 from a grid of 2048, w = d * (2 * scale + 1) * (level + shift), level in -1, 0, 1.

Layout, 50 bytes: d f16, 32 bytes of the lower 8 bits of indices, then for each 32 weights a u16: four times the upper 3
bits, 3 bits of scale, and a bit that makes the shift -1/8 instead of 1/8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.grids import eighth, grid, odd
from pacos.quants.on_grid import odd_scales, on_ternary_grid
from pacos.quants.pieces import half_bytes
from pacos.quants.search import block_weights

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The factor, each group's scale, and eight times the shifted levels."""
    words = blocks[:, 34:].copy().view("<u2").reshape(-1, 8, 1)
    high = (words >> np.arange(0, 12, 3, dtype=np.uint16) & np.uint16(7)).reshape(-1, 32)
    levels = grid("iq1_s")[blocks[:, 2:34] | high << np.uint16(8)].reshape(-1, 8, 32)
    shift = np.int8(1) - np.int8(2) * (words >> 15).astype(np.int8)
    return Parts(eighth(blocks, 0), (levels * np.int8(8) + shift).reshape(-1, 256), odd(words[:, :, 0] >> 12 & 7))


def quantize(values: Floats) -> Bytes:
    """Take vectors, scales and shifts that lose least."""
    return _searched(*block_weights(values, None))


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Take vectors, scales and shifts that lose least where it counts."""
    return _searched(*block_weights(rows, importance, times=2))


def _searched(x: Floats, weights: Floats) -> Bytes:
    found = on_ternary_grid(x, weights, 32, 1e-12, halves=False)
    d, codes = odd_scales(found.scales, top=7)
    return _packed(d * np.float32(1.125), codes, found.numbers, found.down)


def _packed(d: Floats, codes: Bytes, indices: Any, down: Any) -> Bytes:
    high = (indices >> 8).astype("<u2").reshape(-1, 8, 4) << np.arange(0, 12, 3, dtype=np.uint16)
    words = np.bitwise_or.reduce(high, axis=2) | codes.astype("<u2") << np.uint16(12)
    words |= down.astype("<u2") << np.uint16(15)
    return np.concatenate([half_bytes(d), indices.astype(np.uint8), words.view(np.uint8)], axis=1)


FORMAT = integer_format("IQ1_S", 19, 256, 50, split, quantize, weighted)
