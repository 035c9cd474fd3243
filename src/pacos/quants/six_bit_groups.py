"""What Q4_K and Q5_K share: 8 groups of 32 codes, each with a six-bit scale and minimum under two f16 factors.

Shapes: n blocks of 256 weights. Header, 16 bytes: d f16, dmin f16, 12 bytes of scales and minimums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos.lazy import np
from pacos.quants.block import Parts
from pacos.quants.pieces import half, half_bytes, integers, pack_six_bit_pairs, six_bit_pairs, through_half
from pacos.quants.search import Grid, block_weights, positive_scale, scale_and_minimum, total

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def parts_of(headers: Bytes, codes: Bytes) -> Parts:
    """The factors, scales and minimums of the headers [n, 16] with their codes [n, 256]."""
    scales, minimums = six_bit_pairs(headers[:, 4:16])
    return Parts(half(headers, 0), codes, scales, half(headers, 2), minimums)


def headers_and_codes(values: Floats, top: int, first: float, steps: int) -> tuple[Bytes, Bytes]:
    """Search each group's scale and minimum, then share them in six bits each.

    `top` is the largest code; `first` and `steps` say which scales are tried, as in ggml's reference quantizer.
    Shapes: [n, 256] -> [n, 16], [n, 256].
    """
    x = values.reshape(-1, 32)
    weights = np.sqrt(total(x * x) / np.float32(32)) + np.abs(x)
    scale, minimum, searched = scale_and_minimum(x, weights, Grid(top, first, 0.1, steps))
    scales, minimums = scale.reshape(-1, 8), minimum.reshape(-1, 8)
    top_scale, top_minimum = scales.max(axis=1, keepdims=True), minimums.max(axis=1, keepdims=True)
    d, dmin = through_half(top_scale / np.float32(63)), through_half(top_minimum / np.float32(63))
    coded = integers(scales * (np.float32(63) / np.where(top_scale > 0, top_scale, np.float32(1))), 0, 63)
    coded_min = integers(minimums * (np.float32(63) / np.where(top_minimum > 0, top_minimum, np.float32(1))), 0, 63)
    return _shared(values, searched, d, dmin, coded, coded_min, top)


def weighted_headers_and_codes(rows: Floats, importance: Floats, top: int) -> tuple[Bytes, Bytes]:
    """Search each group's scale and minimum, then the factors that all share, by what loses least where it counts.

    Shapes: [R, K], [R, K] -> [n, 16], [n, 256].
    """
    x, weights = block_weights(rows, importance, times=2)
    groups = weights.reshape(-1, 32)
    scale, minimum, searched = scale_and_minimum(x.reshape(-1, 32), groups, Grid(top, -0.9, 0.05, 36))
    shares = total(groups).reshape(-1, 8)
    (d, coded), (dmin, coded_min) = (positive_scale(one.reshape(-1, 8), shares, top=63) for one in (scale, minimum))
    return _shared(x, searched, through_half(d), through_half(dmin), coded, coded_min, top)


def _shared(
    values: Floats, searched: Bytes, d: Floats, dmin: Floats, coded: Any, coded_min: Any, top: int
) -> tuple[Bytes, Bytes]:
    """Headers of these factors and group scales, and the codes that are nearest then."""
    step, shift = (d * coded)[:, :, None], (dmin * coded_min)[:, :, None]
    grouped = values.reshape(-1, 8, 32)
    codes = integers((grouped + shift) / np.where(step == 0, np.float32(1), step), 0, top)
    codes = np.where(step == 0, searched.reshape(-1, 8, 32), codes)
    packed = pack_six_bit_pairs(coded.astype(np.uint8), coded_min.astype(np.uint8))
    return np.concatenate([half_bytes(d), half_bytes(dmin), packed], axis=1), codes.astype(np.uint8).reshape(-1, 256)
