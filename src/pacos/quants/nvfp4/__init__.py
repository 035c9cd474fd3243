"""NVFP4: 64 four-bit floats with two bits of exponent, every 16 under an unsigned eight-bit float, w = scale * value.

Layout, 36 bytes: 4 scales (4 bits of exponent, bias 7, and 3 of mantissa; 0x7f counts as 0), then for each 16 weights 8
bytes whose low nibbles are codes 0..7 and high nibbles codes 8..15. The products have six significant bits, their
scales differ too much for exact integer sums: the kernels multiply floats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import BlockFormat
from pacos.quants.levels import e2m1_doubled, nearest_e2m1
from pacos.quants.pieces import pack_planes, planes

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats

_LARGEST = 448.0


def _halved(scales: Bytes) -> Floats:
    """Half the value of each eight-bit float, for doubled values."""
    exponent, mantissa = (scales >> 3 & 15).astype(np.int32), (scales & 7).astype(np.float32)
    value = np.ldexp(np.where(exponent == 0, mantissa, mantissa + np.float32(8)), np.maximum(exponent, 1) - 11)
    return np.where(scales == 0x7F, np.float32(0), value).astype(np.float32)


def _eight_bits(values: Floats) -> Bytes:
    """The nearest eight-bit float to values >= 0, halves away from zero."""
    x = np.clip(values, np.float32(0), np.float32(_LARGEST)).astype(np.float32)
    subnormal = np.trunc(x * np.float32(512) + np.float32(0.5))
    rounded = x.view(np.uint32) + np.uint32(1 << 19) >> np.uint32(20)  # carries from mantissa to exponent
    normal = rounded.astype(np.int32) - (120 << 3)
    return np.where(x < 2.0**-6, np.minimum(subnormal, 7), np.minimum(normal, 0x7E)).astype(np.uint8)


def dequantize(blocks: Bytes) -> Floats:
    """Multiply doubled values by halved scales, which is exact."""
    values = e2m1_doubled(planes(blocks[:, 4:], 4, 8)).reshape(-1, 4, 16).astype(np.float32)
    return (_halved(blocks[:, :4])[:, :, None] * values).reshape(-1, 64)


def quantize(values: Floats) -> Bytes:
    """Map the largest magnitude of each 16 weights to 6 and take the nearest values."""
    groups = values.reshape(-1, 16)
    scales = _eight_bits(np.abs(groups).max(axis=1, keepdims=True) / np.float32(6))
    codes = pack_planes(nearest_e2m1(groups, _halved(scales)), 4, 8)
    return np.concatenate([scales.reshape(-1, 4), codes.reshape(-1, 32)], axis=1)


FORMAT = BlockFormat("NVFP4", 40, 64, 36, dequantize, quantize)
