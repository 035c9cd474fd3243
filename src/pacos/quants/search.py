"""Search the scale and minimum of each group of weights that lose least, for the K formats.

Source: ggml's make_qkx2_quants, make_qx_quants and make_q3_quants (ggml-quants.c), vectorised over groups.
Shapes: G groups of n weights: x [G, n] f32, weights [G, n] f32; scales and minimums are [G, 1] f32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pacos.lazy import np
from pacos.quants.pieces import integers

if TYPE_CHECKING:
    from pacos.quants.block import Floats

_TINY = 1e-15  # groups that stay below this are stored as zeros


def _total(values: Floats) -> Floats:
    total: Floats = values.sum(axis=1, keepdims=True)
    return total


def _dot(a: Floats, b: Floats) -> Floats:
    products: Floats = np.einsum("gn,gn->g", a, b)
    return products[:, None]


def _ratio(a: Floats, b: Floats) -> Floats:
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def scale_and_minimum(
    x: Floats, weights: Floats, *, top: int, first: float, step: float, steps: int, absolute: bool
) -> tuple[Floats, Floats]:
    """Scale s and offset m >= 0 such that s * code - m, code in 0..top, is nearest to x by weighted error.

    Tries the grid (top + first + step * i) / range; `absolute` measures |error| in place of its square.
    """
    high = x.max(axis=1, keepdims=True)
    offset = np.minimum(x.min(axis=1, keepdims=True), np.float32(0))
    flat = high <= offset
    scale = (high - offset) / np.float32(top)
    wx = weights * x
    sum_w, sum_x = _total(weights), _total(wx)

    def error(codes: Floats, scale: Floats, offset: Floats) -> Floats:
        miss = codes * scale
        miss += offset
        miss -= x
        return _dot(weights, np.abs(miss, out=miss) if absolute else np.square(miss, out=miss))

    def codes_at(reach: float) -> Floats:
        """Codes when the range from the best offset so far is cut into `reach` steps."""
        width = high - offset
        return integers((x - offset) * (np.float32(reach) / np.where(width > 0, width, np.float32(1))), 0, top)

    best = error(codes_at(top), scale, offset)
    for i in range(steps + 1):
        codes = codes_at(top + first + step * i)
        wl = weights * codes
        sum_l, sum_l2, sum_xl = _total(wl), _dot(wl, codes), _dot(wx, codes)
        det = sum_w * sum_l2 - sum_l * sum_l
        new_scale = _ratio(sum_w * sum_xl - sum_x * sum_l, det)
        new_offset = _ratio(sum_l2 * sum_x - sum_l * sum_xl, det)
        above = new_offset > 0
        new_scale = np.where(above, _ratio(sum_xl, sum_l2), new_scale)
        new_offset = np.where(above, np.float32(0), new_offset)
        found = error(codes, new_scale, new_offset)
        better = (found < best) & (det > 0)
        best = np.where(better, found, best)
        scale = np.where(better, new_scale, scale)
        offset = np.where(better, new_offset, offset)
    return np.where(flat, np.float32(0), scale), -offset


def signed_scale(x: Floats, *, half: int) -> Floats:
    """Scale s such that s * code, code in -half..half-1, is nearest to x, errors weighted by x * x."""
    peak = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)
    small = np.abs(peak) < _TINY
    unit = np.float32(-1) / np.where(small, np.float32(1), peak)
    w = x * x
    wx = w * x
    scale = best = np.zeros_like(peak)
    for i in (0, *range(-9, 0), *range(1, 10)):
        codes = integers(x * (np.float32(half + 0.1 * i) * unit), -half, half - 1)
        xl, l2 = _dot(wx, codes), _dot(w, codes * codes)
        better = (l2 > 0) & (xl * xl > best * l2) if i else l2 > 0
        new = _ratio(xl, l2)
        scale, best = np.where(better, new, scale), np.where(better, new * xl, best)
    return np.where(small, np.float32(0), scale)


def refined_scale(x: Floats, *, half: int) -> Floats:
    """Like `signed_scale`, but moves one code at a time while the error falls: better for very few levels."""
    peak = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)
    small = np.abs(peak) < _TINY
    unit = np.float32(-half) / np.where(small, np.float32(1), peak)
    codes = integers(x * unit, -half, half - 1)
    w = x * x
    wx = w * x
    xl, l2 = _dot(wx, codes), _dot(w, codes * codes)
    for _ in range(5):
        before = codes.copy()
        for i in range(x.shape[1]):
            xi, wi, ci = x[:, i : i + 1], w[:, i : i + 1], codes[:, i : i + 1]
            rest_xl, rest_l2 = xl - wi * xi * ci, l2 - wi * ci * ci
            new = integers(_ratio(xi * rest_l2, rest_xl), -half, half - 1)
            new_xl, new_l2 = rest_xl + wi * xi * new, rest_l2 + wi * new * new
            better = (rest_xl > 0) & (new != ci) & (new_l2 > 0) & (new_xl * new_xl * l2 > xl * xl * new_l2)
            codes[:, i : i + 1] = np.where(better, new, ci)
            xl, l2 = np.where(better, new_xl, xl), np.where(better, new_l2, l2)
        if np.array_equal(before, codes):
            break
    return np.where(small, np.float32(0), _ratio(xl, l2))


def shared_scale(scales: Floats, top: int) -> Floats:
    """Factor that maps the largest |scale| of each block to -top (its sign decides), 0 for a block of zeros.

    Shapes: scales [N, groups] f32 -> [N, 1] f32, to multiply the scales with.
    """
    peak = np.take_along_axis(scales, np.abs(scales).argmax(axis=1)[:, None], axis=1)
    return np.where(np.abs(peak) < _TINY, np.float32(0), np.float32(-top) / np.where(peak == 0, np.float32(1), peak))
