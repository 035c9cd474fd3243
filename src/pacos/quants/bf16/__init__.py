"""BF16: the upper half of a single-precision float."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import BlockFormat

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def dequantize(blocks: Bytes) -> Floats:
    """Widen exactly."""
    return (blocks.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)


def quantize(values: Floats) -> Bytes:
    """Round to nearest even; a NaN stays one and becomes quiet."""
    bits = values.view(np.uint32)
    quiet = (bits >> np.uint32(16)) | np.uint32(64)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = (bits + (odd + np.uint32(0x7FFF))) >> np.uint32(16)
    upper = np.where((bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000), quiet, rounded)
    return upper.astype("<u2").view(np.uint8)


FORMAT = BlockFormat("BF16", 30, 1, 2, dequantize, quantize)
