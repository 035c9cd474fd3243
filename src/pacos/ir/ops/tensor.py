"""Look-ups, matrix products, element-wise arithmetic and views.

Shapes: T rows, K input width, N output width, D width, H heads, E head width.
"""

from __future__ import annotations

import math
from typing import Any

from pacos.errors import ShapeError
from pacos.ir.graph import Shape, Tensor, require, same_width
from pacos.ir.registry import Integers, op, sample
from pacos.lazy import np

Array = Any


def _embed_shape(rows: Tensor, table: Tensor) -> Shape:
    require(len(table.shape) == 2, f"{table.name} must be a matrix, it is {table.shape}")
    return (rows.shape[0], table.shape[1])


@op(shape=_embed_shape, ulp=0, samples=[sample(Integers((5,), 7), (7, 64)), sample(Integers((1,), 3), (3, 256))])
def embed(rows: Array, table: Array) -> Array:
    """Pick rows of a table.

    Shapes: rows [T] i32, table [V, D] -> [T, D] f32. Errors: ShapeError when the table is no matrix.
    """
    return np.asarray(table, np.float32)[rows]


def _linear_shape(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Shape:
    require(len(w.shape) == 2, f"{w.name} must be a matrix, it is {w.shape}")
    require(x.shape[-1] == w.shape[1], f"{w.name} is {w.shape}, its input has width {x.shape[-1]}")
    if bias is not None:
        require(bias.shape == (w.shape[0],), f"{bias.name} is {bias.shape}, {w.name} is {w.shape}")
    return (*x.shape[:-1], w.shape[0])


@op(shape=_linear_shape, ulp=64, samples=[sample((3, 64), (5, 64), None), sample((2, 256), (48, 256), (48,))])
def linear(x: Array, w: Array, bias: Array | None = None) -> Array:
    """Multiply by a weight matrix and add the bias.

    Shapes: x [T, K], w [N, K], bias [N] -> [T, N]. Errors: ShapeError naming the weight.
    """
    y = x @ w.T
    return y if bias is None else y + bias


def _linears_shape(x: Tensor, *pairs: Tensor | None) -> list[Shape]:
    return [_linear_shape(x, _matrix(w), b) for w, b in zip(pairs[::2], pairs[1::2], strict=True)]


def _matrix(w: Tensor | None) -> Tensor:
    if w is None:
        raise ShapeError("linears: a weight is missing")
    return w


@op(shape=_linears_shape, ulp=64, samples=[sample((3, 64), (5, 64), None, (16, 64), (16,))])
def linears(x: Array, *pairs: Array | None) -> tuple[Array, ...]:
    """Several linear ops on one input, which is then quantised and read once.

    Shapes: x [T, K], then weight [N, K] and bias [N] (or None) in turn -> one [T, N] each.
    """
    return tuple(linear(x, w, b) for w, b in zip(pairs[::2], pairs[1::2], strict=True))


@op(shape=same_width, ulp=1, samples=[sample((3, 64), (3, 64)), sample((1, 33), (1, 33))])
def add(a: Array, b: Array) -> Array:
    """Add two arrays. Shapes: [T, D] + [T, D] -> [T, D]."""
    return a + b


@op(shape=same_width, ulp=1, samples=[sample((3, 64), (3, 64))])
def mul(a: Array, b: Array) -> Array:
    """Multiply element by element. Shapes: [T, D] * [T, D] -> [T, D]."""
    return a * b


@op(shape=lambda x, factor: x.shape, ulp=1, samples=[sample((3, 64), factor=0.125)])
def scale(x: Array, *, factor: float) -> Array:
    """Multiply by a number. Shapes: any -> the same."""
    return x * np.float32(factor)


def _scaled_heads(x: Tensor, factors: Tensor) -> Shape:
    fits = factors.shape in (x.shape[1:2], (x.shape[1], 1), x.shape[:2])
    require(fits, f"{factors.name} is {factors.shape}, heads are {x.shape}")
    return x.shape


@op(
    shape=_scaled_heads,
    ulp=1,
    samples=[sample((3, 4, 16), (4,)), sample((2, 5, 7), (5, 1)), sample((3, 4, 16), (3, 4))],
)
def scale_heads(x: Array, factors: Array) -> Array:
    """Multiply each head by its number, which may be another in each row.

    Shapes: x [T, H, E], factors [H], [H, 1] or [T, H] -> [T, H, E].
    """
    return x * factors.reshape(-1, x.shape[1], 1)


def _scaled_rows(x: Tensor, scales: Tensor, column: int, factor: float) -> Shape:
    A = scales.shape[-1]
    require(scales.shape[:1] == x.shape[:1], f"{scales.name} is {scales.shape}, there are {x.shape[0]} rows")
    require(len(scales.shape) == 2 and isinstance(A, int) and 0 <= column < A, f"{scales.name} has no column {column}")
    require(factor == factor, "scale_rows by no number")
    return x.shape


@op(
    shape=_scaled_rows,
    ulp=2,
    samples=[sample((3, 64), (3, 2), column=1, factor=0.5), sample((2, 4, 7), (2, 1), column=0, factor=2.0)],
)
def scale_rows(x: Array, scales: Array, *, column: int, factor: float) -> Array:
    """Multiply each row by its own number and by the factor, as adapters do.

    Shapes: x [T, D] or [T, H, E], scales [T, A], of which one column counts -> as x.
    """
    return x * (scales[:, column] * np.float32(factor)).reshape(-1, *(1 for _ in x.shape[1:]))


@op(shape=lambda x: x.shape, ulp=64, samples=[sample((3, 64)), sample((1, 33))])
def silu(x: Array) -> Array:
    """x * sigmoid(x). Shapes: any -> the same. Source: arXiv:1702.03118."""
    with np.errstate(over="ignore"):
        return x / (1 + np.exp(-x))


@op(shape=lambda x: x.shape, ulp=64, samples=[sample((3, 64)), sample((1, 33))])
def gelu(x: Array) -> Array:
    """GELU, x times the normal distribution's function. Shapes: any -> the same. Source: arXiv:1606.08415."""
    erf = np.frompyfunc(math.erf, 1, 1)
    return (0.5 * x * (1 + erf(x * math.sqrt(0.5)).astype(np.float64))).astype(np.float32)


@op(shape=lambda x: x.shape, ulp=64, samples=[sample((3, 64))])
def gelu_tanh(x: Array) -> Array:
    """GELU by its tanh form. Shapes: any -> the same. Source: arXiv:1606.08415."""
    return 0.5 * x * (1 + np.tanh(np.float32(0.7978845608028654) * (x + np.float32(0.044715) * x * x * x)))


@op(shape=lambda x: x.shape, ulp=64, samples=[sample((3, 64)), sample((1, 33))])
def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x). Shapes: any -> the same."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


