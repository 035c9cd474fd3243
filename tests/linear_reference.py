"""The definition of quantised matrix products in numpy, to the last bit: what every kernel must return.

Shapes: weights [rows, K] in blocks, x [n, K] f32 -> y [n, rows] f32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pacos.quants import BlockFormat

Floats = NDArray[np.float32]
ONE, MINUS_ONE = (np.array([value], np.float16).view(np.uint8) for value in (1, -1))

# Byte offsets of the half floats of scale and minimum in a block, and whether the minimum is subtracted.
HALVES: dict[str, tuple[int, int | None]] = {
    "Q4_0": (0, None),
    "Q4_1": (0, 2),
    "Q5_0": (0, None),
    "Q5_1": (0, 2),
    "Q8_0": (0, None),
    "Q2_K": (80, 82),
    "Q3_K": (108, None),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208, None),
}


def fma(a: Floats, b: Floats, c: Floats) -> Floats:
    """a * b + c with one rounding: the sum is rounded to odd in double, then to float."""
    product = a.astype(np.float64) * b.astype(np.float64)
    wide = c.astype(np.float64)
    total = product + wide
    part = total - product
    miss = (product - (total - part)) + (wide - part)
    bits = total.view(np.int64).copy()
    inexact_even = ((miss > 0) | (miss < 0)) & (bits & 1 == 0)
    bits += np.where(inexact_even, np.where((miss > 0) == (total > 0), 1, -1), 0)
    return bits.view(np.float64).astype(np.float32)


def quantize_activations(x: Floats, group: int) -> tuple[NDArray[np.int64], Floats]:
    """Codes [n, K] and scales [n, K / group] of activations."""
    grouped = x.reshape(x.shape[0], -1, group)
    peak = np.abs(grouped).max(axis=2)
    inverse = np.float32(127) / peak
    damaged, usable = ~np.isfinite(peak), np.isfinite(inverse) & np.isfinite(peak)
    codes = np.where(usable[..., None], np.rint(grouped * np.where(usable, inverse, np.float32(0))[..., None]), 0)
    scales = np.where(damaged, np.float32(np.nan), np.where(usable, peak / np.float32(127), np.float32(0)))
    return np.where(np.isfinite(codes), codes, 0).astype(np.int64).reshape(x.shape), scales.astype(np.float32)


def _with_halves(fmt: BlockFormat, blocks: NDArray[np.uint8], scale: NDArray[np.uint8] | None, low: bool) -> Floats:
    """The blocks' weights with the scale set to 1 (or 0) and the minimum to 0 (or -1): whole numbers."""
    at_scale, at_minimum = HALVES[fmt.name]
    plain = blocks.copy()
    plain[:, at_scale : at_scale + 2] = 0 if scale is None else scale
    if at_minimum is not None:
        plain[:, at_minimum : at_minimum + 2] = MINUS_ONE if low else 0
    return fmt.dequantize(plain)


def _half(blocks: NDArray[np.uint8], at: int) -> Floats:
    return blocks[:, at : at + 2].copy().view(np.float16).astype(np.float32).reshape(-1)


def _blocks_linear(fmt: BlockFormat, blocks: NDArray[np.uint8], rows: int, x: Floats) -> Floats:
    at_scale, at_minimum = HALVES[fmt.name]
    codes, scales = quantize_activations(x, fmt.block)
    per_row = blocks.shape[0] // rows
    whole = _with_halves(fmt, blocks, ONE, low=False).astype(np.int64).reshape(rows, per_row, fmt.block)
    a = codes.reshape(x.shape[0], per_row, fmt.block)
    sums = np.einsum("rbk,nbk->nrb", whole, a)
    d = _half(blocks, at_scale).reshape(1, rows, per_row)
    y = np.zeros((x.shape[0], rows), np.float32)
    m = sums_of_minimums = None
    if at_minimum is not None:
        m = _half(blocks, at_minimum).reshape(1, rows, per_row)
        minimums = _with_halves(fmt, blocks, None, low=True).astype(np.int64).reshape(rows, per_row, fmt.block)
        sums_of_minimums = np.einsum("rbk,nbk->nrb", minimums, a)
    for b in range(per_row):
        da = scales[:, b : b + 1]
        y = fma(sums[..., b].astype(np.float32), d[..., b] * da, y)
        if m is not None and sums_of_minimums is not None:
            if fmt.block == 256:
                y = fma(sums_of_minimums[..., b].astype(np.float32), -(m[..., b] * da), y)
            else:
                total = np.broadcast_to(a[:, b].sum(axis=1)[:, None], y.shape)
                y = fma(total.astype(np.float32), m[..., b] * da, y)
    return y


def _floats_linear(weights: Floats, x: Floats) -> Floats:
    """Sixteen lanes of accumulators, then lanes l and l + 8, + 4, + 2, + 1."""
    pad = -x.shape[1] % 16
    w, a = (np.pad(v, ((0, 0), (0, pad))).reshape(v.shape[0], -1, 16) for v in (weights, x))
    y = np.zeros((x.shape[0], weights.shape[0], 16), np.float32)
    for j in range(w.shape[1]):
        y = fma(np.broadcast_to(w[None, :, j], y.shape), np.broadcast_to(a[:, None, j], y.shape), y)
    for step in (8, 4, 2, 1):
        y = y[..., :step] + y[..., step:]
    return y[..., 0]


def linear(fmt: BlockFormat, data: bytes, rows: int, x: Floats, bias: Floats | None = None) -> Floats:
    """y = x W^T + bias for weights packed in `data`."""
    blocks = np.frombuffer(data, np.uint8).reshape(-1, fmt.block_bytes)
    with np.errstate(all="ignore"):
        if fmt.block == 1:
            y = _floats_linear(fmt.dequantize(blocks).reshape(rows, -1), x)
        else:
            y = _blocks_linear(fmt, blocks, rows, x)
        return y if bias is None else y + bias


def same_bits(found: Floats, expected: Floats) -> bool:
    """Equal to the bit; any NaN equals any NaN."""
    equal = found.view(np.uint32) == expected.view(np.uint32)
    return bool((equal | (np.isnan(found) & np.isnan(expected))).all())
