"""Qwen 2.5 with RWKV's mixers: transformers lacks the classes; vectors come from the formulas, in double precision.

Source: arXiv:2503.14456, section 4, without the norm of heads (ARWKV: arXiv:2501.15570); arXiv:2404.05892, section 4,
with keys that are the smaller the slower the state fades, and without a bonus (QRWKV 6).
"""

from __future__ import annotations

import numpy as np
from models.case import VOCAB, Case, Config, Weights
from models.cases.formulas import gated, heads, inside, plain, rms

_WIDTH, _HIDDEN, _HEAD, _KEY_HEADS, _EPS = 64, 96, 32, 1, 1e-5
_SIZES: Config = {
    **{"hidden_size": _WIDTH, "intermediate_size": _HIDDEN, "num_hidden_layers": 2, "rms_norm_eps": _EPS},
    **{"vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": False, "hidden_act": "silu"},
    **{"num_attention_heads": _WIDTH // _HEAD, "num_key_value_heads": _KEY_HEADS},
}
_LAYER = {
    **{"input_layernorm.weight": (_WIDTH,), "post_attention_layernorm.weight": (_WIDTH,)},
    **{f"mlp.{one}_proj.weight": (_HIDDEN, _WIDTH) for one in ("gate", "up")},
    "mlp.down_proj.weight": (_WIDTH, _HIDDEN),
}
_RANKS = {"w": 64, "a": 64, "v": 32, "g": 128}
_SEVEN = {
    **{f"x_{one}": (1, 1, _WIDTH) for one in "rwkvag"},
    **{f"{one}0": (1, 1, _WIDTH) for one in "wav"},
    **{f"{one}1": (_WIDTH, rank) for one, rank in _RANKS.items()},
    **{f"{one}2": (rank, _WIDTH) for one, rank in _RANKS.items()},
    **{"k_k": (1, 1, _WIDTH), "k_a": (1, 1, _WIDTH), "r_k": (_WIDTH // _HEAD, _HEAD)},
    **{f"{one}.weight": (_WIDTH, _WIDTH) for one in ("receptance", "key", "value", "output")},
}
_NARROW, _DECAY, _MIXED = 32, 64, "rkvwg"
_SIX = {
    **{f"time_maa_{one}": (1, 1, _WIDTH) for one in (*_MIXED, "x")},
    **{"time_maa_w1": (_WIDTH, 5 * _NARROW), "time_maa_w2": (5, _NARROW, _WIDTH)},
    **{"time_decay": (1, 1, _WIDTH), "time_decay_w1": (_WIDTH, _DECAY), "time_decay_w2": (_DECAY, _WIDTH)},
    **{f"{one}_proj.weight": (_KEY_HEADS * _HEAD, _WIDTH) for one in "kv"},
    **{f"{one}_proj.bias": (_KEY_HEADS * _HEAD,) for one in "kv"},
    **{"q_proj.weight": (_WIDTH, _WIDTH), "q_proj.bias": (_WIDTH,)},
    **{"gate.weight": (_WIDTH, _WIDTH), "o_proj.weight": (_WIDTH, _WIDTH)},
}


def _shapes(mixer: dict[str, tuple[int, ...]], at: str) -> dict[str, tuple[int, ...]]:
    found = {"model.embed_tokens.weight": (VOCAB, _WIDTH), "lm_head.weight": (VOCAB, _WIDTH)}
    found["model.norm.weight"] = (_WIDTH,)
    for i in range(2):
        found |= {f"model.layers.{i}.{name}": shape for name, shape in _LAYER.items()}
        found |= {f"model.layers.{i}.self_attn.{at}{name}": shape for name, shape in mixer.items()}
    return found


def _before(x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((1, _WIDTH)), x[:-1]])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _faded(r: np.ndarray, decay: np.ndarray, k: np.ndarray, v: np.ndarray, *change: np.ndarray) -> np.ndarray:
    """What is read from a state that fades and takes each token in, and is corrected if `change` says so."""
    state, y = np.zeros((r.shape[1], _HEAD, _HEAD)), np.empty_like(r)
    for t in range(len(r)):
        seen = np.einsum("hij,hj->hi", state, -change[0][t])[:, :, None] * change[1][t, :, None] if change else 0
        state = state * decay[t, :, None] + seen + v[t, :, :, None] * k[t, :, None]
        y[t] = np.einsum("hij,hj->hi", state, r[t])
    return y


def _arwkv7(weights: Weights, ids: list[int]) -> np.ndarray:
    t = plain(weights, "model.")
    x, first = t["embed_tokens"][ids], None
    for i in range(2):
        w = inside(t, f"layers.{i}.")
        mixed, first = _mix_seven(rms(x, w["input_layernorm"], _EPS), first, inside(w, "self_attn.time_mixer."))
        x = x + mixed
        x = x + gated(rms(x, w["post_attention_layernorm"], _EPS), w)
    return rms(x, t["norm"], _EPS) @ t["lm_head"].T


def _mix_seven(x: np.ndarray, first: np.ndarray | None, w: Weights) -> tuple[np.ndarray, np.ndarray]:
    xr, xw, xk, xv, xa, xg = (x + (_before(x) - x) * w[f"x_{one}"].ravel() for one in "rwkvag")
    r, k, v = xr @ w["receptance"].T, xk @ w["key"].T, xv @ w["value"].T
    decay = np.exp(-np.exp(-0.5) * _sigmoid(w["w0"].ravel() + np.tanh(xw @ w["w1"]) @ w["w2"]))
    if first is not None:
        v = v + (first - v) * _sigmoid(w["v0"].ravel() + xv @ w["v1"] @ w["v2"])
    a = _sigmoid(w["a0"].ravel() + xa @ w["a1"] @ w["a2"])
    removed = heads(k * w["k_k"].ravel(), _HEAD)
    removed = removed / np.linalg.norm(removed, axis=-1, keepdims=True)
    k = k * (1 + (a - 1) * w["k_a"].ravel())
    r, decay, k, values, a = (heads(one, _HEAD) for one in (r, decay, k, v, a))
    y = _faded(r, decay, k, values, removed, removed * a)
    y = (y + (r * k * w["r_k"]).sum(axis=-1, keepdims=True) * values).reshape(x.shape)
    return y * (_sigmoid(xg @ w["g1"]) @ w["g2"]) @ w["output"].T, v if first is None else first


def _qrwkv6(weights: Weights, ids: list[int]) -> np.ndarray:
    t = plain(weights, "model.")
    x = t["embed_tokens"][ids]
    for i in range(2):
        w = inside(t, f"layers.{i}.")
        x = x + _mix_six(rms(x, w["input_layernorm"], _EPS), inside(w, "self_attn."))
        x = x + gated(rms(x, w["post_attention_layernorm"], _EPS), w)
    return rms(x, t["norm"], _EPS) @ t["lm_head"].T


def _mix_six(x: np.ndarray, w: Weights) -> np.ndarray:
    change = _before(x) - x
    narrow = np.tanh((x + change * w["time_maa_x"].ravel()) @ w["time_maa_w1"]).reshape(len(x), 5, _NARROW)
    shares = (w[f"time_maa_{one}"].ravel() + narrow[:, n] @ w["time_maa_w2"][n] for n, one in enumerate(_MIXED))
    xr, xk, xv, xw, xg = (x + change * share for share in shares)
    decay = np.exp(-np.exp(w["time_decay"].ravel() + np.tanh(xw @ w["time_decay_w1"]) @ w["time_decay_w2"]))
    r, decay = heads(xr @ w["q_proj"].T + w["q_proj.bias"], _HEAD), heads(decay, _HEAD)
    k, v = (
        np.repeat(heads(one @ w[f"{name}_proj"].T + w[f"{name}_proj.bias"], _HEAD), r.shape[1], axis=1)
        for name, one in (("k", xk), ("v", xv))
    )
    y = _faded(r * _HEAD**-0.5, decay, k * (1 - decay), v).reshape(x.shape)
    return y * _sigmoid(xg @ w["gate"].T) @ w["o_proj"].T


_HALVES = {f"x_{one}": 0.5 for one in "rwkvag"} | {f"time_maa_{one}": 0.5 for one in (*_MIXED, "x")}
CASES = {
    "arwkv7": Case(
        {
            **{"architectures": ["RwkvHybridForCausalLM"], "model_type": "rwkv_hybrid", **_SIZES},
            **{"head_size": _HEAD, "wkv_has_gate": True, "wkv_version": 7},
        },
        shapes=_shapes(_SEVEN, "time_mixer."),
        by_hand=_arwkv7,
        centres={**_HALVES, "k_k": 1.0, "k_a": 1.0},
    ),
    "rwkv6qwen2": Case(
        {"architectures": ["RWKV6Qwen2ForCausalLM"], "model_type": "rwkv6qwen2", **_SIZES},
        shapes=_shapes(_SIX, ""),
        by_hand=_qrwkv6,
        centres=_HALVES,
    ),
}
