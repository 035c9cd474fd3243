"""Search the scale and minimum of each group of weights that lose least, for the K formats.

Each search is defined here in numpy and done in native code where there is some, with the same bits: all sums are taken
in order of the weights. They are the bits of ggml's reference quantizers too.
Source: ggml's make_qkx2_quants, make_qx_quants and make_q3_quants (ggml-quants.c).
Shapes: G groups of n <= 32 weights: x [G, n] f32, weights [G, n] f32; scales and minimums are [G, 1] f32, codes [G, n]
u8.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pacos import native
from pacos.errors import NativeError, ShapeError
from pacos.lazy import np
from pacos.quants.pieces import integers

if TYPE_CHECKING:
    from pacos.quants.block import Bytes, Floats

_TINY = 1e-15  # groups that stay below this are stored as zeros
_FLOATS, _BYTES, _COUNT, _NUMBER = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32
_GROUP_MAX = 32  # as in search.hpp
_PYTHON_GROUPS = 8  # up to here native code is not worth a call


class Grid(NamedTuple):
    """The scales that are tried: (first + step * i + top) / range for i = 0 to steps; codes reach from 0 to top.

    `absolute` measures |error| in place of its square.
    """

    top: int
    first: float
    step: float
    steps: int
    absolute: bool = False


def scale_and_minimum(x: Floats, weights: Floats, grid: Grid) -> tuple[Floats, Floats, Bytes]:
    """Scale s, minimum m >= 0 and codes such that s * code - m is nearest to x by weighted error."""
    arguments = [_FLOATS, _FLOATS, _COUNT, _NUMBER, _NUMBER, ctypes.c_float, ctypes.c_float, _NUMBER, _NUMBER]
    search = _native("pacos_search_scale_and_minimum", [*arguments, _FLOATS, _FLOATS, _BYTES], len(x))
    if search is None:
        return scale_and_minimum_python(x, weights, grid)
    x, weights = _rows(x), _rows(weights)
    scales, minimums, codes = np.empty((len(x), 1), np.float32), np.empty((len(x), 1), np.float32), _codes(x)
    results = (scales.ctypes.data, minimums.ctypes.data, codes.ctypes.data)
    search(x.ctypes.data, weights.ctypes.data, *x.shape, *grid, *results)
    return scales, minimums, codes


def signed_scale(x: Floats, weights: Floats | None = None, *, half: int) -> tuple[Floats, Bytes]:
    """Scale s and codes such that s * (code - half), code in 0..2 * half - 1, is nearest.

    Without weights errors are weighted by x * x.
    """
    return _one_scale("pacos_search_signed_scale", signed_scale_python, x, weights, half=half)


def refined_scale(x: Floats, *, half: int) -> tuple[Floats, Bytes]:
    """Like `signed_scale`, but moves one code at a time while the error falls: better for very few levels."""
    return _one_scale("pacos_search_refined_scale", refined_scale_python, x, None, half=half)


def positive_scale(x: Floats, weights: Floats, *, top: int) -> tuple[Floats, Bytes]:
    """Scale s >= 0 and codes such that s * code, code in 0..top, is nearest to numbers of 0 or more.

    As in ggml, a number far below 0 has a code far above the top.
    """
    return _one_scale("pacos_search_positive_scale", positive_scale_python, x, weights, top=top)


def level_scale(x: Floats, weights: Floats, levels: Sequence[int], tries: int) -> Floats:
    """Scale s such that s * level is nearest to x, for ascending levels of which the first has the largest magnitude.

    Tried are scales that make the peak that level, or up to `tries` more or less. Shapes: [G, n] -> [G, 1].
    Source: ggml's quantize_row_iq4_nl_impl.
    """
    arguments = [_FLOATS, _FLOATS, _COUNT, _NUMBER, _FLOATS, _NUMBER, _NUMBER, _FLOATS]
    search = _native("pacos_search_level_scale", arguments, len(x))
    if search is None:
        return level_scale_python(x, weights, levels, tries)
    x, weights, table = _rows(x), _rows(weights), np.array(levels, np.float32)
    scales = np.empty((len(x), 1), np.float32)
    given = (x.ctypes.data, weights.ctypes.data, *x.shape, table.ctypes.data, len(table))
    search(*given, tries, scales.ctypes.data)
    return scales


def row_groups(rows: Floats, importance: Floats) -> tuple[Floats, Floats]:
    """Groups of 32, and weights that take the mean square from the whole row. Shapes: [R, K] -> [R K / 32, 32]."""
    mean = total(rows * rows) / np.float32(rows.shape[1])
    return rows.reshape(-1, 32), weights_of(rows, importance, mean).reshape(-1, 32)


def block_weights(rows: Floats, importance: Floats | None, times: int = 1, share: float = 0.0) -> tuple[Floats, Floats]:
    """Blocks of 256, and weights that take `times` the mean square of each; without importance a `share` of that.

    Shapes: [R, K] -> [R K / 256, 256].
    """
    x = rows.reshape(-1, 256)
    mean = np.float32(times) * total(x * x) / np.float32(256)
    if importance is None:
        return x, np.float32(share) * mean + x * x
    return x, weights_of(x, importance.reshape(-1, 256), mean)


def weights_of(x: Floats, importance: Floats, mean: Floats) -> Floats:
    """How much the error of each number counts: its column's importance, times more the larger it is.

    Shapes: [G, n], [G, n], mean squares [G, 1] -> [G, n]. Source: ggml's quantizers, which call the means sigma2.
    """
    weights: Floats = importance * np.sqrt(mean + x * x)
    return weights


def shared_scale(scales: Floats, top: int) -> Floats:
    """Factor that maps the largest |scale| of each block to -top (its sign decides), 0 for a block of zeros.

    Shapes: scales [N, groups] f32 -> [N, 1] f32, to multiply the scales with.
    """
    peak = _peak(scales)
    return np.where(np.abs(peak) < _TINY, np.float32(0), np.float32(-top) / np.where(peak == 0, np.float32(1), peak))


def total(values: Floats) -> Floats:
    """Sums of rows, taken one by one from the left: [G, n] -> [G, 1]."""
    sums: Floats = np.add.accumulate(values, axis=1)[:, -1:]
    return sums


def scale_and_minimum_python(x: Floats, weights: Floats, grid: Grid) -> tuple[Floats, Floats, Bytes]:
    """The definition of `scale_and_minimum`."""
    top, first, step = (np.float32(value) for value in grid[:3])
    high = x.max(axis=1, keepdims=True)
    offset = np.minimum(x.min(axis=1, keepdims=True), np.float32(0))
    flat = high <= offset
    sum_w, sum_x = total(weights), total(weights * x)

    def error(codes: Floats, scale: Floats, offset: Floats) -> Floats:
        miss = scale * codes + offset - x
        return total(weights * (np.abs(miss) if grid.absolute else miss * miss))

    def codes_at(reach: Any) -> tuple[Floats, Floats]:
        """Codes, and the inverse of their scale, when the range from the best offset so far is cut so."""
        width = high - offset
        inverse = reach / np.where(width > 0, width, np.float32(1))
        return integers(inverse * (x - offset), 0, grid.top), inverse

    kept, inverse = codes_at(top)
    scale = np.float32(1) / inverse
    kept = np.where(flat, np.float32(0), kept)
    least = error(kept, scale, offset)
    for i in range(grid.steps + 1):
        codes, _ = codes_at(first + step * np.float32(i) + top)
        wl = weights * codes
        sum_l, sum_l2, sum_xl = total(wl), total(wl * codes), total(wl * x)
        det = sum_w * sum_l2 - sum_l * sum_l
        new_scale = _ratio(sum_w * sum_xl - sum_x * sum_l, det)
        new_offset = _ratio(sum_l2 * sum_x - sum_l * sum_xl, det)
        above = new_offset > 0
        new_scale = np.where(above, _ratio(sum_xl, sum_l2), new_scale)
        new_offset = np.where(above, np.float32(0), new_offset)
        found = error(codes, new_scale, new_offset)
        better = (found < least) & (det > 0) & ~flat
        least, kept = np.where(better, found, least), np.where(better, codes, kept)
        scale, offset = np.where(better, new_scale, scale), np.where(better, new_offset, offset)
    return np.where(flat, np.float32(0), scale), np.float32(0) - offset, kept.astype(np.uint8)  # no -0


def signed_scale_python(x: Floats, weights: Floats | None = None, *, half: int) -> tuple[Floats, Bytes]:
    """The definition of `signed_scale`."""
    peak = _peak(x)
    small = np.abs(peak) < _TINY
    unit = np.where(small, np.float32(1), peak)
    w = x * x if weights is None else weights
    wx = w * x
    scale = best = np.zeros_like(peak)
    kept = np.zeros_like(x)
    for i in (0, *range(-9, 0), *range(1, 10)):
        reach = np.float32(half) + np.float32(0.1) * np.float32(i)
        codes = integers(-reach / unit * x, -half, half - 1)
        xl, l2 = total(wx * codes), total(w * codes * codes)
        better = (l2 > 0) & (xl * xl > best * l2) if i else l2 > 0
        new = _ratio(xl, l2)
        scale, best = np.where(better, new, scale), np.where(better, new * xl, best)
        kept = np.where(better, codes, kept) if i else codes
    kept = np.where(small, np.float32(-half), kept) + np.float32(half)
    return np.where(small, np.float32(0), scale), kept.astype(np.uint8)


def refined_scale_python(x: Floats, weights: Floats | None = None, *, half: int) -> tuple[Floats, Bytes]:
    """The definition of `refined_scale`."""
    peak = _peak(x)
    small = np.abs(peak) < _TINY
    codes = integers(np.float32(-half) / np.where(small, np.float32(1), peak) * x, -half, half - 1)
    w = x * x if weights is None else weights
    wx = w * x
    xl, l2 = total(wx * codes), total(w * codes * codes)
    active = np.ones_like(small)
    for _ in range(5):
        changed = np.zeros_like(small)
        for i in range(x.shape[1]):
            xi, wi, wxi, ci = x[:, i : i + 1], w[:, i : i + 1], wx[:, i : i + 1], codes[:, i : i + 1]
            rest_xl, rest_l2 = xl - wxi * ci, l2 - wi * ci * ci
            new = integers(_ratio(xi * rest_l2, rest_xl), -half, half - 1)
            new_xl, new_l2 = rest_xl + wxi * new, rest_l2 + wi * new * new
            better = active & (rest_xl > 0) & (new != ci) & (new_l2 > 0) & (new_xl * new_xl * l2 > xl * xl * new_l2)
            codes[:, i : i + 1] = np.where(better, new, ci)
            xl, l2 = np.where(better, new_xl, xl), np.where(better, new_l2, l2)
            changed |= better
        active = changed
        if not active.any():
            break
    codes = np.where(small, np.float32(-half), codes) + np.float32(half)
    return np.where(small, np.float32(0), _ratio(xl, l2)), codes.astype(np.uint8)


def positive_scale_python(x: Floats, weights: Floats, *, top: int) -> tuple[Floats, Bytes]:
    """The definition of `positive_scale`."""
    high: Floats = np.maximum(x.max(axis=1, keepdims=True), np.float32(0))
    small = high < _TINY
    unit = np.where(small, np.float32(1), high).astype(np.float32)

    def miss(inverse: Floats, *, bytewise: bool) -> Floats:
        codes = integers(inverse * x, -255, top)
        lost = x - np.float32(1) / inverse * (_as_byte(codes) if bytewise else codes)
        return total(weights * lost * lost)

    inverse = np.float32(top) / unit
    least = miss(inverse, bytewise=True)
    for i in (*range(-4, 0), *range(1, 5)):
        tried = (np.float32(0.1) * np.float32(i) + np.float32(top)) / unit
        found = miss(tried, bytewise=False)
        inverse, least = np.where(found < least, tried, inverse), np.where(found < least, found, least)
    codes = integers(inverse * x, -255, top)
    xl, l2 = total(weights * x * codes), total(weights * codes * codes)
    codes = _as_byte(codes)
    active = np.ones_like(small)
    for _ in range(5):
        changed = np.zeros_like(small)
        for i in range(x.shape[1]):
            xi, wi, ci = x[:, i : i + 1], weights[:, i : i + 1], codes[:, i : i + 1]
            rest_xl, rest_l2 = xl - wi * xi * ci, l2 - wi * ci * ci
            new = integers(_ratio(xi * rest_l2, rest_xl), -255, top)
            new_xl, new_l2 = rest_xl + wi * xi * new, rest_l2 + wi * new * new
            better = active & (rest_xl > 0) & (rest_l2 > 0) & (new != ci) & (new_xl * new_xl * l2 > xl * xl * new_l2)
            codes[:, i : i + 1] = np.where(better, _as_byte(new), ci)
            xl, l2 = np.where(better, new_xl, xl), np.where(better, new_l2, l2)
            changed |= better
        active = changed
        if not active.any():
            break
    codes = np.where(small, np.float32(0), codes)
    return np.where(small | (l2 <= 0), np.float32(0), _ratio(xl, l2)), codes.astype(np.uint8)


def level_scale_python(x: Floats, weights: Floats, levels: Sequence[int], tries: int) -> Floats:
    """The definition of `level_scale`."""
    table = np.array(levels, np.float32)
    middles = (table[1:] + table[:-1]) / np.float32(2)
    peak = _peak(x)
    small = np.abs(peak) < _TINY
    unit = np.where(small, np.float32(1), peak)
    scale = best = np.zeros_like(peak)
    first = np.float32(1) / (-unit / table[0])
    for inverse in (first, *((np.float32(i) + table[0]) / unit for i in range(-tries, tries + 1))):
        near = table[np.searchsorted(middles, inverse * x, side="right")]
        match, norm = total(weights * near * x), total(weights * near * near)
        better = (norm > 0) & (match * match > best * norm) if inverse is not first else norm > 0
        new = _ratio(match, norm)
        scale, best = np.where(better, new, scale), np.where(better, new * match, best)
    return np.where(small, np.float32(0), scale)


def _as_byte(codes: Floats) -> Floats:
    """A negative number as ggml's bytes hold it."""
    held: Floats = np.where(codes < 0, codes + np.float32(256), codes)
    return held


