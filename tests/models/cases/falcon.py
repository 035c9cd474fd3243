"""Falcon. transformers rounds the positions of RW to 8 bits and in plain attention adds ALiBi twice: by numpy then."""

from __future__ import annotations

import math

import numpy as np
from models.case import Case, Config, Weights
from models.cases.grok import softmax

_SIZES = {
    **{"architectures": ["FalconForCausalLM"], "model_type": "falcon", "hidden_size": 64, "num_attention_heads": 4},
    **{"num_hidden_layers": 2, "vocab_size": 256, "bias": False, "parallel_attn": True, "alibi": False},
    **{"bos_token_id": 0, "eos_token_id": 1, "activation": "gelu"},
}
_RW: Config = {
    **{**_SIZES, "architectures": ["RWForCausalLM"], "bias": True, "parallel_attn": False, "alibi": True},
    **{"multi_query": False, "new_decoder_architecture": False},
}
_PARTS = {
    **{"input_layernorm": (64,), "post_attention_layernorm": (64,), "self_attention.query_key_value": (192, 64)},
    **{"self_attention.dense": (64, 64), "mlp.dense_h_to_4h": (256, 64), "mlp.dense_4h_to_h": (64, 256)},
}
_SHAPES = {
    **{
        "transformer.word_embeddings.weight": (256, 64),
        "transformer.ln_f.weight": (64,),
        "transformer.ln_f.bias": (64,),
    },
    **{
        f"transformer.h.{i}.{name}.{kind}": shape if kind == "weight" else shape[:1]
        for i in range(2)
        for name, shape in _PARTS.items()
        for kind in ("weight", "bias")
    },
}


def _norm(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centred / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def _project(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _attend(x: np.ndarray, w: Weights) -> np.ndarray:
    """Each head's queries, keys and values lie together; scores and ALiBi's bias are scaled as one."""
    tokens = len(x)
    q, k, v = np.moveaxis(_project(x, w, "self_attention.query_key_value").reshape(tokens, 4, 3, 16), 2, 0)
    distance = np.arange(tokens)[:, None] - np.arange(tokens)[None, :]
    slopes = 0.25 ** np.arange(1, 5)[:, None, None]
    scores = (np.einsum("the,nhe->htn", q, k) - slopes * distance) / 4
    seen = np.einsum("htn,nhe->the", softmax(np.where(distance < 0, -np.inf, scores)), v)
    return _project(seen.reshape(tokens, 64), w, "self_attention.dense")


def _rw(weights: Weights, ids: list[int]) -> np.ndarray:
    t = {name.removeprefix("transformer."): one.astype(np.float64) for name, one in weights.items()}
    erf = np.vectorize(math.erf)
    x = t["word_embeddings.weight"][ids]
    for i in range(2):
        w = {name.removeprefix(f"h.{i}."): one for name, one in t.items() if name.startswith(f"h.{i}.")}
        x = x + _attend(_norm(x, w, "input_layernorm"), w)
        h = _project(_norm(x, w, "post_attention_layernorm"), w, "mlp.dense_h_to_4h")
        x = x + _project(0.5 * h * (1 + erf(h / math.sqrt(2))), w, "mlp.dense_4h_to_h")
    return _norm(x, t, "ln_f") @ t["word_embeddings.weight"].T


CASES = {
    "falcon-7b": Case({**_SIZES, "multi_query": True, "new_decoder_architecture": False}),
    "falcon-40b": Case({**_SIZES, "num_kv_heads": 2, "new_decoder_architecture": True}),
    "falcon-rw": Case(_RW, shapes=_SHAPES, by_hand=_rw, peer="knows no ALiBi in it"),
}
