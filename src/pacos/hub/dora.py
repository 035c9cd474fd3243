"""DoRA: the rows of a matrix and its adapter together get lengths of their own, so w becomes m / |w + d| * (w + d).

Beside the matrix that is B (A x) with longer or shorter rows of B, and a share of what the matrix itself gives; scaled
as other adapters are, from w at 0 to DoRA's at 1. Source: arXiv:2402.09353, PEFT's tuners/lora/dora.py.
Shapes: N outputs, D inputs, r rank; w and d [N, D], magnitudes m [N].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pacos import quants
from pacos.lazy import np
from pacos.models.adapters import EMBEDDING, Factor, Pair, bias_of, in_memory

if TYPE_CHECKING:
    from pacos.quants.block import Floats
    from pacos.types import Archive, TensorEntry

_PIECE_WEIGHTS = 1 << 22


def gains(together: Floats, magnitudes: Floats) -> Floats:
    """m / |w + d| of each row; 0 where a row has no length, and so no direction.

    Shapes: together [n, D], magnitudes [n] -> [n].
    """
    lengths = np.sqrt(np.sum(np.square(together), axis=-1))
    found: Floats = np.divide(magnitudes, lengths, out=np.zeros_like(magnitudes), where=lengths > 0)
    return found


def _all_gains(entry: TensorEntry, data: Any, a: Floats, b: Floats, magnitudes: Floats) -> Floats:
    """The gains of a tensor's rows; the weights are unpacked some rows at a time.

    Shapes: a [r, D], b [N, r], times alpha over rank -> [N].
    """
    rows, columns = entry.shape
    row_bytes = quants.row_bytes(entry.type, columns)
    step = max(1, _PIECE_WEIGHTS // columns)
    found = np.empty(rows, np.float32)
    for begin in range(0, rows, step):
        end = min(rows, begin + step)
        w = quants.dequantize(entry.type, data[begin * row_bytes : end * row_bytes], (end - begin, columns))
        found[begin:end] = gains(w + b[begin:end] @ a, magnitudes[begin:end])
    return found


def parts(base: Archive, target: str, pair: Pair) -> tuple[Factor, ...]:
    """A; B as it is in the end; the shares of w x to add; and, where there is a bias, what takes it out of them."""
    lengths = pair.magnitudes
    if lengths is None:
        return pair.a, pair.b
    entry = base.tensors[target if target in base.tensors else EMBEDDING]
    a, b, sizes = (quants.dequantize(one.type, one.data, one.shape) for one in (pair.a, pair.b, lengths))
    b = b * np.float32(pair.factor)
    found = _all_gains(entry, base.data(entry.name), a, b, sizes)
    own = found - np.float32(1)
    made = pair.a, in_memory(found[:, None] * b), in_memory(own)
    bias = base.tensors.get(bias_of(target))
    if bias is None:
        return made
    return *made, in_memory(-own * quants.dequantize(bias.type, base.data(bias.name), bias.shape))
