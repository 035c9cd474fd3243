"""The definition of quantised matrix products in numpy, to the last bit: what every kernel must return.

Shapes: weights [rows, K] in blocks, x [n, K] f32 -> y [n, rows] f32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pacos.quants import BlockFormat
from pacos.quants.block import Parts

Floats = NDArray[np.float32]


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


def _sums(whole: NDArray[Any], repeat: int, a: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Exact sums of whole numbers times activation codes. Shapes: a [n, runs, run] -> [n, rows, runs]."""
    spread = whole.astype(np.int64).repeat(repeat, axis=1).reshape(rows, *a.shape[1:])
    sums: NDArray[np.int64] = np.einsum("rbk,nbk->nrb", spread, a)
    return sums


def _blocks_linear(parts: Parts, rows: int, x: Floats) -> Floats:
    """One chain of fused multiply-adds over the runs of weights that share a float scale."""
    block = parts.codes.shape[1]
    run = block // parts.d.shape[1]
    codes, scales = quantize_activations(x, run)
    a = codes.reshape(x.shape[0], -1, run)
    whole = parts.codes.astype(np.int64)
    if parts.scales is not None:
        whole = whole * parts.scales.astype(np.int64).repeat(block // parts.scales.shape[1], axis=1)
    factors = [(_sums(whole, 1, a, rows), parts.d.reshape(rows, -1))]
    if parts.dmin is not None and parts.minimums is not None:
        sums = _sums(parts.minimums, block // parts.minimums.shape[1], a, rows)
        factors.append((sums, -parts.dmin.reshape(rows, -1)))
    y = np.zeros((x.shape[0], rows), np.float32)
    for b in range(a.shape[1]):
        for sums, d in factors:
            y = fma(sums[..., b].astype(np.float32), d[None, :, b] * scales[:, b : b + 1], y)
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
        if fmt.split is None:
            y = _floats_linear(fmt.dequantize(blocks).reshape(rows, -1), x)
        else:
            y = _blocks_linear(fmt.split(blocks), rows, x)
        return y if bias is None else y + bias


def same_bits(found: Floats, expected: Floats) -> bool:
    """Equal to the bit; any NaN equals any NaN."""
    equal = found.view(np.uint32) == expected.view(np.uint32)
    return bool((equal | (np.isnan(found) & np.isnan(expected))).all())
