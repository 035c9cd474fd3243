"""What models that transformers lacks are computed of, in double precision by numpy.

Source: arXiv:1910.07467 (RMS norm), arXiv:2104.09864 (rotary positions), arXiv:2108.12409 (ALiBi),
arXiv:2002.05202 (gated SiLU), arXiv:2405.04434 (latent attention).
Shapes: T tokens, H query heads, K key heads, E head width.
"""

from __future__ import annotations

import numpy as np
from models.case import Weights

Array = np.ndarray


def plain(weights: Weights, *prefixes: str) -> Weights:
    """The weights as doubles, without ".weight" and these beginnings."""
    found = {}
    for name, values in weights.items():
        for prefix in prefixes:
            name = name.removeprefix(prefix)
        found[name.removesuffix(".weight")] = values.astype(np.float64)
    return found


def inside(w: Weights, at: str) -> Weights:
    """What lies under a name."""
    return {name.removeprefix(at): one for name, one in w.items() if name.startswith(at)}


def rms(x: Array, weight: Array | float, eps: float = 1e-5) -> Array:
    """The RMS norm."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def centred(x: Array, w: Weights, name: str, eps: float = 1e-5) -> Array:
    """The layer norm of that name."""
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * w[name] + w[f"{name}.bias"]


def linear(x: Array, w: Weights, name: str) -> Array:
    """Multiply by the weight of that name and add its bias, if any."""
    return x @ w[name].T + w.get(f"{name}.bias", 0.0)


def silu(x: Array) -> Array:
    """x times its sigmoid."""
    return x / (1 + np.exp(-x))


def gated(x: Array, w: Weights, at: str = "mlp.") -> Array:
    """Llama's unit."""
    parts = (linear(x, w, f"{at}{one}_proj") for one in ("gate", "up"))
    gate, up = parts
    return linear(silu(gate) * up, w, f"{at}down_proj")


def speeds(width: int, base: float = 10000.0) -> Array:
    """How fast each rotary pair turns."""
    return base ** (-np.arange(0, width, 2) / width)


def halves(x: Array, speed: Array) -> Array:
    """Turn pairs that lie half a head apart. Shapes: [T, H, E] -> [T, H, E]."""
    first, second = np.split(x, 2, axis=-1)
    turned = (first + 1j * second) * np.exp(1j * np.arange(len(x))[:, None, None] * speed)
    return np.concatenate([turned.real, turned.imag], axis=-1)


def pairs(x: Array, speed: Array) -> Array:
    """Turn pairs of neighbours. Shapes: [T, H, E] -> [T, H, E]."""
    turned = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * np.arange(len(x))[:, None, None] * speed)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


def heads(x: Array, width: int) -> Array:
    """Rows as heads. Shapes: [T, H * E] -> [T, H, E]."""
    return x.reshape(len(x), -1, width)


def attention(q: Array, k: Array, v: Array, scale: float, window: int = 0, slopes: Array | float = 0.0) -> Array:
    """Causal attention, within a window unless it is 0. Shapes: [T, H, E], [T, K, E], [T, K, F] -> [T, H * F]."""
    k, v = (np.repeat(one, q.shape[1] // one.shape[1], axis=1) for one in (k, v))
    distance = np.arange(len(q))[:, None] - np.arange(len(q))[None, :]
    scores = np.einsum("the,nhe->htn", q, k) * scale - np.reshape(slopes, (-1, 1, 1)) * distance
    scores = np.where((distance < 0) | ((window > 0) & (distance >= window)), -np.inf, scores)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("htn,nhe->the", shares / shares.sum(axis=-1, keepdims=True), v).reshape(len(q), -1)
