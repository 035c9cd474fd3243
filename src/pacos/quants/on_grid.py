"""Search the vectors of a grid that lose least, where it counts: how IQ1, IQ2 and IQ3 are quantized, natively.

A group tries scales around the one that makes its peak the largest level; each of its vectors takes the nearest codes,
or, where these are not on the grid, the best of the neighbours there. Then the scale is fitted and the vectors are
taken anew. The bytes are ggml's.
Source: ggml-quants.c, quantize_row_iq2_xxs_impl and its kin.
Shapes: N blocks of 256 weights; groups of n, of w to a vector.
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from pacos import native
from pacos.errors import NativeError
from pacos.lazy import np
from pacos.quants.grids import grid, magnitudes
from pacos.quants.pieces import integers
from pacos.quants.search import block_weights, positive_scale, total

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pacos.quants.block import Bytes, Floats

_ADDRESS, _COUNT, _NUMBER, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_float


class GridRules(NamedTuple):
    """How a format searches: groups of n, 2 * tries + 1 scales that lie `step` / peak apart.

    `again`: which vectors are taken anew under the fitted scale: 0 those off the grid, 1 all when one is off it, 2 all.
    `even`: the number of signs of eight weights must be. `fitted`: the peak comes of a first fit, not of the largest
    weight. `times`: how much of the mean square weights take up, `share`: how much of that without importance.
    `factor` makes the stored one a little larger.
    """

    folder: str
    n: int
    shells: int  # of neighbours: how many distances
    tries: int
    step: float
    again: int
    even: bool = False
    fitted: bool = False
    times: int = 1
    share: float = 0.0
    tiny: float = 1e-15
    factor: float = 1.0


class OnGrid(NamedTuple):
    """Shapes: d [N, 1] f32, codes of scales [N, 256 / n] u8, numbers of vectors [N, 256 / w], signs [N, 32] u8."""

    d: Floats
    codes: Bytes
    numbers: NDArray[Any]
    signs: Bytes


@functools.cache
def _grid(folder: str, shells: int) -> int:
    levels = np.unique(grid(folder))
    codes = np.ascontiguousarray(np.searchsorted(levels, grid(folder)), np.uint8)
    create = native.function("pacos_grid_create", _ADDRESS, [_ADDRESS, *[_NUMBER] * 4])
    made = create(codes.ctypes.data, *codes.shape, len(levels), shells)
    if not made:
        raise NativeError(f"no memory for the grid of {folder}")
    return int(made)  # one a format, kept until the end


def on_grid(rows: Floats, importance: Floats | None, rules: GridRules) -> OnGrid:
    """Scales, vectors and signs of blocks, by what loses least. Shapes: [R, K], [R, K]."""
    x, weights = block_weights(rows, importance, rules.times, rules.share)
    size, signs = magnitudes(x, weights, even=rules.even)
    groups, counts = size.reshape(-1, rules.n), np.ascontiguousarray(weights.reshape(-1, rules.n))
    levels = len(np.unique(grid(rules.folder)))
    peaks = groups.max(axis=1, keepdims=True)
    peaks[peaks < rules.tiny] = 0
    if rules.fitted:
        peaks = np.where(peaks > 0, positive_scale(groups, counts, top=levels + 1)[0] * np.float32(levels), peaks)
    scales = np.empty(len(groups), np.float32)
    numbers = np.empty((len(groups), rules.n // grid(rules.folder).shape[1]), np.uint16)
    arguments = [*[_ADDRESS] * 4, _COUNT, _NUMBER, _NUMBER, _FLOAT, _NUMBER, _ADDRESS, _ADDRESS]
    search = native.function("pacos_search_on_grid", _NUMBER, arguments)
    data = (np.ascontiguousarray(groups), counts, np.ascontiguousarray(peaks, np.float32))
    search(
        *(_grid(rules.folder, rules.shells), *(one.ctypes.data for one in data), len(groups), rules.n),
        *(rules.tries, rules.step, rules.again, scales.ctypes.data, numbers.ctypes.data),
    )
    each = scales.repeat(rules.n // 8).reshape(signs.shape)
    signs = np.where(each < 0, ~signs, signs) * (peaks.repeat(rules.n // 8).reshape(signs.shape) > 0)
    found = np.abs(scales).reshape(len(x), -1)
    d, codes = odd_scales(found, top=15)
    return OnGrid(d * np.float32(rules.factor), codes, numbers.reshape(len(x), -1), signs)


def odd_scales(scales: Floats, top: int) -> tuple[Floats, Bytes]:
    """A factor d and codes c such that d * (2 * c + 1), c in 0..top, is near the scales: [N, s] -> [N, 1], [N, s]."""
    d = scales.max(axis=1, keepdims=True) / np.float32(2 * top + 1)
    inverse = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)
    return d, integers(np.float32(0.5) * (inverse * scales - np.float32(1)), 0, top).astype(np.uint8)


class Ternary(NamedTuple):
    """Shapes: scales [N, 256 / n] f32, numbers of vectors [N, 32], whether each shift is down [N, s] u8."""

    scales: Floats
    numbers: NDArray[Any]
    down: Bytes


def on_ternary_grid(x: Floats, weights: Floats, n: int, tiny: float, *, halves: bool) -> Ternary:
    """Cut each group of n into those that become -1, 0 and 1, all shifted up or down, or each half by itself.

    Shapes: [N, 256], [N, 256].
    """
    groups = x.size // n
    scales, numbers = np.empty(groups, np.float32), np.empty((groups, n // 8), np.uint16)
    down = np.empty((groups, 2 if halves else 1), np.uint8)
    arguments = [*[_ADDRESS] * 3, _COUNT, _NUMBER, _NUMBER, _FLOAT, *[_ADDRESS] * 3]
    search = native.function("pacos_search_ternary", _NUMBER, arguments)
    x, weights = np.ascontiguousarray(x), np.ascontiguousarray(weights)
    results = (scales.ctypes.data, numbers.ctypes.data, down.ctypes.data)
    search(_grid("iq1_s", 3), x.ctypes.data, weights.ctypes.data, groups, n, int(halves), tiny, *results)
    return Ternary(scales.reshape(len(x), -1), numbers.reshape(len(x), -1), down.reshape(len(x), -1))


def fitted_factor(x: Floats, weights: Floats, levels: Floats, otherwise: Floats) -> Floats:
    """The factor that brings levels nearest to the weights of each block. Shapes: [N, 256] thrice, [N, 1] -> [N, 1]."""
    match, norm = total(weights * levels * x), total(weights * levels * levels)
    factor: Floats = np.where(norm > 0, match / np.where(norm > 0, norm, np.float32(1)), otherwise)
    return factor
