"""IQ1_M: 256 weights in vectors of 8 from the grid of IQ1_S, w = d * (2 * scale + 1) * (level + shift).

Layout, 56 bytes: 32 bytes of the lower 8 bits of indices, 16 bytes of a nibble for each 8 weights (the upper 3 bits,
and a bit that makes the shift -1/8 instead of 1/8), then four u16: four times 3 bits of scale of 16 weights, and a
quarter of d, an f16, lowest bits first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.grids import grid, odd
from pacos.quants.on_grid import fitted_factor, odd_scales, on_ternary_grid
from pacos.quants.pieces import half_bytes, pack_planes, planes
from pacos.quants.search import block_weights

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The factor, each group's scale, and eight times the shifted levels."""
    nibbles = planes(blocks[:, 32:48], 4, 1)
    words = blocks[:, 48:].copy().view("<u2")
    quarters = words >> np.uint16(12) << np.arange(0, 16, 4, dtype=np.uint16)
    d = np.bitwise_or.reduce(quarters, axis=1).view(np.float16).astype(np.float32).reshape(-1, 1)
    scales = words[:, :, None] >> np.arange(0, 12, 3, dtype=np.uint16) & np.uint16(7)
    levels = grid("iq1_s")[blocks[:, :32] | (nibbles & np.uint8(7)).astype(np.uint16) << 8]
    shift = np.int8(1) - np.int8(2) * (nibbles >> 3).view(np.int8)
    codes = levels * np.int8(8) + shift[:, :, None]
    return Parts(d / np.float32(8), codes.reshape(-1, 256), odd(scales.reshape(-1, 16)))


def quantize(values: Floats) -> Bytes:
    """Take vectors, scales and shifts that lose least."""
    return _searched(*block_weights(values, None))


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Take vectors, scales and shifts that lose least where it counts."""
    return _searched(*block_weights(rows, importance, times=2))


def _searched(x: Floats, weights: Floats) -> Bytes:
    found = on_ternary_grid(x, weights, 16, 1e-7, halves=True)
    d, codes = odd_scales(found.scales, top=7)
    shifts = np.float32(0.125) - np.float32(0.25) * found.down.astype(np.float32)
    levels = grid("iq1_s")[found.numbers].astype(np.float32) + shifts[:, :, None]
    levels = levels.reshape(len(x), 16, 16) * odd(codes)[:, :, None].astype(np.float32)
    d = np.where(d > 0, fitted_factor(x, weights, levels.reshape(x.shape), d), d)
    return _packed(d * np.float32(1.1125), codes, found.numbers, found.down)


def _packed(d: Floats, codes: Bytes, indices: Any, down: Any) -> Bytes:
    nibbles = (indices >> 8 | down << 3).astype(np.uint8)
    parts = codes.reshape(-1, 4, 4).astype("<u2") << np.arange(0, 12, 3, dtype=np.uint16)
    quarters = half_bytes(d).view("<u2") >> np.arange(0, 16, 4, dtype=np.uint16) << np.uint16(12)
    words = np.bitwise_or.reduce(parts, axis=2) | quarters
    return np.concatenate([indices.astype(np.uint8), pack_planes(nibbles, 4, 1), words.view(np.uint8)], axis=1)


FORMAT = integer_format("IQ1_M", 29, 256, 56, split, quantize, weighted)