def _native(name: str, arguments: list[Any], groups: int) -> Callable[..., int] | None:
    try:
        return native.function(name, ctypes.c_int32, arguments) if groups > _PYTHON_GROUPS else None
    except NativeError:  # the definitions do the same, slowly
        return None


def _one_scale(
    name: str, definition: Callable[..., tuple[Floats, Bytes]], x: Floats, weights: Floats | None, **reach: int
) -> tuple[Floats, Bytes]:
    search = _native(name, [_FLOATS, _FLOATS, _COUNT, _NUMBER, _NUMBER, _FLOATS, _BYTES], len(x))
    if search is None:
        return definition(x, weights, **reach)
    x, weights = _rows(x), None if weights is None else _rows(weights)
    scales, codes = np.empty((len(x), 1), np.float32), _codes(x)
    given = None if weights is None else weights.ctypes.data
    search(x.ctypes.data, given, *x.shape, *reach.values(), scales.ctypes.data, codes.ctypes.data)
    return scales, codes


def _rows(x: Floats) -> Floats:
    if x.shape[1] > _GROUP_MAX:
        raise ShapeError(f"groups of {x.shape[1]} weights, at most {_GROUP_MAX} are searched")
    return np.ascontiguousarray(x, np.float32)


def _codes(x: Floats) -> Bytes:
    return np.empty(x.shape, np.uint8)


def _peak(x: Floats) -> Floats:
    """The first value of the largest magnitude of each row."""
    peak: Floats = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)
    return peak


def _ratio(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)
