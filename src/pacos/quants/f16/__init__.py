"""F16: IEEE half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import BlockFormat

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def dequantize(blocks: Bytes) -> Floats:
    """Widen exactly."""
    return blocks.view("<f2").astype(np.float32)


def quantize(values: Floats) -> Bytes:
    """Round to nearest even; what exceeds 65504 becomes infinite."""
    return values.astype("<f2").view(np.uint8)


FORMAT = BlockFormat("F16", 1, 1, 2, dequantize, quantize)
