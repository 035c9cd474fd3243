"""Q8_0: 32 weights of 8 bits, w = d * code, code signed.

Layout, 34 bytes: d f16, then 32 codes s8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import half, half_bytes, rounded_away

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def split(blocks: Bytes) -> Parts:
    """The scale and the signed codes."""
    return Parts(half(blocks, 0), blocks[:, 2:].view(np.int8))


def quantize(values: Floats) -> Bytes:
    """Map the largest magnitude to code 127 and round halves away from zero, as ggml does."""
    d = np.abs(values).max(axis=1, keepdims=True) / np.float32(127)
    inverse = np.where(d == 0, np.float32(0), np.float32(1) / d)
    rounded = rounded_away(values * inverse)
    return np.concatenate([half_bytes(d), rounded.astype(np.int8).view(np.uint8)], axis=1)


FORMAT = integer_format("Q8_0", 8, 32, 34, split, quantize)
