"""What the codebook formats (IQ1, IQ2, IQ3) share: their grids, their signs, and the search for the nearest vectors.

Shapes: N blocks of 256 weights; P vectors of w levels in a grid; s groups of a block that have a scale each.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pacos.lazy import np
from pacos.quants.codebook import read_codebook
from pacos.quants.pieces import half, integers, through_half

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pacos.quants.block import Bytes, Floats

_SCORES = 1 << 21  # of vectors against a grid that are held at a time
_TRIES = (0.62, 0.7, 0.78, 0.86, 0.94, 1.02, 1.1)  # scales, as shares of the one that makes the peak the largest level


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


def magnitudes(values: Floats, *, even: bool, weights: Floats | None = None) -> tuple[Floats, Bytes]:
    """Split values into magnitudes and sign bits, eight to a byte.

    Where the number of signs must be even and is not, the value that counts least has the wrong one, and a negative
    magnitude: the smallest, or that of the smallest square times weight.
    Shapes: [N, 256], [N, 256] -> [N, 256], [N, 32] u8.
    """
    eights = values.reshape(-1, 8)
    negative = eights < 0
    size = np.abs(eights)
    if even:
        odd = np.flatnonzero(negative.sum(axis=1) & 1)
        cost = size if weights is None else weights.reshape(-1, 8) * eights * eights
        smallest = cost[odd].argmin(axis=1)
        negative[odd, smallest] ^= True
        size[odd, smallest] *= -1
    return size.reshape(values.shape), np.packbits(negative, axis=1, bitorder="little").reshape(-1, 32)


def nearest(vectors: Floats, levels: NDArray[Any]) -> NDArray[Any]:
    """Which vector of a grid is nearest to each of these. Shapes: [n, w], [P, w] -> [n]."""
    table = levels.astype(np.float32)
    half_norms = np.square(table).sum(axis=1) / np.float32(2)
    found = np.empty(len(vectors), np.int64)
    step = _SCORES // len(table)
    for start in range(0, len(vectors), step):
        scores = vectors[start : start + step] @ table.T
        scores -= half_norms
        scores.argmax(axis=1, out=found[start : start + step])
    return found


def _quotients(values: Floats, steps: Floats, width: int) -> Floats:
    """Vectors of values, each divided by its step; a step of 0 gives zeros. Shapes: [G, n], [G, 1] -> [G n / w, w]."""
    quotients: Floats = np.divide(values, steps, out=np.zeros_like(values), where=steps != 0)
    return quotients.reshape(-1, width)


def _best_scales(values: Floats, levels: NDArray[Any]) -> tuple[Floats, Floats]:
    """The scale of each group with which a grid comes nearest to its values, and by how much that lowers the error.

    Shapes: [G, n] -> [G, 1], [G, 1].
    """
    unit = np.abs(values).max(axis=1, keepdims=True) / np.float32(np.abs(levels).max())
    best, scale = np.zeros_like(unit), np.zeros_like(unit)
    for share in _TRIES:
        points = levels[nearest(_quotients(values, unit * np.float32(share), levels.shape[1]), levels)]
        points = points.reshape(values.shape).astype(np.float32)
        match, norm = (np.einsum("gn,gn->g", a, points)[:, None] for a in (values, points))
        gain = np.divide(match * match, norm, out=np.zeros_like(norm), where=(norm > 0) & (match > 0))
        better = gain > best
        best = np.where(better, gain, best)
        scale = np.where(better, match / np.where(better, norm, np.float32(1)), scale)
    return scale, best


def _shared_odd_scales(scales: Floats, top: int) -> tuple[Floats, Bytes]:
    """A factor d and codes c such that d * (2 * c + 1), c in 0..top, is near the scales: [N, s] -> [N, 1], [N, s]."""
    d = scales.max(axis=1, keepdims=True) / np.float32(2 * top + 1)
    ratio = np.divide(scales, d, out=np.zeros_like(scales), where=d != 0)
    return d, integers((ratio - np.float32(1)) / np.float32(2), 0, top).astype(np.uint8)


def _fitted(values: Floats, whole: NDArray[Any], unit: float) -> Floats:
    """The factor d as the file holds it that brings d * whole / unit nearest to the values. Shapes: [N, 1]."""
    numbers = whole.astype(np.float32)
    match, norm = (np.einsum("nk,nk->n", a, numbers)[:, None] for a in (values, numbers))
    d = np.float32(unit) * match / np.where(norm > 0, norm, np.float32(1))
    return through_half(d)


class OnGrid(NamedTuple):
    """Blocks as d * (2 * code + 1) * vectors of a grid / unit.

    Shapes: d [N, 1], codes [N, s] u8, indices [N, 256 / w], chosen [N, s]: which grid, where there is a choice.
    """

    d: Floats
    codes: Bytes
    indices: NDArray[Any]
    chosen: NDArray[Any]


def on_grid(values: Floats, *grids: NDArray[Any], groups: int, top: int, unit: float) -> OnGrid:
    """Find the scale of each group, and the grid that suits it best, then the nearest vectors. Shapes: [N, 256]."""
    grouped = values.reshape(-1, 256 // groups)
    scales, gains = zip(*(_best_scales(grouped, levels) for levels in grids), strict=True)
    chosen = np.stack(gains).argmax(axis=0)
    scale = np.take_along_axis(np.stack(scales), chosen[None], axis=0)[0]
    d, codes = _shared_odd_scales(scale.reshape(-1, groups), top)
    vectors = _quotients(grouped, (d * odd(codes)).astype(np.float32).reshape(-1, 1), grids[0].shape[1])
    indices, points = np.zeros(len(vectors), np.int64), np.zeros(vectors.shape, np.int8)
    for i, levels in enumerate(grids):
        mine = chosen.repeat(len(vectors) // len(grouped), axis=0)[:, 0] == i
        indices[mine] = nearest(vectors[mine], levels)
        points[mine] = levels[indices[mine]]
    whole = points.reshape(len(values), groups, -1) * odd(codes)[:, :, None]
    d = _fitted(values, whole.reshape(values.shape), unit)
    return OnGrid(d, codes, indices.reshape(len(values), -1), chosen.reshape(-1, groups))


def odd(codes: NDArray[Any]) -> NDArray[Any]:
    """The scale that a code stands for, 2 * code + 1."""
    return codes.astype(np.int16) * 2 + 1


def eighth(blocks: Bytes, offset: int) -> Floats:
    """The half float at `offset` of each block, divided by 8: the factor of whole numbers."""
    return half(blocks, offset) / np.float32(8)
