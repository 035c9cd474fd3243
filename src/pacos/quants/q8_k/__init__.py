"""Q8_K: 256 weights of 8 bits, w = d * code, code signed. An intermediate of other engines, hardly found in files.

Layout, 292 bytes: d f32, 256 codes s8, the sums of each 16 codes as s16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import integers

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The scale, for each 32 weights, and the signed codes; the sums say nothing new."""
    return Parts(blocks[:, :4].copy().view("<f4").repeat(8, axis=1), blocks[:, 4:260].view(np.int8))


def quantize(values: Floats) -> Bytes:
    """Map the value of largest magnitude to code -127."""
    peak = np.take_along_axis(values, np.abs(values).argmax(axis=1)[:, None], axis=1)
    inverse = np.where(peak == 0, np.float32(0), np.float32(-127) / np.where(peak == 0, np.float32(1), peak))
    codes = integers(values * inverse, -127, 127).astype(np.int8)
    d = np.where(inverse == 0, np.float32(0), np.float32(1) / np.where(inverse == 0, np.float32(1), inverse))
    sums = codes.reshape(-1, 16, 16).sum(axis=2, dtype="<i2")
    return np.concatenate([d.astype("<f4").view(np.uint8), codes.view(np.uint8), sums.view(np.uint8)], axis=1)


FORMAT = integer_format("Q8_K", 15, 256, 292, split, quantize)
