"""Normalisations over the last axis.

Shapes: any leading axes, D width.
"""

from __future__ import annotations

import math
from typing import Any

from pacos.ir.graph import Shape, Tensor, require
from pacos.ir.registry import op, sample
from pacos.lazy import np

Array = Any


def _scaled_rows(x: Tensor, *vectors: Tensor | None, eps: float) -> Shape:
    for vector in vectors:
        if vector is not None:
            fitting = (x.shape[-1:], x.shape[1:], (math.prod(map(int, x.shape[1:])),))
            require(vector.shape in fitting, f"{vector.name} is {vector.shape}, rows have width {x.shape[-1]}")
    return x.shape


def _spread(vector: Array, x: Array) -> Array:
    """One number for each of a row, or for each of all heads."""
    return vector if vector.size == x.shape[-1] else vector.reshape(x.shape[1:])


@op(
    shape=_scaled_rows,
    ulp=64,
    samples=[
        sample((3, 64), (64,), eps=1e-5),
        sample((5, 2, 128), (128,), eps=1e-6),
        sample((4, 3, 40), None, eps=1e-5),
        sample((4, 3, 20), (3, 20), eps=1e-5),
    ],
)
def rms_norm(x: Array, w: Array | None, *, eps: float) -> Array:
    """Divide each row by its root mean square, then multiply by w.

    Shapes: x [..., D] f32, w [D] f32 or None -> [..., D] f32; of x [T, H, D], w may be [H, D] or [H * D] too.
    eps is added to the mean of x * x.
    Errors: ShapeError when w is not [D]. Source: arXiv:1910.07467.
    """
    y = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(eps))
    return y if w is None else y * _spread(w, x)


@op(shape=lambda x, eps: x.shape, ulp=64, samples=[sample((3, 64), eps=1e-6), sample((5, 2, 100), eps=1e-6)])
def l2_norm(x: Array, *, eps: float) -> Array:
    """Divide each row by its length; eps is added to the sum of squares. Shapes: [..., D] -> [..., D]."""
    return x / np.sqrt(np.sum(x * x, axis=-1, keepdims=True) + np.float32(eps))


@op(
    shape=_scaled_rows,
    ulp=64,
    samples=[
        sample((3, 64), (64,), (64,), eps=1e-5),
        sample((2, 96), (96,), None, eps=1e-5),
        sample((4, 3, 20), (60,), (60,), eps=1e-5),
        sample((2, 40), None, None, eps=1e-5),
    ],
)
def layer_norm(x: Array, w: Array | None, bias: Array | None, *, eps: float) -> Array:
    """Centre each row, divide by its standard deviation, multiply by w and add the bias.

    Shapes: x [..., D], w [D] or None, bias [D] or None -> [..., D], or w and bias as for rms_norm. eps is added to the
    variance. Source: arXiv:1607.06450.
    """
    centred = x - np.mean(x, axis=-1, keepdims=True)
    y = centred / np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + np.float32(eps))
    y = y if w is None else y * _spread(w, x)
    return y if bias is None else y + _spread(bias, x)


@op(shape=lambda x: (x.shape[0], 1), ulp=64, samples=[sample((3, 64)), sample((2, 33))])
def magnitude(x: Array) -> Array:
    """The root mean square of each row. Shapes: [T, D] -> [T, 1]."""
    return np.sqrt(np.mean(x * x, axis=-1, keepdims=True))


@op(
    shape=lambda x, deviations: x.shape,
    ulp=64,
    samples=[sample((3, 64), deviations=1.6), sample((2, 33), deviations=0.0)],
)
def gaussian_top(x: Array, *, deviations: float) -> Array:
    """What of each row lies more than so many standard deviations above its mean, counted from there; the rest is 0.

    Shapes: [T, D] -> [T, D]. Source: Gemma 3n's sparse activations (arXiv:2506.06644).
    """
    least = np.mean(x, axis=-1, keepdims=True) + np.float32(deviations) * np.std(x, axis=-1, keepdims=True)
    return np.maximum(x - least, np.float32(0))
