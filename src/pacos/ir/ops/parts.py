"""Heads taken apart and put together, and queries scaled by their place in the text.

Shapes: T rows, H heads, E and F head widths.
"""

from __future__ import annotations

from typing import Any

from pacos.ir.graph import Shape, Tensor, require
from pacos.ir.registry import Integers, op, sample
from pacos.lazy import np

Array = Any


def _part_shape(x: Tensor, start: int, stop: int) -> Shape:
    require(len(x.shape) == 3 and 0 <= start < stop <= int(x.shape[2]), f"{x.name} {x.shape}: no part {start}:{stop}")
    return (*x.shape[:2], stop - start)


@op(shape=_part_shape, ulp=0, samples=[sample((3, 4, 24), start=16, stop=24), sample((2, 1, 33), start=0, stop=5)])
def part(x: Array, *, start: int, stop: int) -> Array:
    """Some columns of every head. Shapes: [T, H, E] -> [T, H, stop - start]."""
    return x[..., start:stop]


def _join_shape(a: Tensor, b: Tensor) -> Shape:
    require(len(a.shape) == len(b.shape) == 3, f"join of {a.shape} and {b.shape}, needed: heads")
    require(b.shape[1] in (1, a.shape[1]), f"{a.name} has {a.shape[1]} heads, {b.name} {b.shape[1]}")
    return (*a.shape[:2], int(a.shape[2]) + int(b.shape[2]))


@op(shape=_join_shape, ulp=0, samples=[sample((3, 4, 24), (3, 4, 8)), sample((2, 3, 16), (2, 1, 5))])
def join(a: Array, b: Array) -> Array:
    """Each head of a, and behind it that of b, of which one may serve all.

    Shapes: a [T, H, E], b [T, H, F] or [T, 1, F] -> [T, H, E + F].
    """
    return np.concatenate([a, np.broadcast_to(b, (*a.shape[:2], b.shape[2]))], axis=-1)


@op(
    shape=lambda x, positions, **_: x.shape,
    ulp=8,
    samples=[sample((3, 2, 16), Integers((3,), 900), length=64.0, scale=0.1)],
)
def temper(x: Array, positions: Array, *, length: float, scale: float, offset: float = 1.0) -> Array:
    """Multiply rows by 1 + scale * log(1 + floor((position + offset) / length)): far queries look more sharply.

    Shapes: x [T, H, E], positions [T] i32 -> [T, H, E]. Source: Llama 4's attention temperature tuning.
    """
    factors = 1 + scale * np.log1p(np.floor((positions + offset) / length))
    return x * factors.astype(np.float32)[:, None, None]
