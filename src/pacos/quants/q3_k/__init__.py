"""Q3_K: 256 weights of 3 bits in 16 groups, w = d * (scale - 32) * (code - 4).

Layout, 110 bytes: 32 bytes of third bits (plane j of 32 codes in bit j), 64 bytes of the lower two bits (each 32
bytes hold four planes of 32 codes), 12 bytes of 16 six-bit scales (low nibbles in bytes 0..7, upper pairs in bytes
8..11), d f16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import half, half_bytes, integers, pack_planes, planes, through_half
from pacos.quants.search import block_weights, refined_scale, shared_scale, signed_scale, total

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The factor, each group's scale and the centred codes."""
    packed = blocks[:, 96:108]
    scales = planes(packed[:, :8], 4, 8) | planes(packed[:, 8:], 2, 4) << np.uint8(4)
    codes = planes(blocks[:, 32:96], 2, 32) | planes(blocks[:, :32], 1, 32) << np.uint8(2)
    return Parts(half(blocks, 108), codes.view(np.int8) - np.int8(4), scales.view(np.int8) - np.int8(32))


def quantize(values: Floats) -> Bytes:
    """Search each group's scale, then share them in six bits each."""
    found, searched = refined_scale(values.reshape(-1, 16), half=4)
    scales = found.reshape(-1, 16)
    factor = shared_scale(scales, 32)
    d = through_half(np.where(factor == 0, np.float32(0), np.float32(1) / np.where(factor == 0, np.float32(1), factor)))
    coded = integers(scales * factor, -32, 31)
    six = (coded + np.float32(32)).astype(np.uint8) * (factor != 0)  # zeros for a block of zeros, as ggml has it
    return _packed(values, searched, d, six)


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Search each group's scale, then the factor that all share, by what loses least where it counts."""
    x, weights = block_weights(rows, importance, times=2)
    groups = weights.reshape(-1, 16)
    scale, searched = signed_scale(x.reshape(-1, 16), groups, half=4)
    d, six = signed_scale(scale.reshape(-1, 16), total(groups).reshape(-1, 16), half=32)
    return _packed(x, searched, through_half(d), six)


def _packed(values: Floats, searched: Bytes, d: Floats, six: Bytes) -> Bytes:
    """Blocks of this factor and group scales, with the codes that are nearest then."""
    step = (d * (six.astype(np.float32) - np.float32(32)))[:, :, None]
    codes = integers(values.reshape(-1, 16, 16) / np.where(step == 0, np.float32(1), step), -4, 3) + np.float32(4)
    codes = np.where(step == 0, searched.reshape(-1, 16, 16), codes)
    flat = codes.astype(np.uint8).reshape(-1, 256)
    packed = [pack_planes(six & np.uint8(15), 4, 8), pack_planes(six >> np.uint8(4), 2, 4)]
    third, low = pack_planes(flat >> np.uint8(2), 1, 32), pack_planes(flat & np.uint8(3), 2, 32)
    return np.concatenate([third, low, *packed, half_bytes(d)], axis=1)


FORMAT = integer_format("Q3_K", 11, 256, 110, split, quantize, weighted)
