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
from pacos.quants.search import refined_scale, shared_scale

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
    step = (d * coded)[:, :, None]
    codes = integers(values.reshape(-1, 16, 16) / np.where(step == 0, np.float32(1), step), -4, 3) + np.float32(4)
    codes = np.where(step == 0, searched.reshape(-1, 16, 16), codes)
    flat = codes.astype(np.uint8).reshape(-1, 256)
    six = (coded + np.float32(32)).astype(np.uint8) * (factor != 0)  # zeros for a block of zeros, as ggml has it
    packed = [pack_planes(six & np.uint8(15), 4, 8), pack_planes(six >> np.uint8(4), 2, 4)]
    third, low = pack_planes(flat >> np.uint8(2), 1, 32), pack_planes(flat & np.uint8(3), 2, 32)
    return np.concatenate([third, low, *packed, half_bytes(d)], axis=1)


FORMAT = integer_format("Q3_K", 11, 256, 110, split, quantize)
