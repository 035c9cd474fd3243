"""Grok-1: transformers lacks the class; its vectors come from the formulas, in double precision by numpy.

Source: github.com/xai-org/grok-1, model.py: router, gated experts, capped scores and where the norms stand.
"""

from __future__ import annotations

import numpy as np
from models.case import Case, Config, Weights

HEADS, KEY_HEADS, WIDTH, EXPERTS, CAP = 4, 2, 16, 6, 30.0
_CONFIG: Config = {
    **{"architectures": ["GrokForCausalLM"], "model_type": "grok", "hidden_size": 64, "intermediate_size": 96},
    **{"num_hidden_layers": 2, "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS, "vocab_size": 256},
    **{"max_position_embeddings": 512, "rms_norm_eps": 1e-5, "hidden_act": "gelu", "tie_word_embeddings": True},
    **{"num_local_experts": EXPERTS, "num_experts_per_tok": 2, "embedding_multiplier_scale": 3.0},
    **{"output_multiplier_scale": 0.5, "attn_output_multiplier": 0.75, "attn_logit_softcapping": CAP},
}
_LAYER = {
    **{f"rms_norm{one}": (64,) for one in ("", "_1", "_2", "_3")},
    **{"multi_head_attention.query": (64, 64), "multi_head_attention.key": (32, 64)},
    **{"multi_head_attention.value": (32, 64), "multi_head_attention.linear": (64, 64), "router": (EXPERTS, 64)},
    **{f"moe.{e}.{name}": (96, 64) for e in range(EXPERTS) for name in ("linear", "linear_v")},
    **{f"moe.{e}.linear_1": (64, 96) for e in range(EXPERTS)},
}
_SHAPES = {
    **{"transformer.in_out_embed.weight": (256, 64), "transformer.rms_norm.weight": (64,)},
    **{f"transformer.decoder_layer.{i}.{name}.weight": shape for i in range(2) for name, shape in _LAYER.items()},
}


def normed(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The RMS norm."""
    return weight * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)


def softmax(x: np.ndarray) -> np.ndarray:
    """Shares that add up to one."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rotated(x: np.ndarray) -> np.ndarray:
    """Halves of every head as complex numbers, turned. Shapes: [T, heads * WIDTH] -> [T, heads, WIDTH]."""
    first, second = np.split(x.reshape(len(x), -1, WIDTH), 2, axis=-1)
    speeds = 10000.0 ** (-2 * np.arange(WIDTH // 2) / WIDTH)
    turned = (first + 1j * second) * np.exp(1j * np.arange(len(x))[:, None, None] * speeds)
    return np.concatenate([turned.real, turned.imag], axis=-1)


def _attention(h: np.ndarray, w: Weights) -> np.ndarray:
    q, k, v = (h @ w[f"multi_head_attention.{name}"].T for name in ("query", "key", "value"))
    k, v = (np.repeat(one.reshape(len(h), -1, WIDTH), HEADS // KEY_HEADS, axis=1) for one in (rotated(k), v))
    scores = CAP * np.tanh(np.einsum("the,nhe->htn", rotated(q), k) * 0.75 / CAP)
    shares = softmax(np.where(np.tri(len(h), dtype=bool), scores, -np.inf))
    return np.einsum("htn,nhe->the", shares, v).reshape(len(h), -1) @ w["multi_head_attention.linear"].T


def _mixture(h: np.ndarray, w: Weights) -> np.ndarray:
    chances = softmax(h @ w["router"].T)
    y = np.zeros_like(h)
    for t, row in enumerate(h):
        for e in np.argsort(-chances[t])[:2]:
            gate = row @ w[f"moe.{e}.linear"].T
            gate = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
            y[t] += chances[t, e] * (gate * (row @ w[f"moe.{e}.linear_v"].T)) @ w[f"moe.{e}.linear_1"].T
    return y


def _grok(weights: Weights, ids: list[int]) -> np.ndarray:
    t = {name.removesuffix(".weight"): one.astype(np.float64) for name, one in weights.items()}
    x = 3.0 * t["transformer.in_out_embed"][ids]
    for i in range(2):
        at = f"transformer.decoder_layer.{i}."
        w = {name.removeprefix(at): one for name, one in t.items() if name.startswith(at)}
        x = x + normed(_attention(normed(x, w["rms_norm"]), w), w["rms_norm_1"])
        x = x + normed(_mixture(normed(x, w["rms_norm_2"]), w), w["rms_norm_3"])
    return 0.5 * normed(x, t["transformer.rms_norm"]) @ t["transformer.in_out_embed"].T


CASES = {"grok": Case(_CONFIG, shapes=_SHAPES, by_hand=_grok)}
