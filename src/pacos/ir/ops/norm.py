"""Normalisations over the last axis.

Shapes: any leading axes, D width.
"""

from __future__ import annotations

from typing import Any

from pacos.ir.graph import Shape, Tensor, require
from pacos.ir.registry import op, sample
from pacos.lazy import np

Array = Any


def _scaled_rows(x: Tensor, *vectors: Tensor | None, eps: float) -> Shape:
    for vector in vectors:
        if vector is not None:
            require(vector.shape == x.shape[-1:], f"{vector.name} is {vector.shape}, rows have width {x.shape[-1]}")
    return x.shape


@op(shape=_scaled_rows, ulp=64, samples=[sample((3, 64), (64,), eps=1e-5), sample((5, 2, 128), (128,), eps=1e-6)])
def rms_norm(x: Array, w: Array, *, eps: float) -> Array:
    """Divide each row by its root mean square, then multiply by w.

    Shapes: x [..., D] f32, w [D] f32 -> [..., D] f32. eps is added to the mean of x * x.
    Errors: ShapeError when w is not [D]. Source: arXiv:1910.07467.
    """
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(eps)) * w


@op(
    shape=_scaled_rows,
    ulp=64,
    samples=[sample((3, 64), (64,), (64,), eps=1e-5), sample((2, 96), (96,), None, eps=1e-5)],
)
def layer_norm(x: Array, w: Array, bias: Array | None, *, eps: float) -> Array:
    """Centre each row, divide by its standard deviation, multiply by w and add the bias.

    Shapes: x [..., D], w [D], bias [D] or None -> [..., D]. eps is added to the variance. Source: arXiv:1607.06450.
    """
    centred = x - np.mean(x, axis=-1, keepdims=True)
    y = centred / np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + np.float32(eps)) * w
    return y if bias is None else y + bias
