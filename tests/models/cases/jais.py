"""Jais 2, and Jais 1, which transformers lacks: its vectors come from the formulas."""

from __future__ import annotations

import numpy as np
from models.case import Case, Config, Weights, small
from models.cases.formulas import attention, centred, heads, inside, plain, silu

_HEADS, _WIDTH, _FACTORS = 4, 16, {"mup_embeddings_scale": 9.0, "mup_output_alpha": 2.0, "mup_width_scale": 0.125}
_CONFIG: Config = {
    **{"architectures": ["JAISLMHeadModel"], "model_type": "jais", "n_embd": 64, "n_head": _HEADS, "n_layer": 2},
    **{"n_positions": 512, "n_inner": 96, "vocab_size": 256, "layer_norm_epsilon": 1e-5, **_FACTORS},
    **{"activation_function": "swiglu", "position_embedding_type": "alibi", "mup_scale_qk_dot_by_d": True},
    **{"scale_attn_weights": True, "tie_word_embeddings": False},
}
_LAYER = {
    **{"ln_1.weight": (64,), "ln_1.bias": (64,), "ln_2.weight": (64,), "ln_2.bias": (64,)},
    **{"attn.c_attn.weight": (64, 192), "attn.c_attn.bias": (192,)},
    **{"attn.c_proj.weight": (64, 64), "attn.c_proj.bias": (64,)},
    **{"mlp.c_fc.weight": (64, 96), "mlp.c_fc.bias": (96,), "mlp.c_fc2.weight": (64, 96), "mlp.c_fc2.bias": (96,)},
    **{"mlp.c_proj.weight": (96, 64), "mlp.c_proj.bias": (64,)},
}
_SHAPES = {
    **{"transformer.wte.weight": (256, 64), "lm_head.weight": (256, 64)},
    **{"transformer.ln_f.weight": (64,), "transformer.ln_f.bias": (64,)},
    **{f"transformer.h.{i}.{name}": shape for i in range(2) for name, shape in _LAYER.items()},
}


def _jais(weights: Weights, ids: list[int]) -> np.ndarray:
    """Matrices lie [in, out]; the slopes of four heads are 2^-2, 2^-4, 2^-6, 2^-8."""
    t = plain(weights, "transformer.")
    x = t["wte"][ids] * _FACTORS["mup_embeddings_scale"]
    for i in range(2):
        w = inside(t, f"h.{i}.")
        qkv = centred(x, w, "ln_1") @ w["attn.c_attn"] + w["attn.c_attn.bias"]
        q, k, v = (heads(one, _WIDTH) for one in np.split(qkv, 3, axis=1))
        a = attention(q, k, v, 1 / _WIDTH, slopes=0.25 ** np.arange(1, _HEADS + 1))
        x = x + a @ w["attn.c_proj"] + w["attn.c_proj.bias"]
        h = centred(x, w, "ln_2")
        up, gate = (h @ w[f"mlp.{one}"] + w[f"mlp.{one}.bias"] for one in ("c_fc", "c_fc2"))
        x = x + (up * silu(gate)) @ w["mlp.c_proj"] + w["mlp.c_proj.bias"]
    return centred(x, t, "ln_f") @ t["lm_head"].T * _FACTORS["mup_output_alpha"] * _FACTORS["mup_width_scale"]


CASES = {
    "jais": Case(_CONFIG, shapes=_SHAPES, by_hand=_jais),
    "jais2": Case(
        small("Jais2ForCausalLM", "jais2", hidden_act="relu2", layer_norm_eps=1e-5, rms_norm_eps=None, head_dim=None)
    ),
}
