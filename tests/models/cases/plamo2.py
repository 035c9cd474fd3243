"""PLaMo 2: transformers lacks the class; its vectors come from the formulas, in double precision by numpy.

Source: arXiv:2405.21060 (the scan), arXiv:2104.09864 (rotary halves), the published folders' modeling_plamo.py.
"""

from __future__ import annotations

import numpy as np
from models.case import Case, Config, Weights
from models.cases.mamba import SLOW

HEADS, KEY_HEADS, WIDTH, STATE, SCANS, TAPS, STEPS, LAYERS = 4, 2, 16, 16, 6, 4, 64, 4
INNER = SCANS * WIDTH
_CONFIG: Config = {
    **{"architectures": ["Plamo2ForCausalLM"], "model_type": "plamo2", "hidden_size": 64, "intermediate_size": 128},
    **{"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS},
    **{"hidden_size_per_head": WIDTH, "vocab_size": 256, "max_position_embeddings": 512, "rms_norm_eps": 1e-6},
    **{"mamba_d_state": STATE, "mamba_d_conv": TAPS, "mamba_num_heads": SCANS, "mamba_step": 2},
    **{"tie_word_embeddings": True, "attention_window_size": 2048, "hidden_act": "silu"},
}
_SCAN = {
    **{"in_proj.weight": (2 * INNER, 64), "conv1d.weight": (INNER, 1, TAPS), "out_proj.weight": (64, INNER)},
    **{"bcdt_proj.weight": (2 * STATE + STEPS, INNER), "dt_proj.weight": (SCANS, STEPS), "dt_bias": (SCANS,)},
    **{"A_log": (SCANS,), "D": (SCANS,), "dt_norm_weight": (STEPS,)},
    **{"B_norm_weight": (STATE,), "C_norm_weight": (STATE,)},
}
_ATTENTION = {
    **{"qkv_proj.weight": ((HEADS + 2 * KEY_HEADS) * WIDTH, 64), "o_proj.weight": (64, HEADS * WIDTH)},
    **{"q_weight": (HEADS, WIDTH), "k_weight": (KEY_HEADS, WIDTH)},
}
_NORMS = {f"{place}_norm.weight": (64,) for place in ("pre_mixer", "post_mixer", "pre_mlp", "post_mlp")}
_SHAPES = {
    **{"model.embed_tokens.weight": (256, 64), "model.norm.weight": (64,)},
    **{
        f"model.layers.layers.{i}.{name}": shape
        for i in range(LAYERS)
        for name, shape in {
            **_NORMS,
            **{"mlp.gate_up_proj.weight": (256, 64), "mlp.down_proj.weight": (64, 128)},
            **{f"mixer.{name}": shape for name, shape in (_ATTENTION if i % 2 else _SCAN).items()},
        }.items()
    },
}


def _norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6) * weight


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def _turned(x: np.ndarray) -> np.ndarray:
    """Rotary halves of every head. Shapes: [T, heads, WIDTH] -> the same."""
    half = WIDTH // 2
    angles = np.arange(len(x))[:, None, None] * 10000.0 ** (-np.arange(half) / half)
    first, second = x[..., :half], x[..., half:]
    turned = (first * np.cos(angles) - second * np.sin(angles), first * np.sin(angles) + second * np.cos(angles))
    return np.concatenate(turned, axis=-1)


def _attend(h: np.ndarray, w: Weights) -> np.ndarray:
    tokens = len(h)
    qkv = (h @ w["qkv_proj.weight"].T).reshape(tokens, -1, WIDTH)
    q = _turned(_norm(qkv[:, :HEADS], w["q_weight"]))
    k = _turned(_norm(qkv[:, HEADS : HEADS + KEY_HEADS], w["k_weight"]))
    k, v = (np.repeat(one, HEADS // KEY_HEADS, axis=1) for one in (k, qkv[:, HEADS + KEY_HEADS :]))
    scores = np.where(np.tri(tokens, dtype=bool), np.einsum("the,nhe->htn", q, k) / np.sqrt(WIDTH), -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    y = np.einsum("htn,nhe->the", weights / weights.sum(axis=-1, keepdims=True), v)
    return y.reshape(tokens, -1) @ w["o_proj.weight"].T


def _scan(h: np.ndarray, w: Weights) -> np.ndarray:
    tokens = len(h)
    both = (h @ w["in_proj.weight"].T).reshape(tokens, SCANS, 2 * WIDTH)
    z, x = both[..., :WIDTH], both[..., WIDTH:].reshape(tokens, INNER)
    padded = np.concatenate([np.zeros((TAPS - 1, INNER)), x])
    x = _silu(sum(padded[j : j + tokens] * w["conv1d.weight"][:, 0, j] for j in range(TAPS)))
    b, c, dt = np.split(x @ w["bcdt_proj.weight"].T, [STATE, 2 * STATE], axis=1)
    b, c, dt = (_norm(one, w[f"{name}_norm_weight"]) for name, one in (("B", b), ("C", c), ("dt", dt)))
    dt = np.logaddexp(dt @ w["dt_proj.weight"].T + w["dt_bias"], 0)  # [T, SCANS]
    x = x.reshape(tokens, SCANS, WIDTH)
    state, y = np.zeros((SCANS, WIDTH, STATE)), np.empty_like(x)
    for t in range(tokens):
        state *= np.exp(-dt[t] * np.exp(w["A_log"]))[:, None, None]
        state += np.einsum("h,hd,n->hdn", dt[t], x[t], b[t])
        y[t] = state @ c[t] + x[t] * w["D"][:, None]
    return (y * _silu(z)).reshape(tokens, -1) @ w["out_proj.weight"].T


def _plamo2(weights: Weights, ids: list[int]) -> np.ndarray:
    weights = {name: values.astype(np.float64) for name, values in weights.items()}
    x = weights["model.embed_tokens.weight"][ids]
    for i in range(LAYERS):
        at = f"model.layers.layers.{i}."
        w = {name.removeprefix(at): values for name, values in weights.items() if name.startswith(at)}
        mixer = {name.removeprefix("mixer."): values for name, values in w.items()}
        h = (_attend if i % 2 else _scan)(_norm(x, w["pre_mixer_norm.weight"] + 1), mixer)
        x = x + _norm(h, w["post_mixer_norm.weight"] + 1 / 5)
        gate, up = np.split(_norm(x, w["pre_mlp_norm.weight"] + 1) @ w["mlp.gate_up_proj.weight"].T, 2, axis=1)
        x = x + _norm(_silu(gate) * up @ w["mlp.down_proj.weight"].T, w["post_mlp_norm.weight"] + 1 / 5**1.5)
    return _norm(x, weights["model.norm.weight"] + 1) @ weights["model.embed_tokens.weight"].T


_CENTRES = {**SLOW, "q_weight": 1.0, "k_weight": 1.0, "norm_weight": 1.0, "post_mixer_norm.weight": 0.5}
CASES = {"plamo2": Case(_CONFIG, norm=0.0, shapes=_SHAPES, by_hand=_plamo2, centres=_CENTRES)}
