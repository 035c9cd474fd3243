"""Q6_K: 256 weights of 6 bits in 16 groups, w = d * scale * (code - 32), scale signed.

Layout, 210 bytes: 128 bytes of the lower four bits (each 64 bytes hold two planes of 64 codes, low nibbles first),
64 bytes of the upper two bits (each 32 bytes hold four planes of 32 codes), 16 scales s8, d f16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import half, half_bytes, integers, pack_planes, planes, through_half
from pacos.quants.search import shared_scale, signed_scale

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The factor, each group's scale and the centred codes."""
    codes = planes(blocks[:, :128], 4, 64) | planes(blocks[:, 128:192], 2, 32) << np.uint8(4)
    return Parts(half(blocks, 208), codes.view(np.int8) - np.int8(32), blocks[:, 192:208].view(np.int8))


def quantize(values: Floats) -> Bytes:
    """Search each group's scale, then share them in eight bits each."""
    return _packed(values, *signed_scale(values.reshape(-1, 16), half=32))


def weighted(rows: Floats, importance: Floats) -> Bytes:
    """Search each group's scale by what loses least where it counts."""
    x = rows.reshape(-1, 256)
    return _packed(x, *signed_scale(x.reshape(-1, 16), importance.reshape(-1, 16), half=32))


def _packed(values: Floats, found: Floats, searched: Bytes) -> Bytes:
    """Blocks of these scales, shared in eight bits each, with the codes that are nearest then."""
    scales = found.reshape(-1, 16)
    factor = shared_scale(scales, 128)
    d = through_half(np.where(factor == 0, np.float32(0), np.float32(1) / np.where(factor == 0, np.float32(1), factor)))
    coded = integers(scales * factor, -128, 127)
    step = (d * coded)[:, :, None]
    centred = integers(values.reshape(-1, 16, 16) / np.where(step == 0, np.float32(1), step), -32, 31)
    codes = np.where(step == 0, searched.reshape(-1, 16, 16), centred + np.float32(32))
    codes = codes.astype(np.uint8).reshape(-1, 256)
    codes *= factor != 0  # a block of zeros has codes of zero, as ggml's have
    low, high = pack_planes(codes & np.uint8(15), 4, 64), pack_planes(codes >> np.uint8(4), 2, 32)
    return np.concatenate([low, high, coded.astype(np.int8).view(np.uint8), half_bytes(d)], axis=1)


FORMAT = integer_format("Q6_K", 14, 256, 210, split, quantize, weighted)
