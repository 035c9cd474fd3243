"""What formats of four-bit indices into 16 fixed levels share: IQ4_NL's levels and those of four-bit floats.

Shapes: G groups of n weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos.lazy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pacos.quants.block import Bytes, Floats

NONLINEAR = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
E2M1_DOUBLED = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
_SHIFTS = (0, -6, -3, 3, 6)  # of the level that the largest weight gets; all of -7..7 gain 0.06 %
_TINY = 1e-15  # groups that stay below this are stored as zeros


def nonlinear(indices: Bytes) -> NDArray[Any]:
    """IQ4_NL's levels, s8."""
    levels: NDArray[Any] = np.array(NONLINEAR, np.int8)[indices]
    return levels


def e2m1_doubled(indices: Bytes) -> NDArray[Any]:
    """Twice the values of four-bit floats with two bits of exponent, s8."""
    levels: NDArray[Any] = np.array(E2M1_DOUBLED, np.int8)[indices]
    return levels


def nearest_nonlinear(values: Floats) -> Bytes:
    """The index of the nearest level; halves between two levels go up."""
    levels = np.array(NONLINEAR, np.float32)
    return np.searchsorted((levels[1:] + levels[:-1]) / np.float32(2), values, side="right").astype(np.uint8)


def nearest_e2m1(values: Floats, steps: Floats) -> Bytes:
    """The index of the level that lies nearest to each value when multiplied by its step, the first of equals.

    Shapes: [G, n], [G, 1] -> [G, n].
    """
    best, found = np.full(values.shape, np.inf, np.float32), np.zeros(values.shape, np.uint8)
    for index, level in enumerate(E2M1_DOUBLED):
        miss = np.abs(steps * np.float32(level) - values)
        better = miss < best
        best, found = np.where(better, miss, best), np.where(better, np.uint8(index), found)
    return found


def nonlinear_scale(x: Floats) -> Floats:
    """Scale s such that s * level is nearest to x, errors weighted by x * x. Shapes: [G, n] -> [G, 1].

    Native pages repeat this to the bit, so sums are trees of halves. Source: ggml's quantize_row_iq4_nl_impl.
    """
    peak = np.take_along_axis(x, np.abs(x).argmax(axis=1)[:, None], axis=1)
    small = np.abs(peak) < _TINY
    peak = np.where(small, np.float32(1), peak)
    wx = x * x * x
    scale = best = np.zeros_like(peak)
    for shift in _SHIFTS:
        levels = nonlinear(nearest_nonlinear(x * (np.float32(NONLINEAR[0] + shift) / peak))).astype(np.float32)
        match, norm = _tree_sum(wx * levels), _tree_sum(x * x * (levels * levels))
        better = (norm > 0) & (match * match > best * norm)
        new = match / np.where(norm > 0, norm, np.float32(1))
        scale, best = np.where(better, new, scale), np.where(better, new * match, best)
    return np.where(small, np.float32(0), scale)


def _tree_sum(values: Floats) -> Floats:
    """Sums of rows whose length is a power of two. Shapes: [G, n] -> [G, 1]."""
    while values.shape[1] > 1:
        middle = values.shape[1] // 2
        values = values[:, :middle] + values[:, middle:]
    return values
