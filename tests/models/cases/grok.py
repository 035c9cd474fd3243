"""Grok-1 and 2: transformers lacks the class; vectors come from the formulas, in double precision by numpy.

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


PLAIN = 10000.0 ** (-2 * np.arange(WIDTH // 2) / WIDTH)


def stretched(factor: float, context: int, fast: float, slow: float) -> np.ndarray:
    """The speeds of YaRN, arXiv:2309.00071: slow ones are those of the stretched context."""
    places = [WIDTH * np.log(context / (turns * 2 * np.pi)) / (2 * np.log(10000.0)) for turns in (fast, slow)]
    low, high = max(np.floor(places[0]), 0), min(np.ceil(places[1]), WIDTH - 1)
    share = np.clip((np.arange(WIDTH // 2) - low) / (high - low), 0, 1)
    return PLAIN * (1 - share) + PLAIN / factor * share


def rotated(x: np.ndarray, speeds: np.ndarray = PLAIN) -> np.ndarray:
    """Halves of every head as complex numbers, turned. Shapes: [T, heads * WIDTH] -> [T, heads, WIDTH]."""
    first, second = np.split(x.reshape(len(x), -1, WIDTH), 2, axis=-1)
    turned = (first + 1j * second) * np.exp(1j * np.arange(len(x))[:, None, None] * speeds)
    return np.concatenate([turned.real, turned.imag], axis=-1)


def _attention(h: np.ndarray, w: Weights, speeds: np.ndarray = PLAIN, longer: float = 1.0) -> np.ndarray:
    q, k, v = (h @ w[f"multi_head_attention.{name}"].T for name in ("query", "key", "value"))
    k, v = (np.repeat(one.reshape(len(h), -1, WIDTH), HEADS // KEY_HEADS, axis=1) for one in (rotated(k, speeds), v))
    scores = CAP * np.tanh(np.einsum("the,nhe->htn", rotated(q, speeds), k) * longer**2 * 0.75 / CAP)
    shares = softmax(np.where(np.tri(len(h), dtype=bool), scores, -np.inf))
    return np.einsum("htn,nhe->the", shares, v).reshape(len(h), -1) @ w["multi_head_attention.linear"].T


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _mixture(h: np.ndarray, w: Weights, *, whole: bool = False) -> np.ndarray:
    chances = softmax(h @ w["router"].T)
    y = np.zeros_like(h)
    for t, row in enumerate(h):
        for e in np.argsort(-chances[t])[:2]:
            gate = _gelu(row @ w[f"moe.{e}.linear"].T)
            share = chances[t, e] / (np.sort(chances[t])[-2:].sum() if whole else 1)
            y[t] += share * (gate * (row @ w[f"moe.{e}.linear_v"].T)) @ w[f"moe.{e}.linear_1"].T
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


_SECOND: Config = {
    **{key: one for key, one in _CONFIG.items() if key != "max_attn_value"},
    **{"architectures": ["Grok1ForCausalLM"], "model_type": "git", "head_dim": WIDTH, "moe_intermediate_size": 96},
    **{"intermediate_size": 128, "residual_moe": True, "final_logit_softcapping": 5.0, "tie_word_embeddings": False},
    **{"router_logit_softcapping": 30.0, "attn_temperature_len": 1024, "rope_type": "original", "rope_theta": 10000},
    **{"scaling_factor": 4.0, "original_max_position_embeddings": 128, "extrapolation_factor": 1.0},
    **{"attn_factor": 1.0, "beta_fast": 8, "beta_slow": 1},
}
# What the second calls the same, in the words of the first.
_NAMES = {
    **{"pre_attn_norm": "rms_norm", "post_attn_norm": "rms_norm_1", "pre_moe_norm": "rms_norm_2"},
    **{"post_moe_norm": "rms_norm_3", "block_sparse_moe.gate": "router"},
    **{f"self_attn.{one[0]}_proj": f"multi_head_attention.{one}" for one in ("query", "key", "value")},
    "self_attn.o_proj": "multi_head_attention.linear",
    **{
        f"block_sparse_moe.experts.{e}.{name}": f"moe.{e}.{first}"
        for e in range(EXPERTS)
        for name, first in (("w1", "linear"), ("w2", "linear_1"), ("w3", "linear_v"))
    },
}
_SECOND_SHAPES = {
    **{"model.embed_tokens.weight": (256, 64), "model.norm.weight": (64,), "lm_head.weight": (256, 64)},
    **{f"model.layers.{i}.{name}.weight": _LAYER[first] for i in range(2) for name, first in _NAMES.items()},
    **{f"model.layers.{i}.mlp.{one}_proj.weight": (128, 64) for i in range(2) for one in ("gate", "up")},
    **{f"model.layers.{i}.mlp.down_proj.weight": (64, 128) for i in range(2)},
}


def _grok_2(weights: Weights, ids: list[int]) -> np.ndarray:
    t = {name.removesuffix(".weight").removeprefix("model."): one.astype(np.float64) for name, one in weights.items()}
    speeds, longer = stretched(4.0, 128, 8.0, 1.0), 0.1 * np.log(4.0) + 1
    x = 3.0 * t["embed_tokens"][ids]
    for i in range(2):
        at = f"layers.{i}."
        w = {_NAMES.get(name.removeprefix(at), name.removeprefix(at)): one for name, one in t.items() if at in name}
        x = x + normed(_attention(normed(x, w["rms_norm"]), w, speeds, longer), w["rms_norm_1"])
        h = normed(x, w["rms_norm_2"])
        unit = (_gelu(h @ w["mlp.gate_proj"].T) * (h @ w["mlp.up_proj"].T)) @ w["mlp.down_proj"].T
        x = x + normed((unit + _mixture(h, w, whole=True)) / np.sqrt(2), w["rms_norm_3"])
    return 5.0 * np.tanh(0.5 * normed(x, t["norm"]) @ t["lm_head"].T / 5.0)


CASES = {
    "grok": Case(_CONFIG, shapes=_SHAPES, by_hand=_grok),
    "grok-2": Case(_SECOND, shapes=_SECOND_SHAPES, by_hand=_grok_2),
}
