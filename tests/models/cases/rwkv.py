"""RWKV 6 and 7: transformers lacks the classes; vectors come from the formulas, in double precision by numpy.

Source: arXiv:2404.05892, section 4 (RWKV 6, "Finch"); arXiv:2503.14456, section 4 (RWKV 7, "Goose").
"""

from __future__ import annotations

import numpy as np
from models.case import LAYERS, VOCAB, Case, Config, Weights

WIDTH, HIDDEN, HEAD, RANK, DECAY_RANK = 64, 128, 32, 32, 64
EPS, _HEAD_EPS = 1e-5, 64e-5
_MIXED = "wkvrg"
_SIX: Config = {
    **{"architectures": ["Rwkv6ForCausalLM"], "model_type": "rwkv6", "hidden_size": WIDTH, "head_size": HEAD},
    **{"num_hidden_layers": LAYERS, "intermediate_size": HIDDEN, "layer_norm_epsilon": EPS, "rescale_every": 1},
    **{"vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": False},
}
_SEVEN: Config = {
    **{"architectures": ["RWKV7ForCausalLM"], "model_type": "rwkv7", "hidden_size": WIDTH, "head_dim": HEAD},
    **{"num_hidden_layers": LAYERS, "intermediate_size": HIDDEN, "norm_eps": EPS, "hidden_act": "sqrelu"},
    **{f"{one}_low_rank_dim": RANK for one in ("decay", "gate", "a", "v")},
    **{"vocab_size": VOCAB, "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": False},
}
_SHARES = {f"time_maa_{one}": 0.5 for one in (*_MIXED, "x")} | {f"x_{one}": 0.5 for one in "rwkvag"}
_CENTRES = {**_SHARES, "attn.k_k": 1.0, "attn.k_a": 1.0}


def _both(*names: str) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{kind}": (WIDTH,) for name in names for kind in ("weight", "bias")}


