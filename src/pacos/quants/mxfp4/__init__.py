"""MXFP4: 32 four-bit floats with two bits of exponent under a power of two, w = 2^(e - 128) * (2 * value).

Layout, 17 bytes: e u8, then 16 bytes whose low nibbles are codes 0..15 and high nibbles codes 16..31.
Source: OCP Microscaling Formats (MX) Specification 1.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.levels import e2m1_doubled, nearest_e2m1
from pacos.quants.pieces import pack_planes, planes

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def _power(exponents: Bytes) -> Floats:
    """2^(e - 128) as f32, the smallest two subnormal. Shapes: [N, 1]."""
    e = exponents.astype(np.uint32)
    return np.where(e < 2, np.uint32(0x200000) << e, (e - np.uint32(1)) << np.uint32(23)).view(np.float32)


def split(blocks: Bytes) -> Parts:
    """The scale and the doubled values."""
    return Parts(_power(blocks[:, :1]), e2m1_doubled(planes(blocks[:, 1:], 4, 16)))


def quantize(values: Floats) -> Bytes:
    """Put the largest magnitude between 4 and 8 and take the nearest values."""
    peak = np.abs(values).max(axis=1, keepdims=True)
    e = np.where(peak > 0, np.floor(np.log2(peak)) + np.float32(125), np.float32(0)).astype(np.uint8)
    return np.concatenate([e, pack_planes(nearest_e2m1(values, _power(e)), 4, 16)], axis=1)


FORMAT = integer_format("MXFP4", 39, 32, 17, split, quantize)
