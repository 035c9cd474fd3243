"""TQ1_0: 256 weights of three levels, w = d * (code - 1), five codes to a byte.

Layout, 54 bytes: 32 bytes of five planes of 32 codes, 16 bytes of five planes of 16 codes, 4 bytes of four planes of 4
codes, d f16. A byte is the fraction 0.c0c1c2c3c4 in base 3, scaled to 256 and rounded up: plane i is the whole part of
3 * (byte * 3^i mod 256) / 256.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.block import Parts, integer_format
from pacos.quants.pieces import half, half_bytes, ternary

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats

_RUNS = ((0, 32, 5), (32, 16, 5), (48, 4, 4))  # first byte, bytes, planes


def split(blocks: Bytes) -> Parts:
    """The scale and the centred codes."""
    codes = []
    for first, count, planes in _RUNS:
        powers = np.array([3**i for i in range(planes)], np.uint8).reshape(1, -1, 1)
        fractions = blocks[:, None, first : first + count] * powers
        codes.append((fractions.astype(np.uint16) * 3 >> 8).astype(np.int8).reshape(-1, planes * count))
    one = np.ones((len(blocks), 1), np.int8)
    return Parts(half(blocks, 52), np.concatenate(codes, axis=1) - np.int8(1), one)


def quantize(values: Floats) -> Bytes:
    """Map the largest magnitude to 1 and round."""
    d, codes = ternary(values)
    packed, start = [], 0
    for _, count, planes in _RUNS:
        powers = np.array([3 ** (4 - i) for i in range(planes)], np.uint16).reshape(1, -1, 1)
        run = codes[:, start : start + planes * count].reshape(-1, planes, count)
        packed.append((((run * powers).sum(axis=1, dtype=np.uint16) * 256 + 242) // 243).astype(np.uint8))
        start += planes * count
    return np.concatenate([*packed, half_bytes(d)], axis=1)


FORMAT = integer_format("TQ1_0", 34, 256, 54, split, quantize)
