"""Q5_K: 256 weights of 5 bits in 8 groups, w = d * scale * code - dmin * minimum.

Layout, 176 bytes: d f16, dmin f16, 12 bytes of 8 six-bit scales and 8 six-bit minimums, 32 bytes of fifth
bits (group j of 32 codes in bit j), 128 bytes of the lower four bits (each 32 bytes hold two planes of 32 codes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import BlockFormat
from pacos.quants.pieces import (
    half,
    half_bytes,
    integers,
    pack_planes,
    pack_six_bit_pairs,
    planes,
    six_bit_pairs,
    through_half,
)
from pacos.quants.search import scale_and_minimum

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def dequantize(blocks: Bytes) -> Floats:
    """Multiply each group's codes by its scale and subtract its minimum."""
    scales, minimums = six_bit_pairs(blocks[:, 4:16])
    step = half(blocks, 0) * scales.astype(np.float32)
    shift = half(blocks, 2) * minimums.astype(np.float32)
    codes = planes(blocks[:, 48:], 4, 32) | planes(blocks[:, 16:48], 1, 32) << np.uint8(4)
    grouped = codes.reshape(-1, 8, 32).astype(np.float32)
    return (step[:, :, None] * grouped - shift[:, :, None]).reshape(-1, 256)


def quantize(values: Floats) -> Bytes:
    """Search each group's scale and minimum, then share them in six bits each."""
    x = values.reshape(-1, 32)
    weights = np.sqrt(np.mean(x * x, axis=1, keepdims=True)) + np.abs(x)
    scale, minimum = scale_and_minimum(x, weights, top=31, first=-0.5, step=0.1, steps=15, absolute=False)
    scales, minimums = scale.reshape(-1, 8), minimum.reshape(-1, 8)
    top_scale, top_minimum = scales.max(axis=1, keepdims=True), minimums.max(axis=1, keepdims=True)
    d, dmin = through_half(top_scale / np.float32(63)), through_half(top_minimum / np.float32(63))
    coded = integers(scales * (np.float32(63) / np.where(top_scale > 0, top_scale, np.float32(1))), 0, 63)
    coded_min = integers(minimums * (np.float32(63) / np.where(top_minimum > 0, top_minimum, np.float32(1))), 0, 63)
    step, shift = (d * coded)[:, :, None], (dmin * coded_min)[:, :, None]
    grouped = values.reshape(-1, 8, 32)
    codes = integers((grouped + shift) / np.where(step == 0, np.float32(np.inf), step), 0, 31)
    flat = codes.astype(np.uint8).reshape(-1, 256)
    packed = pack_six_bit_pairs(coded.astype(np.uint8), coded_min.astype(np.uint8))
    fifth, low = pack_planes(flat >> np.uint8(4), 1, 32), pack_planes(flat & np.uint8(15), 4, 32)
    return np.concatenate([half_bytes(d), half_bytes(dmin), packed, fifth, low], axis=1)


FORMAT = BlockFormat("Q5_K", 13, 256, 176, dequantize, quantize)