@op(shape=lambda x: x.shape, ulp=64, samples=[sample((3, 64)), sample((1, 33))])
def exp(x: Array) -> Array:
    """e^x. Shapes: any -> the same."""
    with np.errstate(over="ignore"):
        return np.exp(x)


@op(shape=lambda x: x.shape, ulp=64, samples=[sample((3, 64)), sample((1, 33))])
def softplus(x: Array) -> Array:
    """log(1 + e^x). Shapes: any -> the same."""
    return np.logaddexp(x, np.float32(0))


@op(shape=lambda x: x.shape, ulp=0, samples=[sample((3, 64)), sample((1, 33))])
def relu(x: Array) -> Array:
    """What is above 0. Shapes: any -> the same."""
    return np.maximum(x, np.float32(0))


@op(shape=lambda x: x.shape, ulp=1, samples=[sample((3, 64)), sample((1, 33))])
def relu_squared(x: Array) -> Array:
    """The square of what is above 0. Shapes: any -> the same. Source: arXiv:2109.08668."""
    return np.square(np.maximum(x, np.float32(0)))


@op(shape=lambda x, **_: x.shape, ulp=256, samples=[sample((3, 64), rise=0.8, fall=0.3, slope=0.5, most=-1e-6)])
def xielu(x: Array, *, rise: float, fall: float, slope: float, most: float) -> Array:
    """Above 0, rise * x * x + slope * x; else fall * (e^min(x, most) - 1 - x) + slope * x.

    Shapes: any -> the same. Source: arXiv:2411.13010.
    """
    with np.errstate(over="ignore"):
        below = np.float32(fall) * (np.expm1(np.minimum(x, np.float32(most))) - x)
        return np.where(x > 0, np.float32(rise) * x * x, below) + np.float32(slope) * x


