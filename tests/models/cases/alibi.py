"""Refact and Baichuan 13B: classes that transformers lacks, and no class that could stand in for them has ALiBi and RMS
norms. Their vectors come from the formulas, in double precision by numpy.

Source: arXiv:2108.12409 (ALiBi), arXiv:1910.07467 (RMS norm), arXiv:2002.05202 (gated SiLU).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from models.case import Case, Config, Weights

_REFACT: Config = {
    **{"architectures": ["GPTRefactForCausalLM"], "model_type": "gpt_refact", "n_embd": 64, "n_head": 4, "n_layer": 2},
    **{"n_positions": 512, "vocab_size": 256, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": False},
}
_REFACT_SHAPES = {
    **{"transformer.wte.weight": (256, 64), "transformer.ln_f.weight": (64,), "lm_head.weight": (256, 64)},
    **{
        f"transformer.h.{i}.{name}.weight": shape
        for i in range(2)
        for name, shape in {
            **{"ln_1": (64,), "ln_2": (64,), "attn.q": (64, 64), "attn.kv": (32, 64), "attn.c_proj": (64, 64)},
            **{"mlp.gate_up_proj": (512, 64), "mlp.c_proj": (64, 256)},
        }.items()
    },
}
_LAYERS = 40  # by which files tell 13B from 7B
_BAICHUAN: Config = {
    **{"architectures": ["BaichuanForCausalLM"], "model_type": "baichuan", "hidden_size": 32, "intermediate_size": 32},
    **{"num_hidden_layers": _LAYERS, "num_attention_heads": 4, "vocab_size": 256, "model_max_length": 512},
    **{"rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False},
}
_BAICHUAN_SHAPES = {
    **{"model.embed_tokens.weight": (256, 32), "model.norm.weight": (32,), "lm_head.weight": (256, 32)},
    **{
        f"model.layers.{i}.{name}.weight": shape
        for i in range(_LAYERS)
        for name, shape in {
            **{"input_layernorm": (32,), "post_attention_layernorm": (32,), "self_attn.W_pack": (96, 32)},
            **{"self_attn.o_proj": (32, 32), "mlp.gate_proj": (32, 32), "mlp.up_proj": (32, 32)},
            "mlp.down_proj": (32, 32),
        }.items()
    },
}


def _norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-5) * weight


def _attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, heads: int) -> np.ndarray:
    """Four heads or one of keys; the slopes of four heads are 2^-2, 2^-4, 2^-6, 2^-8."""
    tokens, width = len(q), q.shape[1] // heads
    queries = q.reshape(tokens, heads, width)
    keys, values = (np.broadcast_to(x.reshape(tokens, -1, width), (tokens, heads, width)) for x in (k, v))
    distance = np.arange(tokens)[:, None] - np.arange(tokens)[None, :]
    scores = np.einsum("the,nhe->htn", queries, keys) / np.sqrt(width)
    scores = scores - 0.25 ** np.arange(1, heads + 1)[:, None, None] * distance
    scores = np.where(distance < 0, -np.inf, scores)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("htn,nhe->the", weights, values).reshape(tokens, -1)


def _unit(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    gated = x @ gate.T
    return (gated / (1 + np.exp(-gated)) * (x @ up.T)) @ down.T


def _refact(weights: Weights, ids: list[int]) -> np.ndarray:
    w = {name.removesuffix(".weight"): values.astype(np.float64) for name, values in weights.items()}
    x = w["transformer.wte"][ids]
    for i in range(2):
        at = f"transformer.h.{i}."
        h = _norm(x, w[f"{at}ln_1"])
        k, v = np.split(w[f"{at}attn.kv"], 2)
        x = x + _attend(h @ w[f"{at}attn.q"].T, h @ k.T, h @ v.T, 4) @ w[f"{at}attn.c_proj"].T
        gate, up = np.split(w[f"{at}mlp.gate_up_proj"], 2)
        x = x + _unit(_norm(x, w[f"{at}ln_2"]), gate, up, w[f"{at}mlp.c_proj"])
    return _norm(x, w["transformer.ln_f"]) @ w["lm_head"].T


def _baichuan(weights: Weights, ids: list[int]) -> np.ndarray:
    w = {name.removesuffix(".weight"): values.astype(np.float64) for name, values in weights.items()}
    x = w["model.embed_tokens"][ids]
    for i in range(_LAYERS):
        at = f"model.layers.{i}."
        q, k, v = np.split(_norm(x, w[f"{at}input_layernorm"]) @ w[f"{at}self_attn.W_pack"].T, 3, axis=1)
        x = x + _attend(q, k, v, 4) @ w[f"{at}self_attn.o_proj"].T
        unit = (w[f"{at}mlp.{part}_proj"] for part in ("gate", "up", "down"))
        x = x + _unit(_norm(x, w[f"{at}post_attention_layernorm"]), *unit)
    return _norm(x, w["model.norm"]) @ w["lm_head"].T


def _case(config: Config, shapes: dict[str, tuple[int, ...]], by_hand: Callable[..., np.ndarray]) -> Case:
    return Case(config, shapes=shapes, by_hand=by_hand)


CASES = {
    "refact": _case(_REFACT, _REFACT_SHAPES, _refact),
    "baichuan-13b": _case(_BAICHUAN, _BAICHUAN_SHAPES, _baichuan),
}
