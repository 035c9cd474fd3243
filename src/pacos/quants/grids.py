"""What the codebook formats (IQ1, IQ2, IQ3) share: their grids and their signs.

Shapes: N blocks of 256 weights; P vectors of w levels in a grid.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pacos.lazy import np
from pacos.quants.codebook import read_codebook
from pacos.quants.pieces import half

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pacos.quants.block import Bytes, Floats


@functools.cache
def grid(folder: str) -> NDArray[Any]:
    """The codebook in a format's folder. Shapes: [P, w] s8."""
    return np.array(read_codebook(Path(__file__).with_name(folder) / "grid.txt"), np.int8)


def signs(packed: Bytes) -> NDArray[Any]:
    """-1 where a bit is set, else 1, low bit first: [N, n] u8 -> [N, 8 n] s8."""
    bits = np.unpackbits(packed, axis=1, bitorder="little").view(np.int8)
    return np.int8(1) - np.int8(2) * bits


def even_signs(seven: NDArray[Any]) -> Bytes:
    """Bytes of signs whose eighth bit makes the number of set bits even: the low seven bits of each integer."""
    low: Bytes = (seven & 127).astype(np.uint8)
    parity = low ^ low >> np.uint8(4)
    parity ^= parity >> np.uint8(2)
    whole: Bytes = low | (parity ^ parity >> np.uint8(1)) << np.uint8(7)
    return whole


def magnitudes(values: Floats, weights: Floats, *, even: bool) -> tuple[Floats, Bytes]:
    """Split values into magnitudes and sign bits, eight to a byte.

    Where the number of signs must be even and is not, the value whose weighted square is least has the wrong one, and
    a negative magnitude. Shapes: [N, 256], [N, 256] -> [N, 256], [N, 32] u8.
    """
    eights = values.reshape(-1, 8)
    negative = eights < 0
    size = np.abs(eights)
    if even:
        odd = np.flatnonzero(negative.sum(axis=1) & 1)
        smallest = (weights.reshape(-1, 8) * eights * eights)[odd].argmin(axis=1)
        negative[odd, smallest] ^= True
        size[odd, smallest] *= -1
    return size.reshape(values.shape), np.packbits(negative, axis=1, bitorder="little").reshape(-1, 32)


def odd(codes: NDArray[Any]) -> NDArray[Any]:
    """The scale that a code stands for, 2 * code + 1."""
    return codes.astype(np.int16) * 2 + 1


def eighth(blocks: Bytes, offset: int) -> Floats:
    """The half float at `offset` of each block, divided by 8: the factor of whole numbers."""
    return half(blocks, offset) / np.float32(8)