@op(shape=lambda x, limit: x.shape, ulp=0, samples=[sample((3, 64), limit=0.5)])
def clip(x: Array, *, limit: float) -> Array:
    """What is beyond the limit, on either side, becomes the limit. Shapes: any -> the same."""
    return np.clip(x, np.float32(-limit), np.float32(limit))


@op(shape=same_width, ulp=64, samples=[sample((3, 64), (3, 64))])
def silu_mul(gate: Array, up: Array) -> Array:
    """silu(gate) * up, the gated unit of Llama. Shapes: [T, D], [T, D] -> [T, D]."""
    return silu(gate) * up


@op(shape=same_width, ulp=64, samples=[sample((3, 64), (3, 64))])
def gelu_mul(gate: Array, up: Array) -> Array:
    """gelu(gate) * up. Shapes: [T, D], [T, D] -> [T, D]. Source: arXiv:2002.05202."""
    return gelu(gate) * up


@op(shape=same_width, ulp=64, samples=[sample((3, 64), (3, 64))])
def gelu_tanh_mul(gate: Array, up: Array) -> Array:
    """gelu_tanh(gate) * up, the gated unit of Gemma. Shapes: [T, D], [T, D] -> [T, D]."""
    return gelu_tanh(gate) * up


@op(shape=lambda x, cap: x.shape, ulp=64, samples=[sample((3, 64), cap=5.0)])
def softcap(x: Array, *, cap: float) -> Array:
    """cap * tanh(x / cap). Shapes: any -> the same. Source: Gemma 2."""
    return np.float32(cap) * np.tanh(x / np.float32(cap))


def _heads_shape(x: Tensor, width: int) -> Shape:
    total = x.shape[-1]
    require(isinstance(total, int) and total % width == 0, f"{x.name}: width {total} is no multiple of {width}")
    return (x.shape[0], int(total) // width, width)


@op(shape=_heads_shape, ulp=0, samples=[sample((3, 64), width=16)])
def heads(x: Array, *, width: int) -> Array:
    """See each row as heads, without moving anything. Shapes: [T, H * E] -> [T, H, E]."""
    return x.reshape(x.shape[0], -1, width)


@op(
    shape=lambda x: (x.shape[0], int(x.shape[1]) * int(x.shape[2])),
    ulp=0,
    samples=[sample((3, 4, 16)), sample((2, 1, 5))],
)
def flat(x: Array) -> Array:
    """See heads as one row again, without moving anything. Shapes: [T, H, E] -> [T, H * E]."""
    return x.reshape(x.shape[0], -1)


def _columns_shape(x: Tensor, start: int, stop: int) -> Shape:
    total = x.shape[-1]
    require(isinstance(total, int) and 0 <= start < stop <= total, f"{x.name}: no columns {start}:{stop} of {total}")
    return (x.shape[0], stop - start)


@op(shape=_columns_shape, ulp=0, samples=[sample((3, 64), start=16, stop=48)])
def columns(x: Array, *, start: int, stop: int) -> Array:
    """See some columns, without moving anything. Shapes: [T, D] -> [T, stop - start]."""
    return x[:, start:stop]


@op(shape=lambda x, rows: (rows.shape[0], *x.shape[1:]), ulp=0, samples=[sample((5, 64), Integers((2,), 5))])
def take(x: Array, rows: Array) -> Array:
    """Pick rows. Shapes: x [T, D], rows [R] i32 -> [R, D]."""
    return x[rows]
