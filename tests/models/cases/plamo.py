"""PLaMo 13B: transformers lacks the class; its vectors come from the formulas, in double precision by numpy.

Source: arXiv:2104.09864 (rotary halves), arXiv:1910.07467 (RMS norm), arXiv:2002.05202 (gated SiLU).
"""

from __future__ import annotations

import numpy as np
from models.case import Case, Config, Weights

HEADS, SHARED, WIDTH = 4, 2, 16
_CONFIG: Config = {
    **{"architectures": ["PlamoForCausalLM"], "model_type": "plamo", "hidden_size": 64, "intermediate_size": 128},
    **{"num_hidden_layers": 2, "num_attention_heads": HEADS, "n_shared_head": SHARED, "vocab_size": 256},
    **{"max_position_embeddings": 512, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False},
}
_SHAPES = {
    **{"model.embed_tokens.weight": (256, 64), "model.norm.weight": (64,), "lm_head.weight": (256, 64)},
    **{
        f"model.layers.layers.{i}.{name}.weight": shape
        for i in range(2)
        for name, shape in {
            **{"norm": (64,), "self_attn.q_proj": (64, 64), "self_attn.k_proj": (32, 64), "self_attn.v_proj": (32, 64)},
            **{"self_attn.o_proj": (64, 64), "mlp.gate_proj": (128, 64), "mlp.up_proj": (128, 64)},
            "mlp.down_proj": (64, 128),
        }.items()
    },
}


def _norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-5) * weight


def _turned(x: np.ndarray) -> np.ndarray:
    """Rotary halves of every head. Shapes: [T, heads, WIDTH] -> the same."""
    half = WIDTH // 2
    angles = np.arange(len(x))[:, None, None] * 10000.0 ** (-np.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    turned = (first * np.cos(angles) - second * np.sin(angles), first * np.sin(angles) + second * np.cos(angles))
    return np.concatenate(turned, axis=-1)


def _attend(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Query head h sees key head h modulo the number of key heads."""
    tokens = len(q)
    queries = _turned(q.reshape(tokens, HEADS, WIDTH))
    keys = np.tile(_turned(k.reshape(tokens, -1, WIDTH)), (1, SHARED, 1))
    values = np.tile(v.reshape(tokens, -1, WIDTH), (1, SHARED, 1))
    scores = np.einsum("the,nhe->htn", queries, keys) / np.sqrt(WIDTH)
    scores = np.where(np.tri(tokens, dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("htn,nhe->the", weights / weights.sum(axis=-1, keepdims=True), values).reshape(tokens, -1)


def _plamo(weights: Weights, ids: list[int]) -> np.ndarray:
    w = {name.removesuffix(".weight"): values.astype(np.float64) for name, values in weights.items()}
    x = w["model.embed_tokens"][ids]
    for i in range(2):
        at = f"model.layers.layers.{i}."
        h = _norm(x, w[f"{at}norm"])
        a = _attend(*(h @ w[f"{at}self_attn.{part}_proj"].T for part in "qkv")) @ w[f"{at}self_attn.o_proj"].T
        gate = h @ w[f"{at}mlp.gate_proj"].T
        x = x + a + (gate / (1 + np.exp(-gate)) * (h @ w[f"{at}mlp.up_proj"].T)) @ w[f"{at}mlp.down_proj"].T
    return _norm(x, w["model.norm"]) @ w["lm_head"].T


CASES = {"plamo": Case(_CONFIG, shapes=_SHAPES, by_hand=_plamo)}
