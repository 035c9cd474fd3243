"""Rotary position embeddings with every scaling: linear, NTK (by its base), YaRN, Llama 3 factors.

Shapes: T rows, H heads, E head width, P rotated pairs (2 P <= E).
Source: arXiv:2104.09864 (rotary), arXiv:2309.00071 (YaRN), Llama 3.1 reference code (frequency factors).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pacos.ir.graph import Shape, Tensor, require
from pacos.ir.registry import Integers, op, sample
from pacos.lazy import np

Array = Any


@dataclass(frozen=True, slots=True)
class RopeSpec:
    """How positions become angles.

    `width` dimensions of each head are rotated; `style` says which belong together: "pairs" (2 i, 2 i + 1) or
    "halves" (i, i + width / 2). `scaling` is "none", "linear" or "yarn"; `factor` stretches the context.
    """

    width: int
    style: str = "pairs"
    base: float = 10000.0
    scaling: str = "none"
    factor: float = 1.0
    original_context: int = 0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    extrapolation: float = 1.0
    attention_factor: float = 1.0
    whole_ends: bool = True  # YaRN's ramp begins and ends at whole pairs

    def __str__(self) -> str:
        scaling = "" if self.scaling == "none" else f" {self.scaling} {self.factor:.9g} of {self.original_context}"
        return f"<{self.style} {self.width} base {self.base:.9g}{scaling}>"

    def frequencies(self) -> list[float]:
        """Radians per position of each pair, scaling included. Shapes: P numbers."""
        plain = [self.base ** (-2.0 * i / self.width) for i in range(self.width // 2)]
        if self.scaling == "none":
            return plain
        if self.scaling == "linear":
            return [value / self.factor for value in plain]
        low, high = self._ramp_ends()
        mixed = []
        for i, value in enumerate(plain):
            ramp = min(1.0, max(0.0, (i - low) / max(0.001, high - low)))
            keep = (1.0 - ramp) * self.extrapolation
            mixed.append(value / self.factor * (1.0 - keep) + value * keep)
        return mixed

    def magnitude(self) -> float:
        """Factor on cosines and sines: YaRN's temperature."""
        if self.scaling != "yarn":
            return self.attention_factor
        return self.attention_factor * (1.0 + 0.1 * math.log(self.factor) if self.factor > 1 else 1.0)

    def _ramp_ends(self) -> tuple[float, float]:
        def pair_of(turns: float) -> float:
            return self.width * math.log(self.original_context / (turns * 2 * math.pi)) / (2 * math.log(self.base))

        low, high = pair_of(self.beta_fast), pair_of(self.beta_slow)
        if self.whole_ends:
            low, high = math.floor(low), math.ceil(high)
        return max(0.0, low), min(self.width - 1.0, high)


_PLAIN = RopeSpec(16)


def _angles_shape(positions: Tensor, factors: Tensor | None, spec: RopeSpec) -> Shape:
    if factors is not None:
        require(factors.shape == (spec.width // 2,), f"{factors.name} is {factors.shape}, needed: {spec.width // 2}")
    return (positions.shape[0], spec.width)


@op(
    shape=_angles_shape,
    ulp=4096,
    samples=[sample(Integers((5,), 900), None, spec=_PLAIN), sample(Integers((3,), 90), (8,), spec=_PLAIN)],
)
def rope_angles(positions: Array, factors: Array | None, *, spec: RopeSpec) -> Array:
    """Cosine and sine of every position's angles, computed once per step.

    Shapes: positions [T] i32, factors [P] (divide the frequencies) -> [T, 2 P], cosines first.
    """
    frequencies = np.array(spec.frequencies(), np.float64)
    if factors is not None:
        frequencies = frequencies / factors
    angles = positions[:, None] * frequencies
    table = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1) * spec.magnitude()
    return table.astype(np.float32)


def _rotate_shape(x: Tensor, angles: Tensor, style: str) -> Shape:
    width = angles.shape[-1]
    require(len(x.shape) == 3 and int(x.shape[2]) >= int(width), f"{x.name} {x.shape}: heads narrower than {width}")
    return x.shape


@op(
    shape=_rotate_shape,
    ulp=64,
    samples=[sample((3, 2, 16), (3, 16), style="pairs"), sample((3, 2, 24), (3, 16), style="halves")],
)
def rotate(x: Array, angles: Array, *, style: str) -> Array:
    """Rotate pairs of each head's first 2 P dimensions; the rest passes through.

    Shapes: x [T, H, E], angles [T, 2 P] -> [T, H, E].
    """
    width = angles.shape[-1]
    half = width // 2
    cos, sin = angles[:, None, :half], angles[:, None, half:]
    first, second = (slice(0, width, 2), slice(1, width, 2)) if style == "pairs" else (slice(half), slice(half, width))
    y = x.copy()
    y[..., first] = x[..., first] * cos - x[..., second] * sin
    y[..., second] = x[..., first] * sin + x[..., second] * cos
    return y


def rope(x: Array, positions: Array, spec: RopeSpec, factors: Array | None = None) -> Array:
    """Rotate queries or keys by their positions. Shapes: x [T, H, E], positions [T] -> [T, H, E]."""
    return rotate(x, rope_angles(positions, factors, spec=spec), style=spec.style)
