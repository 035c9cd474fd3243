"""Q4_1: 32 weights of 4 bits with a minimum, w = d * code + m.

Layout, 20 bytes: d f16, m f16, then 16 bytes whose low nibbles are codes 0..15 and high nibbles codes 16..31.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import BlockFormat
from pacos.quants.pieces import half, half_bytes, pack_planes, planes, truncated

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def dequantize(blocks: Bytes) -> Floats:
    """Multiply codes by the block's scale and add its minimum."""
    return half(blocks, 0) * planes(blocks[:, 4:], 4, 16).astype(np.float32) + half(blocks, 2)


def quantize(values: Floats) -> Bytes:
    """Map the block's range to codes 0..15."""
    low = values.min(axis=1, keepdims=True)
    d = (values.max(axis=1, keepdims=True) - low) / np.float32(15)
    inverse = np.where(d == 0, np.float32(0), np.float32(1) / d)
    codes = truncated((values - low) * inverse + np.float32(0.5), 15)
    return np.concatenate([half_bytes(d), half_bytes(low), pack_planes(codes, 4, 16)], axis=1)


FORMAT = BlockFormat("Q4_1", 3, 32, 20, dequantize, quantize)
