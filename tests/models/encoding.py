"""What encoders are made of, by plain numpy in double precision, for classes that transformers lacks.

Source: arXiv:1706.03762 (attention), arXiv:2104.09864 (rotary positions), arXiv:1910.07467 (RMS norm).
"""

from __future__ import annotations

import math

import numpy as np

erf = np.vectorize(math.erf)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / math.sqrt(2))) / 2


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) * weight + bias


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * weight


def turned(x: np.ndarray, base: float, *, pairs: bool) -> np.ndarray:
    """Heads turned by their positions: numbers side by side are a pair, or those half a head apart. x [T, H, E]."""
    half = x.shape[-1] // 2
    angles = np.arange(len(x))[:, None] * base ** (-np.arange(half) / half)
    turn = np.exp(1j * angles)[:, None, :]
    if pairs:
        z = (x[..., ::2] + 1j * x[..., 1::2]) * turn
        return np.stack([z.real, z.imag], axis=-1).reshape(x.shape)
    z = (x[..., :half] + 1j * x[..., half:]) * turn
    return np.concatenate([z.real, z.imag], axis=-1)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Every token sees all. [T, H, E] each -> [T, H * E]."""
    scores = np.einsum("the,nhe->htn", q, k) / math.sqrt(q.shape[-1])
    return np.einsum("htn,nhe->the", softmax(scores), v).reshape(len(q), -1)
