"""Q2_K: 256 weights of 2 bits in 16 groups, w = d * scale * code - dmin * minimum.

Layout, 84 bytes: 16 bytes of scale (low nibble) and minimum (high nibble) per group of 16, 64 bytes of codes (each
32 bytes hold four planes of 32 codes, low bits first), d f16, dmin f16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import half, half_bytes, integers, pack_planes, planes, through_half
from pacos.quants.search import Grid, block_weights, positive_scale, scale_and_minimum, total

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The factors, each group's scale and minimum, and the codes."""
    packed = blocks[:, :16]
    codes = planes(blocks[:, 16:80], 2, 32)
    return Parts(half(blocks, 80), codes, packed & np.uint8(15), half(blocks, 82), packed >> np.uint8(4))


def quantize(values: Floats) -> Bytes:
    """Search each group's scale and minimum, then share them in four bits each."""
    x = values.reshape(-1, 16)
    scale, minimum, searched = scale_and_minimum(x, np.abs(x), Grid(3, -0.5, 0.1, 15, absolute=True))
    scales, minimums = scale.reshape(-1, 16), minimum.reshape(-1, 16)
    d = through_half(scales.max(axis=1, keepdims=True) / np.float32(15))
    dmin = through_half(minimums.max(axis=1, keepdims=True) / np.float32(15))
    top_scale, top_minimum = scales.max(axis=1, keepdims=True), minimums.max(axis=1, keepdims=True)
    coded = integers(scales * (np.float32(15) / np.where(top_scale > 0, top_scale, np.float32(1))), 0, 15)
    coded_min = integers(minimums * (np.float32(15) / np.where(top_minimum > 0, top_minimum, np.float32(1))), 0, 15)
    return _packed(values, searched, d, dmin, coded, coded_min)


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Search each group's scale and minimum, then the factors that all share, by what loses least where it counts."""
    x, weights = block_weights(rows, importance)
    groups = weights.reshape(-1, 16)
    scale, minimum, searched = scale_and_minimum(x.reshape(-1, 16), groups, Grid(3, -0.9, 0.05, 36))
    shares = total(groups).reshape(-1, 16)
    (d, coded), (dmin, coded_min) = (positive_scale(one.reshape(-1, 16), shares, top=15) for one in (scale, minimum))
    return _packed(x, searched, through_half(d), through_half(dmin), coded, coded_min)


def _packed(values: Floats, searched: Bytes, d: Floats, dmin: Floats, coded: Any, coded_min: Any) -> Bytes:
    """Blocks of these factors and group scales, with the codes that are nearest then."""
    step, shift = (d * coded)[:, :, None], (dmin * coded_min)[:, :, None]
    grouped = values.reshape(-1, 16, 16)
    codes = integers((grouped + shift) / np.where(step == 0, np.float32(1), step), 0, 3)
    codes = np.where(step == 0, searched.reshape(-1, 16, 16), codes)
    packed = coded.astype(np.uint8) | coded_min.astype(np.uint8) << np.uint8(4)
    low = pack_planes(codes.astype(np.uint8).reshape(-1, 256), 2, 32)
    return np.concatenate([packed, low, half_bytes(d), half_bytes(dmin)], axis=1)


FORMAT = integer_format("Q2_K", 10, 256, 84, split, quantize, weighted)