def _six_shapes() -> dict[str, tuple[int, ...]]:
    found = {"rwkv.embeddings.weight": (VOCAB, WIDTH), "head.weight": (VOCAB, WIDTH), **_both("rwkv.ln_out")}
    for i in range(LAYERS):
        at = f"rwkv.blocks.{i}."
        mix, unit = f"{at}attention.", f"{at}feed_forward."
        found |= _both(f"{at}ln1", f"{at}ln2", f"{mix}ln_x", *([f"{at}pre_ln"] if i == 0 else []))
        found |= {f"{mix}time_maa_{one}": (1, 1, WIDTH) for one in (*_MIXED, "x")}
        found |= {f"{mix}time_maa_w1": (WIDTH, 5 * RANK), f"{mix}time_maa_w2": (5, RANK, WIDTH)}
        found |= {f"{mix}time_decay_w1": (WIDTH, DECAY_RANK), f"{mix}time_decay_w2": (DECAY_RANK, WIDTH)}
        found |= {f"{mix}time_decay": (1, 1, WIDTH), f"{mix}time_faaaa": (WIDTH // HEAD, HEAD)}
        found |= {f"{mix}{one}.weight": (WIDTH, WIDTH) for one in ("key", "value", "receptance", "gate", "output")}
        found |= {f"{unit}time_maa_{one}": (1, 1, WIDTH) for one in "kr"}
        found |= {f"{unit}key.weight": (HIDDEN, WIDTH), f"{unit}value.weight": (WIDTH, HIDDEN)}
        found |= {f"{unit}receptance.weight": (WIDTH, WIDTH)}
    return found


def _seven_shapes() -> dict[str, tuple[int, ...]]:
    found = {"model.embeddings.weight": (VOCAB, WIDTH), "lm_head.weight": (VOCAB, WIDTH), **_both("model.norm")}
    for i in range(LAYERS):
        at = f"model.layers.{i}."
        mix, unit = f"{at}attn.", f"{at}ffn."
        found |= _both(f"{at}attn_norm", f"{at}ffn_norm", f"{mix}g_norm", *([f"{at}pre_norm"] if i == 0 else []))
        found |= {f"{mix}x_{one}": (1, 1, WIDTH) for one in "rwkvag"}
        found |= {f"{mix}k_k": (WIDTH,), f"{mix}k_a": (WIDTH,), f"{mix}r_k": (WIDTH // HEAD, HEAD)}
        for one in "wag" if i == 0 else "wavg":
            lora = f"{mix}{one}_lora.lora."
            found |= {f"{lora}0.weight": (RANK, WIDTH), f"{lora}2.weight": (WIDTH, RANK)}
            found |= {f"{lora}2.bias": (WIDTH,)} if one != "g" else {}
        found |= {f"{mix}{one}_proj.weight": (WIDTH, WIDTH) for one in "rkvo"}
        found |= {f"{unit}x_k": (WIDTH,), f"{unit}key.weight": (HIDDEN, WIDTH), f"{unit}value.weight": (WIDTH, HIDDEN)}
    return found


def _norm(x: np.ndarray, w: Weights, name: str, eps: float = EPS, width: int = WIDTH) -> np.ndarray:
    """A layer norm of each part of that width."""
    rows = x.reshape(len(x), -1, width)
    centred = rows - rows.mean(axis=-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    return normed.reshape(x.shape) * w[f"{name}.weight"] + w[f"{name}.bias"]


def _before(x: np.ndarray) -> np.ndarray:
    """Each row's predecessor."""
    return np.concatenate([np.zeros((1, WIDTH)), x[:-1]])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _heads(*parts: np.ndarray) -> list[np.ndarray]:
    return [one.reshape(len(one), -1, HEAD) for one in parts]


def _inside(tensors: Weights, at: str) -> Weights:
    return {name.removeprefix(at): one for name, one in tensors.items() if name.startswith(at)}


def _six(weights: Weights, ids: list[int]) -> np.ndarray:
    t = {name.removeprefix("rwkv."): one.astype(np.float64) for name, one in weights.items()}
    x = _norm(t["embeddings.weight"][ids], t, "blocks.0.pre_ln")
    for i in range(LAYERS):
        w = _inside(t, f"blocks.{i}.")
        x = x + _mix_six(_norm(x, w, "ln1"), _inside(w, "attention."))
        h, u = _norm(x, w, "ln2"), _inside(w, "feed_forward.")
        k, r = (h + (_before(h) - h) * u[f"time_maa_{one}"].ravel() for one in "kr")
        x = x + _sigmoid(r @ u["receptance.weight"].T) * (
            np.maximum(k @ u["key.weight"].T, 0) ** 2 @ u["value.weight"].T
        )
    return _norm(x, t, "ln_out") @ t["head.weight"].T


def _mix_six(x: np.ndarray, w: Weights) -> np.ndarray:
    change = _before(x) - x
    narrow = np.tanh((x + change * w["time_maa_x"].ravel()) @ w["time_maa_w1"]).reshape(len(x), 5, RANK)
    shares = (w[f"time_maa_{one}"].ravel() + narrow[:, n] @ w["time_maa_w2"][n] for n, one in enumerate(_MIXED))
    xw, xk, xv, xr, xg = (x + change * share for share in shares)
    decay = np.exp(-np.exp(w["time_decay"].ravel() + np.tanh(xw @ w["time_decay_w1"]) @ w["time_decay_w2"]))
    rows = {"receptance": xr, "key": xk, "value": xv}
    r, k, v, decay = _heads(*(one @ w[f"{name}.weight"].T for name, one in rows.items()), decay)
    state, y = np.zeros((WIDTH // HEAD, HEAD, HEAD)), np.empty_like(r)
    for t in range(len(x)):
        new = v[t, :, :, None] * k[t, :, None]
        y[t] = np.einsum("hij,hj->hi", state + new * w["time_faaaa"][:, None], r[t])
        state = state * decay[t, :, None] + new
    gate = xg @ w["gate.weight"].T
    return _norm(y.reshape(x.shape), w, "ln_x", _HEAD_EPS, HEAD) * gate * _sigmoid(gate) @ w["output.weight"].T


def _seven(weights: Weights, ids: list[int]) -> np.ndarray:
    t = {name.removeprefix("model."): one.astype(np.float64) for name, one in weights.items()}
    x = _norm(t["embeddings.weight"][ids], t, "layers.0.pre_norm")
    first = None
    for i in range(LAYERS):
        w = _inside(t, f"layers.{i}.")
        mixed, first = _mix_seven(_norm(x, w, "attn_norm"), first, _inside(w, "attn."))
        x = x + mixed
        h = _norm(x, w, "ffn_norm")
        h = h + (_before(h) - h) * w["ffn.x_k"]
        x = x + np.maximum(h @ w["ffn.key.weight"].T, 0) ** 2 @ w["ffn.value.weight"].T
    return _norm(x, t, "norm") @ t["lm_head.weight"].T


def _mix_seven(x: np.ndarray, first: np.ndarray | None, w: Weights) -> tuple[np.ndarray, np.ndarray]:
    def narrow(y: np.ndarray, name: str) -> np.ndarray:
        return y @ w[f"{name}_lora.lora.2.weight"].T + w.get(f"{name}_lora.lora.2.bias", 0)

    down = {one: w[f"{one}_lora.lora.0.weight"].T for one in "wavg" if f"{one}_lora.lora.0.weight" in w}
    xr, xw, xk, xv, xa, xg = (x + (_before(x) - x) * w[f"x_{one}"].ravel() for one in "rwkvag")
    r, k, v = xr @ w["r_proj.weight"].T, xk @ w["k_proj.weight"].T, xv @ w["v_proj.weight"].T
    decay = np.exp(-np.exp(-0.5) * _sigmoid(narrow(np.tanh(xw @ down["w"]), "w")))
    if first is not None:
        v = v + (first - v) * _sigmoid(narrow(xv @ down["v"], "v"))
    a = _sigmoid(narrow(xa @ down["a"], "a"))
    removed = (k * w["k_k"]).reshape(len(x), -1, HEAD)
    removed = removed / np.linalg.norm(removed, axis=-1, keepdims=True)
    r, decay, k, values, a = _heads(r, decay, k * (1 + (a - 1) * w["k_a"]), v, a)
    state, y = np.zeros((WIDTH // HEAD, HEAD, HEAD)), np.empty_like(r)
    for t in range(len(x)):
        change = -np.einsum("hij,hj->hi", state, removed[t])
        state = state * decay[t, :, None] + change[:, :, None] * (removed * a)[t, :, None]
        state = state + values[t, :, :, None] * k[t, :, None]
        y[t] = np.einsum("hij,hj->hi", state, r[t])
    y = _norm(y.reshape(x.shape), w, "g_norm", _HEAD_EPS, HEAD)
    y = y + ((r * k * w["r_k"]).sum(axis=-1, keepdims=True) * values).reshape(x.shape)
    y = y * narrow(_sigmoid(xg @ down["g"]), "g")
    return y @ w["o_proj.weight"].T, v if first is None else first


CASES = {
    "rwkv6": Case(_SIX, shapes=_six_shapes(), by_hand=_six, centres=_CENTRES),
    "rwkv7": Case(_SEVEN, shapes=_seven_shapes(), by_hand=_seven, centres=_CENTRES),
}
