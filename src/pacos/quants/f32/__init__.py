"""F32: plain single precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.quants.block import BlockFormat

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats


def dequantize(blocks: Bytes) -> Floats:
    """Read the bytes as they are."""
    return blocks.view("<f4")


def quantize(values: Floats) -> Bytes:
    """Store the values as they are."""
    return values.astype("<f4", copy=False).view("u1")


FORMAT = BlockFormat("F32", 0, 1, 4, dequantize, quantize)
